//! Work that goes on when its caller leaves.

use std::future::Future;

use messenger_core::Error;
use tracing::Instrument as _;

/// Runs `work` in a task of its own and waits for it. When the caller is cancelled the work still runs to its end
/// (every statement has a time-out, so it has one), and no database future is dropped half-way.
///
/// # Errors
/// Those of `work`; INTERNAL when it panics.
pub async fn run<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(error)),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use messenger_core::ErrorKind;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn goes_on_after_its_caller_left() {
        let (start, started) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let work = run(async move {
            started.await.map_err(Error::internal)?;
            done.send(()).map_err(|()| Error::internal("nobody waits"))
        });
        assert!(work.now_or_never().is_none());
        start.send(()).expect("still waiting");
        finished.await.expect("finished");
    }

    #[tokio::test]
    async fn a_panic_is_internal() {
        let error = run::<(), _>(async { panic!("on purpose") }).await.expect_err("panicked");
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
