//! A server started by a command of the shell, watched until it answers, ended with everything it started.

use std::{
    io,
    net::TcpListener,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{meter::resident_kib, target::Target};

/// A running server.
pub struct Server {
    /// Where it listens and what it is made of.
    pub target: Target,
    child: Child,
}

const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const ENDED_WITHIN: Duration = Duration::from_secs(15);

impl Server {
    /// Runs the command with a free port in `PORT`, in a process group of its own, and waits until `/readyz` answers
    /// anything but a server error there (a server without one says 404).
    pub async fn start(name: &str, command: &str) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let begin = Instant::now();
        let child = Command::new("sh")
            .args(["-c", command])
            .env("PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pid = child.id().context("just started")?;
        let url = format!("http://127.0.0.1:{port}");
        let target = Target { name: name.to_owned(), url, pids: vec![pid], databases: Vec::new(), fill: None };
        let mut server = Self { target, child };
        let ready = timeout(READY_WITHIN, server.ready()).await;
        if let Err(error) = ready.unwrap_or_else(|_| Err(anyhow!("not ready within {READY_WITHIN:?}"))) {
            server.end().await?;
            return Err(error.context(format!("starting {name}")));
        }
        let resident = resident_kib(&server.target.pids) / 1024;
        println!("{name}: ready after {:.0} ms, {resident} MiB resident", begin.elapsed().as_secs_f64() * 1e3);
        Ok(server)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let http = reqwest::Client::new();
        let url = format!("{}/readyz", self.target.url);
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended: {status}", self.target.name);
            }
            match http.get(&url).send().await {
                Ok(answer) if !answer.status().is_server_error() => return Ok(()),
                _ => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Ends it politely.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.signal("-TERM")?;
        if timeout(ENDED_WITHIN, self.child.wait()).await.is_err() {
            eprintln!("{} did not end within {ENDED_WITHIN:?} and is killed", self.target.name);
        }
        Ok(())
    }

    /// To the whole group; to nobody is no error.
    fn signal(&self, signal: &str) -> io::Result<ExitStatus> {
        let group = format!("-{}", self.target.pids[0]);
        std::process::Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status()
    }
}

/// Whoever is left, also after a panic.
impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.signal("-KILL") {
            eprintln!("{} may still be running: {error}", self.target.name);
        }
    }
}
