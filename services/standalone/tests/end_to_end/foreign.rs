//! Clients that others wrote, unchanged: npm socket.io-client, PyPI python-socketio. `scripts/test` installs them.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use messenger_testkit::{Cluster, Shape};
use tokio::process::Command;

fn clients() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

async fn run(program: PathBuf, script: &str, more: &[&str]) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::StandaloneSqlite).await?;
    let mut command = Command::new(&program);
    command.current_dir(clients()).arg(script).arg(cluster.api().url()).args(more).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("{} cannot be started", program.display()))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{script} {more:?}: {said}");
    let edge = cluster.edge_part();
    cluster.terminate(edge).await?;
    Ok(())
}

#[tokio::test]
async fn socket_io_client_over_websocket() -> anyhow::Result<()> {
    run("node".into(), "chat.mjs", &["websocket"]).await
}

#[tokio::test]
async fn socket_io_client_over_polling() -> anyhow::Result<()> {
    run("node".into(), "chat.mjs", &["polling"]).await
}

#[tokio::test]
async fn socket_io_client_upgrading() -> anyhow::Result<()> {
    run("node".into(), "chat.mjs", &["polling,websocket"]).await
}

#[tokio::test]
async fn socket_io_client_resumes_by_itself() -> anyhow::Result<()> {
    run("node".into(), "resume.mjs", &[]).await
}

#[tokio::test]
async fn a_client_of_the_nestjs_version_works_unchanged() -> anyhow::Result<()> {
    run("node".into(), "nestjs-era.mjs", &[]).await
}

#[tokio::test]
async fn python_socketio() -> anyhow::Result<()> {
    let python = clients().join(".venv/bin/python");
    run(python.clone(), "chat.py", &["websocket"]).await?;
    run(python, "chat.py", &["polling"]).await
}
