//! One span per RPC, joined to the caller's trace by W3C `traceparent`.

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use opentelemetry::{
    Context,
    global::get_text_map_propagator,
    propagation::{Extractor, Injector},
    trace::TraceContextExt as _,
};
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const TRACEPARENT: &str = "traceparent";

/// The span a handler runs in. In process the caller's span is the current one and becomes its parent.
pub(crate) fn server_span<B>(request: &Request<B>) -> Span {
    let path = request.uri().path().trim_start_matches('/');
    let (service, method) = path.split_once('/').unwrap_or((path, ""));
    let span = tracing::info_span!(
        "rpc",
        otel.name = path,
        otel.kind = "server",
        rpc.service = service,
        rpc.method = method,
        rpc.status = Empty,
    );
    if request.headers().contains_key(TRACEPARENT) {
        let remote = get_text_map_propagator(|propagator| propagator.extract(&Received(request.headers())));
        // Fails when traces are not exported: then there is nothing to join.
        let _ = span.set_parent(remote);
    }
    span
}

/// Carries the current span's context along, if there is one to carry.
pub(crate) fn inject(headers: &mut HeaderMap) {
    let span = Span::current();
    if span.is_none() {
        return;
    }
    let context: Context = span.context();
    if context.span().span_context().is_valid() {
        get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Sent(headers)));
    }
}

struct Received<'a>(&'a HeaderMap);

impl Extractor for Received<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Sent<'a>(&'a mut HeaderMap);

impl Injector for Sent<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
