//! What every process needs to be operated: logs, traces, metrics, and an orderly end.

mod audit;
mod init;
mod metrics;
mod operations;
mod process;
mod repeats;
mod shutdown;

pub use audit::{AUDIT, Audit, AuditLimit};
pub use init::{Guard, LOG_FILTER_DEFAULT, TelemetryConfig, init};
pub use metrics::{PrometheusHandle, install_metrics};
pub use operations::Operations;
pub use process::{Allocator, ProcessArgs, Settings, main};
pub use shutdown::Shutdown;
