//! Hashing of passwords (argon2id, 19 MiB and about 15 ms each), bounded so that a flood of logins takes neither the
//! memory nor the cores of the rest.

use std::{
    fmt,
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use argon2::{
    Argon2, PasswordHasher as _, PasswordVerifier as _,
    password_hash::{self, phc::PasswordHash},
};
use messenger_core::{Error, ErrorKind, Result};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::model::Password;

const QUEUE_HASHES_MAX: usize = 16;
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Verified when there is no account, so that the answer takes as long. It is written down, for making one would hold
/// 19 MiB from the start on; nobody has a password of it.
const HASH_OF_NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and verifies on all cores but one, which is for everybody else: so many hashes at once, 16 waiting at most 1 s,
/// whoever comes then is turned away.
pub struct Passwords {
    argon2: Argon2<'static>,
    /// Of the running and the waiting.
    permits: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// To hash once: held until the hash is done.
pub struct HashPermit {
    _permit: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

impl Default for Passwords {
    /// With the OWASP floor: argon2id, 19 MiB, two passes, one lane.
    fn default() -> Self {
        let hashes_max = available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1));
        Self {
            argon2: Argon2::default(),
            permits: Arc::new(Semaphore::new(hashes_max + QUEUE_HASHES_MAX)),
            running: Arc::new(Semaphore::new(hashes_max)),
        }
    }
}

impl Passwords {
    /// The hash to keep, as a PHC string.
    ///
    /// # Errors
    /// RATE_LIMITED when too many are waiting.
    pub async fn hash(&self, password: Password) -> Result<String> {
        let (argon2, admission) = (self.argon2.clone(), self.admit().await?);
        run(admission, move || Ok(argon2.hash_password(password.as_bytes()).map_err(Error::internal)?.to_string()))
            .await
    }

    /// Whether the password is the one of the hash; never without a hash, and that takes as long.
    ///
    /// # Errors
    /// INTERNAL when the hash is none.
    pub async fn verify(&self, password: Password, hash: Option<String>, admission: HashPermit) -> Result<bool> {
        let argon2 = self.argon2.clone();
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| HASH_OF_NOBODY.to_owned());
        let is_equal = run(admission, move || {
            let hash = PasswordHash::new(&hash).map_err(Error::internal)?;
            match argon2.verify_password(password.as_bytes(), &hash) {
                Ok(()) => Ok(true),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(Error::internal(error)),
            }
        });
        Ok(is_equal.await? && is_known)
    }

    /// A permit for one hash.
    ///
    /// # Errors
    /// RATE_LIMITED when too many are waiting.
    pub async fn admit(&self) -> Result<HashPermit> {
        let began = Instant::now();
        let admission = self.wait().await.inspect_err(|_| {
            metrics::counter!("messenger_password_hashes_refused_total").increment(1);
        })?;
        metrics::histogram!("messenger_password_wait_seconds").record(began.elapsed());
        Ok(admission)
    }

    async fn wait(&self) -> Result<HashPermit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| busy())?;
        let running = timeout(WAIT_MAX, Arc::clone(&self.running).acquire_owned()).await.map_err(|_| busy())?;
        Ok(HashPermit { _permit: permit, _running: running.map_err(Error::internal)? })
    }
}

async fn run<T: Send + 'static>(admission: HashPermit, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let hashing = spawn_blocking(move || {
        // Held until the hash is done, also when nobody waits for it any more.
        let _admission = admission;
        work()
    });
    hashing.await.map_err(Error::internal)?
}

fn busy() -> Error {
    Error::new(ErrorKind::RateLimited, "too many logins at once, try again").with_retry_after(WAIT_MAX)
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passwords({} permits free)", self.permits.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::presented("password", text).expect("short enough")
    }

    #[tokio::test]
    async fn verifies_what_it_hashed() {
        let passwords = Passwords::default();
        let hash = passwords.hash(password("correct horse")).await.expect("a permit");
        let costs = "$argon2id$v=19$m=19456,t=2,p=1$";
        assert!(hash.starts_with(costs) && HASH_OF_NOBODY.starts_with(costs), "{hash}");
        assert_eq!(hash.len(), HASH_OF_NOBODY.len());
        let verify = async |text, hash| {
            let admission = passwords.admit().await.expect("a permit");
            passwords.verify(password(text), hash, admission).await.expect("a hash")
        };
        assert!(verify("correct horse", Some(hash.clone())).await);
        assert!(!verify("wrong horse", Some(hash)).await);
        assert!(!verify("whatever", None).await);
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_length_and_time() {
        let passwords = Passwords::default();
        let hashes = passwords.running.available_permits();
        let _all = passwords.running.acquire_many(hashes as u32).await.expect("open");
        let waiting: Vec<_> = (0..hashes + QUEUE_HASHES_MAX).map(|_| passwords.admit()).collect();
        let waiting = futures_util::future::join_all(waiting);
        let late = async {
            tokio::task::yield_now().await;
            passwords.admit().await.err().map(|error| (error.kind(), error.retry_after()))
        };
        let (waited, late) = tokio::join!(waiting, late);
        assert_eq!(late, Some((ErrorKind::RateLimited, Some(WAIT_MAX))));
        assert!(waited.into_iter().all(|permit| permit.is_err_and(|error| error.kind() == ErrorKind::RateLimited)));
    }
}
