//! Maps and sets by id: an id is random already, so hashing it is two multiplications and no secret. Ids are made by
//! this system or by services it trusts, never by clients, so nobody can choose them to collide. The order of iteration
//! follows from what was put in, which makes runs repeatable.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

/// A map by an [`Id`](crate::Id).
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;
/// A set of [`Id`](crate::Id)s.
pub type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// Hashes ids, and nothing else.
#[derive(Debug, Default, Clone, Copy)]
pub struct IdHasher(u64);

/// 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for half in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..half.len()].copy_from_slice(half);
            self.0 = (self.0.rotate_left(23) ^ u64::from_be_bytes(word)).wrapping_mul(MULTIPLIER);
        }
    }

    /// The length, which all ids have in common.
    fn write_usize(&mut self, _: usize) {}

    /// The map takes its place from the low bits; the product is best in its high ones.
    fn finish(&self) -> u64 {
        self.0.rotate_left(32) ^ self.0
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use uuid::Uuid;

    use super::*;
    use crate::UserId;

    #[test]
    fn neighbours_do_not_collide() {
        for shift in [0, 32, 64, 96] {
            let ids = (0..10_000u128).map(|n| UserId::from_uuid(Uuid::from_u128(n << shift)));
            let places: HashSet<u64> =
                ids.map(|id| BuildHasherDefault::<IdHasher>::default().hash_one(id) % 65_536).collect();
            assert!(places.len() > 8_000, "{} places of 10,000 ids, {shift} bits up", places.len());
        }
    }
}
