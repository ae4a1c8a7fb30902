//! The bus: tells every process of one journal what was just appended to it, and carries signals between them.
//!
//! It is a hint. Whatever it loses is read from the journal, so nothing here waits, retries or remembers: a
//! publication that finds a queue full is dropped, and a receiver that may have missed something is told so.

mod envelope;
mod local;
mod postgres;
mod redis;
mod remote;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use messenger_core::{Error, Position};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

pub use envelope::BusKey;
pub use local::LocalBus;
pub use postgres::PostgresBus;
pub use redis::RedisBus;

/// Publications a receiver may be behind before it is [`Received::Interrupted`].
pub const PUBLICATIONS_QUEUED_MAX: usize = 256;
/// Bytes of a signal; larger ones are not carried between processes.
pub const SIGNAL_BYTES_MAX: usize = 7 * 1024;

/// Entries of one commit, as they travel.
pub trait Carried: Send + Sync + Sized + 'static {
    /// For another process.
    fn encode(&self) -> Vec<u8>;

    /// From another process.
    ///
    /// # Errors
    /// INTERNAL when it is no batch.
    fn decode(bytes: &[u8]) -> Result<Self, Error>;
}

/// What is told to all processes.
#[derive(Debug)]
pub enum Publication<B> {
    /// One commit. The journal has no other entry between `previous` and `last`.
    Entries {
        /// The last position handed out before.
        previous: Position,
        /// The last position of this commit.
        last: Position,
        /// None when the bus carries positions only, or the batch was too large for it: read the journal.
        batch: Option<Arc<B>>,
    },
    /// An encoded signal of at most [`SIGNAL_BYTES_MAX`].
    Signal(Bytes),
}

impl<B> Clone for Publication<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Entries { previous, last, batch } => {
                Self::Entries { previous: *previous, last: *last, batch: batch.clone() }
            }
            Self::Signal(encoded) => Self::Signal(encoded.clone()),
        }
    }
}

/// What a receiver gets.
#[derive(Debug)]
pub enum Received<B> {
    /// Something was published, here or elsewhere.
    Publication(Publication<B>),
    /// Publications may have been missed.
    Interrupted,
}

impl<B> Clone for Received<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Publication(publication) => Self::Publication(publication.clone()),
            Self::Interrupted => Self::Interrupted,
        }
    }
}

/// Connects the processes that follow one journal.
#[async_trait]
pub trait EventBus<B: Carried>: Send + Sync + 'static {
    /// Tells everybody, receivers of this process included (these at once and without encoding).
    fn publish(&self, publication: Publication<B>);

    /// Everything published from now on.
    fn subscribe(&self) -> BusReceiver<B>;

    /// Keeps the connection to the other processes until `cancel`; to be run once. Without it they hear nothing.
    async fn run(&self, cancel: CancellationToken);
}

/// The end of a bus to receive from. Holds at most [`PUBLICATIONS_QUEUED_MAX`].
#[derive(Debug)]
pub struct BusReceiver<B>(broadcast::Receiver<Received<B>>);

impl<B> BusReceiver<B> {
    /// The next publication; none when the bus is gone. May be cancelled without losing one.
    pub async fn receive(&mut self) -> Option<Received<B>> {
        match self.0.recv().await {
            Ok(received) => Some(received),
            Err(RecvError::Lagged(_)) => Some(Received::Interrupted),
            Err(RecvError::Closed) => None,
        }
    }
}
