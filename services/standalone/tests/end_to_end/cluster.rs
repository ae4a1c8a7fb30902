//! Several of everything on one PostgreSQL, with either bus: nobody can tell.

use anyhow::ensure;
use messenger_testkit::{Bus, Cluster, Part, Shape, Size, TestClient, User, Wire};
use serde_json::{Value, json};

use crate::{next_about_message, next_content};

/// Makes a test of a scenario for each bus.
macro_rules! on_every_bus {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            #[tokio::test]
            async fn over_postgres() -> anyhow::Result<()> {
                super::$scenario(super::start(messenger_testkit::Bus::Postgres).await?).await
            }

            #[tokio::test]
            async fn over_redis() -> anyhow::Result<()> {
                super::$scenario(super::start(messenger_testkit::Bus::Redis).await?).await
            }
        }
    )+ };
}

on_every_bus!(
    order_across_gateways,
    a_message_process_dies,
    what_is_removed_or_ended_on_one_gateway_is_so_on_the_other,
    a_gateway_dies,
);

async fn start(bus: Bus) -> anyhow::Result<Cluster> {
    Cluster::start(Shape::Many(Size::each(2), bus)).await
}

/// Connects to one of the gateways.
async fn connect(cluster: &Cluster, gateway: usize, wire: Wire, user: &User) -> anyhow::Result<TestClient> {
    TestClient::connect(cluster.edges()[gateway], wire, user).await
}

/// A client that does not read meanwhile gets its answers, and what two of them send: together below the 512 frames
/// that may wait for one.
const BURST: u64 = 150;

/// Sends without waiting for one answer before the next draft.
async fn send_burst(client: &mut TestClient, draft: impl Fn(u64) -> Value) -> anyhow::Result<()> {
    for n in 0..BURST {
        client.ask("send_message", draft(n)).await?;
    }
    for _ in 0..BURST {
        let (_, answer) = client.answer().await?;
        ensure!(answer["error"].is_null(), "{answer}");
    }
    Ok(())
}

/// What the next messages are, in the order they come.
async fn messages(client: &mut TestClient, count: u64) -> anyhow::Result<Vec<(u64, String)>> {
    let mut all = Vec::new();
    while (all.len() as u64) < count {
        let event = client.next().await?;
        if event.name == "new_message" {
            let content = event.data["content"].as_str().unwrap_or_default().to_owned();
            all.push((event.data["seq"].as_u64().unwrap_or_default(), content));
        }
    }
    Ok(all)
}

async fn order_across_gateways(cluster: Cluster) -> anyhow::Result<()> {
    let api = cluster.api_at(1);
    let [ann, bob, eve] = [api.register("ann").await?, api.register("bob").await?, api.register("eve").await?];
    let group = cluster.api_at(0).group(&ann, false, &[&bob, &eve]).await?;
    let mut first = connect(&cluster, 0, Wire::SocketIo, &ann).await?;
    let mut second = connect(&cluster, 1, Wire::Plain, &bob).await?;
    let mut reader = connect(&cluster, 1, Wire::SocketIo, &eve).await?;
    let draft = |name: &'static str| {
        let group = group.clone();
        move |n: u64| json!({ "groupId": group, "content": format!("{name} {n}") })
    };
    let (one, other) = tokio::join!(send_burst(&mut first, draft("ann")), send_burst(&mut second, draft("bob")));
    one?;
    other?;
    let heard = messages(&mut reader, 2 * BURST).await?;
    let seqs: Vec<u64> = heard.iter().map(|(seq, _)| *seq).collect();
    ensure!(seqs == (1..=2 * BURST).collect::<Vec<_>>(), "{seqs:?}");
    for name in ["ann", "bob"] {
        let own: Vec<&str> =
            heard.iter().map(|(_, text)| text.as_str()).filter(|text| text.starts_with(name)).collect();
        ensure!(own == (0..BURST).map(|n| format!("{name} {n}")).collect::<Vec<_>>(), "{own:?}");
    }
    // Both senders, on different gateways, have seen the very same.
    ensure!(messages(&mut first, 2 * BURST).await? == heard);
    ensure!(messages(&mut second, 2 * BURST).await? == heard);
    Ok(())
}

/// One after the other, both message processes: whichever the gateways' feed and pipe are at is among them.
async fn a_message_process_dies(mut cluster: Cluster) -> anyhow::Result<()> {
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let mut sender = connect(&cluster, 0, Wire::SocketIo, &ann).await?;
    let mut receiver = connect(&cluster, 1, Wire::SocketIo, &bob).await?;
    let draft = |n: u64| json!({ "receiverId": bob.id, "content": n.to_string() });
    for round in 0..2 {
        let (sent, killed) = tokio::join!(send_burst(&mut sender, draft), async {
            let first = messages(&mut receiver, 20).await?;
            cluster.kill(Part::Message.nth(round)).await?;
            anyhow::Ok(first)
        });
        sent?;
        let mut heard = killed?;
        heard.extend(messages(&mut receiver, BURST - 20).await?);
        let from = round as u64 * BURST;
        let expected: Vec<_> = (0..BURST).map(|n| (from + n + 1, n.to_string())).collect();
        ensure!(heard == expected, "round {round}: {heard:?}");
        cluster.restart(Part::Message.nth(round)).await?;
    }
    // The sender's own come on the same connections, each once.
    sender.request("send_message", json!({ "receiverId": bob.id, "content": "last" })).await?;
    for seq in 1..=2 * BURST + 1 {
        let own = sender.until("message_sent").await?;
        ensure!(own["seq"] == seq, "expected {seq}: {own}");
    }
    ensure!(next_content(&mut receiver).await? == "last");
    Ok(())
}

async fn what_is_removed_or_ended_on_one_gateway_is_so_on_the_other(cluster: Cluster) -> anyhow::Result<()> {
    let api = cluster.api_at(0);
    let [ann, bob] = [api.register("ann").await?, api.register("bob").await?];
    let group = api.group(&ann, false, &[&bob]).await?;
    let mut admin = connect(&cluster, 0, Wire::Plain, &ann).await?;
    let mut removed = connect(&cluster, 1, Wire::Plain, &bob).await?;
    admin.request("send_message", json!({ "groupId": group, "content": "before" })).await?;
    ensure!(next_content(&mut removed).await? == "before");

    api.delete(&ann, &format!("conversations/{group}/participants/{}", bob.id)).await?;
    let refused = removed.request("send_message", json!({ "groupId": group, "content": "let me in" })).await?;
    ensure!(refused["error"]["code"] == "NOT_FOUND", "{refused}");
    admin.request("send_message", json!({ "groupId": group, "content": "after" })).await?;
    removed.expect("participant_removed").await?;
    // What comes next is the next thing that is meant for it.
    admin.request("send_message", json!({ "receiverId": bob.id, "content": "between us" })).await?;
    ensure!(next_about_message(&mut removed).await?.data["content"] == "between us");

    api.post(&bob, "auth/logout", json!({})).await?;
    let code = removed.closed().await?;
    ensure!(code == 4403, "{code}");
    ensure!(connect(&cluster, 1, Wire::Plain, &bob).await.is_err(), "the token is revoked");
    Ok(())
}

async fn a_gateway_dies(mut cluster: Cluster) -> anyhow::Result<()> {
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let mut sender = connect(&cluster, 1, Wire::Plain, &ann).await?;
    let draft = |n: u64| json!({ "receiverId": bob.id, "content": n.to_string() });
    sender.request("send_message", draft(1)).await?;
    for wire in [Wire::SocketIo, Wire::Plain] {
        let mut receiver = connect(&cluster, 0, wire, &bob).await?;
        sender.request("send_message", draft(2)).await?;
        ensure!(next_content(&mut receiver).await? == "2");
        cluster.kill(Part::Gateway.nth(0)).await?;
        sender.request("send_message", draft(3)).await?;
        let mut receiver = TestClient::resume(cluster.edges()[1], wire, &bob, receiver.place()).await?;
        ensure!(receiver.recovered(), "the other gateway knows where it was");
        ensure!(next_content(&mut receiver).await? == "3");
        cluster.restart(Part::Gateway.nth(0)).await?;
    }
    Ok(())
}
