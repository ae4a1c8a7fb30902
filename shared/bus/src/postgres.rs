//! Between processes by LISTEN and NOTIFY, when there is no Redis: positions of batches, and signals.
//!
//! The others read a batch from the journal. A session of its own listens; it is replaced when it breaks or when
//! probes stop coming back on it.

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use messenger_core::JournalId;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Batch, BusKey, BusReceiver, EventBus, Publication,
    envelope::Envelope,
    remote::{Node, PROBE_EVERY},
};

const RECONNECT_DELAY: Duration = Duration::from_secs(1);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Batches are not sent: a notification has room for 8,000 bytes.
const BATCH_BYTES_MAX: usize = 0;

/// The bus of the processes that share a PostgreSQL database and no Redis.
pub struct PostgresBus<B> {
    node: Node<B>,
    options: PgConnectOptions,
    feed: String,
}

impl<B: Batch> PostgresBus<B> {
    /// A bus that connects when it is run, with two sessions.
    #[must_use]
    pub fn new(options: PgConnectOptions, journal: JournalId, key: BusKey) -> Self {
        Self { node: Node::new(key), options, feed: format!("messenger_{}", journal.0.simple()) }
    }

    /// A pool, because it replaces a broken session.
    fn session(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(self.options.clone())
    }

    /// Sends one publication after the other until `cancel`, which never interrupts a statement. What cannot be sent
    /// is dropped.
    async fn send(&self, mut queue: mpsc::Receiver<Envelope<B>>, cancel: &CancellationToken) {
        let session = self.session();
        while let Some(Some(envelope)) = cancel.run_until_cancelled(queue.recv()).await {
            let Some(bytes) = self.node.encode(&envelope, BATCH_BYTES_MAX) else { continue };
            let text = STANDARD_NO_PAD.encode(bytes);
            let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(&self.feed).bind(text);
            if let Err(error) = notify.execute(&session).await {
                tracing::warn!(%error, "postgres: a notification was not sent");
            }
        }
        session.close().await;
    }

    async fn stay_subscribed(&self, cancel: &CancellationToken) {
        while !cancel.is_cancelled() {
            let listened = tokio::select! {
                () = cancel.cancelled() => return,
                () = self.silence() => Ok(()),
                listened = self.listen() => listened,
            };
            if let Err(error) = listened {
                tracing::warn!(%error, "postgres: cannot listen");
                cancel.run_until_cancelled(sleep(RECONNECT_DELAY)).await;
            }
        }
    }

    /// Listens until the session breaks.
    async fn listen(&self) -> Result<(), sqlx::Error> {
        let session = self.session();
        let mut listener = PgListener::connect_with(&session).await?;
        listener.ignore_pool_close_event(true);
        listener.eager_reconnect(false);
        listener.listen(&self.feed).await?;
        self.node.subscribed();
        while let Some(notification) = listener.try_recv().await? {
            if let Ok(bytes) = STANDARD_NO_PAD.decode(notification.payload()) {
                self.node.receive(&bytes);
            }
        }
        Ok(())
    }

    /// Ends when probes stop coming back.
    async fn silence(&self) {
        // The first after a while: a session has to have the time to be opened.
        let mut ticks = interval_at(Instant::now() + PROBE_EVERY, PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.node.probe() {
                tracing::warn!("postgres: notifications do not come back, listening anew");
                return;
            }
        }
    }
}

#[async_trait]
impl<B: Batch> EventBus<B> for PostgresBus<B> {
    fn publish(&self, publication: Publication<B>) {
        self.node.publish(publication);
    }

    fn subscribe(&self) -> BusReceiver<B> {
        self.node.local.subscribe()
    }

    async fn run(&self, cancel: CancellationToken) {
        let Some(queue) = self.node.take_queue() else { return };
        tokio::join!(self.send(queue, &cancel), self.stay_subscribed(&cancel));
    }
}
