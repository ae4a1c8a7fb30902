//! An orderly end: everybody is told, everybody is waited for, but not for ever.

use std::{
    error::Error as _,
    future::Future,
    process,
    sync::{Arc, OnceLock},
    time::Duration,
};

use messenger_core::{Error, ErrorKind};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// Of a process that was told twice to end.
const EXIT_AT_ONCE: i32 = 130;

/// What the tasks of a process (in tests: of one cluster in it) end by. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled when it is time to end.
    pub token: CancellationToken,
    /// Knows the tasks that have not ended.
    pub tracker: TaskTracker,
    /// Which vital task ended by itself, and why.
    broken: Arc<OnceLock<String>>,
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

    /// Starts a task the process is nothing without. Should it end before it is time, fail or panic, it is time for
    /// everybody, and [`Self::outcome`] says so: the process is to be started anew.
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let (shutdown, running) = (self.clone(), self.spawn(task));
        self.spawn(async move {
            let cause = match running.await {
                Ok(Ok(())) if shutdown.token.is_cancelled() => return,
                Ok(Ok(())) => "by itself".to_owned(),
                Ok(Err(error)) => error.source().map_or_else(|| error.message().to_owned(), ToString::to_string),
                Err(panic) => panic.to_string(),
            };
            tracing::error!(task = name, cause, "a task the process is nothing without has ended");
            // The first one is why the others end.
            let _ = shutdown.broken.set(format!("{name} has ended: {cause}"));
            shutdown.token.cancel();
        });
    }

    /// How it ended, once it has.
    ///
    /// # Errors
    /// INTERNAL, naming the vital task that ended by itself.
    pub fn outcome(&self) -> Result<(), Error> {
        self.broken.get().map_or(Ok(()), |broken| Err(Error::new(ErrorKind::Internal, broken.clone())))
    }

    /// Begins the end at SIGTERM or SIGINT; the process ends at once at a second one.
    pub fn cancel_on_signal(&self) {
        let (mut signals, token) = (Signals::new(), self.token.clone());
        // Not waited for: it is there for the case that the others do not end.
        tokio::spawn(async move {
            let name = signals.next().await;
            tracing::info!(signal = name, "shutting down");
            token.cancel();
            let name = signals.next().await;
            tracing::warn!(signal = name, "ending at once");
            process::exit(EXIT_AT_ONCE);
        });
    }

    /// Runs what the process is there for. When it ends, by itself too, it is time for the rest.
    pub async fn until_end_of<T>(&self, work: impl Future<Output = T>) -> T {
        let output = work.await;
        self.token.cancel();
        output
    }

    /// Waits until it is time to end, then as [`Self::drain`].
    pub async fn drained(&self, limit: Duration) -> bool {
        self.token.cancelled().await;
        self.drain(limit).await
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

/// SIGTERM and SIGINT, caught from when it is made.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Self {
        let listen = |kind| signal(kind).expect("the runtime has signals on, and these two may be caught");
        Self { terminate: listen(SignalKind::terminate()), interrupt: listen(SignalKind::interrupt()) }
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
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

    #[tokio::test]
    async fn nothing_goes_on_without_a_vital_task() {
        let ended = async |task: fn(CancellationToken) -> Result<(), Error>| {
            let shutdown = Shutdown::new();
            let token = shutdown.token.clone();
            shutdown.spawn_vital("the feed", async move { task(token) });
            assert!(shutdown.drained(Duration::from_secs(5)).await);
            shutdown.outcome().map_err(|error| error.message().to_owned())
        };
        assert_eq!(ended(|_| Ok(())).await, Err("the feed has ended: by itself".to_owned()));
        assert_eq!(ended(|_| Err(Error::internal("why"))).await, Err("the feed has ended: why".to_owned()));
        let panicked = ended(|_| panic!("why")).await.expect_err("broken");
        assert!(panicked.starts_with("the feed has ended: ") && panicked.contains("panicked"), "{panicked}");
        let told_to = |token: CancellationToken| {
            token.cancel();
            Ok(())
        };
        assert_eq!(ended(told_to).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_left_behind() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        assert!(!shutdown.drain(Duration::from_secs(5)).await);
    }
}
