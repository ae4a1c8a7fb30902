//! A pipe of drafts: batches in, answers out by their tags, drafts of one sender to one target in order.
//!
//! A draft whose P2P conversation is not known yet waits for it, and so do the sender's later ones that may be for the
//! same conversation, by whatever name; others pass. There is no task per draft: one per pipe, and one per batch that
//! brings unknown pairs.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt as _, stream};
use messenger_core::{ConversationId, Result, UserId};
use messenger_telemetry::Shutdown;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    journal::{DRAFTS_PER_BATCH_MAX, Journal, TaggedDrafts, TaggedOutcomes},
    model::{Draft, ResolvedDraft, Target},
    target::{Pair, Targets},
};

/// Drafts of one pipe that are not answered, or whose answer was not taken. More are not read.
const DRAFTS_UNDECIDED_MAX: usize = 8_192;
/// Conversations of one batch being made at once.
const CREATIONS_PER_BATCH_MAX: usize = 16;

/// At most [`DRAFTS_PER_BATCH_MAX`] drafts that came together: each with its tag, or with its tag what is wrong with it.
pub type Drafts = Vec<(u64, Result<(Target, Draft)>)>;

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
    /// By sender, in the order they came; never empty.
    waiting: HashMap<UserId, Vec<Waiting>>,
    outcomes: mpsc::Sender<TaggedOutcomes>,
    found: mpsc::Sender<(Pair, Result<ConversationId>)>,
}

/// A draft, its tag, and the conversation it is for, once that is known.
struct Waiting {
    tag: u64,
    target: Target,
    draft: Draft,
    conversation: Option<ConversationId>,
}

impl Waiting {
    /// The pair whose conversation is not known.
    fn unknown(&self) -> Option<Pair> {
        match self.target {
            Target::Receiver(receiver) if self.conversation.is_none() => {
                Some(Pair { sender: self.draft.sender_id, receiver })
            }
            _ => None,
        }
    }

    /// Whether both may be for one conversation. A draft for a group never goes to a P2P one.
    fn may_meet(&self, other: &Self) -> bool {
        match (self.target, other.target, self.conversation.zip(other.conversation)) {
            (Target::Receiver(one), Target::Receiver(other), _) => one == other,
            (.., Some((one, other))) => one == other,
            (Target::Group(_), ..) | (_, Target::Group(_), _) => false,
            (..) => true,
        }
    }
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

    /// None when it waits: for its conversation, or behind a draft that does.
    fn sort(
        &mut self,
        tag: u64,
        (target, draft): (Target, Draft),
        unknown: &mut Vec<Pair>,
    ) -> Result<Option<ResolvedDraft>> {
        let sender = draft.sender_id;
        let conversation = match target {
            Target::Group(id) | Target::Conversation(id) => Some(id),
            Target::Receiver(receiver) => self.pipes.targets.remembered(Pair { sender, receiver })?,
        };
        let draft = Waiting { tag, target, draft, conversation };
        let queue = self.waiting.get(&sender).map_or(&[][..], Vec::as_slice);
        let is_behind = queue.iter().any(|earlier| earlier.may_meet(&draft));
        if let Some(conversation) = draft.conversation.filter(|_| !is_behind) {
            return Ok(Some(draft.draft.resolved(target, conversation)));
        }
        if let Some(pair) = draft.unknown().filter(|pair| !queue.iter().any(|earlier| earlier.unknown() == Some(*pair)))
        {
            unknown.push(pair);
        }
        self.waiting.entry(sender).or_default().push(draft);
        Ok(None)
    }

    /// What waited for this pair goes on or is refused, and with it whatever is now behind nothing.
    async fn found(&mut self, pair: Pair, found: Result<ConversationId>) {
        let (mut tags, mut ready, mut refused, mut kept) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for mut waiting in self.waiting.remove(&pair.sender).unwrap_or_default() {
            if waiting.unknown() == Some(pair) {
                match &found {
                    Ok(conversation) => waiting.conversation = Some(*conversation),
                    Err(error) => {
                        refused.push((waiting.tag, Err(error.without_cause())));
                        continue;
                    }
                }
            }
            match waiting.conversation {
                Some(conversation) if !kept.iter().any(|earlier: &Waiting| earlier.may_meet(&waiting)) => {
                    tags.push(waiting.tag);
                    ready.push(waiting.draft.resolved(waiting.target, conversation));
                }
                _ => kept.push(waiting),
            }
        }
        if !kept.is_empty() {
            self.waiting.insert(pair.sender, kept);
        }
        if let Err(error) = found {
            tracing::debug!(?error, "no conversation for a pair");
            let _ = self.outcomes.try_send(refused);
        }
        self.append(tags, ready).await;
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
            pairs.iter().map(|_| Err(error.without_cause())).collect()
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
