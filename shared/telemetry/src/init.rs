//! Logs to standard error, readable on a terminal and JSON otherwise; traces by OTLP when an endpoint is configured.

use std::{
    env,
    io::{IsTerminal as _, stderr},
    sync::mpsc,
    thread,
    time::Duration,
};

use messenger_core::Error;
use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt as _, FilterFn, LevelFilter, Targets, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::repeats::Repeats;

/// What is logged unless something else is asked for.
pub const LOG_FILTER_DEFAULT: &str = "info,sqlx=warn,h2=warn,hyper=warn";

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// Spans; of events less.
const TRACED_MAX: LevelFilter = LevelFilter::DEBUG;
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Together with what a process takes to drain it is less than 10 s.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

/// How a process is observed.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// The name in traces, for example `messenger-auth`; `OTEL_SERVICE_NAME` wins.
    pub service_name: &'static str,
    /// A level, or levels by target, separated by commas.
    pub log_filter: String,
}

/// Sends the last traces when dropped: hold it in `main`.
#[derive(Debug)]
#[must_use]
pub struct Guard {
    traces: Option<SdkTracerProvider>,
}

/// Begins to log and, if an OTLP endpoint is in the environment, to export traces. Once per process.
///
/// # Errors
/// VALIDATION_FAILED for a filter or an endpoint that cannot be used; INTERNAL when called twice.
pub fn init(config: TelemetryConfig) -> Result<Guard, Error> {
    let filter = log_filter(&config.log_filter)?;
    let is_exporting = ENDPOINTS.into_iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    let traces = if is_exporting { Some(exporting(config.service_name)?) } else { None };
    let repeats = Repeats::default();
    tracing_subscriber::registry()
        .with(log_layer(&repeats).with_filter(filter.clone().and(filter_fn(is_discreet))))
        .with(traces.as_ref().map(trace_layer))
        .with(either(filter, is_exporting))
        .try_init()
        .map_err(Error::internal)?;
    repeats.report();
    Ok(Guard { traces })
}

/// Stricter than `Targets` reads it: a misspelt level would be a target nobody has, and all others would be silent; one
/// left out would be ERROR. A log without lines is missed when it is needed.
fn log_filter(text: &str) -> Result<Targets, Error> {
    let mut filter = Targets::new();
    for part in text.split(',').map(str::trim) {
        let (target, level) = part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        let level: Option<LevelFilter> = (!level.is_empty()).then(|| level.parse().ok()).flatten();
        filter = match (target, level) {
            (None, Some(level)) => filter.with_default(level),
            (Some(target), Some(level)) if is_target(target) => filter.with_target(target, level),
            _ => return Err(not_a_filter(part)),
        };
    }
    Ok(filter)
}

fn is_target(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "_:.-".contains(letter))
}

fn not_a_filter(part: &str) -> Error {
    let each = "each part must be a level (off, error, warn, info, debug, trace) or target=level";
    Error::invalid("MESSENGER_LOG", format!("(--log) is not a log filter at {part:?}: {each}, separated by commas"))
}

fn log_layer<S>(repeats: &Repeats) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    if stderr().is_terminal() {
        fmt::layer().with_writer(stderr).with_target(false).map_event_format(|format| repeats.limit(format)).boxed()
    } else {
        let json = fmt::layer().with_writer(stderr).json().flatten_event(true).with_span_list(false);
        json.map_event_format(|format| repeats.limit(format)).boxed()
    }
}

/// Our own spans only, those that are never logged included: those of the libraries under the exporter would export
/// themselves.
fn trace_layer<S>(traces: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let ours = filter_fn(is_traced).with_max_level_hint(TRACED_MAX);
    tracing_opentelemetry::layer().with_tracer(traces.tracer("messenger")).with_location(false).with_filter(ours)
}

fn is_traced(metadata: &Metadata<'_>) -> bool {
    let level_max = if metadata.is_span() { TRACED_MAX } else { LevelFilter::INFO };
    *metadata.level() <= level_max && metadata.target().starts_with("messenger")
}

/// Libraries print what they carry, contents and tokens included, when they are asked for more than INFO: they are not.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= LevelFilter::INFO || metadata.target().starts_with("messenger")
}

/// What is logged or traced, in front of both. Libraries ask whether something is enabled and then say nothing: with
/// the layers' own filters alone, each remembers its answer until the next event of that thread, and refuses that.
fn either(log: Targets, is_exporting: bool) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    let logged_max = log.iter().map(|(_, level)| level).chain(log.default_level()).max().unwrap_or(LevelFilter::OFF);
    let level_max = if is_exporting { logged_max.max(TRACED_MAX) } else { logged_max };
    filter_fn(move |metadata: &Metadata<'_>| {
        let is_logged = is_discreet(metadata) && log.would_enable(metadata.target(), metadata.level());
        is_logged || (is_exporting && is_traced(metadata))
    })
    .with_max_level_hint(level_max)
}

/// Batches are sent by a thread of their own through a blocking client: the exporters on the runtime can deadlock it.
fn exporting(service_name: &'static str) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| Error::invalid("OTEL_EXPORTER_OTLP_ENDPOINT", "cannot be used").with_cause(error))?;
    let resource = match env::var("OTEL_SERVICE_NAME") {
        Ok(_) => Resource::builder(),
        Err(_) => Resource::builder().with_service_name(service_name),
    };
    global::set_text_map_propagator(TraceContextPropagator::new());
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())
}

impl Drop for Guard {
    /// In a thread, for the blocking client must not be used on the runtime; not waited for longer than 0.6 s.
    fn drop(&mut self) {
        let Some(traces) = self.traces.take() else { return };
        let (done, finished) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let result = traces.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
            // Nobody waits any more when this fails.
            let _ = done.send(result);
        });
        match finished.recv_timeout(SHUTDOWN_TIMEOUT + Duration::from_millis(100)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last traces were not sent"),
            Err(_) => tracing::warn!("the last traces were not sent in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_means_what_it_says() {
        let filter = log_filter("WARN, messenger_message=debug,messenger_message::store=off").expect("a filter");
        assert!(filter.would_enable("sqlx", &Level::WARN) && !filter.would_enable("sqlx", &Level::INFO));
        assert!(filter.would_enable("messenger_message::feed", &Level::DEBUG));
        assert!(!filter.would_enable("messenger_message::store", &Level::ERROR));
        log_filter(LOG_FILTER_DEFAULT).expect("the default");
    }

    #[test]
    fn one_that_means_nothing_is_refused_in_one_line() {
        for text in
            ["", ",", "info,", "loud", "x", "info,x", "loud=", "=info", "x=loud", "a=b=c", "x[{id}]=info", "a b=info"]
        {
            let line = log_filter(text).expect_err(text).message().to_owned();
            assert!(line.starts_with("MESSENGER_LOG") && line.contains("--log") && !line.contains('\n'), "{line}");
        }
    }
}
