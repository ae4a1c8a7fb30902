//! Several message processes on one journal.

use std::collections::HashMap;

use messenger_core::UserId;
use messenger_message::BusLocation;
use tokio::task::JoinSet;

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
