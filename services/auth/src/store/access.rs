//! Who is kept out, and what is over.

pub(super) mod postgres;
pub(super) mod sqlite;

use async_trait::async_trait;
use messenger_core::{Result, SessionId, Timestamp, UserId};
use messenger_identity::Revocation;
use uuid::Uuid;

/// The part of the store that keeps out.
#[async_trait]
pub trait AccessStore: Send + Sync {
    /// Ends every session of a user and lets none begin. Errors: NOT_FOUND.
    async fn deactivate(&self, id: UserId, now: Timestamp) -> Result<()>;
    /// Lets sessions begin again. Errors: NOT_FOUND.
    async fn reactivate(&self, id: UserId) -> Result<()>;
    /// The number of the newest revocation, 0 before the first.
    async fn revocation_head(&self) -> Result<i64>;
    /// Revocations above a number that still matter, in order.
    async fn revocations(&self, after_number: i64, now: Timestamp, rows_max: i64) -> Result<Vec<Revocation>>;
    /// Removes revocations that nobody asks for any more, and 1,000 sessions that expired: true when there may be more.
    async fn purge(&self, now: Timestamp) -> Result<bool>;
}

/// Sessions removed by one statement.
const PURGED_MAX: i64 = 1_000;

/// Ends the sessions of a user ($1) but one ($2, if any) at a time ($3); when each was used last.
const END_SESSIONS: &str = "UPDATE session SET ended_at = $3 \
    WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND ended_at IS NULL RETURNING last_used_at";

/// When a user ($1) of another identity system came with its newest token, unless all tokens were ended since.
const TOKEN_NOT_ENDED: &str = "SELECT a.token_at FROM account a \
    WHERE a.id = $1 AND a.issuer IS NOT NULL AND NOT EXISTS ( \
        SELECT 1 FROM revocation r WHERE r.user_id = a.id AND r.session_id IS NULL AND r.revoked_at > a.token_at)";

type RevocationRow = (i64, Uuid, Option<Uuid>, Option<Uuid>, i64, Option<i64>);

fn revocation((number, user_id, session_id, except_session_id, revoked_at, until): RevocationRow) -> Revocation {
    let revoked_at = Timestamp::from_micros(revoked_at);
    Revocation {
        number,
        user_id: UserId::from_uuid(user_id),
        session_id: session_id.map(SessionId::from_uuid),
        except_session_id: except_session_id.map(SessionId::from_uuid),
        revoked_at,
        until: until.map_or_else(|| Revocation::own_until(revoked_at), Timestamp::from_micros),
    }
}

/// When the end of all tokens is dated, and how long it matters: after the last refresh of the ended sessions and the
/// newest token of another identity system; none when there is nothing to end.
fn revoked(last_used_at: Option<i64>, token_at: Option<i64>, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let last = last_used_at.max(token_at)?;
    let revoked_at = now.max(Timestamp::from_micros(last + 1));
    let until = if token_at.is_some() { Revocation::foreign_until } else { Revocation::own_until };
    Some((revoked_at, until(revoked_at)))
}
