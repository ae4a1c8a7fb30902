//! Generated servers on a socket.

use std::time::Duration;

use messenger_core::Error;
use messenger_tls::Mutual;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as Reflection;

use crate::{
    GrpcArgs, HealthReporter,
    accept::Incoming,
    public::{self, Public},
};

const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// An access token has at most 8 KiB.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a server listens, and how it treats who comes. A listener alone is served in plain text, by the defaults.
#[derive(Debug)]
pub struct Port {
    /// Bound, and listening.
    pub listener: TcpListener,
    /// What connections are encrypted with, if they are.
    pub certificate: Option<Mutual>,
    /// Age of connections, reflection.
    pub grpc: GrpcArgs,
}

impl From<TcpListener> for Port {
    fn from(listener: TcpListener) -> Self {
        Self { listener, certificate: None, grpc: GrpcArgs::default() }
    }
}

/// Serves `routes` until `shutdown`, and health and reflection beside them without a credential. Then accepts nothing
/// new, reports not serving, and gives open calls 5 s to end.
///
/// # Errors
/// INTERNAL when the server breaks.
pub async fn serve(
    port: Port,
    routes: Routes,
    shutdown: CancellationToken,
    health: HealthReporter,
) -> Result<(), Error> {
    let Port { listener, certificate, grpc } = port;
    let age = grpc.grpc_connection_age;
    let routes = with_public_services(routes, &health, !grpc.no_reflection)?;
    let incoming = Incoming::new(listener, certificate, age);
    // The grace of tonic does not say GOAWAY before it cuts: `Incoming` cuts.
    let server = Server::builder()
        .max_connection_age(age)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .serve_with_incoming_shutdown(routes, incoming, shutdown.clone().cancelled_owned());
    let drained = async {
        shutdown.cancelled().await;
        health.set_serving(false).await;
        sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        result = server => result.map_err(Error::internal),
        () = drained => {
            tracing::warn!("calls were still open at the end of the drain time");
            Ok(())
        }
    }
}

/// Beside the authenticated routes, not behind their layer.
fn with_public_services(routes: Routes, health: &HealthReporter, has_reflection: bool) -> Result<Routes, Error> {
    let permits = public::permits();
    let routes = routes.add_service(Public::new(HealthServer::new(health.service()), &permits));
    if !has_reflection {
        return Ok(routes.prepare());
    }
    let reflection = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(messenger_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes
        .add_service(Public::new(reflection().build_v1().map_err(Error::internal)?, &permits))
        .add_service(Public::new(reflection().build_v1alpha().map_err(Error::internal)?, &permits))
        .prepare())
}
