//! Within one process: publications are shared, never encoded.

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{BusReceiver, Carried, EventBus, PUBLICATIONS_QUEUED_MAX, Publication, Received};

/// The bus of a process that has its journal to itself.
#[derive(Debug)]
pub struct LocalBus<B>(broadcast::Sender<Received<B>>);

impl<B: Carried> LocalBus<B> {
    /// A bus nobody listens to yet.
    #[must_use]
    pub fn new() -> Self {
        Self(broadcast::Sender::new(PUBLICATIONS_QUEUED_MAX))
    }

    pub(crate) fn deliver(&self, received: Received<B>) {
        // Fails when nobody listens.
        let _ = self.0.send(received);
    }
}

impl<B: Carried> Default for LocalBus<B> {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl<B: Carried> EventBus<B> for LocalBus<B> {
    fn publish(&self, publication: Publication<B>) {
        self.deliver(Received::Publication(publication));
    }

    fn subscribe(&self) -> BusReceiver<B> {
        BusReceiver(self.0.subscribe())
    }

    async fn run(&self, cancel: CancellationToken) {
        cancel.cancelled().await;
    }
}
