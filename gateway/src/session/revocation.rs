//! Ended sessions, expiring tokens: who may not be connected any longer.

use std::{sync::Arc, time::Duration};

use messenger_core::{Error, ErrorKind, Timestamp};
use messenger_identity::Identity;
use serde::Serialize;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    Session,
    frame::{Frame, json},
    outbound::CloseReason,
    reply::Request,
};

/// How long before its token's end a client is told; half of the token's life when that is shorter.
const WARN_BEFORE_MAX: Duration = Duration::from_secs(60);
/// How far ahead a timer is set at most; then it is looked again.
const ALARM_MAX: Duration = Duration::from_secs(3_600);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenExpiring {
    expires_at: Timestamp,
}

/// A newer token for the session, and who asked.
pub(super) type Renewal = (Identity, Request);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refreshed {
    expires_at: Timestamp,
}

impl Session {
    /// Finds out whose token it is: the session goes on with it when it is its own user's.
    pub(super) fn refresh_token(&mut self, token: &str, request: &Request) {
        let (verifier, token, asking) = (Arc::clone(&self.gateway.verifier), token.to_owned(), request.clone());
        let own = (self.identity.user_id, self.identity.session_id);
        let errand = async move {
            let refusal = match verifier.identify(&token).await {
                Ok(identity) if (identity.user_id, identity.session_id) == own => return Some((identity, asking)),
                Ok(_) => Error::forbidden("the token is of another session"),
                Err(error) => error,
            };
            asking.fail(&refusal);
            None
        };
        self.errand = Some(Box::pin(errand.instrument(request.span().clone())));
    }

    /// The session goes on with a newer token, if there is one.
    pub(super) fn renew(&mut self, renewal: Option<Renewal>) {
        let Some((identity, request)) = renewal else { return };
        self.gateway.hub.renew(&self.connection, &identity);
        // In the hub first, the revocations after, as in the handshake.
        if self.gateway.verifier.is_revoked(&identity) {
            return request.fail(&Error::new(ErrorKind::TokenRevoked, "the session was ended"));
        }
        self.identity = identity;
        self.has_warned = false;
        self.set_alarm();
        request.succeed(&Refreshed { expires_at: identity.expires_at });
    }

    pub(super) fn set_alarm(&mut self) {
        let end = self.identity.expires_at;
        let next = if self.has_warned { end } else { end.minus(self.warn_before()) };
        let ahead = next.since(self.gateway.clock.now()).min(ALARM_MAX);
        self.alarm.as_mut().reset(Instant::now() + ahead);
    }

    fn warn_before(&self) -> Duration {
        WARN_BEFORE_MAX.min(self.identity.expires_at.since(self.identity.issued_at) / 2)
    }

    /// Why it is to be closed, if it is; the end of its token is a reason, whether the timer was heard or not.
    #[must_use]
    pub fn closing(&self) -> Option<CloseReason> {
        if self.gateway.clock.now() >= self.identity.expires_at {
            self.connection.outbound.close(CloseReason::TokenExpired);
        }
        self.connection.outbound.closing()
    }

    /// The timer rang: the token is about to end, or has ended.
    pub(super) fn wake(&mut self) {
        if self.closing().is_some() {
            self.alarm.as_mut().reset(Instant::now() + ALARM_MAX);
            return;
        }
        let (now, expires_at) = (self.gateway.clock.now(), self.identity.expires_at);
        if !self.has_warned && now >= expires_at.minus(self.warn_before()) {
            let body = json(&TokenExpiring { expires_at });
            self.connection.outbound.push(Frame::event(self.connection.wire, "token_expiring", &body, None));
            self.has_warned = true;
        }
        self.set_alarm();
    }
}
