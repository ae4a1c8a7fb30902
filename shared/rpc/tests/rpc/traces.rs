//! One trace from caller to handler.

use opentelemetry::{
    global,
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::shapes::{ask, call, in_both_shapes};

#[tokio::test]
async fn a_handler_is_in_its_callers_trace() {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let traces = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer("test"));
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    in_both_shapes(async |_, mut client| {
        let span = tracing::info_span!("caller");
        let ours = span.context().span().span_context().trace_id().to_string();
        let theirs = call(&mut client, ask("trace")).instrument(span).await.expect("answered");
        assert_eq!(ours, theirs);
    })
    .await;
}
