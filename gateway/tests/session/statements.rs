//! What a client that comes back asks of the store, as the driver counts it.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use futures_util::future::join_all;
use messenger_gateway::session::Resume;
use serde_json::json;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt as _},
};

use crate::{client::Client, world::World};

/// A client that comes back costs as many at most.
const STATEMENTS_MAX: usize = 2;
/// What runs without any client: what is looked at now and then.
const OF_NOBODY: [&str; 3] = ["SELECT identity, last_position FROM journal", "FROM outbox", "FROM revocation"];

/// Statements since they were last taken.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<Vec<String>>>);

impl Statements {
    /// On this thread, which all tasks of the test run on.
    fn count() -> (Self, DefaultGuard) {
        let statements = Self::default();
        let guard = tracing::subscriber::set_default(Registry::default().with(statements.clone()));
        (statements, guard)
    }

    fn take(&self) -> Vec<String> {
        let all = std::mem::take(&mut *self.0.lock().expect("no panic"));
        all.into_iter().filter(|statement| !OF_NOBODY.iter().any(|part| statement.contains(part))).collect()
    }
}

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            let mut text = Text::default();
            event.record(&mut text);
            self.0.lock().expect("no panic").push(text.0);
        }
    }
}

/// The statement of an event: whole, or its beginning when that is all of it.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if matches!(field.name(), "summary" | "db.statement") && !value.is_empty() {
            self.0 = value.split_whitespace().collect::<Vec<_>>().join(" ");
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// Clients that were on one gateway come back on another one, all at once, each having missed so many messages.
async fn come_back(clients: usize, missed: usize) {
    let (statements, _guard) = Statements::count();
    let world = World::on_postgres().await;
    let mut users = Vec::new();
    for _ in 0..clients + 1 {
        users.push(world.register().await);
    }
    let sender = users.pop().expect("one more");
    let group = world.create_group(&sender, &users.iter().collect::<Vec<_>>(), false).await;
    let mut pids = Vec::new();
    for user in &users {
        pids.push(world.connect(user).await.session.connected().pid.clone());
    }
    let mut sender = world.connect(&sender).await;
    for number in 0..missed {
        sender.ask("send_message", &json!({"groupId": group, "content": number.to_string()})).await;
    }
    let elsewhere = world.another_gateway().await;

    statements.take();
    let coming = users.iter().zip(&pids).map(async |(user, pid)| {
        let resume = Resume::Pid { pid, offset: None };
        let mut client = Client::resume(&elsewhere, user, resume).await.expect("resumes");
        assert!(client.session.connected().recovered);
        for number in 0..missed {
            assert_eq!(client.event("new_message").await["data"]["content"], number.to_string());
        }
        client.event("sync_completed").await;
        client
    });
    let mut back = join_all(coming).await;
    let made = statements.take();
    assert!(!made.is_empty() && made.len() <= clients * STATEMENTS_MAX, "{}: {made:#?}", made.len());

    sender.ask("send_message", &json!({"groupId": group, "content": "live"})).await;
    for client in &mut back {
        assert_eq!(client.event("new_message").await["data"]["content"], "live");
    }
}

#[tokio::test]
async fn one_client_that_missed_nothing() {
    come_back(1, 0).await;
}

#[tokio::test]
async fn one_client_that_missed_a_little() {
    come_back(1, 5).await;
}

#[tokio::test]
async fn fifty_clients_that_missed_nothing() {
    come_back(50, 0).await;
}

#[tokio::test]
async fn fifty_clients_that_missed_a_little() {
    come_back(50, 5).await;
}
