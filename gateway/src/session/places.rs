//! How many sockets one user and one address may hold. A place is taken until the socket is closed, its goodbye included:
//! the hub, which delivers, is left before that.

use std::{net::IpAddr, sync::Arc, time::Duration};

use messenger_core::{Error, ErrorKind, KeyedPermit, KeyedSemaphore, UserId};

use crate::{config::GatewayConfig, peer};

/// Sockets of one user that may be saying goodbye beside the open ones: as many again, and at least these. A client that
/// comes back in place of its dead connection is never too many.
const CLOSING_MIN: usize = 20;
/// When to try again: one that is gone without a word is found by its heartbeat.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Who holds how many.
#[derive(Debug)]
pub(super) struct Places {
    users: Arc<KeyedSemaphore<UserId>>,
    addresses: Arc<KeyedSemaphore<IpAddr>>,
}

/// The place of one socket; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    _user: KeyedPermit<UserId>,
    _address: KeyedPermit<IpAddr>,
}

impl Default for Places {
    fn default() -> Self {
        // How many there may be in all the hub knows.
        Self { users: KeyedSemaphore::new(usize::MAX), addresses: KeyedSemaphore::new(usize::MAX) }
    }
}

impl Places {
    /// A place for one more socket of the user, who comes from this address.
    ///
    /// # Errors
    /// RATE_LIMITED when the user or the address has too many.
    pub(super) fn take(&self, config: &GatewayConfig, user_id: UserId, address: IpAddr) -> Result<Place, Error> {
        let per_user = config.connections_per_user;
        let per_address = if config.is_ours(address) { usize::MAX } else { config.connections_per_address };
        let user = self.users.try_acquire(user_id, per_user.saturating_add(per_user.max(CLOSING_MIN)));
        let address = self.addresses.try_acquire(peer::network(address), per_address);
        Ok(Place {
            _user: user.ok_or_else(|| too_many("too many connections of this user"))?,
            _address: address.ok_or_else(|| too_many("too many connections of this address"))?,
        })
    }
}

/// RATE_LIMITED, with the time after which it may be better.
pub(super) fn too_many(message: &'static str) -> Error {
    Error::new(ErrorKind::RateLimited, message).with_retry_after(AGAIN_AFTER)
}
