//! The one way a batch is written, whatever the engine: facts, decision, rows, all under the lock its caller holds.
//! Rows the database refuses are found by halves, inside the same transaction, so that their neighbours are stored.

use std::time::Duration;

use async_trait::async_trait;
use messenger_core::{Error, MessageId, Position, Timestamp, UserId};
use sqlx::postgres::PgDatabaseError;
use uuid::Uuid;

use crate::{
    model::{Appended, Batch, ChangeSet, DraftOutcome, Effect, Entry, ResolvedDraft},
    sequence::{
        AppliedChanges, ChangeFacts, Changed, DraftFacts, NumberedDrafts, Numbering, Refusal, Sent, apply_changes,
        number_drafts,
    },
};

/// An open transaction that holds the journal's lock. Facts of drafts may be read before, by whoever makes sure that they
/// still hold when the lock is taken.
#[async_trait]
pub(super) trait JournalTx: Send {
    /// Heads and memberships the sets touch.
    async fn change_facts(&mut self, sets: &[ChangeSet]) -> Result<ChangeFacts, sqlx::Error>;
    /// Stores what the sets come to.
    async fn write_changes(&mut self, changes: &AppliedChanges) -> Result<(), sqlx::Error>;
    /// The facts of each draft; its message id is looked up when it was sent before, or for all with `by_id`.
    async fn draft_facts(&mut self, drafts: &[ResolvedDraft], by_id: bool) -> Result<Vec<DraftFacts>, sqlx::Error>;
    /// Stores what the drafts come to.
    async fn write_drafts(&mut self, drafts: &NumberedDrafts, now: Timestamp) -> Result<(), sqlx::Error>;
    /// Records refusals for good, and forgets the oldest ones.
    async fn write_refusals(&mut self, refused: &[(MessageId, Refusal)], now: Timestamp) -> Result<(), sqlx::Error>;
    /// Runs a statement without arguments.
    async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error>;
}

/// What the lock gave out.
pub(super) struct Locked {
    /// The last of the positions reserved.
    pub(super) last: Position,
    /// When everything of this commit is created.
    pub(super) created_at: Timestamp,
    /// Whether refusals are recorded that a draft may come late for.
    pub(super) has_refusals: bool,
}

impl Locked {
    /// From the columns of the lock's row.
    pub(super) fn new((last, created_at, refused_at): (i64, i64, Option<i64>)) -> Self {
        let created_at = Timestamp::from_micros(created_at);
        let has_refusals = refused_at.is_some_and(|at| at >= forgotten_before(created_at));
        Self { last: Position(last), created_at, has_refusals }
    }
}

/// How long refusals of drafts that were sent before are kept. A process that stands still for longer than its health
/// checks allow is ended, not continued; while any refusal is kept, each draft costs two look-ups more.
const REFUSALS_KEPT: Duration = Duration::from_secs(3_600);

/// In microseconds: what was refused before is not looked for any more.
pub(super) fn forgotten_before(now: Timestamp) -> i64 {
    now.as_micros().saturating_sub(REFUSALS_KEPT.as_micros() as i64)
}

/// Why a batch was not appended.
pub(super) enum Failure {
    /// Before the commit: nothing is stored.
    Statement(sqlx::Error),
    /// The commit itself: nobody knows.
    Commit(sqlx::Error),
    /// It took too long: nobody knows.
    TimedOut,
}

impl Failure {
    /// Whether the database refused a row, rather than failing: smaller parts of the batch may be stored.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Statement(error) if is_refusal(error))
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Statement(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Statement(error) => messenger_db::error(error),
            Failure::Commit(error) => Error::unavailable(error),
            Failure::TimedOut => Error::unavailable("the database did not answer in time"),
        }
    }
}

/// SQLSTATE classes 22 (data) and 23 (constraints); in SQLite TOOBIG, CONSTRAINT and MISMATCH.
fn is_refusal(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    let code = error.code().unwrap_or_default();
    match error.try_downcast_ref::<PgDatabaseError>() {
        Some(_) => code.starts_with("22") || code.starts_with("23"),
        None => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20)),
    }
}

/// How a batch is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// As one: the database is expected to take it.
    Whole,
    /// Part by part where necessary, since it did not.
    Apart,
}

/// The memberships that effects name.
pub(super) fn touched(sets: &[ChangeSet]) -> (Vec<Uuid>, Vec<Uuid>) {
    let (mut conversations, mut users) = (Vec::new(), Vec::new());
    for change in sets.iter().flat_map(|set| &set.0) {
        let mut touch = |user: UserId| {
            conversations.push(change.conversation_id.uuid());
            users.push(user.uuid());
        };
        match &change.effect {
            Effect::None => {}
            Effect::Join(joining) => joining.iter().for_each(|&(user, _)| touch(user)),
            Effect::Role(user, _) | Effect::Leave(user) => touch(*user),
        }
    }
    (conversations, users)
}

/// Positions a batch may need: refused drafts and repeats leave holes.
pub(super) fn positions(batch: &Batch) -> i64 {
    let changes: usize = batch.changes.iter().map(|set| set.0.len()).sum();
    i64::try_from(changes + batch.drafts.len()).expect("a batch fits in memory")
}

/// Writes a batch under the lock. The caller commits; when this says false there is nothing to make durable.
pub(super) async fn write(
    tx: &mut dyn JournalTx,
    batch: &Batch,
    locked: Locked,
    mode: Mode,
) -> Result<(Appended, bool), sqlx::Error> {
    let Locked { last, created_at, has_refusals } = locked;
    let previous = Position(last.0 - positions(batch));
    let mut numbering = Numbering { position: previous, created_at };
    let part = Part { changes: &batch.changes, drafts: &batch.drafts };
    let written = match mode {
        Mode::Whole => part.write(tx, &mut numbering, has_refusals).await?,
        Mode::Apart => part.write_apart(tx, &mut numbering).await?,
    };
    let Written { entries, changes, drafts, has_refused } = written;
    let is_changed = has_refused || !entries.is_empty();
    // Otherwise no position is used up.
    let last = if is_changed { last } else { previous };
    Ok((Appended { previous, last, entries, changes, drafts }, is_changed))
}

#[derive(Default)]
struct Written {
    entries: Vec<Entry>,
    changes: Vec<Result<i64, Error>>,
    drafts: Vec<DraftOutcome>,
    /// Whether refusals were recorded.
    has_refused: bool,
}

impl Written {
    fn and(mut self, next: Self) -> Self {
        self.entries.extend(next.entries);
        self.changes.extend(next.changes);
        self.drafts.extend(next.drafts);
        self.has_refused |= next.has_refused;
        self
    }
}

#[derive(Clone, Copy)]
struct Part<'a> {
    changes: &'a [ChangeSet],
    drafts: &'a [ResolvedDraft],
}

impl<'a> Part<'a> {
    /// Changes first: the facts of the drafts are read after them, and so are the rights.
    async fn write(
        self,
        tx: &mut dyn JournalTx,
        numbering: &mut Numbering,
        by_id: bool,
    ) -> Result<Written, sqlx::Error> {
        let mut written = Written::default();
        if !self.changes.is_empty() {
            let facts = tx.change_facts(self.changes).await?;
            let applied = apply_changes(self.changes, facts, numbering);
            if !applied.changed.is_empty() {
                tx.write_changes(&applied).await?;
            }
            written.entries.extend(applied.changed.iter().map(Changed::entry));
            written.changes = applied.outcomes;
        }
        if !self.drafts.is_empty() {
            let facts = tx.draft_facts(self.drafts, by_id).await?;
            let numbered = number_drafts(self.drafts, facts, numbering);
            if !numbered.sent.is_empty() {
                tx.write_drafts(&numbered, numbering.created_at).await?;
            }
            if !numbered.refused.is_empty() {
                tx.write_refusals(&numbered.refused, numbering.created_at).await?;
                written.has_refused = true;
            }
            written.entries.extend(numbered.sent.iter().map(Sent::entry));
            written.drafts = numbered.outcomes;
        }
        Ok(written)
    }

    /// Message ids are all looked up here: one that is there already is then a repeat, not a violation.
    async fn write_apart(self, tx: &mut dyn JournalTx, numbering: &mut Numbering) -> Result<Written, sqlx::Error> {
        tx.execute("SAVEPOINT part").await?;
        let before = *numbering;
        let refusal = match self.write(tx, numbering, true).await {
            Ok(written) => {
                tx.execute("RELEASE SAVEPOINT part").await?;
                return Ok(written);
            }
            Err(error) if is_refusal(&error) => error,
            Err(error) => return Err(error),
        };
        tx.execute("ROLLBACK TO SAVEPOINT part").await?;
        tx.execute("RELEASE SAVEPOINT part").await?;
        *numbering = before;
        match self.halves() {
            None => Ok(self.refused(refusal)),
            Some((left, right)) => {
                let left = Box::pin(left.write_apart(tx, numbering)).await?;
                Ok(left.and(Box::pin(right.write_apart(tx, numbering)).await?))
            }
        }
    }

    /// Of a single change set or draft.
    fn refused(self, refusal: sqlx::Error) -> Written {
        let mut written = Written::default();
        if self.changes.is_empty() {
            written.drafts.push(Err(Error::internal(refusal)));
        } else {
            written.changes.push(Err(Error::internal(refusal)));
        }
        written
    }

    /// In the same order; none of a single change set or draft.
    fn halves(self) -> Option<(Self, Self)> {
        let Self { changes, drafts } = self;
        if !changes.is_empty() && !drafts.is_empty() {
            return Some((Self { changes, drafts: &[] }, Self { changes: &[], drafts }));
        }
        if changes.len() + drafts.len() < 2 {
            return None;
        }
        let (first_changes, changes) = changes.split_at(changes.len() / 2);
        let (first_drafts, drafts) = drafts.split_at(drafts.len() / 2);
        Some((Self { changes: first_changes, drafts: first_drafts }, Self { changes, drafts }))
    }
}
