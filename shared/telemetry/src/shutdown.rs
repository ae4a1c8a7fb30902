//! An orderly end: everybody is told, everybody is waited for, but not for ever.

use std::{future::Future, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// What the tasks of a process (in tests: of one cluster in it) end by. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled when it is time to end.
    pub token: CancellationToken,
    /// Knows the tasks that have not ended.
    pub tracker: TaskTracker,
}

impl Shutdown {
    /// Nothing runs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that is waited for; it has to end soon after the token is cancelled.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tracker.spawn(task.in_current_span())
    }

    /// Begins the end at SIGTERM or SIGINT.
    pub fn cancel_on_signal(&self) {
        let token = self.token.clone();
        self.spawn(async move {
            token.run_until_cancelled(shutdown_signal()).await;
            token.cancel();
        });
    }

    /// Tells everybody and waits for all tasks, at most `limit`. Whether all have ended.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        let have_ended = timeout(limit, self.tracker.wait()).await.is_ok();
        if !have_ended {
            tracing::warn!(tasks = self.tracker.len(), "tasks have not ended in time");
        }
        have_ended
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn shutdown_signal() {
    let listen = |kind| signal(kind).expect("the runtime has signals on, and these two may be caught");
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "shutting down");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_told_and_waited_for() {
        let shutdown = Shutdown::new();
        let token = shutdown.token.clone();
        let task = shutdown.spawn(async move { token.cancelled().await });
        assert!(shutdown.drain(Duration::from_secs(5)).await);
        assert!(task.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_left_behind() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        assert!(!shutdown.drain(Duration::from_secs(5)).await);
    }
}
