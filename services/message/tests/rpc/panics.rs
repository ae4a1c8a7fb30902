//! A bug in what a task asks of the store: nobody waits for it for ever.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use messenger_bus::{BusKey, LocalBus};
use messenger_core::{ConversationId, MessageId, Position, Result, Timestamp, UserId, page::PageSize};
use messenger_message::{
    feed::{FeedEvent, Follower, Sequencer},
    model::{
        Appended, Batch, ConversationState, Followed, HistoryFrom, HistoryPage, JournalHead, JournalPage, Message,
        Missed, ReadPosition, ReadState, ReadUpTo, ReplayPage,
    },
    open_store,
    store::{FeedStore, HistoryStore, StateStore, Store},
};
use messenger_telemetry::Shutdown;
use tokio::time::timeout;

use crate::support::{PATIENCE, World, new_id};

/// A real store that panics the next time memberships are read.
struct Broken {
    store: Arc<dyn Store>,
    panics: AtomicBool,
}

impl Broken {
    fn asked(&self, what: &str) -> &dyn Store {
        assert!(what != "follow" || !self.panics.swap(false, Ordering::Relaxed), "on purpose");
        &*self.store
    }
}

macro_rules! broken_store {
    ($($part:ident { $(= $known:ident -> $value:ty;)? $($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* })*) => {
        $(#[async_trait]
        impl $part for Broken {
            $(fn $known(&self) -> $value {
                self.asked(stringify!($known)).$known()
            })?
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer> {
                self.asked(stringify!($name)).$name($($argument),*).await
            })*
        })*
    };
}

broken_store! {
    Store {
        append(batch: Batch, now: Timestamp) -> Appended;
    }
    FeedStore {
        = readers -> usize;
        journal() -> JournalHead;
        bus_key() -> BusKey;
        renew_identity() -> ();
        read_journal(after: Position, limit: u32) -> JournalPage;
        follow(users: &[UserId]) -> Followed;
        missed(user: UserId, after: Position) -> Missed;
        replay(user: UserId, after: Position, excluded: &[ConversationId], limit: u32) -> ReplayPage;
    }
    HistoryStore {
        message(user: UserId, conversation: ConversationId, message: MessageId) -> Option<Message>;
        history(user: UserId, conversation: ConversationId, from: HistoryFrom, rows: PageSize) -> HistoryPage;
    }
    StateStore {
        find_p2p(pairs: &[(UserId, UserId)]) -> Vec<Option<ConversationId>>;
        conversations(user: UserId, after: Option<(Timestamp, ConversationId)>, rows: PageSize)
            -> Vec<ConversationState>;
        states(user: UserId, conversations: &[ConversationId]) -> Vec<ConversationState>;
        read_positions(user: UserId, conversation: ConversationId, users: &[UserId]) -> Vec<ReadPosition>;
        mark_read(user: UserId, conversation: ConversationId, up_to: ReadUpTo, now: Timestamp) -> ReadState;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_told_when_its_memberships_cannot_be_read() {
    let (world, shutdown) = (World::sqlite(), Shutdown::new());
    let store = open_store(&world.location()).await.expect("a store");
    let store: Arc<dyn Store> = Arc::new(Broken { store, panics: AtomicBool::new(true) });
    let head = store.journal().await.expect("read");
    let bus = LocalBus::new();
    let (feed, sequencer) = Sequencer::new(store, &bus, head, shutdown.tracker.clone());
    let running = shutdown.spawn(sequencer.run(shutdown.token.clone()));

    let Follower { asks, events } = feed.follow().await.expect("it runs");
    asks.add(&[new_id()]).await.expect("it runs");
    let told = async {
        loop {
            match events.next().await.expect("not ended without a word") {
                Ok(FeedEvent::UserFollowed { .. }) => panic!("nothing was read"),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    timeout(PATIENCE, told).await.expect("it does not wait for ever");

    let Follower { asks, events } = feed.follow().await.expect("it goes on");
    asks.add(&[new_id()]).await.expect("it goes on");
    let followed = async { while !matches!(events.next().await, Some(Ok(FeedEvent::UserFollowed { .. }))) {} };
    timeout(PATIENCE, followed).await.expect("the next one is answered");
    shutdown.token.cancel();
    running.await.expect("no panic").expect("an orderly end");
    world.end().await;
}
