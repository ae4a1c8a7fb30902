//! A Redis of a test's own, set up as an operator may have it.

use std::{path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
};

/// Ends with the test.
pub struct Server {
    pub port: u16,
    pub folder: TempDir,
    _process: Child,
    _log: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// Answers when it is ready. `options` are lines of its configuration, given a port and its folder.
    pub async fn start(options: impl Fn(u16, &Path) -> String) -> Self {
        Self::run(&[], "Ready to accept connections", options).await
    }

    /// One that watches others.
    pub async fn sentinel(options: impl Fn(u16, &Path) -> String) -> Self {
        Self::run(&["--sentinel"], "+monitor master", options).await
    }

    async fn run(arguments: &[&str], ready: &str, options: impl Fn(u16, &Path) -> String) -> Self {
        loop {
            let folder = TempDir::new().expect("a folder");
            let port = free_port().await;
            let file = folder.path().join("redis.conf");
            let common = format!("bind 127.0.0.1\nsave \"\"\ndir {}\n", folder.path().display());
            std::fs::write(&file, common + &options(port, folder.path())).expect("written");
            let mut process = Command::new("redis-server")
                .arg(&file)
                .args(arguments)
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .expect("redis-server is installed");
            let mut log = BufReader::new(process.stdout.take().expect("piped")).lines();
            // It ends when somebody was faster to take the port.
            while let Some(line) = log.next_line().await.expect("reads") {
                if line.contains(ready) {
                    return Self { port, folder, _process: process, _log: log };
                }
            }
        }
    }
}

pub async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound").port()
}
