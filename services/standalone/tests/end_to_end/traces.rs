//! One trace from the edge to SQL, through whatever processes lie between, as a collector receives it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use axum::{Router, body::Bytes, extract::State, routing::post};
use messenger_testkit::{Cluster, Settings, Shape, TestClient, User, Wire};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message as _;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, time::timeout};

const RECEIVED_WITHIN: Duration = Duration::from_secs(30);
const CLIENTS_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENTS_SPAN: &str = "00f067aa0ba902b7";

/// Takes spans by OTLP over HTTP.
pub(crate) struct Collector {
    pub(crate) spans: watch::Receiver<Vec<Span>>,
    url: String,
}

impl Collector {
    async fn start() -> anyhow::Result<Self> {
        let (sender, spans) = watch::channel(Vec::new());
        let routes = Router::new().route("/v1/traces", post(collect)).with_state(Arc::new(sender));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { spans, url })
    }

    /// The names of a span and of all above it, as soon as there is the one that is meant. What is above and was not
    /// received, the client's own span, is shown by its ids.
    pub(crate) async fn way_up(
        &mut self,
        from: &str,
        is_meant: impl Fn(&[String]) -> bool,
    ) -> anyhow::Result<Vec<String>> {
        let found = self.spans.wait_for(|spans| ways_up(spans, from).iter().any(|way| is_meant(way)));
        let is_found = timeout(RECEIVED_WITHIN, found).await.is_ok();
        let ways = ways_up(&self.spans.borrow(), from);
        ensure!(is_found, "no such way up from {from}: {ways:#?}");
        ways.into_iter().find(|way| is_meant(way)).context("it was there a moment ago")
    }
}

async fn collect(State(spans): State<Arc<watch::Sender<Vec<Span>>>>, body: Bytes) {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return };
    let received = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    spans.send_modify(|spans| spans.extend(received.flat_map(|scope| scope.spans)));
}

fn ways_up(spans: &[Span], from: &str) -> Vec<Vec<String>> {
    let by_id: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (&*span.span_id, span)).collect();
    let way = |start: &Span| {
        let (mut way, mut parent) = (vec![start.name.clone()], start.parent_span_id.clone());
        while let Some(span) = by_id.get(&*parent) {
            way.push(span.name.clone());
            parent = span.parent_span_id.clone();
        }
        if !parent.is_empty() {
            way.push(format!("{} {}", hex(&start.trace_id), hex(&parent)));
        }
        way
    };
    spans.iter().filter(|span| span.name == from).map(way).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn traced(shape: Shape, more: &[(&'static str, &str)]) -> anyhow::Result<(Collector, Cluster)> {
    let collector = Collector::start().await?;
    let mut environment =
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.clone()), ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned())];
    environment.extend(more.iter().map(|&(name, value)| (name, value.to_owned())));
    let cluster = Cluster::start_with(shape, Settings { environment, ..Settings::default() }).await?;
    Ok((collector, cluster))
}

async fn send_by_rest(cluster: &Cluster, sender: &User, group: &str) -> anyhow::Result<()> {
    let url = format!("{}/api/v1/conversations/{group}/messages", cluster.api().url());
    let request = reqwest::Client::new()
        .post(url)
        .bearer_auth(&sender.token)
        .header("traceparent", format!("00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01"))
        .json(&json!({ "content": "by REST" }));
    ensure!(request.send().await?.status().is_success());
    Ok(())
}

async fn a_send_is_one_trace(shape: Shape) -> anyhow::Result<()> {
    let (mut collector, cluster) = traced(shape, &[]).await?;
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let group = cluster.api().group(&ann, false, &[&bob]).await?;

    send_by_rest(&cluster, &ann, &group).await?;
    let clients = format!("{CLIENTS_TRACE} {CLIENTS_SPAN}");
    let way = collector.way_up("append", |way| way.last() == Some(&clients)).await?;
    ensure!(way[1] == "journal.append", "{way:?}");
    ensure!(way[2] == "messenger.message.v1.MessageService/SendMessage", "{way:?}");
    ensure!(way[3] == "POST /api/v1/conversations/{id}/messages", "{way:?}");

    let mut socket = TestClient::connect(cluster.edge(), Wire::Plain, &ann).await?;
    let sent = socket.request("send_message", json!({ "conversationId": group, "content": "by socket" })).await?;
    let way = collector.way_up("append", |way| way.last().is_some_and(|top| top == "send_message")).await?;
    ensure!(way == ["append", "journal.append", "send_message"], "{way:?}");

    socket.request("mark_read", json!({ "conversationId": group, "messageId": sent["id"] })).await?;
    // The spans of the processes come in any order: the way is there when its top, the client's command, is.
    let is_whole = |way: &[String]| way.len() > 1 && way.last().is_some_and(|top| top == "mark_read");
    let way = collector.way_up("mark_read", is_whole).await?;
    ensure!(way[1..] == ["messenger.message.v1.MessageService/MarkRead", "mark_read"], "{way:?}");
    Ok(())
}

#[tokio::test]
async fn in_one_process() -> anyhow::Result<()> {
    a_send_is_one_trace(Shape::StandaloneSqlite).await
}

#[tokio::test]
async fn through_four_processes() -> anyhow::Result<()> {
    a_send_is_one_trace(Shape::SplitPostgres).await
}
