//! How many clients may be on the way to a session at once: after a failure they all come back together.

use std::{sync::Arc, time::Duration};

use messenger_core::{Error, UserId};
use messenger_rpc::{Turn, Turns};
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

/// Sessions being opened, those that wait for their turn to read included. Who comes beyond is to try again later.
const OPENING_MAX: usize = 4_000;
/// First pages of what was missed being read: enough to keep the message service busy, and few enough for each to be
/// answered soon.
const READING_MAX: usize = 64;
/// Those to try again later are spread over so many milliseconds, after the first of them.
const SPREAD_MILLIS: u64 = 4_000;
const FIRST_MILLIS: u64 = 1_000;

/// Permits to open sessions, and turns to read.
#[derive(Debug)]
pub(super) struct Openings {
    opening: Semaphore,
    reading: Semaphore,
    reading_of: Arc<Turns<UserId>>,
}

impl Default for Openings {
    fn default() -> Self {
        Self {
            opening: Semaphore::new(OPENING_MAX),
            reading: Semaphore::new(READING_MAX),
            reading_of: Turns::new(1, OPENING_MAX),
        }
    }
}

impl Openings {
    /// A permit to open a session.
    ///
    /// # Errors
    /// UNAVAILABLE with the time after which to try again.
    pub(super) fn permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.opening.try_acquire().map_err(|_| try_later("too many clients connect at once"))
    }

    /// Its turn to read what was missed, in the order of coming; its user's other connections wait for it.
    ///
    /// # Errors
    /// RATE_LIMITED when the others take too long.
    pub(super) async fn turn(&self, user_id: UserId) -> Result<(Turn<UserId>, SemaphorePermit<'_>), Error> {
        let own = self.reading_of.turn(user_id).await?;
        Ok((own, self.reading.acquire().await.expect("it is never closed")))
    }
}

/// UNAVAILABLE now; each is given another time, so that they do not come back together.
pub(super) fn try_later(message: &'static str) -> Error {
    let after = FIRST_MILLIS + Uuid::new_v4().as_u64_pair().1 % SPREAD_MILLIS;
    Error::unavailable(message).with_retry_after(Duration::from_millis(after))
}

#[cfg(test)]
mod tests {
    use messenger_core::ErrorKind;

    use super::*;

    #[test]
    fn those_beyond_the_bound_come_back_at_different_times() {
        let openings = Openings::default();
        let mut permits: Vec<_> = (0..OPENING_MAX).map(|_| openings.permit().expect("a permit")).collect();
        let refusals: Vec<_> = (0..20).map(|_| openings.permit().expect_err("no permit")).collect();
        assert!(refusals.iter().all(|error| error.kind() == ErrorKind::Unavailable));
        let mut times: Vec<_> = refusals.iter().filter_map(Error::retry_after).collect();
        times.sort_unstable();
        assert!(times[0] >= Duration::from_secs(1) && times[19] < Duration::from_secs(5) && times[0] < times[19]);
        permits.pop();
        assert!(openings.permit().is_ok());
    }
}
