//! The process of a service: what it is known by and believes, the generated server, and beside it figures and health
//! for operators.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use messenger_core::{Clock, Error, Result};
use messenger_identity::{TokenRules, Verifier};
use messenger_proto::auth::v1::auth_service_client::AuthServiceClient;
use messenger_telemetry::{Operations, PrometheusHandle, Shutdown, install_metrics};
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::{
    ConnectArgs, Encrypted, HealthReporter, Plaintext, Port, RpcChannel, ServeArgs, ServerAuth, Service,
    ServiceCredential, Trust, keys, serve,
};

/// From the signal to the end of every task.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// A service's process before it serves: its sockets are bound before anything else is opened.
#[derive(Debug)]
pub struct Process {
    service: Service,
    /// What it proves itself by.
    pub credential: ServiceCredential,
    /// Which services it believes.
    pub trust: Trust,
    /// What its tasks end by.
    pub shutdown: Shutdown,
    connect: ConnectArgs,
    rpc: Port,
    operations: Option<(TcpListener, PrometheusHandle)>,
}

/// A service, ready to be served.
pub struct Served {
    /// The full names of its gRPC services.
    pub services: &'static [&'static str],
    /// They themselves.
    pub routes: Routes,
    /// Whether it can do its work: asked every second.
    pub check: Check,
}

/// Asks whether a service can do its work.
pub type Check = Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

impl Process {
    /// Reads what it is known by, and listens for gRPC (`--listen`) and, if wanted, for operators (`--metrics-listen`),
    /// whose figures are recorded from now on.
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names the setting, when one cannot be used.
    pub async fn bind(service: Service, args: &ServeArgs, listen: SocketAddr) -> Result<Self> {
        let connect = &args.connect;
        let certificate = connect.certificate()?;
        let credential = connect.credential(service, certificate.as_ref())?;
        let encrypted = match &certificate {
            Some(_) => Encrypted::Yes,
            None => Encrypted::No("give this service a certificate with --certificates (MESSENGER_CERTIFICATES)"),
        };
        let listener = connect.listen(Plaintext::Listen, listen, encrypted).await?;
        let rpc = Port { listener, certificate, grpc: args.grpc.clone() };
        let operations = match args.metrics_listen {
            Some(address) => {
                let plain = Encrypted::No("name an address of this machine only");
                let listener = connect.listen(Plaintext::MetricsListen, address, plain).await?;
                Some((listener, install_metrics()?))
            }
            None => None,
        };
        let trust = args.trust(&credential);
        let (connect, shutdown) = (connect.clone(), Shutdown::new());
        Ok(Self { service, credential, trust, shutdown, connect, rpc, operations })
    }

    /// The way to another service, at the URLs of its setting (`--auth-url` and so on).
    ///
    /// # Errors
    /// As [`ConnectArgs::channel`].
    pub fn channel(&self, to: Service, urls: &str) -> Result<RpcChannel> {
        self.connect.channel(&self.credential, to, urls)
    }

    /// By what the server of a service that is not auth knows its callers; kept up to date by `auth`.
    pub fn server_auth(
        &self,
        auth: &AuthServiceClient<RpcChannel>,
        rules: TokenRules,
        clock: Arc<dyn Clock>,
    ) -> ServerAuth {
        let verifier = Arc::new(Verifier::new(rules, clock));
        keys::follow(auth, &verifier, &self.shutdown);
        ServerAuth { verifier, trust: self.trust.clone() }
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    ///
    /// # Errors
    /// INTERNAL when the server breaks, or a task that the service is nothing without.
    pub async fn serve(self, served: Served) -> Result<()> {
        let Served { services, routes, check } = served;
        let shutdown = self.shutdown;
        shutdown.cancel_on_signal();
        let address = self.rpc.listener.local_addr().map_err(Error::internal)?;
        let health = HealthReporter::new(services).await;
        health.set_serving(true).await;
        shutdown.spawn(health.clone().follow(check, shutdown.clone()));
        if let Some((listener, metrics)) = self.operations {
            let address = listener.local_addr().map_err(Error::internal)?;
            tracing::info!(%address, "figures are at /metrics");
            shutdown.spawn(Operations { metrics, ready: health.serving() }.serve(listener, shutdown.clone()));
        }
        let is_encrypted = self.rpc.certificate.is_some();
        if let Some(certificate) = self.rpc.certificate.clone() {
            shutdown.spawn(certificate.follow(shutdown.token.clone()));
        }
        tracing::info!(%address, encrypted = is_encrypted, "{} is ready", self.service);
        let serve = serve(self.rpc, routes, shutdown.token.clone(), health);
        let (served, _) = tokio::join!(shutdown.until_end_of(serve), shutdown.drained(DRAIN_MAX));
        shutdown.outcome().and(served)
    }
}
