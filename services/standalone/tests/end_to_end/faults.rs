//! Processes are killed, databases go away: nothing acknowledged is lost, nothing comes twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use messenger_testkit::{
    Api, Cluster, Link, Part, Shape, TestClient, User, Wire, database,
    process::{Launch, Process, free_address},
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::{task::JoinSet, time::timeout};

/// Messages sent under the key `n` and acknowledged, with the id they got.
type Acknowledged = BTreeMap<u64, Value>;

/// Sends until the connection breaks; gives what was acknowledged and the first key that was not sent.
async fn send_until_broken(
    client: &mut TestClient,
    receiver: &User,
    first: u64,
    cut: tokio::sync::oneshot::Sender<()>,
) -> (Acknowledged, u64) {
    let (mut acknowledged, mut next, mut cut) = (Acknowledged::new(), first, Some(cut));
    loop {
        let draft = json!({
            "receiverId": receiver.id, "content": next.to_string(), "clientMessageId": next.to_string()
        });
        if client.ask("send_message", draft).await.is_err() {
            return (acknowledged, next);
        }
        next += 1;
        if next < first + 20 {
            continue;
        }
        match client.answer().await {
            Ok((_, answer)) if answer["error"].is_null() => {
                let key = answer["clientMessageId"].as_str().and_then(|key| key.parse().ok()).unwrap_or(u64::MAX);
                acknowledged.insert(key, answer["id"].clone());
            }
            Ok(_) => {}
            Err(_) => return (acknowledged, next),
        }
        if acknowledged.len() >= 50
            && let Some(cut) = cut.take()
        {
            cut.send(()).ok();
        }
    }
}

async fn history(cluster: &Cluster, user: &User, conversation: &str) -> anyhow::Result<Vec<Value>> {
    let (mut all, mut query) = (Vec::new(), String::new());
    loop {
        let path = format!("conversations/{conversation}/messages?limit=100{query}");
        let page = cluster.api().get(user, &path).await?;
        all.extend(page["messages"].as_array().cloned().unwrap_or_default());
        if page["hasMore"] == false {
            return Ok(all);
        }
        query = format!("&before={}", all.last().unwrap_or(&Value::Null)["id"].as_str().unwrap_or_default());
    }
}

async fn kill_under_load(shape: Shape, part: Part) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(shape).await?;
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let mut sender = TestClient::connect(cluster.edge(), Wire::SocketIo, &ann).await?;
    let mut receiver = TestClient::connect(cluster.edge(), Wire::SocketIo, &bob).await?;
    let first = sender.request("send_message", json!({ "receiverId": bob.id, "content": "0" })).await?;
    let conversation = first["conversationId"].as_str().unwrap_or_default().to_owned();
    receiver.until("new_message").await?;
    let point = receiver.resume_point();

    let (cut, ready) = tokio::sync::oneshot::channel();
    let sending = tokio::spawn({
        let bob = bob.clone();
        async move { send_until_broken(&mut sender, &bob, 1, cut).await }
    });
    ready.await?;
    cluster.kill(part).await?;
    if part != cluster.edge_part() {
        // The clients' connections live on; ending them ends the sending.
        cluster.kill(cluster.edge_part()).await?;
    }
    let (acknowledged, next) = sending.await?;
    for part in cluster.parts() {
        if cluster.process(part).is_none() {
            cluster.restart(part).await?;
        }
    }
    // The client repeats whatever it has no answer for, under the same keys.
    let mut sender = TestClient::connect(cluster.edge(), Wire::SocketIo, &ann).await?;
    for key in 1..next {
        let draft = json!({
            "receiverId": bob.id, "content": key.to_string(), "clientMessageId": key.to_string()
        });
        let answer = sender.request("send_message", draft).await?;
        ensure!(answer["error"].is_null(), "{answer}");
        ensure!(acknowledged.get(&key).is_none_or(|id| *id == answer["id"]), "{key} was acknowledged as another");
    }

    let stored = history(&cluster, &ann, &conversation).await?;
    let keys: BTreeSet<&str> = stored.iter().filter_map(|message| message["clientMessageId"].as_str()).collect();
    ensure!(keys.len() as u64 == next - 1 && stored.len() as u64 == next, "{} stored of {next}", stored.len());
    let seqs: Vec<u64> = stored.iter().rev().filter_map(|message| message["seq"].as_u64()).collect();
    ensure!(seqs == (1..=next).collect::<Vec<_>>(), "seq has gaps: {seqs:?}");

    let mut receiver = TestClient::resume(cluster.edge(), Wire::SocketIo, &bob, point).await?;
    ensure!(receiver.recovered());
    for seq in 2..=next {
        let message = receiver.until("new_message").await?;
        ensure!(message["seq"] == seq, "expected {seq}: {message}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9_on_sqlite() -> anyhow::Result<()> {
    kill_under_load(Shape::StandaloneSqlite, Part::Standalone).await
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9_on_postgres() -> anyhow::Result<()> {
    kill_under_load(Shape::StandalonePostgres, Part::Standalone).await
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9_of_the_message_service() -> anyhow::Result<()> {
    kill_under_load(Shape::SplitPostgres, Part::Message).await
}

/// Lets nobody into the database, or everybody again.
async fn allow_connections(cluster: &Cluster, allowed: bool) -> anyhow::Result<()> {
    let server = std::env::var(messenger_testkit::database::SERVER_URL)?;
    let name = cluster.database_url().and_then(|url| url.rsplit_once('/')).map_or("", |(_, name)| name);
    let mut admin = PgConnection::connect(&server).await?;
    admin.execute(AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}"))).await?;
    if !allowed {
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        admin.execute(AssertSqlSafe(end)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_database_that_is_away_refuses_sends_and_comes_back() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::StandalonePostgres).await?;
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let mut sender = TestClient::connect(cluster.edge(), Wire::SocketIo, &ann).await?;
    let mut receiver = TestClient::connect(cluster.edge(), Wire::SocketIo, &bob).await?;
    let draft =
        |text: &str| json!({ "receiverId": bob.id, "content": text, "clientMessageId": format!("key of {text}") });
    sender.request("send_message", draft("before")).await?;

    allow_connections(&cluster, false).await?;
    let refused = sender.request("send_message", draft("during")).await?;
    ensure!(refused["error"]["code"] == "UNAVAILABLE", "{refused}");
    allow_connections(&cluster, true).await?;

    // It comes back by itself; until then every answer says that it is away.
    let stored = loop {
        let answer = sender.request("send_message", draft("during")).await?;
        if answer["error"].is_null() {
            break answer;
        }
        ensure!(answer["error"]["code"] == "UNAVAILABLE", "{answer}");
    };
    ensure!(stored["seq"] == 2, "{stored}");
    ensure!(receiver.until("new_message").await?["content"] == "before");
    ensure!(receiver.until("new_message").await?["content"] == "during");
    Ok(())
}

/// As when its host dies and another one takes over the address: nobody says that the connections are over. With more
/// callers than sessions all of them wait for an answer, or are used before they are pinged.
#[tokio::test]
async fn a_database_that_falls_silent_is_left_for_the_one_in_its_place() -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let (url, folder, edge) = (database::create().await?, tempfile::tempdir()?, free_address()?);
    let (link, through) = Link::to_url(&url).await;
    let arguments = vec![
        format!("--listen={edge}"),
        format!("--grpc-listen={}", free_address()?),
        format!("--data-dir={}", folder.path().display()),
        format!("--database-url={through}"),
        "--no-rate-limits".to_owned(),
    ];
    let messenger = Process::start(&Launch { binary: "messenger", arguments, environment: Vec::new() }).await?;
    let api = Api::new(format!("http://{edge}"));
    let ann = api.register("ann").await?;
    let group = format!("conversations/{}", api.group(&ann, false, &[]).await?);
    let pages = ["users/me".to_owned(), format!("{group}/participants"), format!("{group}/messages")];
    let mut callers = JoinSet::new();
    for page in pages.clone().into_iter().cycle().take(60) {
        let (api, ann) = (api.clone(), ann.clone());
        callers.spawn(async move { while api.call(Method::GET, &page, Some(&ann.token), None).await.is_ok() {} });
    }
    let all_are_answered = async || {
        let all = async || join_all(pages.iter().cycle().take(60).map(|page| api.get(&ann, page))).await;
        timeout(PATIENCE, async { while all().await.iter().any(Result::is_err) {} }).await
    };
    all_are_answered().await.context("not all are answered before")?;
    link.silence();
    all_are_answered().await.context("not all are answered again")?;
    callers.shutdown().await;
    ensure!(messenger.terminate().await?.code() == Some(0));
    database::drop(&url).await
}

#[tokio::test]
async fn sigterm_answers_tells_and_ends_with_zero() -> anyhow::Result<()> {
    for shape in [Shape::StandaloneSqlite, Shape::SplitPostgres] {
        let mut cluster = Cluster::start(shape).await?;
        let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
        let mut client = TestClient::connect(cluster.edge(), Wire::Plain, &ann).await?;
        client.ask("send_message", json!({ "receiverId": bob.id, "content": "in flight" })).await?;
        let edge = cluster.edge_part();
        let (code, closed) = tokio::join!(cluster.terminate(edge), async {
            let (_, answer) = client.answer().await?;
            let told = client.until("server_draining").await?;
            anyhow::Ok((answer, told, client.closed().await?))
        });
        ensure!(code? == Some(0));
        let (answer, told, close_code) = closed?;
        ensure!(answer["content"] == "in flight" && told["retryAfterMs"].is_u64(), "{answer} {told}");
        ensure!(close_code == 1012, "{close_code}");
        for part in cluster.parts() {
            if cluster.process(part).is_some() {
                ensure!(cluster.terminate(part).await? == Some(0), "{part:?}");
            }
        }
    }
    Ok(())
}
