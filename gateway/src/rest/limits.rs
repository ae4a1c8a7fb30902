//! How often an address may register, log in and refresh. Everything else is limited by user, in the session core.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
};

use axum::extract::FromRequestParts;
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use http::request::Parts;
use messenger_core::{Error, ErrorKind, UserId};

use super::problem::Problem;
use crate::peer::{address, network};

/// Logins a minute from one address, over all accounts.
const LOGINS_PER_ADDRESS: u32 = 100;
/// Registrations a minute from one address.
const REGISTRATIONS_PER_ADDRESS: u32 = 60;
/// Refreshes a minute from one address.
const REFRESHES_PER_ADDRESS: u32 = 300;
/// Keys of one limiter above which those at rest are forgotten.
const KEYS_AT_REST_MAX: usize = 10_000;

/// The limiters of what needs no token.
pub(super) struct AuthLimits {
    logins_per_account: DefaultKeyedRateLimiter<(IpAddr, u64)>,
    logins: DefaultKeyedRateLimiter<IpAddr>,
    registrations: DefaultKeyedRateLimiter<IpAddr>,
    refreshes: DefaultKeyedRateLimiter<IpAddr>,
    accounts: RandomState,
}

impl AuthLimits {
    /// With so many logins a minute from one address to one account.
    pub(super) fn new(logins_per_minute: NonZeroU32) -> Self {
        Self {
            logins_per_account: RateLimiter::keyed(Quota::per_minute(logins_per_minute)),
            logins: RateLimiter::keyed(per_minute(LOGINS_PER_ADDRESS)),
            registrations: RateLimiter::keyed(per_minute(REGISTRATIONS_PER_ADDRESS)),
            refreshes: RateLimiter::keyed(per_minute(REFRESHES_PER_ADDRESS)),
            accounts: RandomState::new(),
        }
    }
}

fn per_minute(count: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(count).expect("the limits above are not zero"))
}

/// One request without a token, before anything is done for it. Admits everything when limits are off.
pub(super) struct Admission {
    address: IpAddr,
    limits: Option<Arc<AuthLimits>>,
}

impl Admission {
    /// May it register?
    pub(super) fn register(&self) -> Result<(), Error> {
        self.limits.as_deref().map_or(Ok(()), |limits| check(&limits.registrations, &self.address))
    }

    /// May it log in to this account?
    pub(super) fn login(&self, email: &str) -> Result<(), Error> {
        let Some(limits) = self.limits.as_deref() else { return Ok(()) };
        check(&limits.logins, &self.address)?;
        // Hashed, so that what strangers send takes no memory.
        let account = limits.accounts.hash_one(email.trim().to_lowercase());
        check(&limits.logins_per_account, &(self.address, account))
    }

    /// Where it comes from, for the account to know; empty when nobody counts.
    pub(super) fn place(&self) -> String {
        self.limits.as_ref().map_or_else(String::new, |_| self.address.to_string())
    }

    /// May this user try its present password once more? As often as it may log in from one address, wherever it is.
    pub(super) fn change_password(&self, user_id: UserId) -> Result<(), Error> {
        let Some(limits) = self.limits.as_deref() else { return Ok(()) };
        let account = limits.accounts.hash_one(user_id);
        check(&limits.logins_per_account, &(IpAddr::V6(Ipv6Addr::UNSPECIFIED), account))
    }

    /// May it refresh a token?
    pub(super) fn refresh(&self) -> Result<(), Error> {
        self.limits.as_deref().map_or(Ok(()), |limits| check(&limits.refreshes, &self.address))
    }
}

impl<S: Sync> FromRequestParts<S> for Admission {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let limits = parts.extensions.get::<Arc<AuthLimits>>().cloned();
        Ok(Self { address: network(address(parts)), limits })
    }
}

fn check<K: Clone + Eq + std::hash::Hash>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), Error> {
    if limiter.len() > KEYS_AT_REST_MAX {
        limiter.retain_recent();
    }
    limiter.check_key(key).map_err(|early| {
        let wait = early.wait_time_from(DefaultClock::default().now());
        Error::new(ErrorKind::RateLimited, "too many attempts, try again later").with_retry_after(wait)
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LOGINS: NonZeroU32 = NonZeroU32::new(5).expect("not zero");

    fn admission(limits: &Arc<AuthLimits>, address: &str) -> Admission {
        Admission { address: network(address.parse().expect("an address")), limits: Some(Arc::clone(limits)) }
    }

    #[test]
    fn one_account_is_limited_and_others_are_not() {
        let limits = Arc::new(AuthLimits::new(LOGINS));
        let here = admission(&limits, "2001:db8::1");
        for _ in 0..LOGINS.get() {
            here.login("a@example.com").expect("within the limit");
        }
        let error = here.login(" A@example.com ").expect_err("over it");
        assert!(error.retry_after().is_some());
        assert!(admission(&limits, "2001:db8::2").login("a@example.com").is_err(), "the same network");
        here.login("b@example.com").expect("another account");
        admission(&limits, "192.0.2.1").login("a@example.com").expect("another address");
    }

    #[test]
    fn guessing_the_password_of_a_stolen_session_is_slow_from_everywhere() {
        let limits = Arc::new(AuthLimits::new(LOGINS));
        let (ann, bob) = (UserId::from_uuid(Uuid::from_u128(1)), UserId::from_uuid(Uuid::from_u128(2)));
        for number in 0..LOGINS.get() {
            admission(&limits, &format!("192.0.2.{number}")).change_password(ann).expect("within the limit");
        }
        assert!(admission(&limits, "192.0.2.99").change_password(ann).is_err());
        admission(&limits, "192.0.2.99").change_password(bob).expect("another user");
    }

    #[test]
    fn without_limits_everything_is_admitted() {
        let open = Admission { address: IpAddr::from([127, 0, 0, 1]), limits: None };
        assert!((0..1_000).all(|_| open.login("a").is_ok() && open.register().is_ok() && open.refresh().is_ok()));
    }
}
