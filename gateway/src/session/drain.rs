//! The end of a gateway. Balancers see it first; then clients are told, some at a time, so that they do not all come to
//! the other gateways at once; what they have sent is answered, and they are closed. Then the rest stops.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    connection::Connection,
    frame::{Frame, json},
    hub::Hub,
    outbound::CloseReason,
    pipe::Pipe,
};

/// From one slice of the connections to the next; each is closed with the next at the earliest.
const SLICE_EVERY: Duration = Duration::from_millis(100);
/// Into so many slices many connections are cut …
const SLICES_MAX: usize = 20;
/// … and into fewer while they would have less than this.
const SLICE_CONNECTIONS_MIN: usize = 200;
/// How long it may take until all slices are told and what they sent is decided.
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

/// Waits for the shutdown and `delay` more, then drains; `drained` is cancelled when that is done.
pub(super) async fn run(
    hub: Arc<Hub>,
    pipe: Arc<Pipe>,
    shutdown: CancellationToken,
    delay: Duration,
    drained: CancellationToken,
) {
    shutdown.cancelled().await;
    sleep(delay).await;
    let connections = hub.start_draining();
    tracing::info!(connections = connections.len(), "draining");
    if !close_in_slices(connections).await {
        tracing::warn!("some sends were not decided in time");
    }
    pipe.close();
    hub.close_all(CloseReason::Draining);
    if timeout(CLOSED_WITHIN, hub.emptied()).await.is_err() {
        tracing::warn!(connections = hub.connections(), "some connections did not close in time");
    }
    drained.cancel();
}

/// Whether all were closed with their sends decided.
async fn close_in_slices(mut staying: Vec<Arc<Connection>>) -> bool {
    let slice = staying.len().div_ceil(SLICES_MAX).max(SLICE_CONNECTIONS_MIN);
    let (mut leaving, deadline) = (Vec::<Arc<Connection>>::new(), Instant::now() + DECIDED_WITHIN);
    let mut ticks = interval(SLICE_EVERY);
    while Instant::now() < deadline {
        ticks.tick().await;
        leaving.retain(|connection| !close_decided(connection));
        let told = staying.split_off(staying.len().saturating_sub(slice));
        told.iter().for_each(|connection| tell(connection));
        leaving.extend(told);
        if leaving.is_empty() {
            return true;
        }
    }
    false
}

/// It may send nothing more here.
fn tell(connection: &Connection) {
    connection.leave();
    let retry_after_ms = Uuid::new_v4().as_u64_pair().1 % SPREAD_MILLIS;
    let body = json(&ServerDraining { retry_after_ms });
    connection.outbound.push(Frame::event(connection.wire, "server_draining", &body, None));
}

fn close_decided(connection: &Connection) -> bool {
    let is_decided = connection.undecided() == 0;
    if is_decided {
        connection.outbound.close(CloseReason::Draining);
    }
    is_decided
}
