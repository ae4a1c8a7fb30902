//! The message context as a whole: what its server offers, and the tasks behind it.

use std::sync::Arc;

use bytes::Bytes;
use messenger_bus::{EventBus, Publication};
use messenger_core::{Clock, ConversationId, MessageId, Result, UserId, limits};
use messenger_proto::event::v1::{MessageRead, Signal, signal::Signal as Signals};
use messenger_rpc::timestamp;
use messenger_telemetry::Shutdown;
use prost::Message as _;

use crate::{
    Peers,
    batch::EntryBatch,
    feed::{Feed, Sequencer},
    journal::Journal,
    model::{Draft, DraftOutcome, ReadState, ReadUpTo, Target},
    pipe::Pipes,
    replay::Replays,
    store::Store,
    target::Targets,
};

/// The message context.
#[derive(Clone)]
pub struct Messages {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Journal,
    pub(crate) pipes: Pipes,
    pub(crate) feed: Feed,
    pub(crate) replays: Replays,
    pub(crate) shutdown: Shutdown,
    targets: Arc<Targets>,
    bus: Arc<dyn EventBus<EntryBatch>>,
    clock: Arc<dyn Clock>,
}

/// Puts the service together and starts its tasks (the writer, the feed, the bus), which end with `shutdown`.
///
/// # Errors
/// UNAVAILABLE or INTERNAL when the store cannot be used.
pub async fn build(
    store: Arc<dyn Store>,
    bus: Arc<dyn EventBus<EntryBatch>>,
    peers: Peers,
    clock: Arc<dyn Clock>,
    shutdown: &Shutdown,
) -> Result<Messages> {
    let (journal, writer) = Journal::new(Arc::clone(&store), Arc::clone(&bus), Arc::clone(&clock));
    let head = store.journal().await?;
    let (feed, sequencer) = Sequencer::new(Arc::clone(&store), &*bus, head, shutdown.tracker.clone());
    let targets = Arc::new(Targets::new(Arc::clone(&store), peers.conversation));
    let pipes = Pipes { journal: journal.clone(), targets: Arc::clone(&targets), shutdown: shutdown.clone() };
    let replays = Replays::new(Arc::clone(&store), feed.clone());
    let (running_bus, token) = (Arc::clone(&bus), shutdown.token.clone());
    shutdown.spawn_vital("the bus", async move {
        running_bus.run(token).await;
        Ok(())
    });
    shutdown.spawn_vital("the feed", sequencer.run(shutdown.token.clone()));
    let token = shutdown.token.clone();
    shutdown.spawn_vital("the writer", async move {
        writer.run(token).await;
        Ok(())
    });
    Ok(Messages { store, journal, pipes, feed, replays, shutdown: shutdown.clone(), targets, bus, clock })
}

impl Messages {
    /// A new id for a message nobody else has given one.
    pub(crate) fn new_message_id(&self) -> MessageId {
        MessageId::new(self.clock.now())
    }

    /// Stores one message.
    pub(crate) async fn send(&self, target: Target, draft: Draft) -> DraftOutcome {
        self.journal.send(self.targets.resolve(target, draft).await?).await
    }

    /// Raises a read position; all but the connection it comes from (0: none) are told if it rose.
    pub(crate) async fn mark_read(
        &self,
        user: UserId,
        conversation: ConversationId,
        up_to: ReadUpTo,
        origin: i64,
    ) -> Result<ReadState> {
        let read = self.store.mark_read(user, conversation, up_to, self.clock.now()).await?;
        if read.rose {
            self.bus.publish(Publication::Signal(message_read(conversation, (user, origin), &read)));
        }
        Ok(read)
    }
}

fn message_read(conversation: ConversationId, (user, origin): (UserId, i64), read: &ReadState) -> Bytes {
    let signal = Signals::MessageRead(MessageRead {
        user_id: user.to_string(),
        last_read_seq: read.read_seq,
        last_read_at: read.read_at.map(timestamp),
        to_reader_only: read.participant_count > limits::SIGNAL_PARTICIPANTS_MAX,
        origin,
    });
    Signal { conversation_id: conversation.to_string(), signal: Some(signal) }.encode_to_vec().into()
}
