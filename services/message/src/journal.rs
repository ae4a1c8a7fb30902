//! The writer: one task that takes everything waiting, appends it in one commit, answers and publishes.
//!
//! There is no timer: while one batch commits the next one gathers. The task owns every append and is never
//! cancelled, so no database future is dropped; callers only wait for answers.

use std::{sync::Arc, time::Instant};

use messenger_bus::{EventBus, Publication};
use messenger_core::{Bug, Clock, Error, Result, Timestamp, is_seeded};
use messenger_rpc::TraceParent;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::{
    batch::EntryBatch,
    model::{Appended, Batch, ChangeSet, DraftOutcome, Fact, ResolvedDraft},
    store::Store,
};

/// Drafts of one request, and drafts at which a batch is full.
pub const DRAFTS_PER_BATCH_MAX: usize = 512;
/// Change sets at which a batch is full.
const CHANGE_SETS_PER_BATCH_MAX: usize = 64;
/// Requests waiting for the writer. A single send that finds the queue full is refused, a pipe waits.
const REQUESTS_QUEUED_MAX: usize = 1_024;

/// Answers to drafts of one pipe, by their tags.
pub type TaggedOutcomes = Vec<(u64, DraftOutcome)>;

/// Where appends are asked for.
#[derive(Clone)]
pub struct Journal {
    requests: mpsc::Sender<Request>,
}

/// The task that appends.
pub struct Writer {
    requests: mpsc::Receiver<Request>,
    store: Arc<dyn Store>,
    bus: Arc<dyn EventBus<EntryBatch>>,
    clock: Arc<dyn Clock>,
}

enum Request {
    Draft(Box<ResolvedDraft>, oneshot::Sender<DraftOutcome>),
    Drafts(TaggedDrafts),
    Changes(ChangeSet, TraceParent, oneshot::Sender<Result<i64>>),
}

/// Drafts of one pipe in the order they came; at most [`DRAFTS_PER_BATCH_MAX`].
pub struct TaggedDrafts {
    /// What the pipe calls each of them.
    pub tags: Vec<u64>,
    /// As many drafts.
    pub drafts: Vec<ResolvedDraft>,
    /// Where the answers go. It must have room for them: what does not fit is lost.
    pub outcomes: mpsc::Sender<TaggedOutcomes>,
}

/// Who waits for an answer, in the order of the batch.
enum Waiting {
    Draft(oneshot::Sender<DraftOutcome>),
    Drafts(Vec<u64>, mpsc::Sender<TaggedOutcomes>),
}

/// The requests of one commit.
#[derive(Default)]
struct Gathered {
    batch: Batch,
    drafts: Vec<Waiting>,
    changes: Vec<oneshot::Sender<Result<i64>>>,
    /// Where the changes were asked for.
    traces: Vec<TraceParent>,
}

impl Journal {
    /// The two ends: for everybody, and for the one task.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, bus: Arc<dyn EventBus<EntryBatch>>, clock: Arc<dyn Clock>) -> (Self, Writer) {
        let (sender, requests) = mpsc::channel(REQUESTS_QUEUED_MAX);
        (Self { requests: sender }, Writer { requests, store, bus, clock })
    }

    /// Appends one message.
    ///
    /// # Errors
    /// The draft's refusal; UNAVAILABLE when too much waits or it is unknown whether it was stored.
    pub async fn send(&self, draft: ResolvedDraft) -> DraftOutcome {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Request::Draft(Box::new(draft), answer)).map_err(|_| overloaded())?;
        answered.await.map_err(Error::unavailable)?
    }

    /// Hands over drafts of a pipe; waits for room, not for answers.
    ///
    /// # Errors
    /// The answers UNAVAILABLE to all of them when the writer has ended.
    pub async fn send_tagged(&self, drafts: TaggedDrafts) -> Result<(), TaggedOutcomes> {
        match self.requests.reserve().await {
            Ok(room) => {
                room.send(Request::Drafts(drafts));
                Ok(())
            }
            Err(_) => Err(drafts.tags.into_iter().map(|tag| (tag, Err(overloaded()))).collect()),
        }
    }

    /// Appends changes of one conversation; answers the version the journal holds then.
    ///
    /// # Errors
    /// As [`Store::append`] has them for the set; UNAVAILABLE when too much waits.
    pub async fn append_changes(&self, changes: ChangeSet) -> Result<i64> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .try_send(Request::Changes(changes, TraceParent::of(&Span::current()), answer))
            .map_err(|_| overloaded())?;
        answered.await.map_err(Error::unavailable)?
    }
}

fn overloaded() -> Error {
    Error::unavailable("the writer's queue is full or closed")
}

impl Writer {
    /// Appends until `cancel`, and then what was asked for before it.
    pub async fn run(mut self, cancel: CancellationToken) {
        loop {
            let first = tokio::select! {
                biased;
                () = cancel.cancelled(), if !self.requests.is_closed() => {
                    self.requests.close();
                    continue;
                }
                first = self.requests.recv() => first,
            };
            let Some(first) = first else { return };
            let gathered = self.gather(first);
            self.append(gathered).await;
        }
    }

    fn gather(&mut self, first: Request) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.add(first);
        while !gathered.is_full() {
            let Ok(request) = self.requests.try_recv() else { break };
            gathered.add(request);
        }
        gathered
    }

    async fn append(&self, gathered: Gathered) {
        let Gathered { batch, drafts, changes, traces } = gathered;
        metrics::histogram!("messenger_append_batch_drafts").record(batch.drafts.len() as f64);
        let began = Instant::now();
        // Clients see milliseconds: a finer time would lie after what they were told, and `at` that would miss it.
        let now = Timestamp::from_millis(self.clock.now().as_millis());
        let span = tracing::debug_span!("journal.append", drafts = batch.drafts.len(), changes = batch.changes.len());
        TraceParent::join(&span, batch.drafts.iter().map(|resolved| &resolved.draft.trace).chain(&traces));
        let appended = self.store.append(batch, now).instrument(span).await;
        metrics::histogram!("messenger_append_seconds").record(began.elapsed());
        match appended {
            Ok(appended) => self.answer(appended, drafts, changes),
            Err(error) => {
                tracing::error!(?error, "a batch was not appended");
                refuse(&error, drafts, changes);
            }
        }
    }

    /// Publishes first: the sender's own connections may wait for the entry itself.
    fn answer(&self, appended: Appended, drafts: Vec<Waiting>, changes: Vec<oneshot::Sender<Result<i64>>>) {
        let Appended { previous, last, entries, changes: versions, drafts: outcomes } = appended;
        metrics::counter!("messenger_entries_appended_total").increment(entries.len() as u64);
        let stored = entries.iter().filter(|entry| matches!(entry.fact, Fact::MessageSent { .. })).count();
        metrics::counter!("messenger_messages_stored_total").increment(stored as u64);
        let is_dropped = is_seeded(Bug::LostPublication) && last.0 / 1_000 > previous.0 / 1_000;
        if last > previous && !is_dropped {
            let batch = Some(Arc::new(entries.into_iter().collect()));
            self.bus.publish(Publication::Entries { previous, last, batch });
        }
        let mut outcomes = outcomes.into_iter();
        for waiting in drafts {
            match waiting {
                Waiting::Draft(answer) => {
                    if let Some(outcome) = outcomes.next() {
                        let _ = answer.send(outcome);
                    }
                }
                Waiting::Drafts(tags, answers) => {
                    // Ends with the shorter one, so the tags come first: no outcome of the next pipe is taken.
                    let _ = answers.try_send(tags.into_iter().zip(outcomes.by_ref()).collect());
                }
            }
        }
        for (answer, version) in changes.into_iter().zip(versions) {
            let _ = answer.send(version);
        }
    }
}

/// Nobody knows whether it was stored: everybody asks again.
fn refuse(error: &Error, drafts: Vec<Waiting>, changes: Vec<oneshot::Sender<Result<i64>>>) {
    for waiting in drafts {
        match waiting {
            Waiting::Draft(answer) => {
                let _ = answer.send(Err(error.without_cause()));
            }
            Waiting::Drafts(tags, answers) => {
                let _ = answers.try_send(tags.into_iter().map(|tag| (tag, Err(error.without_cause()))).collect());
            }
        }
    }
    for answer in changes {
        let _ = answer.send(Err(error.without_cause()));
    }
}

impl Gathered {
    fn add(&mut self, request: Request) {
        match request {
            Request::Draft(draft, answer) => {
                self.batch.drafts.push(*draft);
                self.drafts.push(Waiting::Draft(answer));
            }
            Request::Drafts(TaggedDrafts { tags, drafts, outcomes }) => {
                self.batch.drafts.extend(drafts);
                self.drafts.push(Waiting::Drafts(tags, outcomes));
            }
            Request::Changes(changes, trace, answer) => {
                self.traces.push(trace);
                self.batch.changes.push(changes);
                self.changes.push(answer);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.batch.drafts.len() >= DRAFTS_PER_BATCH_MAX || self.batch.changes.len() >= CHANGE_SETS_PER_BATCH_MAX
    }
}
