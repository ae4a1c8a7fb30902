//! The engines of this process: those that poll are found by their session id, and only so many clients
//! may be on the way to a connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::polling::{Polling, Request};

/// Engines without a session.
const UNCONNECTED_MAX: usize = 1_000;
/// Requests that may wait for one engine; the rest wait in front of it.
const REQUESTS_MAX: usize = 4;

/// All engines that poll.
pub struct Engines {
    polling: Mutex<HashMap<Box<str>, mpsc::Sender<Request>>>,
    unconnected: Arc<Semaphore>,
}

impl Engines {
    /// None yet.
    pub fn new() -> Self {
        Self { polling: Mutex::default(), unconnected: Arc::new(Semaphore::new(UNCONNECTED_MAX)) }
    }

    /// Lets one more client on the way to a connection; none when there are too many.
    pub fn admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.unconnected).try_acquire_owned().ok()
    }

    /// Opens an engine that polls; it is found until its [`Polling`] is dropped.
    pub fn open(self: &Arc<Self>, sid: &str) -> Polling {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        self.lock().insert(sid.into(), sender);
        Polling::new(requests, Entry { engines: Arc::clone(self), sid: sid.into() })
    }

    /// Where the requests for an engine go; none when there is no such engine.
    pub fn find(&self, sid: &str) -> Option<mpsc::Sender<Request>> {
        self.lock().get(sid).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, mpsc::Sender<Request>>> {
        self.polling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine's place among those that poll. Dropping it leaves.
pub struct Entry {
    engines: Arc<Engines>,
    sid: Box<str>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.engines.lock().remove(&self.sid);
    }
}

/// A session id nobody can guess: 20 characters, 120 random bits.
pub fn new_sid() -> String {
    let mut bytes = [0; 15];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_found_until_it_is_gone() {
        let engines = Arc::new(Engines::new());
        let sid = new_sid();
        assert_eq!(sid.len(), 20);
        let polling = engines.open(&sid);
        assert!(engines.find(&sid).is_some());
        assert!(engines.find("x").is_none());
        drop(polling);
        assert!(engines.find(&sid).is_none());
    }

    #[test]
    fn only_so_many_are_on_the_way() {
        let engines = Engines::new();
        let mut admitted: Vec<_> = std::iter::from_fn(|| engines.admit()).collect();
        assert_eq!(admitted.len(), UNCONNECTED_MAX);
        admitted.pop();
        assert!(engines.admit().is_some());
    }
}
