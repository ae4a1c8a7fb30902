//! At the most that can be logged, with traces exported, and with every request also made wrongly: no content, address,
//! password or token is in any log, span or figure. (The logs of every other test are looked through too, as each process
//! ends.)

use anyhow::{Context as _, ensure};
use messenger_proto::message::v1::{GetMessageRequest, message_service_client::MessageServiceClient};
use messenger_testkit::{Cluster, Shape, TestClient, User, Wire, privacy::find_private};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tonic::transport::Endpoint;

use crate::traces::traced;

const MARKER: &str = "planted-marker";
/// A client's own words at places where none are expected.
fn planted(place: &str) -> String {
    format!("{MARKER} {place}")
}

async fn by_sockets(cluster: &Cluster, sender: &User, group: &str) -> anyhow::Result<()> {
    for wire in [Wire::SocketIo, Wire::Plain] {
        let mut client = TestClient::connect(cluster.edge(), wire, sender).await?;
        let key = planted(&format!("key {wire:?}"));
        let send = |content: Value| json!({ "groupId": group, "content": content, "clientMessageId": key });
        client.request("send_message", send(json!(planted("sent")))).await?;
        // Another content under the same key, no text, a text that cannot be stored, and what is no field.
        for data in [
            send(json!(planted("other"))),
            send(json!([planted("list")])),
            send(json!(format!("{MARKER}\0"))),
            json!({ "groupId": planted("group"), "content": planted("lost"), "replyToId": planted("reply") }),
            json!({ "groupId": group, "content": planted("metadata"), "metadata": planted("metadata") }),
        ] {
            client.ask("send_message", data).await?;
            ensure!(client.answer().await?.1["error"].is_object());
        }
        client.ask(&planted("event"), json!({ "content": planted("event") })).await?;
        ensure!(client.answer().await?.1["error"].is_object());
        client.ask("refresh_token", json!({ "token": planted("token") })).await?;
        ensure!(client.answer().await?.1["error"].is_object());
    }
    Ok(())
}

async fn by_rest(cluster: &Cluster, sender: &User, group: &str) -> anyhow::Result<()> {
    let (api, messages) = (cluster.api(), format!("conversations/{group}/messages"));
    let token = Some(sender.token.as_str());
    api.post(sender, &messages, json!({ "content": planted("by REST") })).await?;
    let account = |email: &str, password: &str| json!({ "email": email, "password": password, "fullName": planted("name"), "designation": "Tester" });
    for (method, path, token, body) in [
        (Method::POST, messages.as_str(), token, json!({ "content": [planted("list")] })),
        (Method::POST, &messages, Some("planted-marker.token.x"), json!({ "content": planted("nobody") })),
        (Method::POST, "auth/login", None, json!({ "email": sender.email, "password": planted("password") })),
        (Method::POST, "auth/login", None, json!({ "email": "planted-marker@example.com", "password": planted("p") })),
        (Method::POST, "auth/register", None, account(&sender.email, &planted("password"))),
        (Method::POST, "auth/register", None, account("planted-marker", &planted("password"))),
        (Method::POST, "auth/refresh", None, json!({ "refreshToken": planted("refresh") })),
        (Method::GET, "users?search=planted-marker&cursor=planted-marker", token, Value::Null),
        (Method::GET, "conversations/planted-marker", token, Value::Null),
    ] {
        let (status, _) = api.call(method, path, token, Some(body)).await?;
        ensure!(status.is_client_error(), "{path}: {status}");
    }
    let url = format!("{}/api/v1/{messages}", api.url());
    let invented = Method::from_bytes(MARKER.as_bytes()).context("a token")?;
    ensure!(Client::new().request(invented, api.url()).send().await?.status().is_client_error());
    let truncated = Client::new().post(url).bearer_auth(&sender.token).body(r#"{"content":"planted-marker"#).send();
    ensure!(truncated.await?.status().is_client_error());
    Ok(())
}

async fn by_grpc(cluster: &Cluster) -> anyhow::Result<()> {
    let url = format!("http://{}", cluster.grpc("message"));
    let channel = Endpoint::from_shared(url.clone())?.connect().await?;
    let mut nobody = MessageServiceClient::with_origin(channel, format!("{url}/{MARKER}").parse()?);
    ensure!(nobody.get_message(GetMessageRequest::default()).await.is_err());
    Ok(())
}

fn nothing_private(place: &str, printed: &str, users: &[&User]) -> anyhow::Result<()> {
    ensure!(!printed.is_empty(), "{place}: nothing to look through");
    if let Some((text, line)) = find_private(printed) {
        anyhow::bail!("{place}: {text:?} is in {line}");
    }
    // Of a token the signature alone is as telling.
    let signature = |token: &str| token.rsplit('.').next().unwrap_or(token).to_owned();
    let secrets =
        users.iter().flat_map(|user| [user.email.clone(), signature(&user.token), signature(&user.refresh_token)]);
    for text in secrets.chain([MARKER.to_owned()]) {
        let line = printed.lines().find(|line| line.contains(&text));
        ensure!(line.is_none(), "{place}: {text:?} is in {line:?}");
    }
    Ok(())
}

async fn nothing_leaks(shape: Shape) -> anyhow::Result<()> {
    let (mut collector, cluster) = traced(shape, &[("MESSENGER_LOG", "trace")]).await?;
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let group = cluster.api().group(&ann, false, &[&bob]).await?;
    by_sockets(&cluster, &ann, &group).await?;
    by_rest(&cluster, &ann, &group).await?;
    by_grpc(&cluster).await?;

    collector.way_up("append", |way| way.len() > 1).await?;
    nothing_private("a trace", &format!("{:#?}", collector.spans.borrow()), &[&ann, &bob])?;
    let figures = reqwest::get(format!("{}/metrics", cluster.api().url())).await?.text().await?;
    nothing_private("/metrics", &figures, &[&ann, &bob])?;
    let mut logs = String::new();
    for process in cluster.parts().into_iter().filter_map(|part| cluster.process(part)) {
        nothing_private("a log", &process.log(), &[&ann, &bob])?;
        logs.push_str(&process.log());
    }
    // It was as talkative as it can be.
    ensure!(logs.contains("\"DEBUG\""), "only:\n{logs}");
    Ok(())
}

#[tokio::test]
async fn in_one_process() -> anyhow::Result<()> {
    nothing_leaks(Shape::StandaloneSqlite).await
}

#[tokio::test]
async fn in_four_processes() -> anyhow::Result<()> {
    nothing_leaks(Shape::SplitPostgres).await
}
