//! Connections break; nothing is missed and nothing comes twice.

use anyhow::ensure;
use messenger_testkit::TestClient;
use serde_json::json;

use crate::{World, next_about_message, on_every_shape};

on_every_shape!(resume_across_a_killed_gateway, a_slow_reader_is_closed_and_complete_after_resuming);

async fn resume_across_a_killed_gateway(mut world: World) -> anyhow::Result<()> {
    let [ann, bob] = world.register(["ann", "bob"]).await?;
    let (mut sender, mut receiver) = (world.connect(&ann).await?, world.connect(&bob).await?);
    sender.request("send_message", json!({ "receiverId": bob.id, "content": "1" })).await?;
    ensure!(next_about_message(&mut receiver).await?.data["content"] == "1");
    let point = receiver.resume_point();

    let edge = world.cluster.edge_part();
    world.cluster.kill(edge).await?;
    world.cluster.restart(edge).await?;
    let mut sender = world.connect(&ann).await?;
    for n in 2..=5 {
        sender.request("send_message", json!({ "receiverId": bob.id, "content": n.to_string() })).await?;
    }
    let mut receiver = TestClient::resume(world.cluster.edge(), world.wire, &bob, point).await?;
    ensure!(receiver.recovered());
    sender.request("send_message", json!({ "receiverId": bob.id, "content": "6" })).await?;
    for n in 2..=6 {
        // The end of the replay may be told anywhere between.
        let event = receiver.until("new_message").await?;
        ensure!(event["content"].as_str() == Some(&*n.to_string()) && event["seq"] == n, "{n}: {event}");
    }
    Ok(())
}

/// More bytes than a connection's queue and the kernel's socket buffers hold, fewer messages than a replay may have.
const FLOOD: u64 = 600;
const UNACKED: u64 = 5;

async fn a_slow_reader_is_closed_and_complete_after_resuming(world: World) -> anyhow::Result<()> {
    let [ann, bob] = world.register(["ann", "bob"]).await?;
    let mut sender = world.connect(&ann).await?;
    let mut reader = world.connect(&bob).await?;
    let filler = "\u{1f600}".repeat(9_900);
    for n in 1..=FLOOD {
        sender.ask("send_message", json!({ "receiverId": bob.id, "content": format!("{n} {filler}") })).await?;
        if n > UNACKED {
            sender.answer().await?;
        }
    }
    let code = reader.closed().await?;
    ensure!([4430, 1005, 1006].contains(&code), "{code}");

    // What it had got before it was closed counts; the rest comes after it resumes, as often as that takes.
    let mut last = 0;
    while last < FLOOD {
        let before = last;
        while last < FLOOD {
            match reader.next().await {
                Ok(event) if event.name == "new_message" => {
                    ensure!(event.data["seq"] == last + 1, "after {last} came {}", event.data["seq"]);
                    last += 1;
                }
                Ok(event) => ensure!(event.name != "resync_required", "{event:?}"),
                Err(_) => break,
            }
        }
        ensure!(last > before, "no progress after {last}");
        reader = TestClient::resume(world.cluster.edge(), world.wire, &bob, reader.resume_point()).await?;
    }
    Ok(())
}
