//! A PostgreSQL and a Redis of this run's own, with default durability: they are stopped, frozen and killed.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use messenger_testkit::process::free_address;
use tokio::process::Command;

use crate::process::{Launch, Process};

/// A new PostgreSQL; gives its superuser's URL.
pub async fn postgres(folder: &Path) -> anyhow::Result<(Process, String)> {
    let (bin, address, home) = (postgres_bin()?, free_address()?, folder.join("postgres"));
    std::fs::create_dir(&home)?;
    let mut prefix = Vec::new();
    if is_root().await? {
        // PostgreSQL refuses to run as root.
        let owned = Command::new("chown").arg("postgres").arg(&home).status().await?;
        let open = Command::new("chmod").arg("755").arg(folder).status().await?;
        anyhow::ensure!(owned.success() && open.success(), "{} cannot be given to postgres", home.display());
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"].map(str::to_owned).to_vec();
    }
    let command = |program: &str, arguments: &[&str]| {
        let program = bin.join(program).display().to_string();
        [prefix.clone(), vec![program], arguments.iter().map(|&argument| argument.to_owned()).collect()].concat()
    };
    let data = home.join("data").display().to_string();
    let init = command("initdb", &["-D", &data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]);
    let made = Command::new(&init[0]).args(&init[1..]).current_dir("/").output().await?;
    anyhow::ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let (port, sockets) = (address.port().to_string(), home.display().to_string());
    let settings = ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"];
    let command = command("postgres", &[&["-D", &data, "-p", &port, "-k", &sockets], &settings[..]].concat());
    let ready = "database system is ready to accept connections";
    let log = folder.join("postgres.log");
    let launch = Launch { name: "postgres".to_owned(), command, environment: Vec::new(), ready, log };
    Ok((Process::start(launch).await?, format!("postgres://postgres@{address}/postgres")))
}

/// A new Redis; gives its address.
pub async fn redis(folder: &Path) -> anyhow::Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let port = address.port().to_string();
    let home = folder.display().to_string();
    let command = ["redis-server", "--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir", &home];
    let launch = Launch {
        name: "redis".to_owned(),
        command: command.map(str::to_owned).to_vec(),
        environment: Vec::new(),
        ready: "Ready to accept connections",
        log: folder.join("redis.log"),
    };
    Ok((Process::start(launch).await?, address))
}

async fn is_root() -> anyhow::Result<bool> {
    Ok(Command::new("id").arg("-u").output().await?.stdout.trim_ascii() == b"0")
}

/// The newest installed version.
fn postgres_bin() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(version);
    Ok(newest.context("PostgreSQL is not installed")?.join("bin"))
}
