//! Starting: defaults that work, and one clear line when something is wrong.

use std::{fs, net::TcpListener, path::Path, process::Output, time::Duration};

use anyhow::{Context as _, ensure};
use messenger_testkit::{Cluster, Shape};
use reqwest::Method;
use tokio::{process::Command, time::timeout};

async fn run(binary: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_messenger")).with_file_name(binary));
    let running = command.env_clear().args(arguments).kill_on_drop(true).output();
    Ok(timeout(Duration::from_secs(30), running).await.context("it goes on")??)
}

/// It ends with code 2 and one line that names the setting.
async fn refuses(arguments: &[&str], named: &str) -> anyhow::Result<()> {
    let output = run("messenger", arguments).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2), "{arguments:?} ended with {}: {said}", output.status);
    ensure!(said.contains(named), "{arguments:?} does not name {named}: {said}");
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
}

#[tokio::test]
async fn wrong_settings_are_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = format!("--data-dir={}", folder.path().display());
    let free = ["--listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0"];
    let with = |more: &[&'static str]| [&free[..], &[data.as_str()][..], more].concat().join(" ");
    let cases = [
        (with(&["--no-such-flag"]), "--no-such-flag"),
        (format!("--listen=nonsense {data}"), "--listen"),
        (with(&["serve"]), "serve"),
        (with(&["--allowed-origins=https://app.example.com/"]), "--allowed-origins"),
        (with(&["--database-url=mysql://x"]), "DATABASE_URL"),
        (with(&["--database-url=postgres://nobody@127.0.0.1:1/none"]), "DATABASE_URL"),
        (format!("{} --data-dir=/proc/nowhere", free.join(" ")), "data-dir"),
        (with(&["--sends-per-user=0"]), "1 or more (without any limits: --no-rate-limits)"),
        (with(&["--service-secret=short"]), "MESSENGER_SERVICE_SECRET"),
        (format!("--listen=0.0.0.0:0 --grpc-listen=127.0.0.1:0 {data}"), "--allow-plaintext=listen"),
        (format!("--listen=0.0.0.0:0 --grpc-listen=127.0.0.1:0 {data}"), "--tls-certificate"),
        (format!("--listen=127.0.0.1:0 --grpc-listen=[::]:0 {data}"), "--allow-plaintext=grpc-listen"),
        (format!("--listen=127.0.0.1:0 --grpc-listen=[::]:0 {data}"), "--certificates"),
        (with(&["--tls-certificate=/nowhere"]), "--tls-key"),
        (with(&["--tls-certificate=/nowhere", "--tls-key=/nowhere"]), "/nowhere"),
        (with(&["--certificates=/nowhere"]), "/nowhere/ca.crt"),
    ];
    for (line, named) in cases {
        refuses(&line.split(' ').collect::<Vec<_>>(), named).await?;
    }
    Ok(())
}

/// The secret goes to no other machine unencrypted, whichever service calls, unless that is asked for.
#[tokio::test]
async fn a_secret_in_plain_text_is_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (secret, data) = ("0123456789abcdef".repeat(2), folder.path().display());
    let here = [format!("--service-secret={secret}"), "--listen=127.0.0.1:0".to_owned(), format!("--data-dir={data}")];
    let here = here.each_ref().map(String::as_str);
    for (binary, url, is_stored) in [
        ("messenger-gateway", "--auth-url=http://auth.internal:1", false),
        ("messenger-gateway", "--message-url=http://127.0.0.1:1,http://192.0.2.1:1", false),
        ("messenger-conversation", "--message-url=http://[2001:db8::1]:1", true),
        ("messenger-message", "--conversation-url=http://conversation.internal:1", true),
    ] {
        let flags: Vec<&str> = here.into_iter().take(if is_stored { 3 } else { 2 }).chain([url]).collect();
        let output = run(binary, &flags).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2) && said.lines().count() == 1, "{url}: {} {said}", output.status);
        let flag = url.split('=').next().unwrap_or_default();
        ensure!(said.contains(flag) && said.contains("--allow-plaintext=service-urls"), "{url}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_busy_port_is_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let listen = format!("--listen={}", taken.local_addr()?);
    let data = format!("--data-dir={}", folder.path().display());
    refuses(&[&listen, "--grpc-listen=127.0.0.1:0", &data], "listen").await
}

#[tokio::test]
async fn a_file_in_place_of_the_data_folder_is_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("data");
    fs::write(&file, "not a folder")?;
    let data = format!("--data-dir={}", file.display());
    refuses(&["--listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0", &data], "data-dir").await
}

#[tokio::test]
async fn help_and_settings_are_printed() -> anyhow::Result<()> {
    let help = run("messenger", &["--help"]).await?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for flag in ["--listen", "--grpc-listen", "--data-dir", "--database-url", "--redis-url", "--allowed-origins"] {
        ensure!(help.contains(flag), "{flag} is not in --help");
    }
    let given = ["--database-url=postgres://user:hunter2@host/db", "--redis-url=", "--print-config"];
    let settings = String::from_utf8(run("messenger", &given).await?.stdout)?;
    ensure!(settings.contains("127.0.0.1:8080") && !settings.contains("hunter2"), "{settings}");
    ensure!(settings.contains("redis-url = (not set)"), "an empty one is none: {settings}");
    Ok(())
}

#[tokio::test]
async fn operators_find_what_they_look_for() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::StandaloneSqlite).await?;
    let root = format!("http://{}", cluster.edge());
    for (path, expected) in [
        ("healthz", ""),
        ("readyz", ""),
        ("metrics", "messenger_"),
        ("openapi.json", "\"openapi\""),
        ("docs", "<html"),
        ("config", "\"content"),
        (".well-known/jwks.json", "\"keys\""),
        ("", "<html"),
    ] {
        let answer = reqwest::get(format!("{root}/{path}")).await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success() && text.contains(expected), "{path}: {status} {text:.200}");
    }
    let (status, body) = cluster.api().call(Method::GET, "no/such/path", None, None).await?;
    ensure!(status == 404 && body["code"] == "NOT_FOUND", "{status} {body}");
    ensure!(Path::new(cluster.folder()).join("message.db").exists());
    Ok(())
}
