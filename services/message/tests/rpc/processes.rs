//! Several message processes on one journal.

use std::{collections::HashMap, fs, sync::Arc, time::Duration};

use messenger_core::{Clock as _, ManualClock, SystemClock, Timestamp, UserId};
use messenger_message::BusLocation;
use redis::Client as RedisClient;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{Group, Listener, World, message_of, new_id};

const WRITERS: usize = 20;
const MESSAGES_PER_WRITER: usize = 25;

pub async fn one_order_under_concurrent_writers(world: &World, bus: BusLocation) {
    let (mut one, mut other) = (world.process_on(bus.clone()).await, world.process_on(bus).await);
    let users: Vec<UserId> = (0..WRITERS).map(|_| new_id()).collect();
    let group = Group::create(&mut one.client, &users).await;
    let mut listeners =
        [Listener::of(&mut one.client, &users[..1]).await, Listener::of(&mut other.client, &users[..1]).await];
    let mut writers = JoinSet::new();
    for (n, user) in users.iter().copied().enumerate() {
        let mut client = if n % 2 == 0 { one.client.clone() } else { other.client.clone() };
        let (id, members) = (group.id, group.members.clone());
        let group = Group::known(id, members);
        writers.spawn(async move {
            for message in 0..MESSAGES_PER_WRITER {
                group.send(&mut client, user, &message.to_string()).await;
            }
        });
    }
    writers.join_all().await;

    let mut orders = Vec::new();
    for listener in &mut listeners {
        let mut order = Vec::new();
        let mut by_sender: HashMap<String, usize> = HashMap::new();
        for n in 0..WRITERS * MESSAGES_PER_WRITER {
            let entry = listener.entry().await;
            let position = entry.position;
            let message = message_of(entry).expect("a message");
            assert_eq!(message.seq, n as i64 + 1, "every message once, in order");
            let next = by_sender.entry(message.sender_id).or_default();
            assert_eq!(message.content, next.to_string());
            *next += 1;
            order.push((position, message.id));
        }
        orders.push(order);
    }
    assert_eq!(orders[0], orders[1]);
}

pub async fn rights_reach_the_other_process(world: &World, bus: BusLocation) {
    let (mut one, mut other) = (world.process_on(bus.clone()).await, world.process_on(bus).await);
    let (ann, bob): (UserId, UserId) = (new_id(), new_id());
    let mut listener = Listener::of(&mut other.client, &[bob]).await;
    let mut group = Group::create(&mut one.client, &[ann]).await;
    group.send(&mut one.client, ann, "before").await;
    group.add(&mut one.client, bob).await;
    group.send(&mut other.client, bob, "with him").await;
    group.remove(&mut one.client, bob).await;
    group.send(&mut one.client, ann, "after").await;
    group.add(&mut one.client, bob).await;

    assert!(message_of(listener.entry().await).is_none(), "the addition");
    assert_eq!(listener.message().await.content, "with him");
    assert!(message_of(listener.entry().await).is_none(), "the removal");
    assert!(message_of(listener.entry().await).is_none(), "and added again");
}

/// One clock is minutes behind, then ahead, then back again.
pub async fn clocks_that_differ_change_no_order(world: &World, bus: BusLocation) {
    let now = SystemClock.now();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let early = Timestamp::from_micros(now.as_micros() - minutes(7).as_micros() as i64);
    let (steady, jumping) = (Arc::new(ManualClock::new(now)), Arc::new(ManualClock::new(early)));
    let mut one = world.process_at(bus.clone(), steady.clone()).await;
    let mut other = world.process_at(bus, jumping.clone()).await;
    let ann: UserId = new_id();
    let group = Group::create(&mut one.client, &[ann]).await;
    let mut listeners = [Listener::of(&mut one.client, &[ann]).await, Listener::of(&mut other.client, &[ann]).await];
    let mut sent = Vec::new();
    for time in [early, now.plus(minutes(5)), early, now] {
        jumping.set(time);
        for _ in 0..3 {
            steady.advance(Duration::from_millis(10));
            sent.push(group.send(&mut one.client, ann, "steady").await);
            sent.push(group.send(&mut other.client, ann, "jumping").await);
        }
    }
    let created = |message: &messenger_proto::event::v1::Message| {
        let created_at = message.created_at.as_ref().expect("a time");
        (created_at.seconds, created_at.nanos)
    };
    assert!(sent.windows(2).all(|two| created(&two[0]) <= created(&two[1])), "{sent:?}");
    assert_eq!(created(sent.last().expect("sent")).0, now.plus(minutes(5)).to_parts().0, "it waits to be overtaken");
    for listener in &mut listeners {
        for (n, message) in sent.iter().enumerate() {
            assert_eq!((&listener.message().await, message.seq), (message, n as i64 + 1));
        }
    }
}

const JUNK_PUBLICATIONS: usize = 100_000;
/// Less than one flood, which is about 170 MB: it is not kept. What the allocator keeps of its buffers varies.
const MEMORY_GROWTH_MAX: usize = 128 * 1024 * 1024;

/// Somebody else publishes where this journal's processes listen.
pub async fn junk_on_the_bus_changes_nothing(world: &World, bus: BusLocation) {
    let (mut one, mut other) = (world.process_on(bus.clone()).await, world.process_on(bus.clone()).await);
    let ann: UserId = new_id();
    let group = Group::create(&mut one.client, &[ann]).await;
    let mut listener = Listener::of(&mut other.client, &[ann]).await;
    group.send(&mut one.client, ann, "before").await;
    assert_eq!(listener.message().await.content, "before");
    let journal = Uuid::parse_str(&listener.journal).expect("a UUID");
    // What the first flood takes, for buffers here and there, the second one finds.
    flood(&bus, journal).await;
    let before = resident_bytes();
    flood(&bus, journal).await;
    let sent = group.send(&mut one.client, ann, "after").await;
    assert_eq!(listener.message().await, sent);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < MEMORY_GROWTH_MAX, "{grown} bytes more");
}

async fn flood(bus: &BusLocation, journal: Uuid) {
    match bus {
        BusLocation::Redis(url) => flood_redis(url, &format!("messenger:{journal}")).await,
        BusLocation::Postgres(url) => flood_postgres(url, &format!("messenger_{}", journal.simple())).await,
        BusLocation::Local => {}
    }
}

/// Random, cut off, with a proof of zeros, and now and then large.
async fn flood_redis(url: &str, feed: &str) {
    let client = RedisClient::open(url).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
    for chunk in 0..JUNK_PUBLICATIONS / 1_000 {
        let mut pipeline = redis::pipe();
        for n in 0..1_000_usize {
            let bytes = match n {
                0 => vec![1; 1024 * 1024],
                n if n % 3 == 0 => vec![chunk as u8; n % 90],
                n => [&[(n % 5) as u8][..], Uuid::new_v4().as_bytes(), &[0; 1_000]].concat(),
            };
            pipeline.cmd("PUBLISH").arg(feed).arg(bytes).ignore();
        }
        pipeline.exec_async(&mut connection).await.expect("published");
    }
}

async fn flood_postgres(url: &str, feed: &str) {
    let mut session = PgConnection::connect(url).await.expect("connects");
    let junk = "SELECT pg_notify($1, CASE n % 3 WHEN 0 THEN 'no base64 ' || n ELSE lpad(n::text, 8, '0') || $2 END)
                FROM generate_series(1, $3) AS n";
    let query = sqlx::query(junk).bind(feed).bind("x".repeat(1_000)).bind(JUNK_PUBLICATIONS as i32);
    query.execute(&mut session).await.expect("notified");
}

/// Of this test's process, which both message processes are in.
fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}
