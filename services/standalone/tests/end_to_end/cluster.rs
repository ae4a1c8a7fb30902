//! Several of everything on one PostgreSQL, with either bus: nobody can tell.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use messenger_testkit::client::ResumePoint;
use messenger_testkit::{Bus, Cluster, Part, Shape, Size, TestClient, User, Wire};
use serde_json::{Value, json};
use tokio::time::sleep;

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

/// A client that does not read meanwhile gets its answers, and what two of them send: four frames for each, together well
/// below the 512 that may wait for it, however slow the machine is.
const BURST: u64 = 60;

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
        let mut receiver = TestClient::resume(cluster.edges()[1], wire, &bob, receiver.resume_point()).await?;
        ensure!(receiver.recovered(), "the other gateway knows where it was");
        ensure!(next_content(&mut receiver).await? == "3");
        cluster.restart(Part::Gateway.nth(0)).await?;
    }
    Ok(())
}

const STORM_USERS: usize = 100;
const STORM_CONNECTIONS_PER_USER: usize = 20;
/// Clients one test process opens or closes at the same time.
const STORM_AT_ONCE: usize = 2_000;

const AGAIN: [&str; 3] = ["503", r#""retryable":true"#, "Handshake not finished"];

/// As clients do: who is told that too many come at once, or is cut off before an answer, tries again a second later.
async fn come_back(edge: SocketAddr, user: &User, point: ResumePoint) -> anyhow::Result<TestClient> {
    loop {
        match TestClient::resume(edge, Wire::SocketIo, user, point.clone()).await {
            Err(error) if AGAIN.iter().any(|sign| error.to_string().contains(sign)) => {
                sleep(Duration::from_secs(1)).await;
            }
            outcome => return outcome,
        }
    }
}

/// A gateway is replaced while it has 2,000 clients: all come to the other one and miss nothing.
#[tokio::test(flavor = "multi_thread")]
async fn row_87_a_gateway_with_2000_clients_is_replaced() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::Many(Size::each(2), Bus::Redis)).await?;
    let ann = cluster.api().register("ann").await?;
    let registered = (0..STORM_USERS).map(|n| {
        let api = cluster.api();
        async move { api.register(&format!("user-{n}")).await }
    });
    let users: Vec<User> = stream::iter(registered).buffer_unordered(2).try_collect().await?;
    let (old, new) = (cluster.edges()[0], cluster.edges()[1]);
    let connecting = users.iter().flat_map(|user| std::iter::repeat_n(user, STORM_CONNECTIONS_PER_USER));
    let connecting =
        connecting.map(|user| async move { anyhow::Ok((user, TestClient::connect(old, Wire::SocketIo, user).await?)) });
    let clients: Vec<_> = stream::iter(connecting).buffer_unordered(50).try_collect().await?;

    let mut sender = connect(&cluster, 1, Wire::Plain, &ann).await?;
    let begun = Instant::now();
    let coming_back = clients.into_iter().map(|(user, mut client)| async move {
        // Some are told before the message is sent, some after.
        client.closed().await?;
        let mut events = Vec::new();
        while let Ok(event) = client.next().await {
            events.push(event.name);
        }
        ensure!(events.contains(&"server_draining".to_owned()), "{events:?}");
        let mut client = come_back(new, user, client.resume_point()).await?;
        ensure!(client.recovered());
        if !events.contains(&"new_message".to_owned()) {
            let missed = client.until("new_message").await?;
            ensure!(missed["content"] == "while you were away", "{missed}");
        }
        anyhow::Ok(())
    });
    let back = async { stream::iter(coming_back).buffer_unordered(STORM_AT_ONCE).try_collect::<Vec<_>>().await };
    let (ended, back, sent) = tokio::join!(cluster.terminate(Part::Gateway.nth(0)), back, async {
        for user in &users {
            let draft = json!({ "receiverId": user.id, "content": "while you were away" });
            sender.request("send_message", draft).await?;
        }
        anyhow::Ok(())
    });
    sent?;
    println!("{} clients were back and had caught up after {:?}", back?.len(), begun.elapsed());
    ensure!(ended? == Some(0));
    Ok(())
}
