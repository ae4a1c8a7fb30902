//! What others may hold of a connection: the hub to deliver to it, the pipe to answer it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use messenger_core::UserId;

use super::{UNDECIDED_MAX, frame::WireFormat, outbound::Outbound};

/// One open socket.
#[derive(Debug)]
pub struct Connection {
    /// Whose it is.
    pub user_id: UserId,
    /// Marks the entries it causes; a client that comes back with its pid has the same again. Not 0.
    pub origin: i64,
    /// How it wants its frames.
    pub wire: WireFormat,
    /// What waits to be written to it.
    pub outbound: Arc<Outbound>,
    undecided: AtomicUsize,
    is_leaving: AtomicBool,
}

impl Connection {
    pub(super) fn new(user_id: UserId, origin: i64, wire: WireFormat) -> Arc<Self> {
        let (undecided, is_leaving) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { user_id, origin, wire, outbound: Arc::default(), undecided, is_leaving })
    }

    /// What its sends that are not decided yet weigh together.
    pub(super) fn undecided(&self) -> usize {
        self.undecided.load(Ordering::Relaxed)
    }

    /// It is to go: it may send nothing more.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    pub(super) fn add_undecided(&self, weight: usize) {
        self.undecided.fetch_add(weight, Ordering::Relaxed);
    }

    /// One is decided; a session that stopped reading at the bound may go on.
    pub(super) fn settle(&self, weight: usize) {
        let before = self.undecided.fetch_sub(weight, Ordering::Relaxed);
        if before >= UNDECIDED_MAX && before - weight < UNDECIDED_MAX {
            self.outbound.call_attention();
        }
    }
}
