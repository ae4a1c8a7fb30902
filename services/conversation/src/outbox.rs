//! Brings changes into the journal: recorded with the change itself, sent in the order of their versions, forgotten when
//! the journal has them. Sending anything twice, late, or from several processes at once does no harm: the journal takes
//! each version once, and only in order.

use std::time::Duration;

use futures_util::future::join_all;
use messenger_core::{ConversationId, Error, Result, UserId};
use messenger_proto::{
    event::v1::{ConversationChanged, conversation_changed::Change},
    message::v1::{AppendChangesRequest, message_service_client::MessageServiceClient},
};
use messenger_rpc::RpcChannel;
use prost::Message as _;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{model::PendingChange, store::Store};

const CHANGES_PER_CALL_MAX: u32 = 100;
/// Well below the 4 MiB a service accepts; one change (1,000 participants) has about 130 KiB.
const BYTES_PER_CALL_MAX: usize = 1024 * 1024;
const CALL_DEADLINE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_secs(1);
const CONVERSATIONS_AT_ONCE_MAX: u32 = 16;

/// The changes the journal does not have yet.
#[derive(Clone)]
pub struct Outbox {
    store: Store,
    message: MessageServiceClient<RpcChannel>,
}

impl Outbox {
    /// The outbox in `store`, sent to the message service.
    #[must_use]
    pub fn new(store: Store, message: MessageServiceClient<RpcChannel>) -> Self {
        Self { store, message }
    }

    /// Returns when the journal has every change of the conversation that was recorded before the call.
    ///
    /// # Errors
    /// UNAVAILABLE: the changes stay recorded and are sent later.
    pub async fn deliver(&self, conversation: ConversationId) -> Result<()> {
        let mut journal_version = 0;
        loop {
            let read = self.store.pending(conversation, journal_version, CHANGES_PER_CALL_MAX).await?;
            let read_count = read.len();
            let slice = first_bytes(read, BYTES_PER_CALL_MAX);
            let Some(last) = slice.last().map(|change| change.version) else { return Ok(()) };
            let is_all = slice.len() == read_count && slice.len() < CHANGES_PER_CALL_MAX as usize;
            let version = self.append(&slice).await?;
            if version <= journal_version {
                return Err(stuck(conversation, version, &slice));
            }
            self.store.acknowledge(conversation, version).await?;
            if is_all && version >= last {
                return Ok(());
            }
            journal_version = version;
        }
    }

    /// Whether the journal has yet to hear that the user does not take part any more.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn removes(&self, conversation: ConversationId, user: UserId) -> Result<bool> {
        let user = user.to_string();
        let mut version = 0;
        loop {
            let changes = self.store.pending(conversation, version, CHANGES_PER_CALL_MAX).await?;
            let Some(last) = changes.last() else { return Ok(false) };
            version = last.version;
            for change in &changes {
                if let Some(Change::ParticipantRemoved(removed)) = decode(change)?.change
                    && removed.user_id == user
                {
                    return Ok(true);
                }
            }
        }
    }

    /// The version the journal has after this.
    async fn append(&self, changes: &[PendingChange]) -> Result<i64> {
        let changes = changes.iter().map(decode).collect::<Result<_>>()?;
        let mut request = tonic::Request::new(AppendChangesRequest { changes });
        messenger_rpc::with_deadline(&mut request, CALL_DEADLINE);
        let answer = self.message.clone().append_changes(request).await.map_err(Error::unavailable)?;
        Ok(answer.into_inner().version)
    }

    /// Delivers what callers left behind (a crash, a message service that was away), now and once a second.
    pub async fn drain(self, shutdown: CancellationToken) {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = Rounds::default();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let mut goes_on = true;
            while goes_on && !shutdown.is_cancelled() {
                let (outbox, after) = (self.clone(), rounds.after);
                goes_on = rounds.note(messenger_db::run(async move { outbox.round(after).await }).await);
            }
        }
    }

    /// Delivers some conversations after the given one. The last of them; none at the end.
    async fn round(&self, after: Option<ConversationId>) -> Result<Round> {
        let conversations = self.store.undelivered(after, CONVERSATIONS_AT_ONCE_MAX).await?;
        let results = join_all(conversations.iter().map(|conversation| self.deliver(*conversation))).await;
        Ok(Round { last: conversations.last().copied(), failure: results.into_iter().find_map(Result::err) })
    }
}

struct Round {
    last: Option<ConversationId>,
    failure: Option<Error>,
}

/// Where the next round begins: behind the last one, also after a failure, so that one conversation never holds up
/// the others.
#[derive(Default)]
struct Rounds {
    after: Option<ConversationId>,
    is_failing: bool,
}

impl Rounds {
    /// Whether to go on at once.
    fn note(&mut self, result: Result<Round>) -> bool {
        let (last, failure) = match result {
            Ok(round) => (round.last, round.failure),
            Err(error) => (self.after, Some(error)),
        };
        self.after = last;
        match failure {
            Some(error) => {
                if !self.is_failing {
                    tracing::warn!(error = ?error, "changes wait for the journal, trying again every second");
                }
                self.is_failing = true;
                false
            }
            None => {
                if self.is_failing {
                    tracing::info!("the journal takes changes again");
                }
                self.is_failing = false;
                last.is_some()
            }
        }
    }
}

fn decode(change: &PendingChange) -> Result<ConversationChanged> {
    ConversationChanged::decode(change.body.as_slice()).map_err(Error::internal)
}

/// As many of the changes as fit into `bytes_max`, at least one.
fn first_bytes(mut changes: Vec<PendingChange>, bytes_max: usize) -> Vec<PendingChange> {
    let mut bytes = 0;
    let fits = changes.iter().take_while(|change| {
        bytes += change.body.len();
        bytes <= bytes_max
    });
    let count = fits.count().max(1);
    changes.truncate(count);
    changes
}

/// The journal did not move although it was sent what follows its version: it lost changes this context has forgotten.
fn stuck(conversation: ConversationId, version: i64, sent: &[PendingChange]) -> Error {
    let first = sent.first().map_or(0, |change| change.version);
    tracing::error!(conversation.id = %conversation, version, first, "the journal lacks changes that are gone from the outbox");
    Error::unavailable(format!("the journal has version {version}, the outbox of {conversation} begins at {first}"))
}
