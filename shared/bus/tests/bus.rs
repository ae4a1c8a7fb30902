//! One contract for all buses, and what the ones between processes do when their connection is cut.

#[path = "bus/guarded.rs"]
mod guarded;
#[path = "bus/sentinel.rs"]
mod sentinel;
#[path = "bus/server.rs"]
mod server;

use std::{env, str::FromStr as _, sync::Arc, time::Duration};

use bytes::Bytes;
use messenger_bus::{
    BusKey, BusReceiver, Carried, EventBus, LocalBus, PUBLICATIONS_QUEUED_MAX, PostgresBus, Publication, Received,
    RedisBus, SIGNAL_BYTES_MAX,
};
use messenger_core::{Error, JournalId, Position};
use messenger_testkit::Link;
use sqlx::postgres::PgConnectOptions;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq)]
struct Text(String);

impl Carried for Text {
    fn encode(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        String::from_utf8(bytes.to_vec()).map(Text).map_err(Error::internal)
    }
}

type Bus = Arc<dyn EventBus<Text>>;

#[derive(Clone, Copy, PartialEq)]
enum Carries {
    Batches,
    Positions,
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} must be set to run these tests"))
}

fn journal() -> JournalId {
    JournalId(Uuid::new_v4())
}

fn key() -> BusKey {
    BusKey::new(&[7; 32])
}

fn redis(url: &str, journal: JournalId) -> Bus {
    Arc::new(RedisBus::new(url, journal, key()).expect("a Redis URL"))
}

fn postgres(url: &str, journal: JournalId) -> Bus {
    Arc::new(PostgresBus::new(PgConnectOptions::from_str(url).expect("a PostgreSQL URL"), journal, key()))
}

fn entries(previous: i64, last: i64, text: &str) -> Publication<Text> {
    let batch = Some(Arc::new(Text(text.to_owned())));
    Publication::Entries { previous: Position(previous), last: Position(last), batch }
}

fn signal(bytes: usize) -> Publication<Text> {
    Publication::Signal(Bytes::from(vec![7; bytes]))
}

async fn receive(receiver: &mut BusReceiver<Text>) -> Received<Text> {
    timeout(PATIENCE, receiver.receive()).await.expect("in time").expect("the bus is there")
}

async fn publication(receiver: &mut BusReceiver<Text>) -> Publication<Text> {
    loop {
        if let Received::Publication(publication) = receive(receiver).await {
            return publication;
        }
    }
}

async fn expect_entries(receiver: &mut BusReceiver<Text>, expected: (i64, i64, Option<&str>)) {
    let Publication::Entries { previous, last, batch } = publication(receiver).await else { panic!("entries") };
    assert_eq!((previous.0, last.0, batch.as_ref().map(|text| text.0.as_str())), expected);
}

async fn expect_signal(receiver: &mut BusReceiver<Text>, bytes: usize) {
    let Publication::Signal(encoded) = publication(receiver).await else { panic!("a signal") };
    assert_eq!(encoded.len(), bytes);
}

async fn expect_interrupted(receiver: &mut BusReceiver<Text>) {
    while !matches!(receive(receiver).await, Received::Interrupted) {}
}

/// A receiver of a running bus; between processes, once it is subscribed.
async fn run(bus: &Bus, cancel: &CancellationToken) -> BusReceiver<Text> {
    let mut receiver = bus.subscribe();
    let (running, token) = (Arc::clone(bus), cancel.clone());
    tokio::spawn(async move { running.run(token).await });
    expect_interrupted(&mut receiver).await;
    receiver
}

async fn hears_itself_once_and_in_order(bus: &Bus, receiver: &mut BusReceiver<Text>) {
    for n in 0..100 {
        bus.publish(entries(n, n + 1, "batch"));
    }
    bus.publish(signal(10));
    for n in 0..100 {
        expect_entries(receiver, (n, n + 1, Some("batch"))).await;
    }
    expect_signal(receiver, 10).await;
}

async fn tells_who_is_behind(bus: &Bus) {
    let mut slow = bus.subscribe();
    let last = PUBLICATIONS_QUEUED_MAX as i64 + 10;
    for n in 0..last {
        bus.publish(entries(n, n + 1, ""));
    }
    assert!(matches!(receive(&mut slow).await, Received::Interrupted));
    expect_entries(&mut slow, (10, 11, Some(""))).await;
}

async fn connects_processes(carries: Carries, open: impl Fn(JournalId) -> Bus) {
    let (ours, foreign, cancel) = (journal(), journal(), CancellationToken::new());
    let (one, other, stranger) = (open(ours), open(ours), open(foreign));
    let mut at_one = run(&one, &cancel).await;
    let mut at_other = run(&other, &cancel).await;
    let mut at_stranger = run(&stranger, &cancel).await;
    hears_itself_once_and_in_order(&one, &mut at_one).await;
    for n in 0..100 {
        expect_entries(&mut at_other, (n, n + 1, (carries == Carries::Batches).then_some("batch"))).await;
    }
    expect_signal(&mut at_other, 10).await;

    one.publish(signal(SIGNAL_BYTES_MAX + 1));
    one.publish(signal(SIGNAL_BYTES_MAX));
    expect_signal(&mut at_other, SIGNAL_BYTES_MAX).await;
    one.publish(entries(100, 101, &"x".repeat(2 * 1024 * 1024)));
    expect_entries(&mut at_other, (100, 101, None)).await;

    other.publish(signal(1));
    expect_signal(&mut at_one, SIGNAL_BYTES_MAX + 1).await;
    expect_signal(&mut at_one, SIGNAL_BYTES_MAX).await;
    expect_entries(&mut at_one, (100, 101, Some(&"x".repeat(2 * 1024 * 1024)))).await;
    expect_signal(&mut at_one, 1).await;
    stranger.publish(signal(2));
    expect_signal(&mut at_stranger, 2).await;

    tells_who_is_behind(&one).await;
    cancel.cancel();
}

async fn comes_back(link: Link, bus: Bus, other: Bus) {
    let cancel = CancellationToken::new();
    let mut receiver = run(&bus, &cancel).await;
    run(&other, &cancel).await;
    link.cut();
    bus.publish(signal(3));
    expect_signal(&mut receiver, 3).await;
    link.mend();
    expect_interrupted(&mut receiver).await;
    other.publish(signal(4));
    expect_signal(&mut receiver, 4).await;
    cancel.cancel();
}

#[tokio::test]
async fn local() {
    let bus: Bus = Arc::new(LocalBus::new());
    let mut receiver = bus.subscribe();
    hears_itself_once_and_in_order(&bus, &mut receiver).await;
    tells_who_is_behind(&bus).await;
}

#[tokio::test]
async fn redis_connects_processes() {
    let url = variable("MESSENGER_TEST_REDIS_URL");
    connects_processes(Carries::Batches, |journal| redis(&url, journal)).await;
}

#[tokio::test]
async fn postgres_connects_processes() {
    let url = variable("MESSENGER_TEST_POSTGRES_URL");
    connects_processes(Carries::Positions, |journal| postgres(&url, journal)).await;
}

/// It publishes where the processes of a journal listen, but cannot read their store.
async fn forger_is_not_heard(carries: Carries, open: impl Fn(BusKey) -> Bus) {
    let cancel = CancellationToken::new();
    let (forger, honest, bus) = (open(BusKey::new(&[8; 32])), open(key()), open(key()));
    let mut receiver = run(&bus, &cancel).await;
    let mut at_forger = run(&forger, &cancel).await;
    run(&honest, &cancel).await;
    forger.publish(entries(0, i64::MAX, "forged"));
    forger.publish(signal(9));
    expect_entries(&mut at_forger, (0, i64::MAX, Some("forged"))).await;
    for n in 0..10 {
        honest.publish(entries(n, n + 1, "true"));
    }
    for n in 0..10 {
        expect_entries(&mut receiver, (n, n + 1, (carries == Carries::Batches).then_some("true"))).await;
    }
    cancel.cancel();
}

#[tokio::test]
async fn row_88_redis_does_not_hear_a_forger() {
    let (url, journal) = (variable("MESSENGER_TEST_REDIS_URL"), journal());
    let open = |key| -> Bus { Arc::new(RedisBus::new(&url, journal, key).expect("a Redis URL")) };
    forger_is_not_heard(Carries::Batches, open).await;
}

#[tokio::test]
async fn postgres_does_not_hear_a_forger() {
    let options = PgConnectOptions::from_str(&variable("MESSENGER_TEST_POSTGRES_URL")).expect("a PostgreSQL URL");
    let journal = journal();
    let open = |key| -> Bus { Arc::new(PostgresBus::new(options.clone(), journal, key)) };
    forger_is_not_heard(Carries::Positions, open).await;
}

#[tokio::test]
async fn redis_comes_back() {
    let url = variable("MESSENGER_TEST_REDIS_URL");
    let (link, through) = Link::to_url(&url).await;
    let journal = journal();
    comes_back(link, redis(&through, journal), redis(&url, journal)).await;
}

#[tokio::test]
async fn postgres_comes_back() {
    let url = variable("MESSENGER_TEST_POSTGRES_URL");
    let (link, through) = Link::to_url(&url).await;
    let journal = journal();
    comes_back(link, postgres(&through, journal), postgres(&url, journal)).await;
}

#[tokio::test]
async fn postgres_that_falls_silent_is_left() {
    let url = variable("MESSENGER_TEST_POSTGRES_URL");
    let (link, through) = Link::to_url(&url).await;
    let (journal, cancel) = (journal(), CancellationToken::new());
    let (bus, other) = (postgres(&through, journal), postgres(&url, journal));
    run(&bus, &cancel).await;
    let mut at_other = run(&other, &cancel).await;
    bus.publish(signal(3));
    expect_signal(&mut at_other, 3).await;
    link.silence();
    let publishing = async {
        loop {
            bus.publish(signal(4));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = publishing => {}
        () = expect_signal(&mut at_other, 4) => {}
    }
    cancel.cancel();
}

#[tokio::test]
async fn redis_that_is_away_holds_up_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let (bus, cancel) = (redis(&format!("redis://127.0.0.1:{port}"), journal()), CancellationToken::new());
    let mut receiver = bus.subscribe();
    let (running, token) = (Arc::clone(&bus), cancel.clone());
    let run = tokio::spawn(async move { running.run(token).await });
    hears_itself_once_and_in_order(&bus, &mut receiver).await;
    cancel.cancel();
    timeout(PATIENCE, run).await.expect("ends").expect("no panic");
}
