//! The AsyncAPI document and the wire: every event either of them knows, and each of them as the document describes it.

use std::{collections::BTreeSet, fs, io::Write as _, path::Path};

use anyhow::{Context as _, ensure};
use messenger_testkit::{Api, Cluster, Event, Settings, Shape, TestClient, User, Wire};
use reqwest::Method;
use serde_json::{Value, json};

use crate::foreign;

/// Events that went over the wire, in the form `check_events.py` reads.
struct Record {
    wire: Wire,
    lines: Vec<Value>,
}

impl Record {
    fn add(&mut self, action: &str, event: &str, payload: &Value, headers: Value) {
        let channel = match self.wire {
            Wire::SocketIo => "socketIo",
            Wire::Plain => "webSocket",
        };
        let headers = if headers.is_null() { json!({}) } else { headers };
        let line =
            json!({ "channel": channel, "action": action, "event": event, "payload": payload, "headers": headers });
        self.lines.push(line);
    }

    fn heard(&mut self, event: &Event) {
        let headers = event.cursor.as_ref().map_or(Value::Null, |cursor| json!({ "cursor": cursor }));
        self.add("send", &event.name, &event.data, headers);
    }

    /// Everything up to the next event of this name.
    async fn until(&mut self, client: &mut TestClient, name: &str) -> anyhow::Result<Value> {
        loop {
            let event = client.next().await.with_context(|| format!("waiting for {name}"))?;
            self.heard(&event);
            if event.name == name {
                return Ok(event.data);
            }
        }
    }

    /// A request and its answer, which may be a refusal.
    async fn request(&mut self, client: &mut TestClient, event: &str, payload: Value) -> anyhow::Result<Value> {
        self.add("receive", event, &payload, json!({ "id": "1" }));
        let answer = client.request(event, payload).await?;
        match (self.wire, &answer["error"]) {
            (Wire::Plain, error) if error.is_object() => self.add("reply", "error", error, json!({ "id": "1" })),
            _ => self.add("reply", "ack", &answer, json!({ "id": "1" })),
        }
        Ok(answer)
    }

    async fn check(&self) -> anyhow::Result<()> {
        let mut file = tempfile::NamedTempFile::new()?;
        for line in &self.lines {
            writeln!(file, "{line}")?;
        }
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/asyncapi/asyncapi.json");
        let arguments = [&document, file.path()].map(|path| path.to_string_lossy().into_owned());
        foreign::run(&foreign::python(), "check_events.py", &arguments.each_ref().map(String::as_str)).await?;
        Ok(())
    }
}

/// Every event there is, once at least.
async fn every_event(wire: Wire) -> anyhow::Result<()> {
    let mut record = Record { wire, lines: Vec::new() };
    let foreign_cursor = expiring_token(&mut record).await?;
    let mut cluster = Cluster::start(Shape::StandaloneSqlite).await?;
    let api = cluster.api();
    let (ann, bob, eve) = (api.register("ann").await?, api.register("bob").await?, api.register("eve").await?);
    let mut writer = TestClient::connect(cluster.edge(), wire, &ann).await?;
    let mut reader = TestClient::connect(cluster.edge(), wire, &bob).await?;
    if wire == Wire::Plain {
        record.add("send", "connected", writer.greeting(), Value::Null);
    }
    p2p(&mut record, (&mut writer, &mut reader), &bob).await?;
    group(&mut record, (&mut writer, &mut reader), &api, [&ann, &bob, &eve]).await?;
    refusals(&mut record, &mut reader).await?;

    let cursor = writer.cursor().context("events have cursors")?.to_owned();
    record.request(&mut writer, "sync", json!({ "cursor": cursor })).await?;
    record.until(&mut writer, "sync_completed").await?;
    record.request(&mut reader, "sync", json!({ "cursor": foreign_cursor })).await?;
    record.until(&mut reader, "resync_required").await?;
    let edge = cluster.edge_part();
    let (ended, draining) = tokio::join!(cluster.terminate(edge), record.until(&mut writer, "server_draining"));
    ensure!(ended? == Some(0));
    draining?;
    record.check().await
}

/// The warning before a token ends, and going on with the next one; gives a cursor of a messenger that is gone then.
async fn expiring_token(record: &mut Record) -> anyhow::Result<String> {
    let settings = Settings { auth: vec!["--access-token-ttl=10s"], ..Settings::default() };
    let cluster = Cluster::start_with(Shape::StandaloneSqlite, settings).await?;
    let (api, wire) = (cluster.api(), record.wire);
    let ann = api.register("ann").await?;
    let mut client = TestClient::connect(cluster.edge(), wire, &ann).await?;
    record.until(&mut client, "token_expiring").await?;
    let body = json!({ "refreshToken": ann.refresh_token });
    let (_, tokens) = api.call(Method::POST, "auth/refresh", None, Some(body)).await?;
    record.request(&mut client, "refresh_token", json!({ "token": tokens["accessToken"] })).await?;
    let ann = User { token: tokens["accessToken"].as_str().context("a token")?.to_owned(), ..ann };
    let eve = api.register("eve").await?;
    api.group(&ann, false, &[&eve]).await?;
    record.until(&mut client, "conversation_created").await?;
    Ok(client.cursor().context("a durable event has a cursor")?.to_owned())
}

async fn p2p(
    record: &mut Record,
    (writer, reader): (&mut TestClient, &mut TestClient),
    bob: &User,
) -> anyhow::Result<()> {
    let metadata = json!({ "a": [1, null] });
    let draft = json!({ "receiverId": bob.id, "content": "hello", "clientMessageId": "1", "metadata": metadata });
    record.request(writer, "send_message", draft.clone()).await?;
    record.until(writer, "message_sent").await?;
    let heard = record.until(reader, "new_message").await?;
    ensure!(heard["metadata"] == metadata && heard["clientMessageId"] == "1", "{heard}");
    let conversation = &heard["conversationId"];
    let reply = json!({ "conversationId": conversation, "content": "hello", "replyToId": heard["id"] });
    record.request(reader, "send_message", reply).await?;
    record.until(writer, "new_message").await?;
    // The repeat is answered by `message_sent` without a cursor.
    let repeat = record.request(writer, "send_message", draft).await?;
    ensure!(repeat == heard && record.until(writer, "message_sent").await? == heard, "{repeat}");
    record.request(reader, "mark_read", json!({ "conversationId": conversation, "messageId": heard["id"] })).await?;
    Ok(())
}

async fn group(
    record: &mut Record,
    (writer, reader): (&mut TestClient, &mut TestClient),
    api: &Api,
    [ann, bob, eve]: [&User; 3],
) -> anyhow::Result<()> {
    let group = api.group(ann, true, &[bob]).await?;
    let (path, participants) = (format!("conversations/{group}"), format!("conversations/{group}/participants"));
    record.until(reader, "conversation_created").await?;
    api.patch(ann, &path, json!({ "name": "Another name" })).await?;
    record.until(reader, "conversation_updated").await?;
    api.post(ann, &participants, json!({ "userIds": [eve.id] })).await?;
    record.until(reader, "participant_added").await?;
    api.patch(ann, &format!("{participants}/{}", eve.id), json!({ "role": "ADMIN" })).await?;
    record.until(reader, "participant_updated").await?;
    api.delete(ann, &format!("{participants}/{}", eve.id)).await?;
    record.until(reader, "participant_removed").await?;
    record.request(writer, "send_message", json!({ "groupId": group, "content": "for all" })).await?;
    record.until(writer, "message_sent").await?;
    record.until(reader, "new_message").await?;
    record.request(reader, "mark_read", json!({ "conversationId": group, "seq": 1 })).await?;
    let read = record.until(writer, "message_read").await?;
    ensure!(read["userId"] == bob.id, "{read}");
    let refused = record.request(reader, "send_message", json!({ "groupId": group, "content": "may I?" })).await?;
    ensure!(refused["error"]["message"] == "Only admins can post messages here", "{refused}");
    Ok(())
}

/// Errors as events: of a request without an id, of something that is no request at all, of an unknown one.
async fn refusals(record: &mut Record, client: &mut TestClient) -> anyhow::Result<()> {
    client.emit("send_message", json!({ "content": "to nobody", "clientMessageId": "2" })).await?;
    let error = record.until(client, "error").await?;
    ensure!(error["event"] == "send_message" && error["clientMessageId"] == "2", "{error}");
    client.emit("no_such_event", json!({})).await?;
    let error = record.until(client, "error").await?;
    ensure!(error["code"] == "UNKNOWN_EVENT", "{error}");
    if record.wire == Wire::Plain {
        client.send("not JSON".to_owned()).await?;
        let error = record.until(client, "error").await?;
        ensure!(error["code"] == "MALFORMED_FRAME", "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn every_event_over_socket_io() -> anyhow::Result<()> {
    every_event(Wire::SocketIo).await
}

#[tokio::test]
async fn every_event_over_plain_websocket() -> anyhow::Result<()> {
    every_event(Wire::Plain).await
}

/// The names the gateway's sources emit and accept, read off them: none may be missing in the document.
#[test]
fn no_event_is_left_out() -> anyhow::Result<()> {
    let document: Value = serde_json::from_str(include_str!("../../../../docs/asyncapi/asyncapi.json"))?;
    let messages = document["components"]["messages"].as_object().context("messages")?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gateway/src");
    let files =
        fs::read_dir(sources.join("session"))?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    let mut names = BTreeSet::new();
    for file in files.into_iter().filter(|path| path.is_file()).chain([sources.join("objects.rs")]) {
        let source = fs::read_to_string(file)?;
        let product = source.split("#[cfg(test)]").next().unwrap_or_default();
        names.extend(product.lines().filter(|line| names_events(line)).flat_map(quoted).map(str::to_owned));
    }
    for name in ["send_message", "new_message", "message_sent", "message_read", "error", "participant_removed"] {
        ensure!(names.contains(name), "the sources are read wrongly: {name} is not in {names:?}");
    }
    let missing: Vec<_> = names.iter().filter(|name| !messages.contains_key(*name)).collect();
    ensure!(missing.is_empty(), "not in docs/asyncapi: {missing:?}");
    ensure!(document["info"]["version"] == env!("CARGO_PKG_VERSION"));
    Ok(())
}

fn names_events(line: &str) -> bool {
    ["Frame::event(", ", |data| decode(data)", "} => \"", "(_) => \""].iter().any(|pattern| line.contains(pattern))
}

/// The names in the string literals of a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    line.split('"').skip(1).step_by(2).filter(is_name)
}

#[tokio::test]
async fn the_document_is_served() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::StandaloneSqlite).await?;
    let served = reqwest::get(format!("http://{}/asyncapi.json", cluster.edge())).await?.error_for_status()?;
    let document: Value = serde_json::from_str(include_str!("../../../../docs/asyncapi/asyncapi.json"))?;
    ensure!(served.json::<Value>().await? == document);
    Ok(())
}
