//! Metrics for Prometheus.

use std::{sync::OnceLock, thread, time::Duration};

use messenger_core::Error;
use metrics::Unit;
pub use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

/// Seconds: from an in-process call to a request nobody waits for any more.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Anything else that is measured by its distribution: sizes of batches, rows, queues.
const COUNTS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];
/// Observations wait in memory for the next scrape; without one they are folded this often.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Every figure of every process: what it is called, what kind it is, in what it is counted and what it says.
const FIGURES: &[(&str, Kind, Unit, &str)] = &[
    ("messenger_append_batch_drafts", Kind::Histogram, Unit::Count, "Drafts in one commit of the journal"),
    (
        "messenger_append_seconds",
        Kind::Histogram,
        Unit::Seconds,
        "Appending a batch to the journal, its commit included",
    ),
    ("messenger_connections", Kind::Gauge, Unit::Count, "Open connections of clients"),
    ("messenger_connections_ended_total", Kind::Counter, Unit::Count, "Connections that ended, by why (end)"),
    (
        "messenger_db_errors_total",
        Kind::Counter,
        Unit::Count,
        "Errors of the database, by kind: those that pass by themselves, no free session in time (pool exhausted), others",
    ),
    ("messenger_entries_appended_total", Kind::Counter, Unit::Count, "Entries of the journal written by this process"),
    (
        "messenger_feed_lag_positions",
        Kind::Gauge,
        Unit::Count,
        "Positions of the journal this process has not delivered yet, sampled twice a second",
    ),
    ("messenger_followers", Kind::Gauge, Unit::Count, "Gateways and subscribers that follow the feed"),
    (
        "messenger_followers_overflowed_total",
        Kind::Counter,
        Unit::Count,
        "Followers that were ended because they read too slowly",
    ),
    ("messenger_http_request_seconds", Kind::Histogram, Unit::Seconds, "REST requests, by method, route and status"),
    ("messenger_messages_stored_total", Kind::Counter, Unit::Count, "Messages stored by this process"),
    (
        "messenger_password_hashes_refused_total",
        Kind::Counter,
        Unit::Count,
        "Logins and registrations turned away because too many waited",
    ),
    ("messenger_password_wait_seconds", Kind::Histogram, Unit::Seconds, "Waiting for a core to hash a password on"),
    (
        "messenger_pipe_batch_drafts",
        Kind::Histogram,
        Unit::Count,
        "Drafts in one batch from the gateway to the message service",
    ),
    (
        "messenger_replay_pages_total",
        Kind::Counter,
        Unit::Count,
        "Pages of missed entries read for those who come back",
    ),
    (
        "messenger_requests_failed_total",
        Kind::Counter,
        Unit::Count,
        "Requests over sockets that were answered with an error, by code",
    ),
    (
        "messenger_rpc_seconds",
        Kind::Histogram,
        Unit::Seconds,
        "Calls served, by method and gRPC code, until the answer or the opened stream",
    ),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

fn describe() {
    for &(name, kind, unit, says) in FIGURES {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, unit, says),
            Kind::Gauge => metrics::describe_gauge!(name, unit, says),
            Kind::Histogram => metrics::describe_histogram!(name, unit, says),
        }
    }
}

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
    describe();
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
    use std::{collections::BTreeSet, fs, path::Path};

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
        metrics::counter!("messenger_messages_stored_total").increment(1);
        assert!(handle.render().contains("# HELP messenger_messages_stored_total Messages stored"));
    }

    /// The names in the code of every crate are those of the table, and so are those of the document.
    #[test]
    fn every_figure_is_described() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut used = BTreeSet::new();
        for folder in ["gateway/src", "services", "shared"] {
            collect(&root.join(folder), &mut used);
        }
        let described = FIGURES.iter().map(|figure| figure.0.to_owned()).collect();
        assert_eq!(used, described);
        let document = fs::read_to_string(root.join("docs/operations.md")).expect("readable");
        for (name, _, _, says) in FIGURES {
            assert!(document.contains(&format!("| `{name}` | {says} |")), "docs/operations.md: | `{name}` | {says} |");
        }
    }

    fn collect(folder: &Path, used: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder of the workspace") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                collect(&path, used);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source text");
                for part in
                    ["counter!(\"", "gauge!(\"", "histogram!(\""].iter().flat_map(|call| text.split(call).skip(1))
                {
                    let name = part.split('"').next().unwrap_or_default();
                    if name.starts_with("messenger_") && !name.starts_with("messenger_test") {
                        used.insert(name.to_owned());
                    }
                }
            }
        }
    }
}
