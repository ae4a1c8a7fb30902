//! What every workload is: prepared once on each server, then run on them in turn.

use crate::{report::Round, target::Target};

/// Something to measure.
pub trait Workload {
    /// What it needs on a server: accounts, conversations.
    type Ground;

    /// Makes the ground.
    async fn prepare(&self, target: &Target) -> anyhow::Result<Self::Ground>;

    /// One round; several results when it measures more than one thing.
    async fn round(&self, target: &Target, ground: &Self::Ground) -> anyhow::Result<Vec<Round>>;
}
