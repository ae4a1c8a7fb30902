//! Keeps a verifier supplied by auth: with keys, and with revocations.

use std::{convert::Infallible, sync::Arc, time::Duration};

use messenger_core::{Error, SessionId, UserId};
use messenger_identity::{ClaimNames, ForeignIssuer, Revocation, TokenRules, Verifier};
use messenger_proto::auth::v1::{
    self as proto, GetJwksRequest, WatchRevocationsRequest, auth_service_client::AuthServiceClient,
};
use messenger_telemetry::Shutdown;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::{RpcChannel, admission::ByCall, from_status, from_timestamp, with_deadline};

const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// A new key of auth is published twice as long before it signs.
const REFETCH_INTERVAL: Duration = Duration::from_secs(60);
/// Tokens with invented key ids may not make us ask auth more often than this.
const FETCH_PAUSE: Duration = Duration::from_secs(1);
/// Auth says something every 10 s.
const SILENCE_MAX: Duration = Duration::from_secs(25);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

type Auth = AuthServiceClient<RpcChannel>;

/// Keeps a verifier supplied until the shutdown: with the keys of tokens, and with which sessions have ended.
pub fn follow(auth: &Auth, verifier: &Arc<Verifier>, shutdown: &Shutdown) {
    shutdown.spawn(follow_jwks(auth.clone(), Arc::clone(verifier), shutdown.token.clone()));
    shutdown.spawn(follow_revocations(auth.clone(), Arc::clone(verifier), shutdown.token.clone(), |_| {}));
}

/// Fetches the JWK sets until `shutdown`: at once, every minute, every two seconds while some are missing, and when a token
/// names an unknown key. Has `auth` admit the users of other identity systems.
pub async fn follow_jwks(auth: Auth, verifier: Arc<Verifier>, shutdown: CancellationToken) {
    verifier.set_admission(Arc::new(ByCall(auth.clone())));
    // Only calls to auth are dropped by it, no database work.
    let following = async {
        let mut retry = RETRY_FIRST;
        let mut has_unknown_key = false;
        loop {
            match fetch(auth.clone(), &verifier, has_unknown_key).await {
                Ok(are_all_there) => {
                    retry = RETRY_FIRST;
                    sleep(FETCH_PAUSE).await;
                    let patience = if are_all_there { REFETCH_INTERVAL } else { FETCH_PAUSE };
                    // Elapsed or notified: either way it is time.
                    has_unknown_key = timeout(patience, verifier.wants_keys().notified()).await.is_ok();
                }
                Err(error) => back_off(&mut retry, "the JWK set could not be fetched", &error).await,
            }
        }
    };
    shutdown.run_until_cancelled(following).await;
}

/// False while auth waits for the keys of another identity system.
async fn fetch(mut auth: Auth, verifier: &Verifier, has_unknown_key: bool) -> Result<bool, Error> {
    let mut request = Request::new(GetJwksRequest { has_unknown_key });
    with_deadline(&mut request, FETCH_TIMEOUT);
    let answer = auth.get_jwks(request).await.map_err(|status| from_status(&status))?.into_inner();
    let are_all_there = answer.foreign_issuers.iter().all(|issuer| !issuer.jwks.is_empty());
    verifier.set_foreign(answer.foreign_issuers.into_iter().map(foreign_issuer).collect());
    if answer.jwks.is_empty() {
        verifier.clear_keys();
    } else {
        verifier.set_keys(&answer.jwks)?;
    }
    Ok(are_all_there)
}

fn foreign_issuer(issuer: proto::ForeignIssuer) -> ForeignIssuer {
    ForeignIssuer {
        rules: TokenRules { issuer: issuer.issuer, audience: issuer.audience },
        claims: ClaimNames {
            subject: issuer.subject_claim,
            email: issuer.email_claim,
            full_name: issuer.full_name_claim,
            designation: issuer.designation_claim,
        },
        jwks: issuer.jwks,
    }
}

/// Follows auth's revocations until `shutdown`, whatever breaks meanwhile. The verifier knows each before it is given to
/// `on_revocation`, which may see one again after a reconnect, and judges no token before it knows those that were there.
pub async fn follow_revocations(
    auth: Auth,
    verifier: Arc<Verifier>,
    shutdown: CancellationToken,
    on_revocation: impl Fn(&Revocation),
) {
    let following = async {
        let mut last_number = 0;
        let mut retry = RETRY_FIRST;
        loop {
            let (before, opened) = (last_number, Instant::now());
            let watched = watch(auth.clone(), &mut last_number, &verifier, |revocation| {
                verifier.revoke(revocation);
                on_revocation(&revocation);
            });
            let Err(error) = watched.await;
            // One that lasted is no failure: connections end at their age.
            if last_number != before || opened.elapsed() > RETRY_MAX {
                retry = RETRY_FIRST;
            }
            back_off(&mut retry, "revocations cannot be followed", &error).await;
        }
    };
    shutdown.run_until_cancelled(following).await;
}

async fn watch(
    mut auth: Auth,
    last_number: &mut i64,
    verifier: &Verifier,
    on_revocation: impl Fn(Revocation),
) -> Result<Infallible, Error> {
    let request = WatchRevocationsRequest { after_number: *last_number };
    let mut stream = auth.watch_revocations(request).await.map_err(|status| from_status(&status))?.into_inner();
    loop {
        let Ok(received) = timeout(SILENCE_MAX, stream.message()).await else {
            return Err(Error::unavailable("auth has fallen silent"));
        };
        let Some(batch) = received.map_err(|status| from_status(&status))? else {
            return Err(Error::unavailable("auth ended the stream"));
        };
        for revocation in &batch.revocations {
            on_revocation(read(revocation)?);
            *last_number = revocation.number;
        }
        if !batch.has_more {
            verifier.set_caught_up();
        }
    }
}

fn read(revocation: &proto::Revocation) -> Result<Revocation, Error> {
    let session = |field, text: &str| match text {
        "" => Ok(None),
        text => SessionId::parse(field, text).map(Some),
    };
    let revoked_at = revocation.revoked_at.map(from_timestamp).unwrap_or_default();
    Ok(Revocation {
        number: revocation.number,
        user_id: UserId::parse("userId", &revocation.user_id)?,
        session_id: session("sessionId", &revocation.session_id)?,
        except_session_id: session("exceptSessionId", &revocation.except_session_id)?,
        revoked_at,
        until: revocation.until.map_or_else(|| Revocation::own_until(revoked_at), from_timestamp),
    })
}

async fn back_off(retry: &mut Duration, what: &'static str, error: &Error) {
    if *retry >= RETRY_MAX {
        tracing::warn!(%error, "{what}");
    }
    sleep(*retry).await;
    *retry = (*retry * 2).min(RETRY_MAX);
}
