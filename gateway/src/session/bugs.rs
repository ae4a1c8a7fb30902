//! What one of the seeded bugs takes beside a line at its place. Nothing of it runs in a build without it.

use std::sync::Arc;

use uuid::Uuid;

use super::pipe::{Pipe, Undecided};

/// For [`messenger_core::Bug::ConcurrentHandlers`]: drafts of one connection pass one another on their way into the pipe.
pub(super) fn send_concurrently(pipe: &Arc<Pipe>, draft: Undecided) {
    let pipe = Arc::clone(pipe);
    tokio::spawn(async move {
        // Tasks of one thread go in order unless one of them waits for something.
        for _ in 0..Uuid::new_v4().as_u128() % 3 {
            tokio::task::yield_now().await;
        }
        pipe.send(draft)
    });
}
