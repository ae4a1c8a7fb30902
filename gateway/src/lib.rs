//! The edge: Socket.IO, plain WebSocket and REST for clients; gRPC to the services behind it.
//!
//! [`build`] puts a [`Gateway`] together and starts what it runs, [`router`] is everything it answers,
//! [`serve`] answers it on a listener until the shutdown. The session core (`session`) is shared by both socket
//! transports (`transport`); REST (`rest`) calls the same services.

mod config;
mod head;
mod headers;
mod limits;
mod objects;
mod origin;
mod page;
mod peer;
mod problem;
mod proxies;
mod read_position;
mod rest;
mod server;
mod services;
pub mod session;
mod stall;
mod transport;
mod violation;

use std::{sync::Arc, time::Duration};

use messenger_core::{Error, SystemClock};
use messenger_identity::Verifier;
use messenger_telemetry::{Shutdown, install_metrics};

/// What strangers' bytes are read by, for the fuzz targets: no interface for anybody else.
#[doc(hidden)]
pub mod wire {
    pub use crate::{
        session::{Command, Pid},
        transport::{
            socketio::{
                engine::{Packet as EnginePacket, SEPARATOR, join, packets},
                packet::{Body, Event, Packet},
                posts::Posts,
            },
            websocket::Envelope,
        },
    };
}

pub use self::{
    config::{Config, GatewayConfig},
    server::serve,
    services::Services,
    session::{Gateway, Parts, ResumeKey},
};

/// From the signal, or the end of the drain delay after it, to the end of every task.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// Everything the gateway answers: sockets, REST, the pages.
pub fn router(gateway: Arc<Gateway>) -> axum::Router {
    axum::Router::new().merge(transport::routes()).merge(rest::routes(&gateway)).with_state(gateway)
}

/// Puts a gateway together and starts its background tasks (feed, pipe, revocations, drain) on the tracker of
/// `parts.shutdown`; they end after its token is cancelled and the connections are drained.
#[must_use]
pub fn build(config: GatewayConfig, parts: Parts) -> Arc<Gateway> {
    Gateway::start(config, parts)
}

/// The process: serves until SIGTERM or SIGINT.
///
/// # Errors
/// One line for the operator that names the setting, when it cannot start.
pub async fn run(config: Config) -> Result<(), Error> {
    let certificate = config.connect.certificate()?;
    let services = config.services(certificate.as_ref())?;
    let (listener, encryption) = config.gateway.bind(&config.connect).await?;
    let scheme = if encryption.is_some() { "https" } else { "http" };
    let address = listener.local_addr().map_err(Error::internal)?;
    let (shutdown, clock) = (Shutdown::new(), Arc::new(SystemClock));
    let parts = Parts {
        services,
        verifier: Arc::new(Verifier::new(config.names.rules(), clock.clone())),
        clock,
        resume_key: ResumeKey::derive(config.connect.service_secret.expose()),
        metrics: install_metrics()?,
        shutdown: shutdown.clone(),
    };
    let drain_max = DRAIN_MAX + config.gateway.drain_delay();
    let gateway = build(config.gateway, parts);
    if let Some(certificate) = certificate {
        shutdown.spawn(certificate.follow(shutdown.token.clone()));
    }
    shutdown.cancel_on_signal();
    let (starting, stopping) = (Arc::clone(&gateway), shutdown.token.clone());
    shutdown.spawn(async move {
        if stopping.run_until_cancelled(starting.ready()).await.is_some() {
            tracing::info!("the gateway is ready: {scheme}://{address}");
        }
    });
    let (served, _) =
        tokio::join!(shutdown.until_end_of(serve(listener, encryption, gateway)), shutdown.drained(drain_max));
    served
}
