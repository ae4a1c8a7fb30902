//! The engines of this process: those that poll are found by their session id, and only so many clients
//! may be on the way to a connection, in all and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use messenger_core::{KeyedPermit, KeyedSemaphore, limits::FRAME_BYTES_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::polling::{Polling, Request};
use crate::{peer, transport::socket::MESSAGE_BYTES_MAX};

/// Engines without a session, and websockets that want to take over from polling.
const UNCONNECTED_MAX: usize = 1_000;
/// Requests that may wait for one engine; the rest wait in front of it.
const REQUESTS_MAX: usize = 4;
/// Bodies of one engine that may be on their way: stock clients wait for the answer to one before they post the next.
const POSTS_MAX: usize = 2;

/// All engines that poll, and how many have no session.
pub struct Engines {
    polling: Mutex<HashMap<Box<str>, Engine>>,
    unconnected: Arc<KeyedSemaphore<IpAddr>>,
}

/// A client on the way to a connection; dropping it makes room for another.
pub type UnconnectedPermit = KeyedPermit<IpAddr>;

/// One engine that polls, as HTTP requests see it.
#[derive(Clone)]
pub struct Engine {
    /// Where its requests go.
    pub requests: mpsc::Sender<Request>,
    posts: Arc<Semaphore>,
    has_connected: Arc<AtomicBool>,
}

impl Engine {
    /// A permit for one more body, and how many bytes it may have: little, as long as nobody knows who it is.
    pub fn post_permit(&self) -> Option<(OwnedSemaphorePermit, usize)> {
        let permit = Arc::clone(&self.posts).try_acquire_owned().ok()?;
        let is_known = self.has_connected.load(Ordering::Relaxed);
        Some((permit, if is_known { MESSAGE_BYTES_MAX } else { FRAME_BYTES_MAX }))
    }
}

impl Default for Engines {
    fn default() -> Self {
        Self { polling: Mutex::default(), unconnected: KeyedSemaphore::new(UNCONNECTED_MAX) }
    }
}

impl Engines {
    /// Lets one more client on the way to a connection; none when there are too many, in all or from its address.
    /// This machine itself may have as many as there are.
    pub fn unconnected_permit(&self, address: IpAddr, per_address: usize) -> Option<UnconnectedPermit> {
        let per_address = if address.to_canonical().is_loopback() { usize::MAX } else { per_address };
        self.unconnected.try_acquire(peer::network(address), per_address)
    }

    /// Opens an engine that polls; it is found until its [`Polling`] is dropped.
    pub fn open(self: &Arc<Self>, sid: &str) -> Polling {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let has_connected = Arc::<AtomicBool>::default();
        let posts = Arc::new(Semaphore::new(POSTS_MAX));
        let engine = Engine { requests: sender, posts, has_connected: Arc::clone(&has_connected) };
        self.lock().insert(sid.into(), engine);
        Polling::new(requests, Registration { engines: Arc::clone(self), sid: sid.into(), has_connected })
    }

    /// The engine of a session id; none when there is no such engine.
    pub fn find(&self, sid: &str) -> Option<Engine> {
        self.lock().get(sid).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Engine>> {
        self.polling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By this an engine is found as long as it polls: until it is dropped.
pub struct Registration {
    engines: Arc<Engines>,
    sid: Box<str>,
    has_connected: Arc<AtomicBool>,
}

impl Registration {
    /// Its client has shown who it is.
    pub fn connected(&self) {
        self.has_connected.store(true, Ordering::Relaxed);
    }

    /// Whether its client has shown who it is.
    pub fn has_connected(&self) -> bool {
        self.has_connected.load(Ordering::Relaxed)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.engines.lock().remove(&self.sid);
    }
}

/// A session id nobody can guess: 20 characters, 120 random bits. Behind the name of the gateway and a dot, when it has
/// one: a balancer brings the session's requests back here by it.
pub fn new_sid(gateway_name: &str) -> String {
    let mut bytes = [0; 15];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    let random = BASE64_URL_SAFE_NO_PAD.encode(bytes);
    if gateway_name.is_empty() { random } else { format!("{gateway_name}.{random}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_found_until_it_is_gone() {
        let engines = Arc::new(Engines::default());
        let sid = new_sid("");
        assert!(sid.len() == 20 && new_sid("a").starts_with("a."));
        let polling = engines.open(&sid);
        assert!(engines.find(&sid).is_some());
        assert!(engines.find("x").is_none());
        drop(polling);
        assert!(engines.find(&sid).is_none());
    }

    #[test]
    fn bodies_are_few_and_small_until_the_client_is_known() {
        let engines = Arc::new(Engines::default());
        let polling = engines.open("a");
        let engine = engines.find("a").expect("open");
        let (first, bytes_max) = engine.post_permit().expect("a permit");
        let second = engine.post_permit().expect("a permit");
        assert!(bytes_max == FRAME_BYTES_MAX && engine.post_permit().is_none());
        polling.connected();
        drop((first, second));
        assert_eq!(engine.post_permit().expect("a permit").1, MESSAGE_BYTES_MAX);
    }

    #[test]
    fn only_so_many_are_on_the_way() {
        let engines = Arc::new(Engines::default());
        let permit = |address: &str| engines.unconnected_permit(address.parse().expect("an address"), 3);
        let mut strangers: Vec<_> = std::iter::from_fn(|| permit("2001:db8::1")).collect();
        assert!(strangers.len() == 3 && permit("2001:db8::2").is_none(), "the same network");
        let mut own: Vec<_> = std::iter::from_fn(|| permit("::1")).collect();
        assert_eq!(own.len(), UNCONNECTED_MAX - 3);
        assert!(own.pop().is_some() && permit("192.0.2.1").is_some());
        assert!(strangers.pop().is_some() && permit("2001:db8::1").is_some());
    }
}
