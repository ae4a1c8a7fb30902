//! What every process needs to be operated: logs, traces, metrics, and an orderly end.

mod init;
mod metrics;
mod shutdown;

pub use init::{Guard, LOG_FILTER_DEFAULT, TelemetryArgs, TelemetryConfig, init};
pub use metrics::{PrometheusHandle, install_metrics};
pub use shutdown::{Shutdown, shutdown_signal};
