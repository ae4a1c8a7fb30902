//! What the buses between processes have in common: deliver here at once, send to the others from a bounded queue,
//! and notice when nothing comes back.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at},
};
use uuid::Uuid;

use crate::{
    BusKey, Carried, EventBus as _, LocalBus, PUBLICATIONS_QUEUED_MAX, Publication, Received,
    envelope::{self, Envelope},
};

/// How often a probe is sent.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Probes that did not come back until the subscription counts as lost.
const PROBES_MISSED_MAX: u32 = 5;

/// One process on a bus between processes.
pub(crate) struct Node<B> {
    pub(crate) local: LocalBus<B>,
    id: Uuid,
    key: BusKey,
    outgoing: mpsc::Sender<Envelope<B>>,
    queue: Mutex<Option<mpsc::Receiver<Envelope<B>>>>,
    probes_missed: AtomicU32,
}

impl<B: Carried> Node<B> {
    pub(crate) fn new(key: BusKey) -> Self {
        let (outgoing, queue) = mpsc::channel(PUBLICATIONS_QUEUED_MAX);
        Self {
            local: LocalBus::new(),
            id: Uuid::new_v4(),
            key,
            outgoing,
            queue: Mutex::new(Some(queue)),
            probes_missed: AtomicU32::new(0),
        }
    }

    /// Here at once, to the others when there is room.
    pub(crate) fn publish(&self, publication: Publication<B>) {
        self.local.publish(publication.clone());
        if self.outgoing.try_send(Envelope::Publication(publication)).is_err() {
            tracing::debug!("the bus is behind: a publication was dropped");
        }
    }

    /// What is to be sent; none when it was taken before.
    pub(crate) fn take_queue(&self) -> Option<mpsc::Receiver<Envelope<B>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn encode(&self, envelope: &Envelope<B>, batch_bytes_max: usize) -> Option<Vec<u8>> {
        envelope::encode((self.id, &self.key), envelope, batch_bytes_max)
    }

    /// Sends probes until they stop coming back.
    pub(crate) async fn silence(&self) {
        // A new session has the time to be opened, whatever became of the last one.
        self.probes_missed.store(0, Ordering::Relaxed);
        let mut ticks = interval_at(Instant::now() + PROBE_EVERY, PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.probe() {
                tracing::warn!("the bus: publications do not come back");
                return;
            }
        }
    }

    /// Sends a probe; says whether the last ones came back.
    fn probe(&self) -> bool {
        let _ = self.outgoing.try_send(Envelope::Probe);
        self.probes_missed.fetch_add(1, Ordering::Relaxed) < PROBES_MISSED_MAX
    }

    /// The subscription is new: something may have been missed before.
    pub(crate) fn subscribed(&self) {
        self.probes_missed.store(0, Ordering::Relaxed);
        self.local.deliver(Received::Interrupted);
    }

    /// From the wire. What this process sent was delivered before.
    pub(crate) fn receive(&self, bytes: &[u8]) {
        if envelope::sender(bytes) == Some(self.id) {
            self.probes_missed.store(0, Ordering::Relaxed);
            return;
        }
        match envelope::decode(&self.key, bytes) {
            Ok(Envelope::Publication(publication)) => self.local.deliver(Received::Publication(publication)),
            Ok(Envelope::Probe) => {}
            Err(error) => tracing::debug!(?error, "a publication of the bus was ignored"),
        }
    }
}
