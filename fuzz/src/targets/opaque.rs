//! Texts that are ours and come back from outside: cursors, page tokens, pids. Each has one spelling.

use std::sync::LazyLock;

use messenger_core::{Cursor, JournalId, Position, UserId, page};
use messenger_gateway::{ResumeKey, wire::Pid};
use uuid::Uuid;

use crate::{Outcome, Probe};

static KEY: LazyLock<ResumeKey> = LazyLock::new(|| ResumeKey::derive("the secret of the fuzzer"));

/// What is read is written as it came; any place of any journal is read as it was written.
pub fn cursor(input: &[u8], probe: &mut Probe) -> Outcome {
    let made = place(input);
    assert_eq!(Cursor::decode(&made.encode()).expect("ours"), made);
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::of("no text") };
    match probe.read(text.len(), || Cursor::decode(text)) {
        Ok(cursor) => {
            assert!(cursor.position >= Position(0));
            assert_eq!(cursor.encode(), text);
            Outcome::sized("cursor", cursor.position.0 as usize)
        }
        Err(error) => Outcome::of(format_args!("{error} {}", text.len() == 32)),
    }
}

/// What is read is written as it came; any key is read as it was written.
pub fn page_token(input: &[u8], probe: &mut Probe) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::of("no text") };
    let made = page::encode_token(text);
    if (1..=512).contains(&made.len()) {
        assert_eq!(page::decode_token(&made).expect("ours").as_deref(), Some(text));
    }
    match probe.read(text.len(), || page::decode_token(text)) {
        Ok(key) => {
            assert_eq!(page::encode_token(key.as_deref().unwrap_or_default()), text);
            Outcome::sized("key", key.map_or(0, |key| key.len()))
        }
        Err(error) => Outcome::of(error),
    }
}

/// None is read that was not signed; any that was signed is read, and in no other spelling.
pub fn pid(input: &[u8], probe: &mut Probe) -> Outcome {
    let text = String::from_utf8_lossy(input);
    let read = probe.read(text.len(), || KEY.read(&text));
    assert!(read.is_none_or(|pid| KEY.sign(&pid) == *text), "another spelling");
    let origin = i64::from_le_bytes(first(input));
    let user_id = UserId::from_uuid(Uuid::from_bytes(first(input)));
    let made = Pid { user_id, start: place(input), origin, nonce: u64::from_be_bytes(first(input)) };
    let signed = KEY.sign(&made);
    assert_eq!(KEY.read(&signed), Some(made));
    let mut forged = signed.into_bytes();
    let at = input.len() % forged.len();
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(KEY.read(&String::from_utf8_lossy(&forged)), None);
    Outcome::sized("pid", text.len())
}

fn place(input: &[u8]) -> Cursor {
    let position = i64::from_be_bytes(first(input)) & i64::MAX;
    Cursor { journal: JournalId(Uuid::from_bytes(first(input))), position: Position(position) }
}

/// The beginning of an input, filled up with zeros.
fn first<const N: usize>(input: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let length = N.min(input.len());
    bytes[..length].copy_from_slice(&input[..length]);
    bytes
}
