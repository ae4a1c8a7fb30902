//! A pipe of drafts: batches in, answers out by their tags, drafts of one sender to one target in order.
//!
//! A draft whose P2P conversation is not known yet waits for it together with the later ones of its pair; others pass.
//! There is no task per draft: one per pipe, and one per batch that brings unknown pairs.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt as _, stream};
use messenger_core::{ConversationId, Result};
use messenger_telemetry::Shutdown;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    journal::{DRAFTS_PER_BATCH_MAX, Journal, TaggedDrafts, TaggedOutcomes, same},
    model::ResolvedDraft,
    target::{Draft, Pair, Target, Targets},
};

/// Drafts of one pipe that are not answered, or whose answer was not taken. More are not read.
const DRAFTS_UNDECIDED_MAX: usize = 8_192;
/// Conversations of one batch being made at once.
const CREATIONS_PER_BATCH_MAX: usize = 16;

/// At most [`DRAFTS_PER_BATCH_MAX`] drafts that came together: each with its tag, or with its tag what is wrong with it.
pub type Drafts = Vec<(u64, Result<Draft>)>;

/// Where batches of drafts come from.
pub trait Inbound: Send + 'static {
    /// The next batch; none at the end. May be cancelled without losing one.
    fn next(&mut self) -> impl Future<Output = Option<Drafts>> + Send;
}

/// What a pipe works with.
#[derive(Clone)]
pub struct Pipes {
    /// Where drafts are appended.
    pub journal: Journal,
    /// Where they go.
    pub targets: Arc<Targets>,
    /// When no more drafts are read.
    pub shutdown: Shutdown,
}

/// The answers of one pipe.
pub struct Outcomes {
    outcomes: mpsc::Receiver<TaggedOutcomes>,
    room: Arc<Semaphore>,
}

struct Pipe {
    pipes: Pipes,
    /// One permit for each draft that may still be read.
    room: Arc<Semaphore>,
    waiting: HashMap<Pair, Vec<(u64, Draft)>>,
    outcomes: mpsc::Sender<TaggedOutcomes>,
    found: mpsc::Sender<(Pair, Result<ConversationId>)>,
}

impl Pipes {
    /// Reads drafts until they end; the answers end when all are given.
    pub fn open(&self, inbound: impl Inbound) -> Outcomes {
        // Each batch of answers has one at least, so the permits bound the batches too: an answer always finds room.
        let (sender, outcomes) = mpsc::channel(DRAFTS_UNDECIDED_MAX);
        let (found, finds) = mpsc::channel(DRAFTS_PER_BATCH_MAX);
        let room = Arc::new(Semaphore::new(DRAFTS_UNDECIDED_MAX));
        let waiting = HashMap::new();
        let pipe = Pipe { pipes: self.clone(), room: Arc::clone(&room), waiting, outcomes: sender, found };
        self.shutdown.spawn(pipe.run(inbound, finds));
        Outcomes { outcomes, room }
    }
}

impl Outcomes {
    /// Everything answered since the last time; none at the end.
    pub async fn next(&mut self) -> Option<TaggedOutcomes> {
        let mut outcomes = self.outcomes.recv().await?;
        while outcomes.len() < DRAFTS_PER_BATCH_MAX {
            let Ok(more) = self.outcomes.try_recv() else { break };
            outcomes.extend(more);
        }
        self.room.add_permits(outcomes.len());
        Some(outcomes)
    }
}

/// Nobody takes answers any more: nothing more is read.
impl Drop for Outcomes {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl Pipe {
    async fn run(mut self, mut inbound: impl Inbound, mut finds: mpsc::Receiver<(Pair, Result<ConversationId>)>) {
        let cancel = self.pipes.shutdown.token.clone();
        let mut is_open = true;
        while is_open || !self.waiting.is_empty() {
            let room = Arc::clone(&self.room);
            tokio::select! {
                () = cancel.cancelled(), if is_open => is_open = false,
                drafts = next_within(&room, &mut inbound), if is_open => match drafts {
                    Some(drafts) => self.take(drafts).await,
                    None => is_open = false,
                },
                Some((pair, found)) = finds.recv() => self.found(pair, found).await,
            }
        }
    }

    async fn take(&mut self, drafts: Drafts) {
        let mut refused = Vec::new();
        let mut ready = (Vec::new(), Vec::new());
        let mut unknown = Vec::new();
        for (tag, draft) in drafts {
            match draft.and_then(|draft| self.sort(tag, draft, &mut unknown)) {
                Ok(Some(draft)) => {
                    ready.0.push(tag);
                    ready.1.push(draft);
                }
                Ok(None) => {}
                Err(error) => refused.push((tag, Err(error))),
            }
        }
        if !refused.is_empty() {
            let _ = self.outcomes.try_send(refused);
        }
        if !unknown.is_empty() {
            let (targets, found) = (Arc::clone(&self.pipes.targets), self.found.clone());
            self.pipes.shutdown.spawn(find(targets, unknown, found));
        }
        self.append(ready.0, ready.1).await;
    }

    /// None when it waits for its conversation.
    fn sort(&mut self, tag: u64, draft: Draft, unknown: &mut Vec<Pair>) -> Result<Option<ResolvedDraft>> {
        let receiver = match draft.target {
            Target::Group(id) | Target::Conversation(id) => return Ok(Some(draft.resolved(id))),
            Target::Receiver(receiver) => receiver,
        };
        let pair = Pair { sender: draft.sender_id, receiver };
        if let Some(waiting) = self.waiting.get_mut(&pair) {
            waiting.push((tag, draft));
            return Ok(None);
        }
        if let Some(conversation) = self.pipes.targets.remembered(pair)? {
            return Ok(Some(draft.resolved(conversation)));
        }
        self.waiting.insert(pair, vec![(tag, draft)]);
        unknown.push(pair);
        Ok(None)
    }

    async fn found(&mut self, pair: Pair, found: Result<ConversationId>) {
        let waiting = self.waiting.remove(&pair).unwrap_or_default();
        match found {
            Ok(conversation) => {
                let (tags, drafts) =
                    waiting.into_iter().map(|(tag, draft)| (tag, draft.resolved(conversation))).unzip();
                self.append(tags, drafts).await;
            }
            Err(error) => {
                tracing::debug!(?error, "no conversation for a pair");
                let _ = self.outcomes.try_send(waiting.into_iter().map(|(tag, _)| (tag, Err(same(&error)))).collect());
            }
        }
    }

    async fn append(&mut self, mut tags: Vec<u64>, mut drafts: Vec<ResolvedDraft>) {
        while !drafts.is_empty() {
            let at = drafts.len().min(DRAFTS_PER_BATCH_MAX);
            let (later_tags, later) = (tags.split_off(at), drafts.split_off(at));
            let batch = TaggedDrafts { tags, drafts, outcomes: self.outcomes.clone() };
            if let Err(refused) = self.pipes.journal.send_tagged(batch).await {
                let _ = self.outcomes.try_send(refused);
            }
            (tags, drafts) = (later_tags, later);
        }
    }
}

/// The next batch once there is room for a full one.
async fn next_within(room: &Semaphore, inbound: &mut impl Inbound) -> Option<Drafts> {
    let mut permits = room.acquire_many(DRAFTS_PER_BATCH_MAX as u32).await.ok()?;
    let drafts = inbound.next().await?;
    if let Some(taken) = permits.split(drafts.len().min(DRAFTS_PER_BATCH_MAX)) {
        taken.forget();
    }
    Some(drafts)
}

async fn find(targets: Arc<Targets>, pairs: Vec<Pair>, found: mpsc::Sender<(Pair, Result<ConversationId>)>) {
    let known = match targets.find(&pairs).await {
        Ok(known) => known.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => {
            tracing::warn!(?error, "conversations of pairs cannot be found");
            pairs.iter().map(|_| Err(same(&error))).collect()
        }
    };
    let (targets, found) = (&targets, &found);
    stream::iter(pairs.into_iter().zip(known))
        .for_each_concurrent(CREATIONS_PER_BATCH_MAX, |(pair, known)| async move {
            let conversation = match known {
                Ok(Some(conversation)) => Ok(conversation),
                Ok(None) => targets.create(pair).await,
                Err(error) => Err(error),
            };
            // Fails when the pipe is gone.
            let _ = found.send((pair, conversation)).await;
        })
        .await;
}
