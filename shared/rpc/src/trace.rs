//! Spans joined to the trace of whoever asks, by W3C `traceparent`.

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    global::get_text_map_propagator,
    propagation::{Extractor, Injector},
    trace::{SpanContext, TraceContextExt as _, TraceState},
};
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::policy;

const TRACEPARENT: &str = "traceparent";
/// Of many that were done together, so many are named.
const LINKS_MAX: usize = 128;

/// Where in a trace something was asked for; empty, and free, when no traces are exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceParent(Option<Box<SpanContext>>);

impl TraceParent {
    /// Of a span.
    #[must_use]
    pub fn of(span: &Span) -> Self {
        if span.is_none() {
            return Self::default();
        }
        let context = span.context();
        let span_context = context.span().span_context().clone();
        Self(span_context.is_valid().then(|| Box::new(span_context)))
    }

    /// As W3C writes it: `00-{trace}-{span}-{flags}`.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        let at = self.0.as_ref()?;
        Some(format!("00-{}-{}-{:02x}", at.trace_id(), at.span_id(), at.trace_flags()))
    }

    /// From a peer; empty for what is none.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let read = || {
            let (trace, span, flags) = match text.len() {
                55 => (text.get(3..35)?, text.get(36..52)?, text.get(53..55)?),
                _ => return None,
            };
            let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
            let trace = TraceId::from_hex(trace).ok()?;
            let read = SpanContext::new(trace, SpanId::from_hex(span).ok()?, flags, true, TraceState::default());
            read.is_valid().then(|| Box::new(read))
        };
        Self(read())
    }

    /// Makes `span` a child of the first of those it does the work of, and names the others.
    pub fn join<'a>(span: &Span, parents: impl IntoIterator<Item = &'a Self>) {
        if span.is_disabled() {
            return;
        }
        let mut contexts = parents.into_iter().filter_map(|parent| parent.0.as_deref()).take(LINKS_MAX);
        if let Some(first) = contexts.next() {
            // Fails when traces are not exported: then there is nothing to join.
            let _ = span.set_parent(Context::new().with_remote_span_context(first.clone()));
        }
        contexts.for_each(|context| span.add_link(context.clone()));
    }
}

/// Makes `span` a child of the one the request's `traceparent` names, if it names one.
pub fn join_request(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() || !headers.contains_key(TRACEPARENT) {
        return;
    }
    let remote = get_text_map_propagator(|propagator| propagator.extract(&Received(headers)));
    // Fails when traces are not exported: then there is nothing to join.
    let _ = span.set_parent(remote);
}

/// The span a handler runs in. In process the caller's span is the current one and becomes its parent.
pub(crate) fn server_span<B>(request: &Request<B>) -> Span {
    let path = request.uri().path();
    // A path there is not is a stranger's words, which name no span.
    let path = if policy::rule(path).is_some() { path.trim_start_matches('/') } else { "unknown call" };
    let (service, method) = path.split_once('/').unwrap_or((path, ""));
    let span = tracing::info_span!(
        "rpc",
        otel.name = path,
        otel.kind = "server",
        rpc.service = service,
        rpc.method = method,
        rpc.status = Empty,
    );
    join_request(&span, request.headers());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_w3c_writes_it() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(TraceParent::from_text(text).to_text().as_deref(), Some(text));
        let none = [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-1",
        ];
        for text in none {
            assert_eq!(TraceParent::from_text(text), TraceParent::default(), "{text}");
        }
    }
}
