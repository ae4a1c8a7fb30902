//! Who may see what: pure functions. Who may call what: `policy` in `messenger_rpc`.

use messenger_core::UserId;
use messenger_rpc::Caller;

/// An address is shown to its user, and to services that ask for themselves.
#[must_use]
pub fn may_see_email(caller: &Caller, of: UserId) -> bool {
    match caller {
        Caller::User(identity) => identity.user_id == of,
        Caller::Service { on_behalf_of: Some(user_id), .. } => *user_id == of,
        Caller::Service { on_behalf_of: None, .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use messenger_core::{SessionId, Timestamp};
    use messenger_identity::Identity;
    use messenger_rpc::Service;

    use super::*;

    #[test]
    fn table() {
        let now = Timestamp::from_millis(1);
        let (one, other) = (UserId::new(now), UserId::new(now));
        let identity = Identity { user_id: one, session_id: SessionId::new(now), issued_at: now, expires_at: now };
        let cases = [
            // caller, sees its own address, sees another's
            (Caller::User(identity), true, false),
            (Caller::Service { service: Service::Gateway, on_behalf_of: Some(one) }, true, false),
            (Caller::Service { service: Service::Other, on_behalf_of: None }, true, true),
        ];
        for (caller, sees_own, sees_others) in cases {
            assert_eq!(may_see_email(&caller, one), sees_own, "{caller:?}");
            assert_eq!(may_see_email(&caller, other), sees_others, "{caller:?}");
        }
    }
}
