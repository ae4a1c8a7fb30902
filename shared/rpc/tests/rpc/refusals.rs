//! Who was refused a call stands in the records for those who must account for it, and a flood does not.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use messenger_core::{Clock as _, SystemClock, UserId};
use messenger_proto::{
    auth::v1::{GetJwksRequest, auth_service_client::AuthServiceClient},
    message::v1::{AppendChangesRequest, message_service_client::MessageServiceClient},
};
use serde_json::Value;
use tonic::{Code, Request, metadata::MetadataValue, transport::Channel};
use tracing::subscriber::{DefaultGuard, set_default};

use crate::{
    credentials::token,
    server::Server,
    shapes::{Running, ask, start},
};

const SECRET: (&str, &str) = ("authorization", "Service 0123456789abcdef0123456789abcdef");
const GUESS: (&str, &str) = ("authorization", "Service 0123456789abcdef0123456789abcdeX");
const GET_USER: &str = "/messenger.auth.v1.AuthService/GetUser";
const GET_JWKS: &str = "/messenger.auth.v1.AuthService/GetJwks";
const APPEND_CHANGES: &str = "/messenger.message.v1.MessageService/AppendChanges";
/// More than are recorded of one kind of caller in ten seconds.
const FLOOD: usize = 200;

/// What this thread logs while the guard lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics here").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn follow(&self) -> DefaultGuard {
        let log = self.clone();
        set_default(tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || log.clone()).finish())
    }

    /// The records so far: who, from where, which call, how it ended.
    fn records(&self) -> Vec<[String; 4]> {
        let log = String::from_utf8(self.0.lock().expect("no test panics here").clone()).expect("text");
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let refused = lines.filter(|line| line["target"] == "audit" && line["action"] == "call.refused");
        let fields = [["peer.service", "user.id"], ["peer.address", ""], ["rpc.method", ""], ["outcome", ""]];
        refused
            .map(|record| {
                fields.map(|names| names.iter().filter_map(|name| record[name].as_str()).collect::<Vec<_>>().join(" "))
            })
            .collect()
    }
}

async fn connect(running: &Running) -> Channel {
    Channel::from_shared(running.url.clone()).expect("a URL").connect().await.expect("connected")
}

fn with<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        request.metadata_mut().append(*name, value.parse::<MetadataValue<_>>().expect("ASCII"));
    }
    request
}

/// Asks for a user, wrongly.
async fn refused(channel: &Channel, metadata: &[(&'static str, &str)]) {
    let refused = AuthServiceClient::new(channel.clone()).get_user(with(ask("caller"), metadata)).await;
    assert!(refused.is_err(), "{metadata:?}");
}

#[tokio::test]
async fn who_was_refused_which_call() {
    let (log, server) = (Log::default(), Server::new());
    let _following = log.follow();
    let running = start(&server).await;
    let channel = connect(&running).await;
    let user = UserId::new(SystemClock.now()).to_string();
    let bearer = format!("Bearer {}", token(&server, user.parse().expect("an id")));

    refused(&channel, &[SECRET, ("x-service", "auth"), ("x-on-behalf-of", &user)]).await;
    let changes = with(AppendChangesRequest::default(), &[SECRET, ("x-service", "reports")]);
    let refusal = MessageServiceClient::new(channel.clone()).append_changes(changes).await.expect_err("refused");
    assert_eq!(refusal.code(), Code::PermissionDenied);
    refused(&channel, &[GUESS, ("x-service", "conversation")]).await;
    refused(&channel, &[]).await;
    let keys = with(GetJwksRequest::default(), &[("authorization", &bearer)]);
    AuthServiceClient::new(channel.clone()).get_jwks(keys).await.expect_err("for services only");

    let by_auth = format!("auth {user}");
    let expected = [
        [by_auth.as_str(), "127.0.0.1", GET_USER, "FORBIDDEN"],
        ["reports", "127.0.0.1", APPEND_CHANGES, "FORBIDDEN"],
        ["", "127.0.0.1", GET_USER, "UNAUTHENTICATED"],
        ["", "127.0.0.1", GET_USER, "UNAUTHENTICATED"],
        [&user, "", GET_JWKS, "FORBIDDEN"],
    ];
    assert_eq!(log.records(), expected);
}

#[tokio::test]
async fn nothing_a_caller_wrote() {
    let (log, server) = (Log::default(), Server::new());
    let _following = log.follow();
    let running = start(&server).await;
    let channel = connect(&running).await;
    let elsewhere = "http://a/words-of-a-stranger".parse().expect("a URL");
    let mut stranger = AuthServiceClient::with_origin(channel.clone(), elsewhere);
    stranger.get_user(with(ask("caller"), &[GUESS, ("x-service", "words")])).await.expect_err("refused");
    let changes = with(AppendChangesRequest::default(), &[SECRET, ("x-service", "Words of a service")]);
    MessageServiceClient::new(channel).append_changes(changes).await.expect_err("refused");
    let expected = [["", "127.0.0.1", "", "UNAUTHENTICATED"], ["other", "127.0.0.1", APPEND_CHANGES, "FORBIDDEN"]];
    assert_eq!(log.records(), expected);
}

#[tokio::test]
async fn a_flood_of_strangers_leaves_services_their_records() {
    let (log, server) = (Log::default(), Server::new());
    let _following = log.follow();
    let running = start(&server).await;
    let channel = connect(&running).await;
    for _ in 0..FLOOD {
        refused(&channel, &[GUESS]).await;
    }
    refused(&channel, &[SECRET, ("x-service", "auth")]).await;
    let records = log.records();
    assert!(records.len() < FLOOD, "{} of {FLOOD} records", records.len());
    assert_eq!(records.last().map(|[who, ..]| who.as_str()), Some("auth"), "{records:?}");
}
