//! What all connections of this process share, and the tasks that keep it going.

use std::{sync::Arc, time::Duration};

use messenger_core::{Clock, KeyedSemaphore, UserId};
use messenger_identity::{Revocation, Verifier};
use messenger_rpc::{Turns, keys};
use messenger_telemetry::{PrometheusHandle, Shutdown};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Hub, Pipe, Rates, ResumeKey, drain, feed, openings::Openings, places::Places};
use crate::{config::GatewayConfig, services::Services};

/// How often a starting gateway looks whether it is ready.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Long polls that may wait in all; each holds a stream of the message service.
const WAITS_MAX: usize = 10_000;
/// Calls of one user by REST whose answers are made or written; each may take a megabyte.
const CALLS_PER_USER_MAX: usize = 16;
/// Those that wait until one of them has been written.
const CALLS_IN_LINE_MAX: usize = 256;

/// What a gateway is made of.
pub struct Parts {
    /// The services behind it.
    pub services: Services,
    /// Who presents a token; the gateway keeps its keys and revocations up to date.
    pub verifier: Arc<Verifier>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Signs what clients resume with; the same in all gateways.
    pub resume_key: ResumeKey,
    /// The figures of this process.
    pub metrics: PrometheusHandle,
    /// When it ends, and who waits for its tasks.
    pub shutdown: Shutdown,
}

/// One gateway: the state of its HTTP routes and of every session.
pub struct Gateway {
    /// What was configured.
    pub config: GatewayConfig,
    /// The services behind it.
    pub services: Services,
    /// Who presents a token.
    pub verifier: Arc<Verifier>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Rooms and connections.
    pub hub: Arc<Hub>,
    /// Drafts on their way to be stored.
    pub pipe: Arc<Pipe>,
    /// How often users may send.
    pub rates: Rates,
    /// The figures of this process.
    pub metrics: PrometheusHandle,
    /// When it ends, and who waits for its tasks.
    pub shutdown: Shutdown,
    /// Users who wait for something to happen, by long poll.
    pub(crate) waits: Arc<KeyedSemaphore<UserId>>,
    /// Calls of users by REST.
    pub(crate) calls: Arc<Turns<UserId>>,
    pub(super) openings: Openings,
    pub(super) places: Places,
    pub(super) resume_key: ResumeKey,
    /// Cancelled when the connections are drained: feed and pipe are needed until then.
    pub(super) drained: CancellationToken,
}

impl Gateway {
    pub(crate) fn start(config: GatewayConfig, parts: Parts) -> Arc<Self> {
        let gateway = Arc::new(Self {
            rates: Rates::new(config.sends.rates()),
            hub: Arc::new(Hub::new(config.queued_bytes_max)),
            waits: KeyedSemaphore::new(WAITS_MAX),
            calls: Turns::new(CALLS_PER_USER_MAX, CALLS_IN_LINE_MAX),
            config,
            services: parts.services,
            verifier: parts.verifier,
            clock: parts.clock,
            pipe: Arc::default(),
            metrics: parts.metrics,
            shutdown: parts.shutdown,
            openings: Openings::default(),
            places: Places::default(),
            resume_key: parts.resume_key,
            drained: CancellationToken::new(),
        });
        gateway.spawn_tasks();
        gateway
    }

    fn spawn_tasks(&self) {
        let (auth, message) = (&self.services.auth, &self.services.message);
        let (hub, verifier, drained) = (&self.hub, &self.verifier, &self.drained);
        self.shutdown.spawn(feed::run(Arc::clone(hub), message.clone(), drained.clone()));
        let (pipe, message, stopped) = (Arc::clone(&self.pipe), message.clone(), drained.clone());
        self.shutdown.spawn(async move { pipe.run(message, stopped).await });
        self.shutdown.spawn(keys::follow_jwks(auth.clone(), Arc::clone(verifier), drained.clone()));
        let revoking = Arc::clone(hub);
        let revoke = move |revocation: &Revocation| revoking.revoke(revocation);
        self.shutdown.spawn(keys::follow_revocations(auth.clone(), Arc::clone(verifier), drained.clone(), revoke));
        let (shutdown, delay) = (self.shutdown.token.clone(), self.config.drain_delay());
        self.shutdown.spawn(drain::run(Arc::clone(hub), Arc::clone(&self.pipe), shutdown, delay, drained.clone()));
    }

    /// Whether clients can be served: the feed is connected, auth has said which tokens are good, and it is not going
    /// away.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.hub.is_fed() && self.verifier.is_ready() && !self.shutdown.token.is_cancelled()
    }

    /// Resolves when clients can be served for the first time.
    pub async fn ready(&self) {
        while !self.is_ready() {
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}
