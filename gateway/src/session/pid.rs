//! What a Socket.IO client comes back with: who it was, from where its events began, and the origin of its sends.
//! Signed, so that no gateway has to remember it and any gateway of the same secret takes it.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use messenger_core::{Cursor, JournalId, Position, UserId};
use uuid::Uuid;

const VERSION: u8 = 2;
const CLAIM_BYTES: usize = 1 + 16 + 16 + 8 + 8 + 8;
const TAG_BYTES: usize = 16;
const PID_BYTES: usize = CLAIM_BYTES + TAG_BYTES;

/// Signs and checks pids; the same in every gateway.
#[derive(Debug, Clone)]
pub struct ResumeKey(hmac::Key);

impl ResumeKey {
    /// From the secret the gateways share (the service credential; standalone: one kept in the data folder).
    #[must_use]
    pub fn derive(secret: &str) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let derived = hmac::sign(&secret, b"messenger gateway resume key");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The opaque text of a pid.
    #[must_use]
    pub fn sign(&self, pid: &Pid) -> String {
        let mut bytes = [0; PID_BYTES];
        let (claim, tag) = bytes.split_at_mut(CLAIM_BYTES);
        claim.copy_from_slice(&pid.claim());
        tag.copy_from_slice(&hmac::sign(&self.0, claim).as_ref()[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the opaque text; none when it is not ours.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Pid> {
        let mut bytes = [0; PID_BYTES];
        let decoded = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let (claim, tag) = bytes.split_at(CLAIM_BYTES);
        let expected = hmac::sign(&self.0, claim);
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected.as_ref()[..TAG_BYTES], tag).ok()?;
        (decoded == PID_BYTES).then(|| Pid::from_claim(claim)).flatten()
    }
}

/// What a pid says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pid {
    /// Whose it is.
    pub user_id: UserId,
    /// Where the connection began: what a client without an offset goes on from.
    pub start: Cursor,
    /// Marks the entries it causes.
    pub origin: i64,
    /// Tells two pids of one start apart: a client takes the pid it has already for "everything is replayed".
    pub nonce: u64,
}

impl Pid {
    /// Another than every one before, of a connection that begins there.
    #[must_use]
    pub fn fresh(user_id: UserId, start: Cursor, origin: i64) -> Self {
        Self { user_id, start, origin, nonce: Uuid::new_v4().as_u64_pair().1 }
    }

    fn claim(&self) -> [u8; CLAIM_BYTES] {
        let mut claim = [VERSION; CLAIM_BYTES];
        claim[1..17].copy_from_slice(self.user_id.uuid().as_bytes());
        claim[17..33].copy_from_slice(self.start.journal.0.as_bytes());
        claim[33..41].copy_from_slice(&self.start.position.0.to_be_bytes());
        claim[41..49].copy_from_slice(&self.origin.to_be_bytes());
        claim[49..].copy_from_slice(&self.nonce.to_be_bytes());
        claim
    }

    fn from_claim(claim: &[u8]) -> Option<Self> {
        let journal = JournalId(Uuid::from_slice(&claim[17..33]).ok()?);
        let position = Position(i64::from_be_bytes(claim[33..41].try_into().ok()?));
        Some(Self {
            user_id: UserId::from_uuid(Uuid::from_slice(&claim[1..17]).ok()?),
            start: Cursor { journal, position },
            origin: i64::from_be_bytes(claim[41..49].try_into().ok()?),
            nonce: u64::from_be_bytes(claim[49..].try_into().ok()?),
        })
        .filter(|_| claim[0] == VERSION)
    }
}

/// A new origin: random, so that no two connections of the world share one; never 0.
pub(super) fn new_origin() -> i64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    (high ^ low.rotate_left(32)).cast_signed() | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid() -> Pid {
        let start = Cursor { journal: JournalId(Uuid::from_u128(2)), position: Position(3) };
        Pid { user_id: UserId::from_uuid(Uuid::from_u128(1)), start, origin: -4, nonce: 5 }
    }

    #[test]
    fn any_gateway_of_the_secret_reads_it() {
        let text = ResumeKey::derive("a secret of many characters").sign(&pid());
        assert_eq!(ResumeKey::derive("a secret of many characters").read(&text), Some(pid()));
        assert_eq!(ResumeKey::derive("another secret").read(&text), None);
    }

    #[test]
    fn nothing_else_is_read() {
        let key = ResumeKey::derive("secret");
        let text = key.sign(&pid());
        for position in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.read(&String::from_utf8(changed).expect("ASCII")), None, "{position}");
        }
        for text in ["", "x", &text[1..], &format!("{text}A"), &format!("{text}AAAA"), &"é".repeat(49)] {
            assert_eq!(key.read(text), None, "{text}");
        }
    }
}
