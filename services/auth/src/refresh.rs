//! Refresh tokens: a chain in which each follows from the one before by a secret of the store.
//!
//! So a token used twice at once has one successor without anybody keeping it. Each proves that it was made here, so that
//! an older one of a session is known as such however often the session was refreshed since.

use std::time::Duration;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use messenger_core::{Error, Result, SessionId, Timestamp};
use uuid::Uuid;

use crate::model::{Digest, RefreshState};

/// How long a used token is still answered with its successor: for answers that were lost, and for tabs side by side.
pub const REUSE_GRACE: Duration = Duration::from_secs(10);
const TOKEN_BYTES: usize = 16 + 4 + 32;
/// What is signed of it: all but its proof.
const CLAIM_BYTES: usize = 16 + 4 + 16;

/// The secret of the chain, for each of its two uses.
pub struct ChainKey {
    follows: hmac::Key,
    proves: hmac::Key,
}

impl ChainKey {
    /// From the bytes in the store.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let follows = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let proves = hmac::sign(&follows, b"proof of a refresh token");
        Self { follows, proves: hmac::Key::new(hmac::HMAC_SHA256, proves.as_ref()) }
    }
}

/// One token: its session, its place in the chain, 128 bits nobody can guess, and as many that prove the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    session_id: SessionId,
    generation: u32,
    secret: [u8; 16],
    proof: [u8; 16],
}

impl RefreshToken {
    /// The first of a session.
    ///
    /// # Errors
    /// INTERNAL when the machine has no randomness.
    pub fn first(session_id: SessionId, key: &ChainKey) -> Result<Self> {
        Ok(Self::new(session_id, 0, half(random_secret()?), key))
    }

    fn new(session_id: SessionId, generation: u32, secret: [u8; 16], key: &ChainKey) -> Self {
        let mut token = Self { session_id, generation, secret, proof: [0; 16] };
        token.proof = token.proof_by(key);
        token
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// UNAUTHENTICATED for anything else.
    pub fn decode(text: &str) -> Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok();
        let (id, rest) = bytes.split_at(16);
        let (generation, rest) = rest.split_at(4);
        let (secret, proof) = rest.split_at(16);
        match (length, Uuid::from_slice(id), generation.try_into(), secret.try_into(), proof.try_into()) {
            (Some(TOKEN_BYTES), Ok(id), Ok(generation), Ok(secret), Ok(proof)) => {
                let generation = u32::from_be_bytes(generation);
                Ok(Self { session_id: SessionId::from_uuid(id), generation, secret, proof })
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
        let secret = half(hmac::sign(&key.follows, &self.bytes()));
        Self::new(self.session_id, self.generation.saturating_add(1), secret, key)
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

    fn proof_by(&self, key: &ChainKey) -> [u8; 16] {
        half(hmac::sign(&key.proves, &self.bytes()[..CLAIM_BYTES]))
    }

    /// Whether it is the session's newest one, or was made here before that.
    fn is_of(&self, state: &RefreshState, key: &ChainKey) -> bool {
        if self.generation() < state.generation {
            verify_slices_are_equal(&self.proof, &self.proof_by(key)).is_ok()
        } else {
            self.generation() == state.generation && self.digest() == state.token_digest
        }
    }

    fn bytes(&self) -> [u8; TOKEN_BYTES] {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..16].copy_from_slice(self.session_id.uuid().as_bytes());
        bytes[16..20].copy_from_slice(&self.generation.to_be_bytes());
        bytes[20..CLAIM_BYTES].copy_from_slice(&self.secret);
        bytes[CLAIM_BYTES..].copy_from_slice(&self.proof);
        bytes
    }
}

/// What presenting a token comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The newest: rotate it.
    Newest,
    /// Used a moment ago, then: its successor again.
    Repeated(Timestamp),
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
    if !token.is_of(state, key) {
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
        Some(used_at) if now.since(used_at) <= REUSE_GRACE => Verdict::Repeated(used_at),
        _ => Verdict::Reused,
    }
}

fn half(bytes: impl AsRef<[u8]>) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&bytes.as_ref()[..16]);
    half
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
        let mut tokens = vec![RefreshToken::first(SessionId::new(NOW), &key).expect("random")];
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
        let used_at = NOW.minus(REUSE_GRACE);
        let used = RefreshState { used_at: Some(used_at), ..newest.clone() };
        assert_eq!(judge(&tokens[0], &used, &key, NOW), Verdict::Repeated(used_at));
        assert_eq!(judge(&tokens[0], &used, &key, NOW.plus(Duration::from_micros(1))), Verdict::Reused);
        let ended = RefreshState { is_ended: true, ..newest.clone() };
        assert_eq!(judge(&tokens[3], &ended, &key, NOW), Verdict::Ended);
        assert_eq!(judge(&tokens[3], &newest, &key, newest.expires_at), Verdict::Expired);
    }

    #[test]
    fn what_was_not_made_here_is_unknown() {
        let (key, tokens) = chain(3);
        let newest = state(&tokens[2]);
        let forged = RefreshToken { secret: [1; 16], ..tokens[1] };
        let moved = RefreshToken { generation: 2, ..tokens[1] };
        let unproven = RefreshToken { proof: [1; 16], ..tokens[1] };
        for token in [forged, moved, unproven, tokens[3]] {
            assert_eq!(judge(&token, &newest, &key, NOW), Verdict::Unknown);
        }
        assert_eq!(judge(&tokens[1], &newest, &ChainKey::new(&[8; 32]), NOW), Verdict::Unknown);
    }

    #[test]
    fn an_old_one_is_known_however_often_the_session_went_on() {
        let (key, tokens) = chain(1);
        let far = RefreshState { generation: i64::from(u32::MAX), ..state(&tokens[1]) };
        assert_eq!(judge(&tokens[0], &far, &key, NOW), Verdict::Reused);
    }
}
