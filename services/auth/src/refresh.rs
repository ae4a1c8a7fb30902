//! Refresh tokens: a chain in which each follows from the one before by a secret of the store.
//!
//! So a token used twice at once has one successor without anybody keeping it, and any older token of a session is
//! known as such from the newest one's digest alone.

use std::time::Duration;

use aws_lc_rs::{digest, hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use messenger_core::{Error, Result, SessionId, Timestamp};
use uuid::Uuid;

use crate::model::{Digest, RefreshState};

/// How long a used token is still answered with its successor: for answers that were lost, and for tabs side by side.
pub const REUSE_GRACE: Duration = Duration::from_secs(10);
/// Generations back to which a token is followed (about 1 us each): six weeks of a client that never sleeps.
const GENERATIONS_BACK_MAX: i64 = 4_096;
const TOKEN_BYTES: usize = 16 + 4 + 32;

/// The secret of the chain.
pub struct ChainKey(hmac::Key);

impl ChainKey {
    /// From the bytes in the store.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

/// One token: its session, its place in the chain, 256 bits nobody can guess.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    session_id: SessionId,
    generation: u32,
    secret: [u8; 32],
}

impl RefreshToken {
    /// The first of a session.
    ///
    /// # Errors
    /// INTERNAL when the machine has no randomness.
    pub fn first(session_id: SessionId) -> Result<Self> {
        Ok(Self { session_id, generation: 0, secret: random_secret()? })
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// UNAUTHENTICATED for anything else.
    pub fn decode(text: &str) -> Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok();
        let (id, rest) = bytes.split_at(16);
        let (generation, secret) = rest.split_at(4);
        match (length, Uuid::from_slice(id), generation.try_into(), secret.try_into()) {
            (Some(TOKEN_BYTES), Ok(id), Ok(generation), Ok(secret)) => {
                let generation = u32::from_be_bytes(generation);
                Ok(Self { session_id: SessionId::from_uuid(id), generation, secret })
            }
            _ => Err(Error::unauthenticated("not a refresh token")),
        }
    }

    /// 70 url-safe characters.
    #[must_use]
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes())
    }

    /// What a store keeps of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = Digest::default();
        bytes.copy_from_slice(digest::digest(&digest::SHA256, &self.bytes()).as_ref());
        bytes
    }

    /// The one token that follows.
    #[must_use]
    pub fn successor(&self, key: &ChainKey) -> Self {
        let mut secret = [0; 32];
        secret.copy_from_slice(hmac::sign(&key.0, &self.bytes()).as_ref());
        Self { session_id: self.session_id, generation: self.generation.saturating_add(1), secret }
    }

    /// The session it says it is of.
    #[must_use]
    pub const fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// Its place in the chain, from 0.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation.into()
    }

    /// Whether the session's newest token is this one or follows from it: nobody else could have made it up.
    fn leads_to(&self, state: &RefreshState, key: &ChainKey) -> bool {
        let steps = state.generation - self.generation();
        if !(0..=GENERATIONS_BACK_MAX).contains(&steps) {
            return false;
        }
        let newest = (0..steps).fold(*self, |token, _| token.successor(key));
        newest.digest() == state.token_digest
    }

    fn bytes(&self) -> [u8; TOKEN_BYTES] {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..16].copy_from_slice(self.session_id.uuid().as_bytes());
        bytes[16..20].copy_from_slice(&self.generation.to_be_bytes());
        bytes[20..].copy_from_slice(&self.secret);
        bytes
    }
}

/// What presenting a token comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The newest: rotate it.
    Newest,
    /// Used a moment ago: its successor again.
    Repeated,
    /// Used before: somebody has a copy.
    Reused,
    /// Of a session that was ended.
    Ended,
    /// Of a session that nobody used for too long.
    Expired,
    /// Not made here.
    Unknown,
}

/// Decides about a token. Whoever cannot show a token of ours learns nothing about the session.
#[must_use]
pub fn judge(token: &RefreshToken, state: &RefreshState, key: &ChainKey, now: Timestamp) -> Verdict {
    if !token.leads_to(state, key) {
        return Verdict::Unknown;
    }
    if state.is_ended {
        return Verdict::Ended;
    }
    if state.expires_at <= now {
        return Verdict::Expired;
    }
    if state.generation == token.generation() {
        return Verdict::Newest;
    }
    match state.used_at {
        Some(used_at) if now.since(used_at) <= REUSE_GRACE => Verdict::Repeated,
        _ => Verdict::Reused,
    }
}

/// 256 random bits.
///
/// # Errors
/// INTERNAL when the machine has no randomness.
pub fn random_secret() -> Result<[u8; 32]> {
    let mut secret = [0; 32];
    rand::fill(&mut secret).map_err(|_| Error::internal("no randomness"))?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use messenger_core::UserId;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn chain(length: u32) -> (ChainKey, Vec<RefreshToken>) {
        let key = ChainKey::new(&[7; 32]);
        let mut tokens = vec![RefreshToken::first(SessionId::new(NOW)).expect("random")];
        for _ in 0..length {
            tokens.push(tokens[tokens.len() - 1].successor(&key));
        }
        (key, tokens)
    }

    fn state(newest: &RefreshToken) -> RefreshState {
        RefreshState {
            user_id: UserId::new(NOW),
            generation: newest.generation(),
            token_digest: newest.digest(),
            used_at: None,
            expires_at: NOW.plus(Duration::from_secs(60)),
            is_ended: false,
        }
    }

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let (_, tokens) = chain(1);
        assert!(RefreshToken::decode(&tokens[1].encode()).expect("own") == tokens[1]);
        assert_eq!(tokens[1].encode().len(), 70);
        for text in ["", "x", "a.b.c", &"A".repeat(69), &"A".repeat(71), &"A".repeat(1 << 20), &"ä".repeat(35)] {
            assert!(RefreshToken::decode(text).is_err());
        }
    }

    #[test]
    fn verdicts() {
        let (key, tokens) = chain(3);
        let newest = state(&tokens[3]);
        assert_eq!(judge(&tokens[3], &newest, &key, NOW), Verdict::Newest);
        assert_eq!(judge(&tokens[2], &newest, &key, NOW), Verdict::Reused);
        let used_at = Some(NOW.minus(REUSE_GRACE));
        let used = RefreshState { used_at, ..newest.clone() };
        assert_eq!(judge(&tokens[0], &used, &key, NOW), Verdict::Repeated);
        assert_eq!(judge(&tokens[0], &used, &key, NOW.plus(Duration::from_micros(1))), Verdict::Reused);
        let ended = RefreshState { is_ended: true, ..newest.clone() };
        assert_eq!(judge(&tokens[3], &ended, &key, NOW), Verdict::Ended);
        assert_eq!(judge(&tokens[3], &newest, &key, newest.expires_at), Verdict::Expired);
    }

    #[test]
    fn what_was_not_made_here_is_unknown() {
        let (key, tokens) = chain(3);
        let newest = state(&tokens[2]);
        let forged = RefreshToken { secret: [1; 32], ..tokens[1] };
        let moved = RefreshToken { generation: 2, ..tokens[1] };
        for token in [forged, moved, tokens[3]] {
            assert_eq!(judge(&token, &newest, &key, NOW), Verdict::Unknown);
        }
        assert_eq!(judge(&tokens[1], &newest, &ChainKey::new(&[8; 32]), NOW), Verdict::Unknown);
        let far = RefreshState { generation: GENERATIONS_BACK_MAX + 2, ..newest };
        assert_eq!(judge(&tokens[1], &far, &key, NOW), Verdict::Unknown);
    }
}
