//! Who may call what, and see what: pure functions.

use messenger_core::{Result, UserId};
use messenger_rpc::Caller;

/// Registration, login, refresh and what serves other contexts: the gateway limits the rate of the former.
///
/// # Errors
/// FORBIDDEN for end users.
pub fn services_only(caller: &Caller) -> Result<()> {
    caller.require_service()
}

/// An address is shown to its user, and to services that ask for themselves.
#[must_use]
pub fn may_see_email(caller: &Caller, of: UserId) -> bool {
    match caller {
        Caller::User(identity) => identity.user_id == of,
        Caller::Service { on_behalf_of: Some(user_id) } => *user_id == of,
        Caller::Service { on_behalf_of: None } => true,
    }
}

#[cfg(test)]
mod tests {
    use messenger_core::{SessionId, Timestamp};
    use messenger_identity::Identity;

    use super::*;

    #[test]
    fn table() {
        let now = Timestamp::from_millis(1);
        let (one, other) = (UserId::new(now), UserId::new(now));
        let identity = Identity { user_id: one, session_id: SessionId::new(now), issued_at: now, expires_at: now };
        let cases = [
            // caller, may call what is for services, sees its own address, sees another's
            (Caller::User(identity), false, true, false),
            (Caller::Service { on_behalf_of: Some(one) }, true, true, false),
            (Caller::Service { on_behalf_of: None }, true, true, true),
        ];
        for (caller, is_service, sees_own, sees_others) in cases {
            assert_eq!(services_only(&caller).is_ok(), is_service, "{caller:?}");
            assert_eq!(may_see_email(&caller, one), sees_own, "{caller:?}");
            assert_eq!(may_see_email(&caller, other), sees_others, "{caller:?}");
        }
    }
}
