//! How often an address may register, log in and refresh, and a user try its password. What else needs a token is
//! limited by user, in the session core.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::extract::FromRequestParts;
use http::request::Parts;
use messenger_core::{Error, UserId};
use messenger_rpc::Attempts;

use crate::{
    peer::{address, network},
    problem::Problem,
};

/// Logins a minute from one address, over all accounts.
const LOGINS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
/// Registrations a minute from one address.
const REGISTRATIONS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(60).expect("not zero");
/// Refreshes a minute from one address.
const REFRESHES_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(300).expect("not zero");
const MINUTE: Duration = Duration::from_secs(60);

/// The limiters of what an account is taken over by.
pub(super) struct AuthLimits {
    logins_per_account: Attempts<(IpAddr, u64)>,
    logins: Attempts<IpAddr>,
    registrations: Attempts<IpAddr>,
    refreshes: Attempts<IpAddr>,
    passwords: Attempts<UserId>,
    accounts: RandomState,
}

impl AuthLimits {
    /// With so many logins a minute from one address to one account, and as many tries of one user's password.
    pub(super) fn new(logins_per_minute: NonZeroU32) -> Self {
        Self {
            logins_per_account: Attempts::new(logins_per_minute, MINUTE),
            logins: Attempts::new(LOGINS_PER_ADDRESS, MINUTE),
            registrations: Attempts::new(REGISTRATIONS_PER_ADDRESS, MINUTE),
            refreshes: Attempts::new(REFRESHES_PER_ADDRESS, MINUTE),
            passwords: Attempts::new(logins_per_minute, MINUTE),
            accounts: RandomState::new(),
        }
    }
}

/// One request for an account, before anything is done for it. Everything passes when limits are off.
pub(super) struct Attempt {
    address: IpAddr,
    limits: Option<Arc<AuthLimits>>,
}

impl Attempt {
    /// May it register?
    pub(super) fn register(&self) -> Result<(), Error> {
        self.limits.as_deref().map_or(Ok(()), |limits| limits.registrations.count(&self.address))
    }

    /// May it log in to this account?
    pub(super) fn login(&self, email: &str) -> Result<(), Error> {
        let Some(limits) = self.limits.as_deref() else { return Ok(()) };
        limits.logins.count(&self.address)?;
        // Hashed, so that what strangers send takes no memory.
        let account = limits.accounts.hash_one(email.trim().to_lowercase());
        limits.logins_per_account.count(&(self.address, account))
    }

    /// Where it comes from, for the account to know; empty when nobody counts.
    pub(super) fn address(&self) -> String {
        self.limits.as_ref().map_or_else(String::new, |_| self.address.to_string())
    }

    /// May this user try its present password once more? As often as it may log in from one address, wherever it is.
    pub(super) fn change_password(&self, user_id: UserId) -> Result<(), Error> {
        self.limits.as_deref().map_or(Ok(()), |limits| limits.passwords.count(&user_id))
    }

    /// May it refresh a token?
    pub(super) fn refresh(&self) -> Result<(), Error> {
        self.limits.as_deref().map_or(Ok(()), |limits| limits.refreshes.count(&self.address))
    }
}

impl<S: Sync> FromRequestParts<S> for Attempt {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let limits = parts.extensions.get::<Arc<AuthLimits>>().cloned();
        Ok(Self { address: network(address(parts)), limits })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LOGINS: NonZeroU32 = NonZeroU32::new(5).expect("not zero");

    fn attempt(limits: &Arc<AuthLimits>, address: &str) -> Attempt {
        Attempt { address: network(address.parse().expect("an address")), limits: Some(Arc::clone(limits)) }
    }

    #[test]
    fn one_account_is_limited_and_others_are_not() {
        let limits = Arc::new(AuthLimits::new(LOGINS));
        let here = attempt(&limits, "2001:db8::1");
        for _ in 0..LOGINS.get() {
            here.login("a@example.com").expect("within the limit");
        }
        let error = here.login(" A@example.com ").expect_err("over it");
        assert!(error.retry_after().is_some());
        assert!(attempt(&limits, "2001:db8::2").login("a@example.com").is_err(), "the same network");
        here.login("b@example.com").expect("another account");
        attempt(&limits, "192.0.2.1").login("a@example.com").expect("another address");
    }

    #[test]
    fn guessing_the_password_of_a_stolen_session_is_slow_from_everywhere() {
        let limits = Arc::new(AuthLimits::new(LOGINS));
        let (ann, bob) = (UserId::from_uuid(Uuid::from_u128(1)), UserId::from_uuid(Uuid::from_u128(2)));
        for number in 0..LOGINS.get() {
            attempt(&limits, &format!("192.0.2.{number}")).change_password(ann).expect("within the limit");
        }
        assert!(attempt(&limits, "192.0.2.99").change_password(ann).is_err());
        attempt(&limits, "192.0.2.99").change_password(bob).expect("another user");
    }

    #[test]
    fn without_limits_everything_passes() {
        let open = Attempt { address: IpAddr::from([127, 0, 0, 1]), limits: None };
        assert!((0..1_000).all(|_| open.login("a").is_ok() && open.register().is_ok() && open.refresh().is_ok()));
    }
}
