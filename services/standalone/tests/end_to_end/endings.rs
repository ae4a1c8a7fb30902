//! How processes end, and what the health of a service follows.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use messenger_proto::message::v1::{
    SubscribeRequest, message_service_client::MessageServiceClient, subscribe_response::Event,
};
use messenger_testkit::{
    Cluster, Link, Part, Settings, Shape, database,
    process::{Launch, Process, free_address},
};
use tokio::time::timeout;
use tonic::Request;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_open_subscription_ends_with_the_process() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::StandaloneSqlite).await?;
    let ann = cluster.api().register("ann").await?;
    let url = format!("http://{}", cluster.grpc("message"));
    let mut service = MessageServiceClient::connect(url).await?;
    let mut request = Request::new(SubscribeRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {}", ann.token).parse()?);
    let mut feed = service.subscribe(request).await?.into_inner();
    let first = feed.message().await?.and_then(|response| response.event);
    ensure!(matches!(first, Some(Event::CaughtUp(_))), "{first:?}");
    let reading = tokio::spawn(async move { while let Ok(Some(_)) = feed.message().await {} });
    ensure!(cluster.terminate(Part::Standalone).await? == Some(0));
    timeout(PATIENCE, reading).await.context("the stream is still open")??;
    let log = std::fs::metadata(cluster.folder().join("auth.db-wal")).map_or(0, |log| log.len());
    ensure!(log == 0, "{log} bytes were not copied into the file");
    Ok(())
}

#[tokio::test]
async fn an_interrupt_ends_in_order_and_a_second_one_at_once() -> anyhow::Result<()> {
    // Nothing would end for an hour without the second signal.
    let settings = Settings { edge: vec!["--drain-delay=60m"], ..Settings::default() };
    let mut slow = Cluster::start_with(Shape::StandaloneSqlite, settings).await?;
    let process = slow.process(Part::Standalone).context("running")?;
    process.signal("INT").await?;
    let waits = async {
        while !process.log().contains("shutting down") {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, waits).await?;
    ensure!(reqwest::get(format!("http://{}/healthz", slow.edge())).await?.status() == 200, "still answering");
    process.signal("INT").await?;
    let (code, log) = slow.ended(Part::Standalone).await?;
    ensure!(code == Some(130) && log.contains("ending at once"), "{code:?} {log}");

    let mut quick = Cluster::start(Shape::StandaloneSqlite).await?;
    quick.process(Part::Standalone).context("running")?.signal("INT").await?;
    let (code, log) = quick.ended(Part::Standalone).await?;
    ensure!(code == Some(0), "{code:?} {log}");
    Ok(())
}

#[tokio::test]
async fn readiness_follows_the_database() -> anyhow::Result<()> {
    let url = database::create().await?;
    let (link, through) = Link::to_url(&url).await;
    let operators = free_address()?;
    let arguments = vec![
        format!("--listen={}", free_address()?),
        format!("--metrics-listen={operators}"),
        format!("--database-url={through}"),
        format!("--service-secret={}", "0123456789abcdef".repeat(2)),
    ];
    let auth = Process::start(&Launch { binary: "messenger-auth", arguments, environment: Vec::new() }).await?;
    let ready = format!("http://{operators}/readyz");
    let says = async |status: u16| {
        let asked = async { while !matches!(reqwest::get(&ready).await, Ok(answer) if answer.status() == status) {} };
        timeout(PATIENCE, asked).await.with_context(|| format!("not {status} in time"))
    };
    says(200).await?;
    link.cut();
    says(503).await?;
    link.mend();
    says(200).await?;
    ensure!(auth.terminate().await?.code() == Some(0));
    Ok(())
}
