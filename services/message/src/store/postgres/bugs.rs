//! What two of the seeded bugs take beside a line at their place. Nothing of it runs in a build without them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use messenger_core::Bug;
use sqlx::PgConnection;

use crate::{model::Batch, sequence::DraftFacts, store::append::JournalTx as _};

/// What these break happens under the lock.
pub(super) const NEED_THE_LOCK: [Bug; 3] = [Bug::AckBeforeCommit, Bug::RightsBeforeLock, Bug::PositionBeforeCommit];

/// How long an answer is ahead of its commit.
const COMMIT_LATE: Duration = Duration::from_millis(100);

/// The facts of the batch under way, read before its lock. A process has one writer.
static EARLY: Mutex<Vec<DraftFacts>> = Mutex::new(Vec::new());

/// For [`messenger_core::Bug::AckBeforeCommit`]: commits when the answer has long been given.
pub(super) fn commit_late(mut connection: PgConnection) {
    tokio::spawn(async move {
        tokio::time::sleep(COMMIT_LATE).await;
        sqlx::raw_sql("COMMIT").execute(&mut connection).await
    });
}

/// For [`messenger_core::Bug::RightsBeforeLock`]: reads the rights of a batch before the lock.
pub(super) async fn read_rights(tx: &mut PgConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    let facts = tx.draft_facts(&batch.drafts, false).await?;
    *early() = facts;
    Ok(())
}

/// Facts read under the lock, with the rights of before it.
pub(super) fn with_early_rights(mut facts: Vec<DraftFacts>) -> Vec<DraftFacts> {
    for (now, before) in facts.iter_mut().zip(early().drain(..)) {
        now.role = before.role;
        if let (Some((_, is_restricted, _)), Some((_, was_restricted, _))) =
            (&mut now.conversation, before.conversation)
        {
            *is_restricted = was_restricted;
        }
    }
    facts
}

fn early() -> MutexGuard<'static, Vec<DraftFacts>> {
    EARLY.lock().unwrap_or_else(PoisonError::into_inner)
}
