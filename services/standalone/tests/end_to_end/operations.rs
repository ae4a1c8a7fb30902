//! What operators have of a service's own process.

use anyhow::ensure;
use messenger_testkit::process::{Launch, Process, free_address};

#[tokio::test]
async fn a_service_has_figures_and_health_and_ends_cleanly() -> anyhow::Result<()> {
    let (folder, operators) = (tempfile::tempdir()?, free_address()?);
    let arguments = vec![
        format!("--listen={}", free_address()?),
        format!("--metrics-listen={operators}"),
        format!("--data-dir={}", folder.path().display()),
        format!("--service-secret={}", "0123456789abcdef".repeat(2)),
    ];
    let auth = Process::start(&Launch { binary: "messenger-auth", arguments, environment: Vec::new() }).await?;
    for (path, status) in [("healthz", 200), ("readyz", 200), ("metrics", 200), ("elsewhere", 404)] {
        let answer = reqwest::get(format!("http://{operators}/{path}")).await?;
        ensure!(answer.status() == status, "{path}: {}", answer.status());
    }
    let ended = auth.terminate().await?;
    ensure!(ended.code() == Some(0), "{ended}");
    Ok(())
}
