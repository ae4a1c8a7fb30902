//! A publication between processes: kind, sender, positions, body, and what proves that it was made with the key.

use std::{fmt, sync::Arc};

use aws_lc_rs::hmac;
use bytes::Bytes;
use messenger_core::{Error, Position};
use uuid::Uuid;

use crate::{Carried, Publication, SIGNAL_BYTES_MAX};

const ENTRIES: u8 = 1;
const POSITIONS: u8 = 2;
const SIGNAL: u8 = 3;
const PROBE: u8 = 4;
const HEAD_BYTES: usize = 17;
const POSITIONS_BYTES: usize = 16;
const PROOF_BYTES: usize = 32;

/// What the processes of one journal prove their publications by: whoever else can publish where they do is not heard.
#[derive(Clone)]
pub struct BusKey(hmac::Key);

impl BusKey {
    /// From a secret of at least 32 bytes that only these processes can read.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

/// Never shown.
impl fmt::Debug for BusKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BusKey(…)")
    }
}

/// What one process sends to all.
pub(crate) enum Envelope<B> {
    Publication(Publication<B>),
    /// Sent to hear it again: the way there and back is open.
    Probe,
}

/// For the wire; none when it is too large for it. A batch of more bytes than `batch_bytes_max` goes as positions only.
pub(crate) fn encode<B: Carried>(
    (sender, key): (Uuid, &BusKey),
    envelope: &Envelope<B>,
    batch_bytes_max: usize,
) -> Option<Vec<u8>> {
    let mut bytes = match envelope {
        Envelope::Probe => with_head(PROBE, sender, 0),
        Envelope::Publication(Publication::Signal(encoded)) if encoded.len() > SIGNAL_BYTES_MAX => return None,
        Envelope::Publication(Publication::Signal(encoded)) => {
            let mut bytes = with_head(SIGNAL, sender, encoded.len());
            bytes.extend_from_slice(encoded);
            bytes
        }
        Envelope::Publication(Publication::Entries { previous, last, batch }) => {
            let batch = if batch_bytes_max == 0 { None } else { batch.as_ref().map(|batch| batch.encode()) };
            let batch = batch.filter(|encoded| encoded.len() <= batch_bytes_max);
            let kind = if batch.is_some() { ENTRIES } else { POSITIONS };
            let body = batch.unwrap_or_default();
            let mut bytes = with_head(kind, sender, POSITIONS_BYTES + body.len());
            bytes.extend_from_slice(&previous.0.to_be_bytes());
            bytes.extend_from_slice(&last.0.to_be_bytes());
            bytes.extend_from_slice(&body);
            bytes
        }
    };
    bytes.extend_from_slice(hmac::sign(&key.0, &bytes).as_ref());
    Some(bytes)
}

fn with_head(kind: u8, sender: Uuid, body_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body_bytes + PROOF_BYTES);
    bytes.push(kind);
    bytes.extend_from_slice(sender.as_bytes());
    bytes
}

/// Who sent it, without looking further.
pub(crate) fn sender(bytes: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(bytes.get(1..HEAD_BYTES)?).ok()
}

/// From the wire. What was not made with the key is not looked into.
pub(crate) fn decode<B: Carried>(key: &BusKey, bytes: &[u8]) -> Result<Envelope<B>, Error> {
    let malformed = || Error::internal("a publication of the bus is malformed");
    let (bytes, proof) = bytes.split_last_chunk::<PROOF_BYTES>().ok_or_else(malformed)?;
    hmac::verify(&key.0, bytes, proof).map_err(|_| Error::internal("a publication of the bus is forged"))?;
    let (head, body) = bytes.split_at_checked(HEAD_BYTES).ok_or_else(malformed)?;
    Ok(match head[0] {
        PROBE => Envelope::Probe,
        SIGNAL => Envelope::Publication(Publication::Signal(Bytes::copy_from_slice(body))),
        kind @ (ENTRIES | POSITIONS) => {
            let (positions, body) = body.split_first_chunk::<POSITIONS_BYTES>().ok_or_else(malformed)?;
            let (previous, last) = positions.split_at(8);
            let position = |bytes: &[u8]| bytes.try_into().map(|bytes| Position(i64::from_be_bytes(bytes)));
            let previous = position(previous).map_err(|_| malformed())?;
            let last = position(last).map_err(|_| malformed())?;
            let batch = if kind == ENTRIES { Some(Arc::new(B::decode(body)?)) } else { None };
            Envelope::Publication(Publication::Entries { previous, last, batch })
        }
        _ => return Err(malformed()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Text(String);

    impl Carried for Text {
        fn encode(&self) -> Vec<u8> {
            self.0.clone().into_bytes()
        }
        fn decode(bytes: &[u8]) -> Result<Self, Error> {
            String::from_utf8(bytes.to_vec()).map(Text).map_err(Error::internal)
        }
    }

    fn key() -> BusKey {
        BusKey::new(&[7; 32])
    }

    fn entries(text: &str) -> Envelope<Text> {
        let batch = Some(Arc::new(Text(text.to_owned())));
        Envelope::Publication(Publication::Entries { previous: Position(7), last: Position(9), batch })
    }

    #[test]
    fn a_batch_over_the_bound_goes_as_positions() {
        for (max, expected) in [(5, Some(Arc::new(Text("hello".to_owned())))), (4, None), (0, None)] {
            let bytes = encode((Uuid::from_u128(1), &key()), &entries("hello"), max).expect("fits");
            assert_eq!(sender(&bytes), Some(Uuid::from_u128(1)));
            let Ok(Envelope::Publication(Publication::Entries { previous, last, batch })) =
                decode::<Text>(&key(), &bytes)
            else {
                panic!("not entries");
            };
            assert_eq!((previous, last, batch), (Position(7), Position(9), expected));
        }
    }

    #[test]
    fn a_signal_over_the_bound_is_not_sent() {
        let signal = |bytes| Envelope::<Text>::Publication(Publication::Signal(Bytes::from(vec![1; bytes])));
        assert!(encode((Uuid::nil(), &key()), &signal(SIGNAL_BYTES_MAX), 0).is_some());
        assert!(encode((Uuid::nil(), &key()), &signal(SIGNAL_BYTES_MAX + 1), 0).is_none());
    }

    #[test]
    fn what_is_not_exactly_as_it_was_sent_is_refused() {
        let bytes = encode((Uuid::nil(), &key()), &entries("text"), 10).expect("fits");
        for length in 0..bytes.len() {
            assert!(decode::<Text>(&key(), &bytes[..length]).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decode::<Text>(&key(), &changed).is_err(), "{at}");
        }
        assert!(decode::<Text>(&BusKey::new(&[8; 32]), &bytes).is_err(), "another journal's");
        assert!(decode::<Text>(&key(), &[0; 64]).is_err());
    }

    #[test]
    fn what_proves_itself_may_still_make_no_sense() {
        for bytes in [vec![], vec![SIGNAL], vec![9; HEAD_BYTES], vec![ENTRIES; HEAD_BYTES + POSITIONS_BYTES - 1]] {
            let proof = hmac::sign(&key().0, &bytes);
            assert!(decode::<Text>(&key(), &[&bytes, proof.as_ref()].concat()).is_err(), "{bytes:?}");
        }
    }
}
