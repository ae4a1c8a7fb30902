//! What an append costs by the size of its batch: `cargo run --example append -- <folder or postgres:// URL> [messages]`.

use std::{path::Path, time::Instant};

use messenger_core::{
    ClientMessageId, Clock as _, Content, ConversationId, ConversationType, Id, Role, SystemClock, UserId,
};
use messenger_db::Location;
use messenger_message::{
    model::{Batch, Change, ChangeSet, Effect, ResolvedDraft},
    store::{self, Store},
};
use uuid::Uuid;

const PAIRS: usize = 100;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().unwrap_or_else(|| "data".to_owned());
    let messages: usize = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let url = place.contains("://").then_some(place.as_str());
    let store = store::open(&Location::new(url, Path::new(&place))?, 4).await?;
    let talks = talks(&*store).await?;
    for size in [1, 10, 100, 500] {
        let batches = (messages / size).min(2_000);
        let start = Instant::now();
        for _ in 0..batches {
            let drafts = (0..size).map(|n| draft(&talks[n % PAIRS])).collect();
            let appended = store.append(Batch { changes: Vec::new(), drafts }, SystemClock.now()).await?;
            anyhow::ensure!(appended.entries.len() == size, "everything is stored");
        }
        let micros = start.elapsed().as_micros() / (batches * size) as u128;
        let batch = start.elapsed().as_micros() / batches as u128;
        println!("{size:4} messages a batch: {batch:7} us a batch, {micros:5} us a message");
    }
    Ok(())
}

type Talk = (ConversationId, UserId);

async fn talks(store: &dyn Store) -> anyhow::Result<Vec<Talk>> {
    let mut talks = Vec::new();
    for _ in 0..PAIRS {
        let (id, sender, receiver) = (new_id(), new_id(), new_id());
        let change = Change {
            conversation_id: id,
            conversation_type: ConversationType::P2p,
            is_restricted: false,
            participant_count: 2,
            version: 1,
            effect: Effect::Join(vec![(sender, Role::Member), (receiver, Role::Member)]),
            body: Vec::new().into(),
        };
        let batch = Batch { changes: vec![ChangeSet(vec![change])], drafts: Vec::new() };
        store.append(batch, SystemClock.now()).await?;
        talks.push((id, sender));
    }
    Ok(talks)
}

fn draft(&(conversation_id, sender_id): &Talk) -> ResolvedDraft {
    let message_id = Id::new(SystemClock.now());
    ResolvedDraft {
        message_id,
        conversation_id,
        group_only: false,
        sender_id,
        content: Content::new(&"x".repeat(100)).expect("a valid text"),
        client_message_id: Some(ClientMessageId::new(&message_id.to_string()).expect("a valid key")),
        reply_to_id: None,
        metadata: None,
        resent: false,
        origin: 1,
        trace: messenger_rpc::TraceParent::default(),
    }
}

fn new_id<K>() -> Id<K> {
    Id::from_uuid(Uuid::new_v4())
}
