//! The addresses of one service: found, connected to, and taken in turn.
//!
//! A task keeps a connection to each address and looks names up again. A call takes the next connection that is up, so
//! an address that is down costs nobody anything; when all are down, calls are UNAVAILABLE at once.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{
    Uri,
    uri::{Authority, Scheme},
};
use hyper::client::conn::http2::SendRequest;
use messenger_core::Error;
use tokio::{
    net::lookup_host,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;

use crate::{
    Service,
    connection::{self, CONNECT_TIMEOUT, Encryption},
};

/// Between two looks at what a name stands for.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);
/// The same while a name cannot be looked up.
const RESOLVE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Between two attempts to reach an address that nobody waits for.
const RECONNECT_EVERY: Duration = Duration::from_secs(1);
/// Addresses in one setting.
const HOSTS_MAX: usize = 64;

/// Connections to all addresses of a service. Nothing is looked up or connected before the first call.
#[derive(Debug)]
pub(crate) struct Balance {
    to: Service,
    hosts: Vec<Host>,
    encryption: Option<Encryption>,
    peers: watch::Sender<Peers>,
    turn: AtomicUsize,
    keeper: OnceLock<AbortOnDropHandle<()>>,
}

/// A name or address with its port, and what it stood for when that was last known.
#[derive(Debug, Clone)]
struct Host {
    authority: Authority,
    addresses: Vec<SocketAddr>,
}

#[derive(Debug, Default)]
struct Peers {
    is_resolved: bool,
    list: Vec<Peer>,
}

#[derive(Debug, Clone)]
struct Peer {
    address: SocketAddr,
    authority: Authority,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Connecting,
    Up(SendRequest<Body>),
    /// Callers are refused until then; the next makes another attempt.
    Down(Instant),
}

/// A connection for one request.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// Which address it leads to.
    pub address: SocketAddr,
    /// What the address was called in the setting.
    pub authority: Authority,
    /// How it leads there.
    pub scheme: Scheme,
    /// Takes the request.
    pub sender: SendRequest<Body>,
}

/// As an operator knows it: `auth at 10.0.0.1:50051, 10.0.0.2:50051`.
impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(|host| host.authority.as_str()).collect();
        write!(f, "{} at {}", self.to, hosts.join(", "))
    }
}

impl Balance {
    /// From `http://host:port` (with encryption `https://host:port`), several separated by commas; a name may stand for
    /// several addresses.
    ///
    /// # Errors
    /// VALIDATION_FAILED when one of them is of another form.
    pub(crate) fn new(to: Service, urls: &str, encryption: Option<Encryption>) -> Result<Self, Error> {
        let scheme = if encryption.is_some() { "https" } else { "http" };
        let hosts = urls.split(',').map(|url| Host::new(url.trim(), scheme)).collect::<Result<Vec<_>, _>>()?;
        if hosts.len() > HOSTS_MAX {
            return Err(Error::invalid("url", format!("names more than {HOSTS_MAX} addresses")));
        }
        let (peers, turn, keeper) = (watch::Sender::default(), AtomicUsize::new(0), OnceLock::new());
        Ok(Self { to, hosts, encryption, peers, turn, keeper })
    }

    /// The first address that is another machine's, or may be.
    pub(crate) fn elsewhere(&self) -> Option<&Authority> {
        self.hosts.iter().find(|host| !host.is_here()).map(|host| &host.authority)
    }

    /// The next connection that is up. Waits at most 2 s, and only while none is up and one is on its way.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub(crate) async fn choose(&self) -> Result<Chosen, Error> {
        self.keeper.get_or_init(|| {
            let keep = keep_resolved(self.hosts.clone(), self.encryption.clone(), self.peers.clone());
            AbortOnDropHandle::new(tokio::spawn(keep))
        });
        if let Some(chosen) = self.choose_up(None) {
            return Ok(chosen);
        }
        self.peers.send_if_modified(Peers::try_again);
        let mut peers = self.peers.subscribe();
        // Whether it settles or not: what is up now is taken.
        let _ = timeout(CONNECT_TIMEOUT, peers.wait_for(Peers::is_settled)).await;
        self.choose_up(None).ok_or_else(|| Error::unavailable(format!("{self} does not answer")))
    }

    /// The service did not believe that a service calls: the secrets differ, which is no fault of whoever is called for.
    pub(crate) fn refused(&self) -> Error {
        Error::unavailable(format!("{self} refused our credential: is its service secret ours?"))
    }

    /// The next connection that is up, to another address than this.
    pub(crate) fn choose_up(&self, except: Option<SocketAddr>) -> Option<Chosen> {
        let peers = self.peers.borrow();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = peers.list.len();
        (0..count).map(|step| &peers.list[turn.wrapping_add(step) % count]).find_map(|peer| match &peer.state {
            State::Up(sender) if !sender.is_closed() && except != Some(peer.address) => {
                let (scheme, authority) = (self.scheme(), peer.authority.clone());
                Some(Chosen { address: peer.address, authority, scheme, sender: sender.clone() })
            }
            _ => None,
        })
    }

    fn scheme(&self) -> Scheme {
        if self.encryption.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }
}

impl Peers {
    fn set(&mut self, address: SocketAddr, state: State) {
        if let Some(peer) = self.list.iter_mut().find(|peer| peer.address == address) {
            peer.state = state;
        }
    }

    fn is_connecting(&self, address: SocketAddr) -> bool {
        self.list.iter().any(|peer| peer.address == address && matches!(peer.state, State::Connecting))
    }

    /// Whether nothing would be gained by waiting. A connection that has just ended is about to be made again.
    fn is_settled(&self) -> bool {
        let is_up = |peer: &Peer| matches!(&peer.state, State::Up(sender) if !sender.is_closed());
        let is_down = |peer: &Peer| matches!(peer.state, State::Down(_));
        self.is_resolved && (self.list.iter().any(is_up) || self.list.iter().all(is_down))
    }

    /// Somebody waits: addresses whose pause is over are tried at once. Whether there are any.
    fn try_again(&mut self) -> bool {
        let now = Instant::now();
        let mut has_changed = false;
        for peer in &mut self.list {
            if matches!(peer.state, State::Down(until) if until <= now) {
                peer.state = State::Connecting;
                has_changed = true;
            }
        }
        has_changed
    }

    /// These are the addresses now. Gives those that are new.
    fn replace(&mut self, hosts: &[Host]) -> Vec<Peer> {
        self.is_resolved = true;
        self.list.retain(|peer| hosts.iter().any(|host| host.addresses.contains(&peer.address)));
        let mut new = Vec::new();
        for host in hosts {
            for &address in &host.addresses {
                if self.list.iter().all(|peer| peer.address != address) {
                    let peer = Peer { address, authority: host.authority.clone(), state: State::Connecting };
                    self.list.push(peer.clone());
                    new.push(peer);
                }
            }
        }
        new
    }
}

impl Host {
    fn new(url: &str, scheme: &str) -> Result<Self, Error> {
        let malformed = || Error::invalid("url", format!("{url} is not of the form {scheme}://host:port"));
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let is_bare =
            uri.scheme_str() == Some(scheme) && matches!(uri.path_and_query().map_or("", |it| it.as_str()), "" | "/");
        let authority = uri.into_parts().authority.filter(|authority| is_bare && authority.port_u16().is_some());
        Ok(Self { authority: authority.ok_or_else(malformed)?, addresses: Vec::new() })
    }

    /// Whether it says by itself that it is this machine.
    fn is_here(&self) -> bool {
        let host = self.authority.host();
        let address: Result<IpAddr, _> = host.trim_start_matches('[').trim_end_matches(']').parse();
        address.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |address| address.to_canonical().is_loopback())
    }

    /// An address is what it stands for itself.
    fn is_name(&self) -> bool {
        self.authority.as_str().parse::<SocketAddr>().is_err()
    }

    /// Keeps what was known when it cannot be looked up now. Whether it could.
    async fn resolve(&mut self) -> bool {
        match timeout(CONNECT_TIMEOUT, lookup_host(self.authority.as_str())).await {
            Ok(Ok(found)) => {
                self.addresses = found.collect();
                !self.addresses.is_empty()
            }
            Ok(Err(error)) => {
                tracing::warn!(peer.name = %self.authority, %error, "a name cannot be looked up");
                false
            }
            Err(_) => {
                tracing::warn!(peer.name = %self.authority, "a name cannot be looked up in time");
                false
            }
        }
    }
}

/// Looks names up again and again, and keeps a connection to every address. The connections' keepers end with it.
async fn keep_resolved(mut hosts: Vec<Host>, encryption: Option<Encryption>, peers: watch::Sender<Peers>) {
    let mut keepers = HashMap::new();
    loop {
        let mut is_complete = true;
        for host in &mut hosts {
            is_complete &= host.resolve().await;
        }
        keepers.retain(|address, _| hosts.iter().any(|host| host.addresses.contains(address)));
        let mut new = Vec::new();
        peers.send_if_modified(|peers| {
            let (count, was_resolved) = (peers.list.len(), peers.is_resolved);
            new = peers.replace(&hosts);
            !was_resolved || !new.is_empty() || peers.list.len() != count
        });
        for peer in new {
            let address = peer.address;
            let keeper = tokio::spawn(keep_connected(address, peer.authority, encryption.clone(), peers.clone()));
            keepers.insert(address, AbortOnDropHandle::new(keeper));
        }
        if is_complete && !hosts.iter().any(Host::is_name) {
            return std::future::pending().await;
        }
        sleep(if is_complete { RESOLVE_EVERY } else { RESOLVE_AGAIN_AFTER }).await;
    }
}

async fn keep_connected(
    address: SocketAddr,
    authority: Authority,
    encryption: Option<Encryption>,
    peers: watch::Sender<Peers>,
) {
    let set = |state| peers.send_modify(|peers| peers.set(address, state));
    loop {
        let begun = Instant::now();
        match connection::connect(address, &authority, encryption.as_ref()).await {
            Ok(connection) => {
                set(State::Up(connection.sender));
                let _ = connection.task.await;
                set(State::Connecting);
            }
            Err(error) => {
                tracing::debug!(peer.address = %address, %error, "an address cannot be reached");
                // As long as the attempt took: refusals cost nothing, time-outs are not waited for one after another.
                set(State::Down(Instant::now() + begun.elapsed()));
                let mut peers = peers.subscribe();
                let _ = timeout(RECONNECT_EVERY, peers.wait_for(|peers| peers.is_connecting(address))).await;
            }
        }
    }
}
