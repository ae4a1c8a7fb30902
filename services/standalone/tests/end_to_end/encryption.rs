//! With certificates: clients that others wrote over TLS, and services that know each other by theirs.

use std::{
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use messenger_proto::message::v1::{ListConversationsRequest, message_service_client::MessageServiceClient};
use messenger_testkit::{
    Cluster, Settings, Shape, TestClient, Wire,
    process::{Launch, Process, free_address},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::foreign;

const PATIENCE: Duration = Duration::from_secs(30);

/// Made by `messenger certs`, as an operator makes them.
pub struct Certificates(TempDir);

impl Certificates {
    pub async fn new(names: &[&str]) -> anyhow::Result<Self> {
        let certificates = Self(tempfile::tempdir()?);
        certificates.certs(&["ca"]).await?;
        certificates.certs(&[&["issue", "--host=127.0.0.1", "--host=localhost"], names].concat()).await?;
        Ok(certificates)
    }

    async fn certs(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_messenger"));
        command.arg("certs").args(arguments).arg(format!("--folder={}", self.0.path().display()));
        let Output { status, stderr, .. } = command.output().await?;
        ensure!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
        Ok(())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// One process that shows clients the certificate of `edge`.
async fn start(certificates: &Certificates, data: &Path) -> anyhow::Result<(Process, String)> {
    let edge = free_address()?;
    let arguments = vec![
        format!("--listen={edge}"),
        format!("--grpc-listen={}", free_address()?),
        format!("--data-dir={}", data.display()),
        format!("--tls-certificate={}", certificates.file("edge/tls.crt").display()),
        format!("--tls-key={}", certificates.file("edge/tls.key").display()),
        "--no-rate-limits".to_owned(),
    ];
    let launch = Launch { binary: "messenger", arguments, environment: Vec::new() };
    Ok((Process::start(&launch).await?, format!("https://{edge}")))
}

/// What curl says of a page with its headers, when it believes this authority.
async fn curl(authority: &Path, url: &str) -> anyhow::Result<Output> {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--include", "--max-time", "20", "--cacert"])
        .arg(authority)
        .arg(url);
    command.kill_on_drop(true).output().await.context("curl cannot be started")
}

#[tokio::test]
async fn stock_clients_over_tls() -> anyhow::Result<()> {
    let (certificates, data) = (Certificates::new(&["edge"]).await?, tempfile::tempdir()?);
    let (process, url) = start(&certificates, data.path()).await?;
    let authority = certificates.file("ca/ca.crt");
    for transports in ["websocket", "polling", "polling,websocket"] {
        let mut command = Command::new("node");
        command.current_dir(foreign::folder()).args(["chat.mjs", &url, transports]).kill_on_drop(true);
        let output = command.env("NODE_EXTRA_CA_CERTS", &authority).output().await?;
        ensure!(output.status.success(), "{transports}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let page = curl(&authority, &format!("{url}/readyz")).await?;
    ensure!(page.status.success(), "{}", String::from_utf8_lossy(&page.stderr));
    let head = String::from_utf8_lossy(&page.stdout).to_lowercase();
    ensure!(head.contains("strict-transport-security: max-age=31536000\r\n"), "{head}");
    // Who speaks plain text there is not answered, and a stranger's certificate is not believed.
    let plain = curl(&authority, &url.replace("https:", "http:")).await?;
    ensure!(!plain.status.success(), "answered in plain text");
    let stranger = Certificates::new(&["edge"]).await?;
    ensure!(!curl(&stranger.file("ca/ca.crt"), &url).await?.status.success(), "believed a stranger");
    ensure!(process.terminate().await?.code() == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() -> anyhow::Result<()> {
    let (old, new) = (Certificates::new(&["edge"]).await?, Certificates::new(&["edge"]).await?);
    let data = tempfile::tempdir()?;
    let (_process, url) = start(&old, data.path()).await?;
    let page = format!("{url}/healthz");
    ensure!(curl(&old.file("ca/ca.crt"), &page).await?.status.success());
    for name in ["edge/tls.crt", "edge/tls.key"] {
        std::fs::copy(new.file(name), old.file(name))?;
    }
    let shown = async {
        while !curl(&new.file("ca/ca.crt"), &page).await?.status.success() {}
        anyhow::Ok(())
    };
    timeout(PATIENCE, shown).await??;
    ensure!(!curl(&old.file("ca/ca.crt"), &page).await?.status.success(), "the old one is still shown");
    Ok(())
}

#[tokio::test]
async fn separate_services_with_certificates() -> anyhow::Result<()> {
    let certificates = Certificates::new(&["auth", "conversation", "message", "gateway"]).await?;
    let settings = Settings { certificates: Some(certificates.0.path().to_owned()), ..Settings::default() };
    let cluster = Cluster::start_with(Shape::SplitPostgres, settings).await?;
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let mut sender = TestClient::connect(cluster.edge(), Wire::SocketIo, &ann).await?;
    let mut receiver = TestClient::connect(cluster.edge(), Wire::Plain, &bob).await?;
    let answer = sender.request("send_message", json!({"receiverId": bob.id, "content": "sealed"})).await?;
    ensure!(answer["content"] == "sealed", "{answer}");
    ensure!(receiver.until("new_message").await?["content"] == "sealed");

    // A user needs no certificate, only the token; in plain text nobody is answered.
    let script = "grpc_encrypted.py";
    let (address, authority) = (cluster.grpc("message").to_string(), certificates.file("ca/ca.crt"));
    foreign::run(&foreign::python(), script, &[&address, &authority.to_string_lossy(), &ann.token]).await?;
    let plain = MessageServiceClient::connect(format!("http://{address}")).await;
    if let Ok(mut plain) = plain {
        let mut request = tonic::Request::new(ListConversationsRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {}", ann.token).parse()?);
        ensure!(plain.list_conversations(request).await.is_err(), "answered in plain text");
    }
    Ok(())
}

/// What the operator is told, with code 2.
async fn refusal(launch: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_messenger"));
    let output = command.env_clear().args(launch).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2), "{launch:?}: {} {said}", output.status);
    Ok(said)
}

#[tokio::test]
async fn certificates_are_not_made_by_mistake() -> anyhow::Result<()> {
    let certificates = Certificates::new(&["gateway"]).await?;
    let folder = format!("--folder={}", certificates.0.path().display());
    let again = refusal(&["certs", "ca", &folder]).await?;
    ensure!(again.contains("ca exists"), "{again}");
    let taken = refusal(&["certs", "issue", "reports", "--host=auth", &folder]).await?;
    ensure!(taken.contains("--host auth"), "{taken}");
    let nameless = refusal(&["certs", "issue", "A.B", &folder]).await?;
    ensure!(nameless.contains("lower-case"), "{nameless}");
    let elsewhere = tempfile::tempdir()?;
    let nowhere = refusal(&["certs", "issue", "auth", &format!("--folder={}", elsewhere.path().display())]).await?;
    ensure!(nowhere.contains("ca/ca.key"), "{nowhere}");
    Ok(())
}
