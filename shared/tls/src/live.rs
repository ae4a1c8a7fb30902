//! Something made from files, and made again when they change.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use messenger_core::{Error, Result};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::files::File;

/// How often the files are looked at. Certificates are renewed days before they end; this is for whoever waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Clones are the same.
pub(crate) struct Live<T>(Arc<Inner<T>>);

struct Inner<T> {
    make: fn(&[File]) -> Result<T>,
    current: Mutex<(Vec<File>, Arc<T>)>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Live<T> {
    pub(crate) fn open(paths: Vec<PathBuf>, make: fn(&[File]) -> Result<T>) -> Result<Self> {
        let files = paths.into_iter().map(File::read).collect::<Result<Vec<_>>>()?;
        let current = Arc::new(make(&files)?);
        Ok(Self(Arc::new(Inner { make, current: Mutex::new((files, current)) })))
    }

    /// What was made last.
    pub(crate) fn current(&self) -> Arc<T> {
        Arc::clone(&self.lock().1)
    }

    /// Looks at the files every second until `shutdown`. What cannot be used, half-written files for example, is
    /// logged, and what there was goes on.
    pub(crate) async fn follow(self, shutdown: CancellationToken) {
        let mut refused: Option<Error> = None;
        while shutdown.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            let live = self.clone();
            let looked = spawn_blocking(move || live.look()).await;
            let result = looked.unwrap_or_else(|panic| Err(Error::internal(panic)));
            if let Err(error) = &result
                && refused.as_ref().map(Error::message) != Some(error.message())
            {
                tracing::warn!("changed certificates are not used: {}", error.message());
            }
            refused = result.err();
        }
    }

    fn look(&self) -> Result<()> {
        let before = self.lock().0.clone();
        let now = before.iter().map(|file| File::read(file.path.clone())).collect::<Result<Vec<_>>>()?;
        if now != before {
            let made = Arc::new((self.0.make)(&now)?);
            tracing::info!(files = ?now.iter().map(|file| &file.path).collect::<Vec<_>>(), "certificates are new");
            *self.lock() = (now, made);
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<File>, Arc<T>)> {
        // What is in it is put there whole.
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
