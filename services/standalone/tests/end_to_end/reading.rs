//! History, unread counts and read positions.

use std::collections::BTreeSet;

use anyhow::ensure;
use messenger_testkit::User;
use serde_json::{Value, json};

use crate::{World, on_every_shape};

on_every_shape!(history_is_complete_and_unique, unread_counts_are_exact);

const MESSAGES: u64 = 53;

async fn history_is_complete_and_unique(world: World) -> anyhow::Result<()> {
    let api = world.cluster.api();
    let [ann, bob] = world.register(["ann", "bob"]).await?;
    let mut sender = world.connect(&ann).await?;
    let mut conversation = Value::Null;
    for n in 1..=MESSAGES {
        sender.ask("send_message", json!({ "receiverId": bob.id, "content": n.to_string() })).await?;
    }
    for _ in 1..=MESSAGES {
        conversation = sender.answer().await?.1["conversationId"].clone();
    }
    let path = format!("conversations/{}/messages?limit=10", conversation.as_str().unwrap_or_default());

    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = api.get(&bob, &format!("{path}{query}")).await?;
        let messages = page["messages"].as_array().cloned().unwrap_or_default();
        seen.extend(messages.iter().map(|message| message["seq"].as_u64().unwrap_or_default()));
        if page["hasMore"] == false {
            break;
        }
        query = format!("&before={}", messages.last().unwrap_or(&Value::Null)["id"].as_str().unwrap_or_default());
    }
    ensure!(seen == (1..=MESSAGES).rev().collect::<Vec<_>>(), "{seen:?}");

    // The page below message 31 is 30 down to 21; what stands around one of them is known.
    let middle = api.get(&bob, &format!("{path}&before={}", id_at(&world, &bob, &path, 31).await?)).await?;
    let id = |n: usize| middle["messages"][n]["id"].as_str().unwrap_or_default().to_owned();
    let around = seqs(&api.get(&bob, &format!("{path}&around={}", id(4))).await?);
    ensure!(around.contains(&26) && around.len() >= 9, "{around:?}");
    let after = api.get(&bob, &format!("{path}&after={}", id(0))).await?;
    ensure!(seqs(&after) == (31..=40).collect() && after["hasMore"] == true, "{after}");
    let at = middle["messages"][0]["createdAt"].as_str().unwrap_or_default();
    let at = api.get(&bob, &format!("{path}&at={at}")).await?;
    ensure!(!seqs(&at).is_empty(), "{at}");
    Ok(())
}

/// The id of the message with this seq, found by paging.
async fn id_at(world: &World, user: &User, path: &str, seq: u64) -> anyhow::Result<String> {
    let mut query = String::new();
    loop {
        let page = world.cluster.api().get(user, &format!("{path}{query}")).await?;
        let messages = page["messages"].as_array().cloned().unwrap_or_default();
        if let Some(message) = messages.iter().find(|message| message["seq"] == seq) {
            return Ok(message["id"].as_str().unwrap_or_default().to_owned());
        }
        ensure!(page["hasMore"] == true, "no message {seq}");
        query = format!("&before={}", messages.last().unwrap_or(&Value::Null)["id"].as_str().unwrap_or_default());
    }
}

fn seqs(page: &Value) -> BTreeSet<u64> {
    page["messages"].as_array().into_iter().flatten().filter_map(|message| message["seq"].as_u64()).collect()
}

async fn unread_counts_are_exact(world: World) -> anyhow::Result<()> {
    let api = world.cluster.api();
    let [ann, bob, eve] = world.register(["ann", "bob", "eve"]).await?;
    let group = api.group(&ann, false, &[&bob]).await?;
    let (mut writer, mut reader, mut own_other) =
        (world.connect(&ann).await?, world.connect(&bob).await?, world.connect(&bob).await?);
    for n in 1..=5 {
        writer.request("send_message", json!({ "groupId": group, "content": n.to_string() })).await?;
    }
    ensure!(unread(&world, &bob, &group).await? == 5 && unread(&world, &ann, &group).await? == 0);

    let read = reader.request("mark_read", json!({ "conversationId": group, "seq": 3 })).await?;
    ensure!(read["unreadCount"] == 2 && read["lastReadSeq"] == 3, "{read}");
    for client in [&mut writer, &mut own_other] {
        let heard = client.until("message_read").await?;
        ensure!(heard["userId"] == bob.id && heard["lastReadSeq"] == 3, "{heard}");
    }
    // It only rises, and never beyond the last message.
    let read = reader.request("mark_read", json!({ "conversationId": group, "seq": 1 })).await?;
    ensure!(read["lastReadSeq"] == 3 && read["unreadCount"] == 2, "{read}");
    let read = reader.request("mark_read", json!({ "conversationId": group, "seq": 1_000_000 })).await?;
    ensure!(read["lastReadSeq"] == 5 && read["unreadCount"] == 0, "{read}");

    // One's own message is read; who joins starts at what there is.
    reader.request("send_message", json!({ "groupId": group, "content": "6" })).await?;
    ensure!(unread(&world, &bob, &group).await? == 0 && unread(&world, &ann, &group).await? == 1);
    api.post(&ann, &format!("conversations/{group}/participants"), json!({ "userIds": [eve.id] })).await?;
    ensure!(unread(&world, &eve, &group).await? == 0);
    writer.request("send_message", json!({ "groupId": group, "content": "7" })).await?;
    ensure!(unread(&world, &eve, &group).await? == 1);
    let message = reader.until("new_message").await?["id"].clone();
    let read = reader.request("mark_read", json!({ "conversationId": group, "messageId": message })).await?;
    ensure!(read["lastReadSeq"].as_u64().is_some_and(|seq| seq >= 6), "{read}");
    Ok(())
}

async fn unread(world: &World, user: &User, conversation: &str) -> anyhow::Result<u64> {
    let list = world.cluster.api().get(user, "conversations").await?;
    let conversations = list["conversations"].as_array().cloned().unwrap_or_default();
    let found = conversations.iter().find(|found| found["id"] == conversation);
    let found = found.ok_or_else(|| anyhow::anyhow!("not in the list: {list}"))?;
    found["unreadCount"].as_u64().ok_or_else(|| anyhow::anyhow!("no count: {found}"))
}
