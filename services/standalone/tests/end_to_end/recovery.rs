//! Processes that stand still, are away or end, and what their operators and users are told.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use messenger_testkit::{Bus, Cluster, Part, Shape, Size, TestClient, User, Wire};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;

/// One of two message processes stands still with a draft; the other one refuses it; then the sender is let in again.
#[tokio::test]
async fn a_refused_draft_is_not_stored_by_a_process_that_stood_still() -> anyhow::Result<()> {
    let size = Size { message: 2, ..Size::each(1) };
    let cluster = Cluster::start(Shape::Many(size, Bus::Postgres)).await?;
    let api = cluster.api();
    let (ann, bob) = (api.register("ann").await?, api.register("bob").await?);
    let group = api.group(&ann, false, &[&bob]).await?;
    let mut sender = TestClient::connect(cluster.edge(), Wire::Plain, &bob).await?;
    // The gateway's drafts go to one of the two.
    for n in 0..2 {
        api.delete(&ann, &format!("conversations/{group}/participants/{}", bob.id)).await?;
        let process = cluster.process(Part::Message.nth(n)).context("it runs")?;
        process.signal("STOP").await?;
        let content = format!("while {n} stands still");
        let answer = sender.request("send_message", json!({ "groupId": group, "content": content })).await?;
        ensure!(answer["error"]["code"] == "NOT_FOUND", "{answer}");
        let participants = format!("conversations/{group}/participants");
        complete(&cluster, &ann, &participants, json!({ "userIds": [bob.id] })).await?;
        process.signal("CONT").await?;
        // In turn at both: whoever takes a change is awake.
        for name in 0..8 {
            api.patch(&ann, &format!("conversations/{group}"), json!({ "name": format!("{n} {name}") })).await?;
        }
    }
    let sent = sender.request("send_message", json!({ "groupId": group, "content": "let in" })).await?;
    ensure!(sent["seq"] == 1, "both before it were refused: {sent}");
    Ok(())
}

/// Asks until it is answered; until then every answer says that something is away.
async fn complete(cluster: &Cluster, user: &User, path: &str, body: Value) -> anyhow::Result<Value> {
    loop {
        let (status, answer) = cluster.api().call(Method::POST, path, Some(&user.token), Some(body.clone())).await?;
        if status.is_success() {
            return Ok(answer);
        }
        ensure!(answer["code"] == "UNAVAILABLE", "{status} {answer}");
    }
}

#[tokio::test]
async fn changes_wait_for_a_message_service_that_is_away() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::SplitPostgres).await?;
    let api = cluster.api();
    let [ann, bob, cid] = [api.register("ann").await?, api.register("bob").await?, api.register("cid").await?];
    let group = api.group(&ann, false, &[&bob]).await?;
    let (participants, add) = (format!("conversations/{group}/participants"), json!({ "userIds": [cid.id] }));
    let of_bob = format!("{participants}/{}", bob.id);
    cluster.kill(Part::Message).await?;
    for _ in 0..2 {
        for (method, path, body) in [(Method::POST, &participants, Some(add.clone())), (Method::DELETE, &of_bob, None)]
        {
            let (status, answer) = api.call(method, path, Some(&ann.token), body).await?;
            ensure!(status == 503 && answer["code"] == "UNAVAILABLE", "{status} {answer}");
        }
    }
    cluster.restart(Part::Message).await?;
    complete(&cluster, &ann, &participants, add).await?;
    let (status, answer) = api.call(Method::DELETE, &of_bob, Some(&ann.token), None).await?;
    ensure!(status == 404, "gone since the first time: {status} {answer}");
    let send = format!("conversations/{group}/messages");
    ensure!(api.post(&cid, &send, json!({ "content": "here" })).await?["seq"] == 1);
    let (status, answer) =
        api.call(Method::POST, &send, Some(&bob.token), Some(json!({ "content": "still here?" }))).await?;
    ensure!(status == 404, "{status} {answer}");
    let changes: i64 = count(&cluster, "SELECT count(*) FROM message.change").await?;
    ensure!(changes == 3, "made, added, removed: each once, not {changes}");
    Ok(())
}

async fn count(cluster: &Cluster, query: &'static str) -> anyhow::Result<i64> {
    let mut session = PgConnection::connect(cluster.database_url().context("on PostgreSQL")?).await?;
    Ok(sqlx::query_scalar(query).fetch_one(&mut session).await?)
}

/// For whoever restarts processes that failed, and leaves alone those that were told to end.
#[tokio::test]
async fn a_process_whose_journal_became_another_one_ends_with_1() -> anyhow::Result<()> {
    for (shape, part) in [(Shape::SplitPostgres, Part::Message), (Shape::StandalonePostgres, Part::Standalone)] {
        let mut cluster = Cluster::start(shape).await?;
        let url = cluster.database_url().context("on PostgreSQL")?;
        let renewed = Command::new(env!("CARGO_BIN_EXE_messenger"))
            .args(["journal", "new-identity", "--database-url", url])
            .stdout(Stdio::null())
            .status()
            .await?;
        ensure!(renewed.success());
        let (code, log) = cluster.ended(part).await?;
        ensure!(code == Some(1), "{code:?}: {log}");
        ensure!(log.contains("the feed has ended: the journal was given a new identity"), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_newer_schema_is_refused() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::SplitPostgres).await?;
    cluster.terminate(Part::Message).await?;
    let mut session = PgConnection::connect(cluster.database_url().context("on PostgreSQL")?).await?;
    let newer = "INSERT INTO message.schema_migration (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of a newer release', true, '', 0)";
    sqlx::query(newer).execute(&mut session).await?;
    let refused = cluster.restart(Part::Message).await.err().context("it does not start")?.to_string();
    ensure!(refused.contains("9999") && refused.contains("newer release"), "{refused}");
    Ok(())
}
