//! The composition root: everything is bound and opened before anything is served; the edge ends before the services.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use messenger_core::{Error, Result, SystemClock};
use messenger_gateway::{Parts, ResumeKey};
use messenger_proto::{auth, conversation, message};
use messenger_rpc::{Encrypted, HealthReporter, Plaintext, Port};
use messenger_telemetry::{Shutdown, install_metrics};
use tokio::time::timeout;

use crate::{backend::Backend, config::Config};

/// The edge has this long, and its drain delay, to answer what is in flight and to tell its clients, the services a little after it.
const EDGE_DRAIN_MAX: Duration = Duration::from_millis(6_500);
const SERVICES_DRAIN_MAX: Duration = Duration::from_secs(2);
const SETTLED_WITHIN: Duration = Duration::from_secs(1);

const GRPC_REMEDY: &str = "give this process a certificate with --certificates (MESSENGER_CERTIFICATES)";

const SERVICES: &[&str] = &[
    auth::v1::auth_service_server::SERVICE_NAME,
    conversation::v1::conversation_service_server::SERVICE_NAME,
    message::v1::message_service_server::SERVICE_NAME,
];

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// One line for the operator that names the setting, when it cannot start; INTERNAL when a server breaks, or a task that a service is nothing without.
pub async fn run(config: Config) -> Result<()> {
    let metrics = install_metrics()?;
    let (listener, encryption) = config.gateway.bind(&config.connect).await?;
    let certificate = config.connect.certificate()?;
    let grpc_encrypted = if certificate.is_some() { Encrypted::Yes } else { Encrypted::No(GRPC_REMEDY) };
    let grpc_listener = config.connect.listen(Plaintext::GrpcListen, config.grpc_listen, grpc_encrypted).await?;
    let addresses = (listener.local_addr().map_err(Error::internal)?, grpc_listener.local_addr());

    let (edge, services, clock) = (Shutdown::new(), Shutdown::new(), Arc::new(SystemClock));
    let location = config.store.location()?;
    let backend = Backend::start(&config, clock.clone(), &services).await?;
    let parts = Parts {
        services: backend.services,
        verifier: backend.auth.verifier(),
        clock,
        resume_key: ResumeKey::derive(&backend.auth.lasting_secret("resume")),
        metrics,
        shutdown: edge.clone(),
    };
    let edge_drain_max = EDGE_DRAIN_MAX + config.gateway.drain_delay();
    let gateway = messenger_gateway::build(config.gateway, parts);
    let health = HealthReporter::new(SERVICES).await;
    health.set_serving(true).await;
    services.spawn(health.clone().follow(backend.check, services.clone()));
    if let Some(certificate) = certificate.clone() {
        services.spawn(certificate.follow(services.token.clone()));
    }
    let scheme = if encryption.is_some() { "https" } else { "http" };
    let port = Port { listener: grpc_listener, certificate, grpc: config.grpc };
    let grpc = messenger_rpc::serve(port, backend.routes, services.token.clone(), health);
    let grpc = services.spawn(grpc);
    edge.cancel_on_signal();
    edge.spawn(end_with(services.clone(), edge.clone()));
    let grpc_address = addresses.1.ok().map(tracing::field::display);
    tracing::info!(
        grpc = grpc_address,
        store = ?location,
        "messenger is ready: open {scheme}://{}",
        reachable(addresses.0)
    );

    let serve = edge.until_end_of(messenger_gateway::serve(listener, encryption, gateway));
    let (served, _) = tokio::join!(serve, edge.drained(edge_drain_max));
    if services.drain(SERVICES_DRAIN_MAX).await {
        grpc.await.unwrap_or(Ok(()))?;
        // What is not copied in this time stays in the log.
        let _ = timeout(SETTLED_WITHIN, location.settle()).await;
    }
    services.outcome().and(served)
}

/// Services that end by themselves are broken: then the edge ends too, for the process to be started anew.
async fn end_with(services: Shutdown, edge: Shutdown) {
    tokio::select! {
        () = services.token.cancelled() => edge.token.cancel(),
        () = edge.token.cancelled() => {}
    }
}

/// What a browser on this machine takes.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}
