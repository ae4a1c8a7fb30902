//! What users write, and the names and times they name things by.

use messenger_core::{ClientMessageId, Content, Metadata, Timestamp, UserId};

use crate::{Outcome, Probe};

/// A text is taken exactly as it is, as content or as a key of the sender.
pub fn content(input: &[u8], probe: &mut Probe) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::of("no text") };
    let key = probe.read(text.len(), || ClientMessageId::new(text));
    assert!(key.as_ref().is_ok_and(|key| key.as_str() == text) || key.is_err());
    match probe.read(text.len(), || Content::new(text)) {
        Ok(content) => {
            assert_eq!(content.as_str(), text);
            assert!(!text.contains('\0') && !text.trim().is_empty() && text.chars().count() <= 10_000);
            Outcome::sized(&format!("content {}", key.is_ok()), text.len())
        }
        Err(error) => Outcome::of(format_args!("{error} {}", key.is_ok())),
    }
}

/// What is taken is an object every strict reader takes too, kept as it came.
pub fn metadata(input: &[u8], probe: &mut Probe) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::of("no text") };
    match probe.read(text.len(), || Metadata::new(text)) {
        Ok(metadata) => {
            assert_eq!(metadata.as_str(), text);
            let value: serde_json::Value = serde_json::from_str(text).expect("taken");
            Outcome::sized("object", value.as_object().expect("an object").len())
        }
        Err(error) => {
            let why = serde_json::from_str::<serde_json::Value>(text).err().map(|error| error.to_string());
            Outcome::of(format_args!("{error} {}", why.unwrap_or_default()))
        }
    }
}

/// An id and a time are read back from what they are shown as.
pub fn id_and_time(input: &[u8], probe: &mut Probe) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::of("no text") };
    let id = probe.read(text.len(), || UserId::parse("userId", text));
    if let Ok(id) = &id {
        assert_eq!(UserId::parse("userId", &id.to_string()).expect("shown"), *id);
    }
    match probe.read(text.len(), || Timestamp::parse("at", text)) {
        Ok(time) => {
            let again = Timestamp::parse("at", &time.to_string()).expect("shown");
            assert_eq!(again.as_micros() / 1_000, time.as_micros().div_euclid(1_000));
            Outcome::sized("time", text.len())
        }
        Err(error) => Outcome::of(format_args!("{error} {}", id.is_ok())),
    }
}
