//! Work that outlives its caller.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::runtime::Handle;
use tracing::Instrument as _;

/// Dropped before its end (the client left, the deadline passed), the work goes on in a task of its own: dropping it
/// might drop a database future, which sqlx 0.9 does not survive. Handlers are bounded by their statements' time-outs.
pub(crate) struct Uncancelled<F>(Option<F>)
where
    F: Future<Output: Send> + Send + Unpin + 'static;

impl<F> Uncancelled<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    pub(crate) fn new(work: F) -> Self {
        Self(Some(work))
    }
}

impl<F> Future for Uncancelled<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let work = self.0.as_mut().expect("not polled after its end");
        let output = ready!(Pin::new(work).poll(context));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F> Drop for Uncancelled<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        if let Some(work) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work.in_current_span());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn goes_on_after_its_caller_left() {
        let (start, started) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let work = async move {
            started.await.expect("started");
            done.send(()).expect("awaited");
        };
        let mut work = Uncancelled::new(Box::pin(work));
        assert!((&mut work).now_or_never().is_none());
        drop(work);
        start.send(()).expect("still waiting");
        finished.await.expect("finished");
    }
}
