//! Clients that others wrote, unchanged: npm socket.io-client, PyPI python-socketio and grpcio, a browser.
//! `scripts/test` installs them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use messenger_testkit::{Cluster, Shape};
use tokio::process::Command;

/// The folder the clients are installed in.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// The interpreter with the packages of `requirements.txt`.
pub fn python() -> PathBuf {
    folder().join(".venv/bin/python")
}

/// Runs a script of the folder to its end; gives what it printed.
pub async fn run(program: &Path, script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.current_dir(folder()).arg(script).args(arguments).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("{} cannot be started", program.display()))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{script} {arguments:?}: {said}");
    Ok(said)
}

/// Runs a script against a messenger of its own, which ends cleanly afterwards.
async fn run_against(shape: Shape, program: &Path, script: &str, more: &[&str]) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(shape).await?;
    run(program, script, &[&[cluster.api().url()], more].concat()).await?;
    let edge = cluster.edge_part();
    cluster.terminate(edge).await?;
    Ok(())
}

async fn node(script: &str, more: &[&str]) -> anyhow::Result<()> {
    run_against(Shape::StandaloneSqlite, Path::new("node"), script, more).await
}

#[tokio::test]
async fn socket_io_client_over_websocket() -> anyhow::Result<()> {
    node("chat.mjs", &["websocket"]).await
}

#[tokio::test]
async fn socket_io_client_over_polling() -> anyhow::Result<()> {
    node("chat.mjs", &["polling"]).await
}

#[tokio::test]
async fn socket_io_client_upgrading() -> anyhow::Result<()> {
    node("chat.mjs", &["polling,websocket"]).await
}

#[tokio::test]
async fn socket_io_client_resumes_by_itself() -> anyhow::Result<()> {
    node("resume.mjs", &[]).await
}

#[tokio::test]
async fn a_client_of_the_nestjs_version_works_unchanged() -> anyhow::Result<()> {
    node("nestjs-era.mjs", &[]).await
}

#[tokio::test]
async fn two_people_in_a_browser() -> anyhow::Result<()> {
    node("page.mjs", &[]).await
}

#[tokio::test]
async fn a_page_outlives_outages() -> anyhow::Result<()> {
    node("page_outage.mjs", &[]).await
}

#[tokio::test]
async fn a_group_in_a_browser() -> anyhow::Result<()> {
    node("page_group.mjs", &[]).await
}

#[tokio::test]
async fn python_socketio() -> anyhow::Result<()> {
    run_against(Shape::StandaloneSqlite, &python(), "chat.py", &["websocket"]).await?;
    run_against(Shape::StandaloneSqlite, &python(), "chat.py", &["polling"]).await
}

/// Only what reflection says is known to it, as to grpcurl.
async fn grpc_by_reflection(shape: Shape) -> anyhow::Result<()> {
    let cluster = Cluster::start(shape).await?;
    let addresses = ["auth", "conversation", "message"].map(|service| cluster.grpc(service).to_string());
    let [auth, conversation, message] = addresses.each_ref().map(String::as_str);
    run(&python(), "grpc_calls.py", &[cluster.api().url(), auth, conversation, message]).await?;
    Ok(())
}

#[tokio::test]
async fn grpc_of_one_process_by_reflection() -> anyhow::Result<()> {
    grpc_by_reflection(Shape::StandaloneSqlite).await
}

#[tokio::test]
async fn grpc_of_separate_services_by_reflection() -> anyhow::Result<()> {
    grpc_by_reflection(Shape::SplitPostgres).await
}

/// The six lines of the README, as a newcomer copies them.
#[tokio::test]
async fn the_script_of_the_readme() -> anyhow::Result<()> {
    let readme = include_str!("../../../../README.md");
    let (_, script) = readme.split_once("```js\n").context("the README has a script")?;
    let (script, _) = script.split_once("```").context("the script ends")?;
    let cluster = Cluster::start(Shape::StandaloneSqlite).await?;
    let script = script.replace("http://127.0.0.1:8080", cluster.api().url());
    // Beside the installed packages, where node looks for them.
    let file = tempfile::Builder::new().suffix(".mjs").tempfile_in(folder().join("node_modules"))?;
    std::fs::write(file.path(), script)?;
    let path = file.path().to_string_lossy().into_owned();
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let said = run(Path::new("node"), "readme.mjs", &[&path, &ann.token, &bob.token, &bob.id]).await?;
    ensure!(said.contains("stored as 1") && said.contains("hello"), "{said}");
    Ok(())
}
