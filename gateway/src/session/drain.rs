//! The end of a gateway: clients are told, sends in flight are answered, connections are closed; then the rest stops.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    frame::{Frame, json},
    gateway::Gateway,
    outbound::CloseReason,
};

/// How long undecided sends are waited for.
const DECIDED_WITHIN: Duration = Duration::from_secs(4);
/// How long connections have to write what waits and close.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// Clients come back spread over so many milliseconds.
const SPREAD_MILLIS: u64 = 5_000;

/// `server_draining`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerDraining {
    retry_after_ms: u64,
}

pub(super) async fn run(gateway: Arc<Gateway>) {
    gateway.shutdown.token.cancelled().await;
    let connections = gateway.hub.connections();
    tracing::info!(connections, "draining");
    gateway.hub.start_draining(|wire| {
        let retry_after_ms = Uuid::new_v4().as_u64_pair().1 % SPREAD_MILLIS;
        Frame::event(wire, "server_draining", &json(&ServerDraining { retry_after_ms }), None)
    });
    gateway.pipe.close();
    if timeout(DECIDED_WITHIN, gateway.pipe.settled()).await.is_err() {
        tracing::warn!("some sends were not decided in time");
    }
    gateway.hub.close_all(CloseReason::Draining);
    if timeout(CLOSED_WITHIN, gateway.hub.emptied()).await.is_err() {
        tracing::warn!(connections = gateway.hub.connections(), "some connections did not close in time");
    }
    gateway.drained.cancel();
}
