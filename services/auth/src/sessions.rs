//! Sessions: how they begin, go on by refresh tokens, and end.

use std::sync::Arc;

use messenger_core::{Clock, Error, ErrorKind, Result, SessionId, Timestamp, UserId};
use messenger_telemetry::Audit;

use crate::{
    model::{Digest, NewSession, PasswordChange, RefreshState, Rotation, Session, User},
    refresh::{REUSE_GRACE, RefreshToken, Verdict, judge},
    revocations::Revocations,
    store::Store,
    tokens::{Issuer, Tokens},
};

/// Sessions shown to their user, the last used first.
const SESSIONS_LISTED_MAX: i64 = 100;
/// Times a lost race for a rotation is judged again; the second time there is a successor or an end.
const JUDGEMENTS_MAX: usize = 3;

/// A user and the tokens of its session.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// The session's.
    pub tokens: Tokens,
}

/// The sessions of all users.
pub struct Sessions {
    store: Store,
    clock: Arc<dyn Clock>,
    issuer: Issuer,
    revocations: Arc<Revocations>,
}

impl Sessions {
    /// Its parts.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, issuer: Issuer, revocations: Arc<Revocations>) -> Self {
        Self { store, clock, issuer, revocations }
    }

    /// A session to be stored, and its tokens.
    ///
    /// # Errors
    /// INTERNAL when the machine has no randomness.
    pub fn begin(
        &self,
        user_id: UserId,
        (user_agent, place): (String, Option<Digest>),
    ) -> Result<(NewSession, Tokens)> {
        let now = self.clock.now();
        let token = RefreshToken::first(SessionId::new(now), self.issuer.chain_key())?;
        let session = NewSession {
            id: token.session_id(),
            user_id,
            user_agent,
            place,
            created_at: now,
            expires_at: now.plus(self.issuer.session_lifetime()),
            token_digest: token.digest(),
        };
        Ok((session, self.issuer.pair(user_id, &token, now)))
    }

    /// The next pair of tokens. A token that was used before ends its session, unless that was a moment ago: then the
    /// answer is the same successor again.
    ///
    /// # Errors
    /// UNAUTHENTICATED when it is no token of a live session, TOKEN_REVOKED when the session was or is now ended.
    pub async fn refresh(&self, token: &str) -> Result<SignedIn> {
        let token = RefreshToken::decode(token)?;
        let successor = token.successor(self.issuer.chain_key());
        for _ in 0..JUDGEMENTS_MAX {
            let now = self.clock.now();
            let state = self.store.refresh_state(token.session_id(), token.generation()).await?;
            let state = state.ok_or_else(unknown)?;
            match judge(&token, &state, self.issuer.chain_key(), now) {
                Verdict::Newest => {
                    if self.store.rotate(self.step(&token, &successor, now)).await? {
                        return self.signed_in(&state, &successor, now).await;
                    }
                }
                Verdict::Repeated(used_at) => return self.signed_in(&state, &successor, used_at).await,
                Verdict::Reused => {
                    let record = Audit::of("refresh_token.reused").by(state.user_id).session(token.session_id());
                    self.end(state.user_id, token.session_id()).await?;
                    return record.outcome(Err(ended()));
                }
                Verdict::Ended => return Err(ended()),
                Verdict::Expired => return Err(Error::unauthenticated("the session has expired")),
                Verdict::Unknown => return Err(unknown()),
            }
        }
        Err(Error::unavailable("a rotation was lost again and again"))
    }

    /// Ends one session of a user at once; nothing to do if there is no such live one.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away.
    pub async fn end(&self, user_id: UserId, id: SessionId) -> Result<bool> {
        let is_ended = self.store.end_session(user_id, id, self.clock.now()).await?;
        self.revocations.look();
        if is_ended {
            Audit::of("session.ended").by(user_id).session(id).done();
        }
        Ok(is_ended)
    }

    /// Ends a session at its user's wish. Another identity system's tokens begin none here: all that the user has shown
    /// are ended instead.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away.
    pub async fn logout(&self, user_id: UserId, id: SessionId) -> Result<()> {
        if !self.end(user_id, id).await? && self.store.is_foreign(user_id).await? {
            self.end_all(user_id).await?;
        }
        Ok(())
    }

    /// Ends every session of a user and lets none begin.
    ///
    /// # Errors
    /// NOT_FOUND; UNAVAILABLE when the store is away.
    pub async fn deactivate(&self, user_id: UserId) -> Result<()> {
        self.store.deactivate(user_id, self.clock.now()).await?;
        self.revocations.look();
        Audit::of("user.deactivated").subject(user_id).done();
        Ok(())
    }

    /// Lets a user in again, by a new login or a new token.
    ///
    /// # Errors
    /// NOT_FOUND; UNAVAILABLE when the store is away.
    pub async fn reactivate(&self, user_id: UserId) -> Result<()> {
        self.store.reactivate(user_id).await?;
        Audit::of("user.reactivated").subject(user_id).done();
        Ok(())
    }

    /// Ends every session of a user.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away.
    pub async fn end_all(&self, user_id: UserId) -> Result<()> {
        self.store.end_sessions(user_id, self.clock.now()).await?;
        self.revocations.look();
        Audit::of("sessions.ended").by(user_id).done();
        Ok(())
    }

    /// Replaces a password, which ends the user's other sessions; false if it was changed meanwhile.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away.
    pub async fn change_password(&self, change: PasswordChange) -> Result<bool> {
        let is_changed = self.store.change_password(change, self.clock.now()).await?;
        self.revocations.look();
        Ok(is_changed)
    }

    /// The user's live sessions, the last used first, at most 100.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away.
    pub async fn list(&self, user_id: UserId) -> Result<Vec<Session>> {
        self.store.sessions(user_id, self.clock.now(), SESSIONS_LISTED_MAX).await
    }

    fn step(&self, token: &RefreshToken, successor: &RefreshToken, now: Timestamp) -> Rotation {
        Rotation {
            session_id: token.session_id(),
            generation: token.generation(),
            from: token.digest(),
            to: successor.digest(),
            used_at: now,
            expires_at: now.plus(self.issuer.session_lifetime()),
            forget_before: now.minus(REUSE_GRACE),
        }
    }

    /// The access token is dated by the rotation, and before that was stored: what ends the session later is later.
    async fn signed_in(&self, state: &RefreshState, successor: &RefreshToken, now: Timestamp) -> Result<SignedIn> {
        let mut users = self.store.users(&[state.user_id]).await?;
        let user = users.pop().ok_or_else(unknown)?;
        let tokens = self.issuer.pair(user.id, successor, now);
        Ok(SignedIn { user, tokens })
    }
}

fn unknown() -> Error {
    Error::unauthenticated("not a refresh token of a live session")
}

fn ended() -> Error {
    Error::new(ErrorKind::TokenRevoked, "the session was ended")
}
