//! What the process of a service serves: the generated server, and beside it figures and health for operators.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::BoxFuture;
use messenger_core::Error;
use messenger_telemetry::{Operations, PrometheusHandle, Shutdown, install_metrics};
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::{HealthReporter, listen, serve};

/// From the signal to the end of every task.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// The sockets of a service's process, bound before anything else is opened.
#[derive(Debug)]
pub struct Sockets {
    rpc: TcpListener,
    operations: Option<(TcpListener, PrometheusHandle)>,
}

/// A service, ready to be served.
pub struct Served {
    /// What it is called in the log.
    pub name: &'static str,
    /// The full names of its gRPC services.
    pub services: &'static [&'static str],
    /// They themselves.
    pub routes: Routes,
    /// Whether it can do its work: asked every second.
    pub check: Check,
}

/// Asks whether a service can do its work.
pub type Check = Box<dyn Fn() -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

impl Sockets {
    /// For gRPC (`--listen`) and, if wanted, for operators (`--metrics-listen`), whose figures are recorded from now on.
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names the setting, when an address cannot be used.
    pub async fn bind(rpc: SocketAddr, operations: Option<SocketAddr>) -> Result<Self, Error> {
        let rpc = listen("--listen (MESSENGER_LISTEN)", rpc).await?;
        let operations = match operations {
            Some(address) => {
                let listener = listen("--metrics-listen (MESSENGER_METRICS_LISTEN)", address).await?;
                Some((listener, install_metrics()?))
            }
            None => None,
        };
        Ok(Self { rpc, operations })
    }

    /// Serves until SIGTERM or SIGINT, then drains `shutdown`.
    ///
    /// # Errors
    /// INTERNAL when the server breaks.
    pub async fn serve(self, served: Served, shutdown: Shutdown) -> Result<(), Error> {
        let Served { name, services, routes, check } = served;
        shutdown.cancel_on_signal();
        let address = self.rpc.local_addr().map_err(Error::internal)?;
        let health = HealthReporter::new(services).await;
        health.set_serving(true).await;
        shutdown.spawn(health.clone().follow(check, shutdown.clone()));
        if let Some((listener, metrics)) = self.operations {
            tracing::info!(address = ?listener.local_addr().ok(), "figures are at /metrics");
            shutdown.spawn(Operations { metrics, ready: health.serving() }.serve(listener, shutdown.clone()));
        }
        tracing::info!(%address, "{name} is ready");
        let serve = shutdown.until_end_of(serve(self.rpc, routes, shutdown.token.clone(), health));
        let (served, _) = tokio::join!(serve, shutdown.drained(DRAIN_MAX));
        served
    }
}
