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
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{BusKey, BusReceiver, Carried, EventBus, Publication, envelope::Envelope, remote::Node};

const RECONNECT_DELAY: Duration = Duration::from_millis(500);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// For what no time-out of the server can see: one that is gone without a word.
const ANSWER_LIMIT: Duration = Duration::from_secs(7);
/// Batches are not sent: they would not fit.
const BATCH_BYTES_MAX: usize = 0;
/// Characters of a part: a notification has room for 7,999 bytes, one of them the mark.
const PART_CHARACTERS_MAX: usize = 7_998;
/// At the end of the first of two parts and at the beginning of the second; no character of Base64.
const MARK: char = '~';

/// The bus of the processes that share a PostgreSQL database and no Redis.
pub struct PostgresBus<B> {
    node: Node<B>,
    options: PgConnectOptions,
    feed: String,
}

impl<B: Carried> PostgresBus<B> {
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
    /// is dropped, and a session that does not answer is left.
    async fn send(&self, mut queue: mpsc::Receiver<Envelope<B>>, cancel: &CancellationToken) {
        let mut session = self.session();
        while let Some(Some(envelope)) = cancel.run_until_cancelled(queue.recv()).await {
            let Some(bytes) = self.node.encode(&envelope, BATCH_BYTES_MAX) else { continue };
            let notify = sqlx::query(NOTIFY).bind(&self.feed).bind(parts(STANDARD_NO_PAD.encode(bytes)));
            let error = match timeout(ANSWER_LIMIT, notify.execute(&session)).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
            tracing::warn!(error, "postgres: a notification was not sent");
            session = self.session();
        }
        session.close().await;
    }

    async fn stay_subscribed(&self, cancel: &CancellationToken) {
        while !cancel.is_cancelled() {
            let listened = tokio::select! {
                () = cancel.cancelled() => return,
                () = self.node.silence() => Ok(()),
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
        let mut first = String::new();
        while let Some(notification) = listener.try_recv().await? {
            let part = notification.payload();
            if let Some(part) = part.strip_suffix(MARK) {
                part.clone_into(&mut first);
                continue;
            }
            let text = part.strip_prefix(MARK).map_or(part.to_owned(), |second| std::mem::take(&mut first) + second);
            if let Ok(bytes) = STANDARD_NO_PAD.decode(text) {
                self.node.receive(&bytes);
            }
        }
        Ok(())
    }
}

/// In one transaction, so that nobody's notification comes between the parts.
const NOTIFY: &str = "SELECT pg_notify($1, part) FROM unnest($2::text[]) AS part";

/// A signal may need two: in Base64 it is a third longer.
fn parts(text: String) -> Vec<String> {
    match text.split_at_checked(PART_CHARACTERS_MAX) {
        Some((first, second)) => vec![format!("{first}{MARK}"), format!("{MARK}{second}")],
        None => vec![text],
    }
}

#[async_trait]
impl<B: Carried> EventBus<B> for PostgresBus<B> {
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
