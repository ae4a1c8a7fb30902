//! What those who must account for it can read afterwards: who did what, to whom, and what was refused.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use messenger_proto::message::v1::{AppendChangesRequest, message_service_client::MessageServiceClient};
use messenger_rpc::{RpcChannel, Service, ServiceCredential};
use messenger_testkit::{Cluster, Part, Settings, Shape, User};
use messenger_tls::Mutual;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Status};

use crate::encryption::Certificates;

/// Action, outcome, subject.
type Record = (String, String, Option<String>);

/// The audit records of every process, of whom it concerns.
fn records(cluster: &Cluster, user: &User) -> Vec<Record> {
    let logs = cluster.parts().into_iter().filter_map(|part| cluster.process(part)).map(|process| process.log());
    let lines: Vec<Value> = logs
        .flat_map(|log| log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<_>>())
        .collect();
    let text = |record: &Value, field: &str| record[field].as_str().map(str::to_owned);
    let of_user = |record: &&Value| record["user.id"].as_str().unwrap_or_default() == user.id;
    let audit = lines.iter().filter(|line| line["target"] == "audit").filter(of_user);
    audit
        .map(|record| {
            let [action, outcome] = ["action", "outcome"].map(|field| text(record, field).unwrap_or_default());
            (action, outcome, text(record, "subject.id"))
        })
        .collect()
}

/// Waits until these are there: a line is read a little after it was written.
async fn written(cluster: &Cluster, user: &User, expected: &[Record]) -> anyhow::Result<()> {
    let are_there = async {
        while !expected.iter().all(|record| records(cluster, user).contains(record)) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), are_there).await.with_context(|| format!("{:#?}", records(cluster, user)))
}

async fn call(cluster: &Cluster, user: &User, (method, path): (Method, &str), body: Value) -> anyhow::Result<u16> {
    Ok(cluster.api().call(method, path, Some(&user.token), Some(body)).await?.0.as_u16())
}

async fn account_for(shape: Shape) -> anyhow::Result<()> {
    let cluster = Cluster::start(shape).await?;
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let group = cluster.api().group(&ann, false, &[]).await?;
    let (people, bobs) =
        (format!("conversations/{group}/participants"), format!("conversations/{group}/participants/{}", bob.id));
    let wrong = json!({ "email": ann.email, "password": "nothing like it" });
    ensure!(call(&cluster, &ann, (Method::POST, "auth/login"), wrong).await? == 401);
    ensure!(call(&cluster, &ann, (Method::POST, &people), json!({ "userIds": [bob.id] })).await? < 300);
    ensure!(call(&cluster, &ann, (Method::PATCH, &bobs), json!({ "role": "ADMIN" })).await? < 300);
    ensure!(call(&cluster, &ann, (Method::PATCH, &bobs), json!({ "role": "MEMBER" })).await? < 300);
    let (name, itself) = (json!({ "name": "Bob's" }), format!("conversations/{group}"));
    ensure!(call(&cluster, &bob, (Method::PATCH, &itself), name).await? == 403);
    let anns = format!("conversations/{group}/participants/{}", ann.id);
    ensure!(call(&cluster, &bob, (Method::PATCH, &anns), json!({ "role": "MEMBER" })).await? == 403);
    ensure!(call(&cluster, &bob, (Method::PATCH, &bobs), json!({ "role": "ADMIN" })).await? == 403);
    ensure!(call(&cluster, &ann, (Method::PATCH, &anns), json!({ "role": "MEMBER" })).await? == 409);
    ensure!(call(&cluster, &ann, (Method::DELETE, &bobs), Value::Null).await? < 300);
    ensure!(call(&cluster, &ann, (Method::POST, "auth/logout-all"), Value::Null).await? < 300);
    let refused = async {
        while call(&cluster, &ann, (Method::GET, "users/me"), Value::Null).await? != 401 {}
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(30), refused).await??;
    append_changes_by_guess(&cluster).await?;
    let forged = User { token: format!("{}x", bob.token), ..bob.clone() };
    ensure!(call(&cluster, &forged, (Method::GET, "users/me"), Value::Null).await? == 401);

    let record = |action: &str, outcome: &str, subject: Option<&User>| {
        (action.to_owned(), outcome.to_owned(), subject.map(|user| user.id.clone()))
    };
    let expected = [
        record("user.registered", "done", None),
        record("user.logged_in", "INVALID_CREDENTIALS", None),
        record("participant.added", "done", Some(&bob)),
        record("participant.promoted", "done", Some(&bob)),
        record("participant.demoted", "done", Some(&bob)),
        record("participant.demoted", "LAST_ADMIN", Some(&ann)),
        record("participant.removed", "done", Some(&bob)),
        record("sessions.ended", "done", None),
        record("token.refused", "TOKEN_REVOKED", None),
    ];
    written(&cluster, &ann, &expected).await?;
    let written_of_ann = records(&cluster, &ann);
    ensure!(written_of_ann.len() == expected.len(), "{written_of_ann:#?}");
    let refused = [
        record("conversation.updated", "FORBIDDEN", None),
        record("participant.demoted", "FORBIDDEN", Some(&ann)),
        record("participant.promoted", "FORBIDDEN", Some(&bob)),
    ];
    written(&cluster, &bob, &refused).await?;
    let nobody = User { id: String::new(), ..bob.clone() };
    let refused = ["token.refused", "call.refused"].map(|action| record(action, "UNAUTHENTICATED", None));
    written(&cluster, &nobody, &refused).await
}

/// By somebody who would be conversation, and does not know the secret.
async fn append_changes_by_guess(cluster: &Cluster) -> anyhow::Result<()> {
    let mut stranger = MessageServiceClient::connect(format!("http://{}", cluster.grpc("message"))).await?;
    let mut request = Request::new(AppendChangesRequest::default());
    request.metadata_mut().insert("authorization", format!("Service {}", "guess".repeat(8)).parse()?);
    request.metadata_mut().insert("x-service", "conversation".parse()?);
    let refused = stranger.append_changes(request).await;
    ensure!(refused.is_err_and(|status| status.code() == Code::Unauthenticated), "a guess was believed");
    Ok(())
}

/// A thousand users for a conversation that is not there, again and again: what is refused is counted, and not written
/// without end.
#[tokio::test]
async fn row_84_refused_changes_fill_no_disk() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::StandaloneSqlite).await?;
    let eve = cluster.api().register("eve").await?;
    let id = |number: u32| format!("{number:08x}-0000-7000-8000-000000000000");
    let nowhere = format!("conversations/{}/participants", id(0));
    let users: Vec<String> = (0..1_000).map(id).collect();
    for _ in 0..5 {
        ensure!(call(&cluster, &eve, (Method::POST, &nowhere), json!({ "userIds": users })).await? == 404);
    }
    ensure!(call(&cluster, &eve, (Method::POST, "auth/logout-all"), Value::Null).await? < 300);
    written(&cluster, &eve, &[("sessions.ended".to_owned(), "done".to_owned(), None)]).await?;
    let refused = records(&cluster, &eve).into_iter().filter(|(action, ..)| action == "participant.added").count();
    ensure!((1..500).contains(&refused), "{refused} records of 5,000");
    Ok(())
}

#[tokio::test]
async fn in_one_process() -> anyhow::Result<()> {
    account_for(Shape::StandaloneSqlite).await
}

#[tokio::test]
async fn in_four_processes() -> anyhow::Result<()> {
    account_for(Shape::SplitPostgres).await
}

/// Appends changes as whoever the certificate in this folder is of.
async fn append_changes(cluster: &Cluster, certificate: &Path) -> anyhow::Result<Status> {
    let credential = ServiceCredential::certificate(Mutual::open(certificate)?);
    let url = format!("https://{}", cluster.grpc("message"));
    let mut client = MessageServiceClient::new(RpcChannel::remote(Service::Message, &url, credential)?);
    client.append_changes(AppendChangesRequest::default()).await.err().context("changes were appended")
}

/// A service of the operator's own that tries what only conversation may, and one of another installation.
#[tokio::test]
async fn services_that_may_not() -> anyhow::Result<()> {
    let certificates = Certificates::new(&["auth", "conversation", "message", "gateway", "reports"]).await?;
    // It believes our authority, which does not believe it.
    let others = Certificates::new(&["conversation"]).await?;
    fs::copy(certificates.file("conversation/ca.crt"), others.file("conversation/ca.crt"))?;
    let settings = Settings { certificates: Some(certificates.file("")), ..Settings::default() };
    let cluster = Cluster::start_with(Shape::SplitPostgres, settings).await?;
    let refused = append_changes(&cluster, &certificates.file("reports")).await?;
    ensure!(refused.code() == Code::PermissionDenied, "{refused}");
    let refused = append_changes(&cluster, &others.file("conversation")).await?;
    ensure!(refused.code() == Code::Unavailable, "{refused}");

    let of_service = |record: &Value| record["peer.service"] == "reports" && record["outcome"] == "FORBIDDEN";
    let of_stranger = |record: &Value| record["peer.service"].is_null() && record["outcome"] == "UNAUTHENTICATED";
    let log = || cluster.process(Part::Message).map(|process| process.log()).unwrap_or_default();
    let records = |action: &str| -> Vec<Value> {
        let lines = log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>();
        lines.into_iter().filter(|line| line["action"] == action && line["peer.address"] == "127.0.0.1").collect()
    };
    let are_there = async {
        while !records("call.refused").iter().any(of_service) || !records("certificate.refused").iter().any(of_stranger)
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), are_there).await.with_context(log)
}
