//! The engines of this process: those that poll are found by their session id, and only so many clients
//! may be on the way to a connection, in all and from one address.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use tokio::sync::mpsc;

use super::polling::{Polling, Request};
use crate::peer;

/// Engines without a session.
const UNCONNECTED_MAX: usize = 1_000;
/// Requests that may wait for one engine; the rest wait in front of it.
const REQUESTS_MAX: usize = 4;

/// All engines that poll, and how many have no session.
#[derive(Default)]
pub struct Engines {
    polling: Mutex<HashMap<Box<str>, mpsc::Sender<Request>>>,
    unconnected: Mutex<Unconnected>,
}

#[derive(Default)]
struct Unconnected {
    in_all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A client on the way to a connection; dropping it makes room for another.
pub struct Admission {
    engines: Arc<Engines>,
    address: IpAddr,
}

impl Engines {
    /// Lets one more client on the way to a connection; none when there are too many, in all or from its address.
    /// This machine itself may have as many as there are.
    pub fn admit(self: &Arc<Self>, address: IpAddr, per_address: usize) -> Option<Admission> {
        let (address, is_own) = (peer::network(address), address.to_canonical().is_loopback());
        let mut unconnected = self.unconnected();
        let here = unconnected.by_address.get(&address).copied().unwrap_or_default();
        if unconnected.in_all >= UNCONNECTED_MAX || (here >= per_address && !is_own) {
            return None;
        }
        unconnected.in_all += 1;
        unconnected.by_address.insert(address, here + 1);
        Some(Admission { engines: Arc::clone(self), address })
    }

    /// Opens an engine that polls; it is found until its [`Polling`] is dropped.
    pub fn open(self: &Arc<Self>, sid: &str) -> Polling {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        self.lock().insert(sid.into(), sender);
        Polling::new(requests, Place { engines: Arc::clone(self), sid: sid.into() })
    }

    /// Where the requests for an engine go; none when there is no such engine.
    pub fn find(&self, sid: &str) -> Option<mpsc::Sender<Request>> {
        self.lock().get(sid).cloned()
    }

    fn unconnected(&self) -> MutexGuard<'_, Unconnected> {
        self.unconnected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, mpsc::Sender<Request>>> {
        self.polling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut unconnected = self.engines.unconnected();
        unconnected.in_all -= 1;
        if let Entry::Occupied(mut here) = unconnected.by_address.entry(self.address) {
            *here.get_mut() -= 1;
            if *here.get() == 0 {
                here.remove();
            }
        }
    }
}

/// An engine's place among those that poll. Dropping it leaves.
pub struct Place {
    engines: Arc<Engines>,
    sid: Box<str>,
}

impl Drop for Place {
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
    fn only_so_many_are_on_the_way() {
        let engines = Arc::new(Engines::default());
        let admit = |address: &str| engines.admit(address.parse().expect("an address"), 3);
        let mut strangers: Vec<_> = std::iter::from_fn(|| admit("2001:db8::1")).collect();
        assert!(strangers.len() == 3 && admit("2001:db8::2").is_none(), "the same network");
        let mut own: Vec<_> = std::iter::from_fn(|| admit("::1")).collect();
        assert_eq!(own.len(), UNCONNECTED_MAX - 3);
        assert!(own.pop().is_some() && admit("192.0.2.1").is_some());
        assert!(strangers.pop().is_some() && admit("2001:db8::1").is_some());
        drop((own, strangers));
        assert!(engines.unconnected().by_address.is_empty());
    }
}
