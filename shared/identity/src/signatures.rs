//! Signatures that were checked: a caller's next request need not pay for the check again.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};

/// Tokens in each half.
const HALF_MAX: usize = 8_192;

/// The digests of tokens whose signature held, by one key; they go with the key. Those used longest ago are forgotten: at
/// most 16,384 are known, about 1 MB. What a token claims is no part of this: it is read and judged anew each time.
#[derive(Default)]
pub(crate) struct Signatures(Mutex<Halves>);

#[derive(Default)]
struct Halves {
    young: HashSet<TokenDigest>,
    old: HashSet<TokenDigest>,
}

/// Of the whole token, its signature included.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn of(token: &str) -> Self {
        Self(digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl Signatures {
    /// Whether the signature of this very token held before.
    pub(crate) fn held(&self, token: TokenDigest) -> bool {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        halves.young.contains(&token) || (halves.old.remove(&token) && halves.add(token))
    }

    pub(crate) fn add(&self, token: TokenDigest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(token);
    }
}

impl Halves {
    fn add(&mut self, token: TokenDigest) -> bool {
        if self.young.len() >= HALF_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let (signatures, token) = (Signatures::default(), |number: usize| TokenDigest::of(&number.to_string()));
        for number in 0..3 * HALF_MAX {
            signatures.add(token(number));
            assert!(signatures.held(token(0)), "in use");
        }
        let halves = signatures.0.lock().expect("no panic");
        assert!(halves.young.len() + halves.old.len() <= 2 * HALF_MAX);
        drop(halves);
        assert!(!signatures.held(token(1)), "forgotten");
    }
}
