//! Two people chat; repeats and bursts.

use anyhow::ensure;
use messenger_testkit::TestClient;
use serde_json::{Value, json};

use crate::{World, next_about_message, next_content, on_every_shape};

on_every_shape!(p2p, repeated_send_is_stored_once, a_burst_keeps_its_order, a_bad_send_says_why);

async fn p2p(world: World) -> anyhow::Result<()> {
    let [ann, bob, eve] = world.register(["ann", "bob", "eve"]).await?;
    let (mut phone, mut laptop) = (world.connect(&bob).await?, world.connect(&bob).await?);
    let (mut sender, mut other, mut third) =
        (world.connect(&ann).await?, world.connect(&ann).await?, world.connect(&eve).await?);

    let draft = json!({ "receiverId": bob.id, "content": "hello", "clientMessageId": "first" });
    sender.emit("send_message", draft).await?;
    let sent = next_about_message(&mut sender).await?;
    ensure!(sent.name == "message_sent" && sent.cursor.is_some(), "{sent:?}");
    ensure!(sent.data["content"] == "hello" && sent.data["clientMessageId"] == "first", "{sent:?}");
    ensure!(sent.data["senderId"] == ann.id && sent.data["seq"] == 1, "{sent:?}");
    for client in [&mut phone, &mut laptop, &mut other] {
        let received = next_about_message(client).await?;
        ensure!(received.name == "new_message" && received.cursor.is_some(), "{received:?}");
        ensure!(received.data["id"] == sent.data["id"], "{received:?}");
    }

    // The first thing the third user hears of is what is meant for it.
    phone.request("send_message", json!({ "receiverId": eve.id, "content": "for eve" })).await?;
    let heard = next_about_message(&mut third).await?;
    ensure!(heard.data["content"] == "for eve", "{heard:?}");
    Ok(())
}

async fn repeated_send_is_stored_once(world: World) -> anyhow::Result<()> {
    let [ann, bob] = world.register(["ann", "bob"]).await?;
    let (mut sender, mut receiver) = (world.connect(&ann).await?, world.connect(&bob).await?);
    let draft = json!({ "receiverId": bob.id, "content": "once", "clientMessageId": "key" });
    let first = sender.request("send_message", draft.clone()).await?;
    let again = sender.request("send_message", draft).await?;
    ensure!(first["id"] == again["id"] && first["seq"] == again["seq"], "{first} {again}");

    let other = json!({ "receiverId": bob.id, "content": "twice", "clientMessageId": "key" });
    let refused = sender.request("send_message", other).await?;
    ensure!(refused["error"]["code"] == "IDEMPOTENCY_KEY_REUSED", "{refused}");

    sender.request("send_message", json!({ "receiverId": bob.id, "content": "next" })).await?;
    ensure!(next_about_message(&mut receiver).await?.data["content"] == "once");
    ensure!(next_content(&mut receiver).await? == "next");
    Ok(())
}

const BURST: u64 = 300;

async fn a_burst_keeps_its_order(world: World) -> anyhow::Result<()> {
    let [ann, bob] = world.register(["ann", "bob"]).await?;
    let (mut sender, mut receiver) = (world.connect(&ann).await?, world.connect(&bob).await?);
    // The very first of them has to make the conversation; the others must not overtake it.
    for n in 1..=BURST {
        sender.ask("send_message", json!({ "receiverId": bob.id, "content": n.to_string() })).await?;
    }
    for n in 1..=BURST {
        let received = next_about_message(&mut receiver).await?;
        ensure!(
            received.data["content"].as_str() == Some(&*n.to_string()) && received.data["seq"] == n,
            "{n}: {received:?}"
        );
    }
    for n in 1..=BURST {
        let sent = next_about_message(&mut sender).await?;
        ensure!(sent.name == "message_sent" && sent.data["seq"] == n, "{n}: {sent:?}");
        let (id, answer) = sender.answer().await?;
        ensure!(id == n && answer["seq"] == n, "{n}: answer {id} {answer}");
    }
    Ok(())
}

async fn refused(client: &mut TestClient, draft: Value, code: &str) -> anyhow::Result<()> {
    let answer = client.request("send_message", draft.clone()).await?;
    ensure!(answer["error"]["code"] == code, "{draft}: {answer}");
    // Without an ack id the same error comes as an event that names the request.
    client.emit("send_message", draft.clone()).await?;
    let error = client.expect("error").await?;
    ensure!(error["code"] == code && error["event"] == "send_message", "{draft}: {error}");
    Ok(())
}

async fn a_bad_send_says_why(world: World) -> anyhow::Result<()> {
    let [ann, bob] = world.register(["ann", "bob"]).await?;
    let mut client = world.connect(&ann).await?;
    let nobody = "0191d3c8-8f7b-7f00-8000-000000000000";
    for draft in [
        json!({}),
        json!([]),
        json!("text"),
        json!({ "receiverId": bob.id }),
        json!({ "receiverId": bob.id, "content": "" }),
        json!({ "receiverId": bob.id, "content": " \n" }),
        json!({ "receiverId": bob.id, "content": "a\u{0}b" }),
        json!({ "receiverId": bob.id, "content": 7 }),
        json!({ "receiverId": "bob", "content": "x" }),
        json!({ "receiverId": ann.id, "content": "to myself" }),
        json!({ "receiverId": bob.id, "groupId": nobody, "content": "x" }),
        json!({ "content": "x" }),
        json!({ "receiverId": bob.id, "content": "x", "clientMessageId": "" }),
        json!({ "receiverId": bob.id, "content": "x", "metadata": [] }),
    ] {
        refused(&mut client, draft, "VALIDATION_FAILED").await?;
    }
    refused(&mut client, json!({ "receiverId": bob.id, "content": "x".repeat(10_001) }), "MESSAGE_TOO_LONG").await?;
    refused(&mut client, json!({ "receiverId": nobody, "content": "x" }), "NOT_FOUND").await?;
    refused(&mut client, json!({ "groupId": nobody, "content": "x" }), "NOT_FOUND").await?;
    let unknown = client.request("no_such_event", json!({})).await?;
    ensure!(unknown["error"]["code"] == "UNKNOWN_EVENT", "{unknown}");

    // After all that the connection is as good as new.
    let odd = "'; DROP TABLE message; -- %_\\ <b>\u{202e}e\u{301}\u{200d}\u{2028}\u{10ffff}";
    let sent = client.request("send_message", json!({ "receiverId": bob.id, "content": odd })).await?;
    ensure!(sent["content"] == odd && sent["seq"] == 1, "{sent}");
    Ok(())
}
