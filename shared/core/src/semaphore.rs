//! Permits: so many in all and so many for each key (an address, a user). Nobody waits for one.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Who has permits. A key without any takes no memory.
#[derive(Debug)]
pub struct KeyedSemaphore<K> {
    in_all_max: usize,
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    in_all: usize,
    by_key: HashMap<K, usize>,
}

/// One permit; dropping it gives it back.
#[derive(Debug)]
pub struct KeyedPermit<K: Copy + Eq + Hash> {
    semaphore: Arc<KeyedSemaphore<K>>,
    key: K,
}

impl<K: Copy + Eq + Hash> KeyedSemaphore<K> {
    /// At most so many for all keys together.
    #[must_use]
    pub fn new(in_all_max: usize) -> Arc<Self> {
        let taken = Taken { in_all: 0, by_key: HashMap::new() };
        Arc::new(Self { in_all_max, taken: Mutex::new(taken) })
    }

    /// A permit; none when all are taken, or `per_key_max` by this key.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>, key: K, per_key_max: usize) -> Option<KeyedPermit<K>> {
        let mut taken = self.lock();
        let by_key = taken.by_key.get(&key).copied().unwrap_or_default();
        if taken.in_all >= self.in_all_max || by_key >= per_key_max {
            return None;
        }
        taken.in_all += 1;
        taken.by_key.insert(key, by_key + 1);
        Some(KeyedPermit { semaphore: Arc::clone(self), key })
    }

    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Drop for KeyedPermit<K> {
    fn drop(&mut self) {
        let mut taken = self.semaphore.lock();
        taken.in_all -= 1;
        let left = taken.by_key.get(&self.key).map_or(0, |count| count - 1);
        if left == 0 {
            taken.by_key.remove(&self.key);
        } else {
            taken.by_key.insert(self.key, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_counted_in_all_and_by_key_and_given_back() {
        let permits = KeyedSemaphore::new(5);
        let mut ann: Vec<_> = std::iter::from_fn(|| permits.try_acquire("ann", 3)).collect();
        assert_eq!(ann.len(), 3);
        let bob: Vec<_> = std::iter::from_fn(|| permits.try_acquire("bob", 3)).collect();
        assert_eq!(bob.len(), 2, "five in all");
        drop(ann.pop());
        assert!(permits.try_acquire("bob", 3).is_some() && permits.try_acquire("ann", 3).is_some());
        drop((ann, bob));
        let taken = permits.lock();
        assert!(taken.in_all == 0 && taken.by_key.is_empty(), "{taken:?}");
    }
}
