//! Metrics for Prometheus.

use std::{sync::OnceLock, thread, time::Duration};

use messenger_core::Error;
pub use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

/// Seconds: from an in-process call to a request nobody waits for any more.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Anything else that is measured by its distribution: sizes of batches, rows, queues.
const COUNTS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];
/// Observations wait in memory for the next scrape; without one they are folded this often.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Begins to record `metrics`; the handle renders them as text. A process has one recorder: later calls get the same.
///
/// # Errors
/// INTERNAL when another recorder was installed before.
pub fn install_metrics() -> Result<PrometheusHandle, Error> {
    static INSTALLED: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    INSTALLED.get_or_init(|| install().map_err(|error| error.to_string())).clone().map_err(Error::internal)
}

fn install() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    let upkeep = handle.clone();
    // As long as the recorder: the process.
    thread::spawn(move || {
        loop {
            thread::sleep(UPKEEP_INTERVAL);
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_and_rendered() {
        let handle = install_metrics().expect("the first recorder");
        metrics::counter!("messenger_test_total").increment(2);
        metrics::histogram!("messenger_test_seconds").record(0.003);
        let text = install_metrics().expect("the same recorder").render();
        assert!(text.contains("messenger_test_total 2"), "{text}");
        assert!(text.contains(r#"messenger_test_seconds_bucket{le="0.005"} 1"#), "{text}");
        assert!(handle.render().contains("messenger_test_total 2"));
    }
}
