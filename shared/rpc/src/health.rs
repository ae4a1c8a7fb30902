//! Whether services are ready, for `grpc.health.v1`.

use std::{sync::Arc, time::Duration};

use messenger_core::Error;
use messenger_telemetry::Shutdown;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic_health::{ServingStatus, server};

use crate::Check;

/// How often it is asked whether a service can do its work.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long the answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Says whether this process's services are ready; they are not until told so. Clones are the same.
#[derive(Debug, Clone)]
pub struct HealthReporter {
    inner: server::HealthReporter,
    services: &'static [&'static str],
    serving: Arc<watch::Sender<bool>>,
}

impl HealthReporter {
    /// For services by their full names, as the generated `SERVICE_NAME` constants have them.
    pub async fn new(services: &'static [&'static str]) -> Self {
        let reporter = Self { inner: server::HealthReporter::new(), services, serving: Arc::default() };
        reporter.set_serving(false).await;
        reporter
    }

    /// Ready or not, as a whole and each service.
    pub async fn set_serving(&self, is_serving: bool) {
        let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in std::iter::once(&"").chain(self.services) {
            self.inner.set_service_status(service, status).await;
        }
        self.serving.send_replace(is_serving);
    }

    /// What was said last, and each change of it.
    #[must_use]
    pub fn serving(&self) -> watch::Receiver<bool> {
        self.serving.subscribe()
    }

    /// Says every second what `check` answers, until the shutdown; an answer that takes longer than 2 s is a no.
    pub async fn follow(self, check: Check, shutdown: Shutdown) {
        let ask = async {
            loop {
                sleep(ASK_EVERY).await;
                // In a task of its own: what it asks of a database is never dropped half-way.
                let mut answer = shutdown.spawn(check());
                match timeout(ANSWERED_WITHIN, &mut answer).await {
                    Ok(answer) => self.tell(answer.unwrap_or_else(|panic| Err(Error::internal(panic)))).await,
                    Err(elapsed) => {
                        self.tell(Err(Error::unavailable(elapsed))).await;
                        // Whatever it is: it comes too late, and the next one tells.
                        let _ = answer.await;
                    }
                }
            }
        };
        shutdown.token.run_until_cancelled(ask).await;
    }

    async fn tell(&self, answer: Result<(), Error>) {
        let is_serving = answer.is_ok();
        if is_serving == *self.serving.borrow() {
            return;
        }
        match answer {
            Ok(()) => tracing::info!("ready again"),
            Err(error) => tracing::warn!(?error, "not ready: the store does not answer"),
        }
        self.set_serving(is_serving).await;
    }

    pub(crate) fn service(&self) -> server::HealthService {
        server::HealthService::from_health_reporter(self.inner.clone())
    }
}
