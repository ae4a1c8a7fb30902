//! Who may post: the one rule, as a pure function.

use messenger_core::Role;

/// Whether a participant with this role may post in a conversation that is restricted or not.
#[must_use]
pub const fn may_post(role: Role, is_restricted: bool) -> bool {
    !is_restricted || matches!(role, Role::Admin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_admins_post_in_a_restricted_group() {
        let table = [
            (Role::Admin, false, true),
            (Role::Member, false, true),
            (Role::Admin, true, true),
            (Role::Member, true, false),
        ];
        for (role, is_restricted, allowed) in table {
            assert_eq!(may_post(role, is_restricted), allowed, "{role:?} restricted: {is_restricted}");
        }
    }
}
