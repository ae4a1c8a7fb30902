//! Between processes by Redis pub/sub: one feed per journal, for batches and signals alike.
//!
//! A connection is used until it breaks or probes stop coming back on it, for a half-open one reports nothing by
//! itself. Then it is replaced, without end; where there are Sentinels they are asked anew each time.

mod endpoint;

use std::{convert::Infallible, sync::Arc, time::Duration};

use async_trait::async_trait;
use messenger_core::{Error, JournalId};
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisResult, Value, aio::MultiplexedConnection};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use self::endpoint::Endpoint;
use crate::{BusKey, BusReceiver, Carried, EventBus, Publication, envelope::Envelope, remote::Node};

/// Larger batches are read from the journal by the others.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
const RECONNECT_DELAY: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The bus of the processes that share a Redis.
pub struct RedisBus<B> {
    node: Arc<Node<B>>,
    endpoint: Endpoint,
    feed: String,
}

impl<B: Carried> RedisBus<B> {
    /// A bus that connects when it is run. Beside the URLs of a server, `redis+sentinel://user:password@host:port,host:port/master`
    /// (`rediss+sentinel` with TLS) names Sentinels and the master they watch.
    ///
    /// # Errors
    /// VALIDATION_FAILED when the URL is none of these.
    pub fn new(url: &str, journal: JournalId, key: BusKey) -> Result<Self, Error> {
        let endpoint = Endpoint::parse(url)
            .map_err(|error| Error::invalid("REDIS_URL", "is not a Redis URL").with_cause(error))?;
        Ok(Self { node: Arc::new(Node::new(key)), endpoint, feed: format!("messenger:{}", journal.0) })
    }

    /// One connection, until it breaks.
    async fn connection(&self, queue: &mut mpsc::Receiver<Envelope<B>>) -> RedisResult<()> {
        let broken = CancellationToken::new();
        let (node, breaks) = (Arc::clone(&self.node), broken.clone());
        let config = AsyncConnectionConfig::new()
            .set_push_sender(move |push| receive(&node, &breaks, push))
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let client = self.endpoint.client().await?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        connection.subscribe(&self.feed).await?;
        self.node.subscribed();
        tokio::select! {
            () = broken.cancelled() => Ok(()),
            () = self.node.silence() => Ok(()),
            sent = self.send(queue, connection) => sent,
        }
    }

    /// Sends one publication after the other. One that cannot be sent is dropped, and the connection with it.
    async fn send(
        &self,
        queue: &mut mpsc::Receiver<Envelope<B>>,
        mut connection: MultiplexedConnection,
    ) -> RedisResult<()> {
        while let Some(envelope) = queue.recv().await {
            let Some(bytes) = self.node.encode(&envelope, BATCH_BYTES_MAX) else { continue };
            redis::cmd("PUBLISH").arg(&self.feed).arg(bytes).exec_async(&mut connection).await?;
        }
        Ok(())
    }
}

fn receive<B: Carried>(node: &Node<B>, broken: &CancellationToken, push: PushInfo) -> Result<(), Infallible> {
    match push.kind {
        PushKind::Message => {
            if let Some(Value::BulkString(bytes)) = push.data.get(1) {
                node.receive(bytes);
            }
        }
        PushKind::Disconnection => broken.cancel(),
        _ => {}
    }
    Ok(())
}

#[async_trait]
impl<B: Carried> EventBus<B> for RedisBus<B> {
    fn publish(&self, publication: Publication<B>) {
        self.node.publish(publication);
    }

    fn subscribe(&self) -> BusReceiver<B> {
        self.node.local.subscribe()
    }

    async fn run(&self, cancel: CancellationToken) {
        let Some(mut queue) = self.node.take_queue() else { return };
        let stay_connected = async {
            loop {
                match self.connection(&mut queue).await {
                    Ok(()) => tracing::warn!("redis: connection lost"),
                    Err(error) => tracing::warn!(%error, "redis: cannot be used"),
                }
                sleep(RECONNECT_DELAY).await;
            }
        };
        cancel.run_until_cancelled(stay_connected).await;
    }
}
