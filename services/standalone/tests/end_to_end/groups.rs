//! Groups: who may post, who hears, who may know.

use anyhow::ensure;
use futures_util::future::try_join_all;
use messenger_core::ErrorKind;
use messenger_proto::conversation::v1::{
    UpdateConversationRequest, conversation_service_client::ConversationServiceClient,
};
use messenger_rpc::from_status;
use messenger_testkit::{Cluster, Settings, Shape};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::Request;

use crate::{World, next_content, on_every_shape};

on_every_shape!(restricted_group, an_outsider_learns_nothing, participants_come_and_go);

async fn restricted_group(world: World) -> anyhow::Result<()> {
    let api = world.cluster.api();
    let [ann, bob] = world.register(["ann", "bob"]).await?;
    let group = api.group(&ann, true, &[&bob]).await?;
    let (mut admin, mut member) = (world.connect(&ann).await?, world.connect(&bob).await?);

    let draft = json!({ "groupId": group, "content": "let me speak", "clientMessageId": "c1" });
    member.emit("send_message", draft).await?;
    let error = member.expect("error").await?;
    ensure!(error["code"] == "FORBIDDEN" && error["message"] == "Only admins can post messages here", "{error}");
    ensure!(error["event"] == "send_message" && error["clientMessageId"] == "c1", "{error}");

    let sent = admin.request("send_message", json!({ "groupId": group, "content": "listen" })).await?;
    // The refused message took no number.
    ensure!(sent["seq"] == 1, "{sent}");
    ensure!(next_content(&mut member).await? == "listen");
    // The sender gets both: its reply without a cursor, and the message as everybody has it.
    let mut own = [admin.next().await?, admin.next().await?];
    own.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(own[0].name == "message_sent" && own[0].cursor.is_none(), "{own:?}");
    ensure!(own[1].name == "new_message" && own[1].cursor.is_some(), "{own:?}");

    api.patch(&ann, &format!("conversations/{group}/participants/{}", bob.id), json!({ "role": "ADMIN" })).await?;
    ensure!(member.expect("participant_updated").await?["participant"]["role"] == "ADMIN");
    let sent = member.request("send_message", json!({ "groupId": group, "content": "thank you" })).await?;
    ensure!(sent["seq"] == 2, "{sent}");
    Ok(())
}

async fn an_outsider_learns_nothing(world: World) -> anyhow::Result<()> {
    let api = world.cluster.api();
    let [ann, bob, eve] = world.register(["ann", "bob", "eve"]).await?;
    let group = api.group(&ann, false, &[&bob]).await?;
    let mut member = world.connect(&ann).await?;
    let secret = member.request("send_message", json!({ "groupId": group, "content": "secret" })).await?;
    let p2p = member.request("send_message", json!({ "receiverId": bob.id, "content": "also" })).await?;
    let (p2p, secret) = (p2p["conversationId"].as_str().unwrap_or_default(), &secret["id"]);

    let mut outsider = world.connect(&eve).await?;
    let nobody = "0191d3c8-8f7b-7f00-8000-000000000000";
    for target in ["groupId", "conversationId"] {
        let unknown = outsider.request("send_message", json!({ target: nobody, "content": "x" })).await?;
        for id in [group.as_str(), p2p] {
            let answer = outsider.request("send_message", json!({ target: id, "content": "x" })).await?;
            ensure!(answer == unknown, "told apart: {answer} {unknown}");
        }
    }
    let mark = |id: &str| json!({ "conversationId": id, "seq": 1 });
    let unknown = outsider.request("mark_read", mark(nobody)).await?;
    ensure!(outsider.request("mark_read", mark(&group)).await? == unknown && unknown["error"]["code"] == "NOT_FOUND");

    let paths = |id: &str| {
        ["", "/messages", "/participants", &format!("/messages?before={}", secret.as_str().unwrap_or_default())]
            .map(|rest| format!("conversations/{id}{rest}"))
    };
    for (real, made_up) in paths(&group).iter().zip(paths(nobody)) {
        let (status, mut body) = api.call(Method::GET, real, Some(&eve.token), None).await?;
        let (other_status, mut other_body) = api.call(Method::GET, &made_up, Some(&eve.token), None).await?;
        body["requestId"] = Value::Null;
        other_body["requestId"] = Value::Null;
        ensure!(status == 404 && (status, body) == (other_status, other_body), "{real}");
    }
    // Nothing of it was stored, and the first thing an outsider hears of is its own.
    let sent = member.request("send_message", json!({ "groupId": group, "content": "still two of us" })).await?;
    ensure!(sent["seq"] == 2, "{sent}");
    outsider.request("send_message", json!({ "receiverId": bob.id, "content": "mine" })).await?;
    ensure!(outsider.until("message_sent").await?["content"] == "mine");
    Ok(())
}

async fn participants_come_and_go(world: World) -> anyhow::Result<()> {
    let api = world.cluster.api();
    let [ann, bob, eve] = world.register(["ann", "bob", "eve"]).await?;
    let group = api.group(&ann, false, &[&bob]).await?;
    let (mut admin, mut added, mut other) =
        (world.connect(&ann).await?, world.connect(&eve).await?, world.connect(&bob).await?);
    let say = |text: &str| json!({ "groupId": group, "content": text });
    admin.request("send_message", say("before")).await?;

    api.post(&ann, &format!("conversations/{group}/participants"), json!({ "userIds": [eve.id] })).await?;
    admin.request("send_message", say("welcome")).await?;
    ensure!(added.expect("participant_added").await?["conversationId"] == group);
    ensure!(next_content(&mut added).await? == "welcome");

    api.delete(&ann, &format!("conversations/{group}/participants/{}", eve.id)).await?;
    admin.request("send_message", say("without her")).await?;
    ensure!(added.expect("participant_removed").await?["userId"] == eve.id);
    // What she hears next is from elsewhere: nothing of the group came between.
    other.request("send_message", json!({ "receiverId": eve.id, "content": "psst" })).await?;
    added.expect("conversation_created").await?;
    ensure!(next_content(&mut added).await? == "psst");
    let refused = added.request("send_message", say("let me in")).await?;
    ensure!(refused["error"]["code"] == "NOT_FOUND", "{refused}");

    // The last ADMIN cannot leave the others alone.
    let (status, body) =
        api.call(Method::POST, &format!("conversations/{group}/leave"), Some(&ann.token), None).await?;
    ensure!(status == 409 && body["code"] == "LAST_ADMIN", "{status} {body}");
    Ok(())
}

/// Each goes to all participants, as a message does: also by whoever calls past the edge.
#[tokio::test]
async fn row_84_changes_by_grpc_without_end() -> anyhow::Result<()> {
    let limited = Settings { edge: Vec::new(), ..Settings::default() };
    let cluster = Cluster::start_with(Shape::StandaloneSqlite, limited).await?;
    let eve = cluster.api().register("eve").await?;
    let conversation_id = cluster.api().group(&eve, false, &[]).await?;
    let url = format!("http://{}", cluster.grpc("conversation"));
    let service = ConversationServiceClient::connect(url).await?;
    let rename = async |number: u32| {
        let name = Some(format!("name {number}"));
        let asked = UpdateConversationRequest { conversation_id: conversation_id.clone(), name, ..Default::default() };
        let mut request = Request::new(asked);
        request.metadata_mut().insert("authorization", format!("Bearer {}", eve.token).parse()?);
        let answer = service.clone().update_conversation(request).await;
        anyhow::Ok(answer.is_err_and(|status| from_status(&status).kind() == ErrorKind::RateLimited))
    };
    let mut refused = 0;
    for round in 0..10 {
        // As many as a user may ask at once.
        let answers = try_join_all((0..30).map(|number| rename(30 * round + number))).await?;
        refused += answers.into_iter().filter(|is_refused| *is_refused).count();
    }
    ensure!((1..300).contains(&refused), "{refused} of 300");
    Ok(())
}
