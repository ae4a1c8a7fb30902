//! What was used last, bounded in number.

use std::{collections::HashMap, hash::Hash, mem};

/// A map that forgets what was used longest ago. Two generations: when the young one is full it becomes the old one, and
/// what is used of that moves back.
#[derive(Debug)]
pub struct Cache<K, V> {
    generation_max: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Copy + Eq + Hash, V: Copy> Cache<K, V> {
    /// Keeps the last `generation_max` that were used, and at most twice as many.
    #[must_use]
    pub fn new(generation_max: usize) -> Self {
        Self { generation_max, young: HashMap::new(), old: HashMap::new() }
    }

    /// The value of a key, which is used by this.
    pub fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(*value);
        }
        let value = self.old.remove(key)?;
        self.insert(*key, value);
        Some(value)
    }

    /// Sets the value of a key, which is used by this.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation_max && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let mut cache = Cache::new(10);
        for n in 0..30 {
            cache.insert(n, n);
            assert_eq!(cache.get(&0), Some(0), "in use");
        }
        assert!(cache.young.len() + cache.old.len() <= 20);
        assert_eq!((cache.get(&1), cache.get(&29)), (None, Some(29)));
        cache.insert(29, 0);
        assert_eq!(cache.get(&29), Some(0));
    }
}
