//! Whether services are ready, for `grpc.health.v1`.

use tonic_health::{ServingStatus, server};

/// Says whether this process's services are ready; they are not until told so.
#[derive(Debug, Clone)]
pub struct HealthReporter {
    inner: server::HealthReporter,
    services: &'static [&'static str],
}

impl HealthReporter {
    /// For services by their full names, as the generated `SERVICE_NAME` constants have them.
    pub async fn new(services: &'static [&'static str]) -> Self {
        let reporter = Self { inner: server::HealthReporter::new(), services };
        reporter.set_serving(false).await;
        reporter
    }

    /// Ready or not, as a whole and each service.
    pub async fn set_serving(&self, is_serving: bool) {
        let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in std::iter::once(&"").chain(self.services) {
            self.inner.set_service_status(service, status).await;
        }
    }

    pub(crate) fn service(&self) -> server::HealthService {
        server::HealthService::from_health_reporter(self.inner.clone())
    }
}
