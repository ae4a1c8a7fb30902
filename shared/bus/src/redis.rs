//! Between processes by Redis pub/sub: one feed per journal, for batches and signals alike.
//!
//! A connection that is gone is replaced without end, at most 2 s after Redis is back. The link is tried every second,
//! because a half-open one reports nothing by itself, and neither does a subscription that failed after a reconnect.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use messenger_core::{Error, JournalId};
use redis::{
    Client, IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind, RedisResult, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Batch, BusKey, BusReceiver, EventBus, Publication,
    envelope::Envelope,
    remote::{Node, PROBE_EVERY},
};

/// Larger batches are read from the journal by the others.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The bus of the processes that share a Redis.
pub struct RedisBus<B> {
    node: Arc<Node<B>>,
    connection: ConnectionManager,
    feed: String,
}

impl<B: Batch> RedisBus<B> {
    /// A bus that connects when it is run. To be called inside a runtime.
    ///
    /// # Errors
    /// VALIDATION_FAILED when the URL is none of Redis.
    pub fn new(url: &str, journal: JournalId, key: BusKey) -> Result<Self, Error> {
        let node = Arc::new(Node::new(key));
        let connection = connection(url, Arc::clone(&node))
            .map_err(|error| Error::invalid("REDIS_URL", "is not a Redis URL").with_cause(error))?;
        Ok(Self { node, connection, feed: format!("messenger:{}", journal.0) })
    }

    /// Sends one publication after the other. What cannot be sent is dropped.
    async fn send(&self, mut queue: mpsc::Receiver<Envelope<B>>) {
        while let Some(envelope) = queue.recv().await {
            let Some(bytes) = self.node.encode(&envelope, BATCH_BYTES_MAX) else { continue };
            let mut connection = self.connection.clone();
            let sent: RedisResult<()> =
                redis::cmd("PUBLISH").arg(&self.feed).arg(bytes).query_async(&mut connection).await;
            if let Err(error) = sent {
                tracing::warn!(%error, "redis: a publication was not sent");
            }
        }
    }

    /// Subscribes, and again whenever probes stop coming back.
    async fn stay_subscribed(&self) {
        let mut ticks = interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_subscribed = false;
        loop {
            ticks.tick().await;
            is_subscribed = is_subscribed && self.node.probe();
            if !is_subscribed {
                match self.connection.clone().subscribe(&self.feed).await {
                    Ok(()) => is_subscribed = true,
                    Err(error) => tracing::warn!(%error, "redis: cannot subscribe"),
                }
            }
        }
    }
}

fn connection<B: Batch>(url: &str, node: Arc<Node<B>>) -> RedisResult<ConnectionManager> {
    let info = url.into_connection_info()?;
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let tcp = TcpSettings::default().set_nodelay(true);
    let config = ConnectionManagerConfig::new()
        .set_push_sender(move |push| receive(&node, push))
        .set_automatic_resubscription()
        .set_number_of_retries(usize::MAX)
        .set_max_delay(RECONNECT_DELAY_MAX)
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    ConnectionManager::new_lazy_with_config(Client::open(info.set_redis_settings(redis).set_tcp_settings(tcp))?, config)
}

fn receive<B: Batch>(node: &Node<B>, push: PushInfo) -> Result<(), Error> {
    match push.kind {
        PushKind::Message => {
            if let Some(Value::BulkString(bytes)) = push.data.get(1) {
                node.receive(bytes);
            }
        }
        PushKind::Subscribe => node.subscribed(),
        PushKind::Disconnection => tracing::warn!("redis: connection lost"),
        _ => {}
    }
    Ok(())
}

#[async_trait]
impl<B: Batch> EventBus<B> for RedisBus<B> {
    fn publish(&self, publication: Publication<B>) {
        self.node.publish(publication);
    }

    fn subscribe(&self) -> BusReceiver<B> {
        self.node.local.subscribe()
    }

    async fn run(&self, cancel: CancellationToken) {
        let Some(queue) = self.node.take_queue() else { return };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.send(queue) => {}
            () = self.stay_subscribed() => {}
        }
    }
}
