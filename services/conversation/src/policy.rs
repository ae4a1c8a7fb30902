//! Who may change what, and how large things may grow. Pure functions; every rule of this context has its home here.

use messenger_core::{ConversationType, Error, ErrorKind, Role, limits};

/// What a caller wants to do with a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Change name or restriction.
    Update,
    /// Add users.
    AddParticipants,
    /// Promote or demote somebody.
    ChangeRole,
    /// Remove somebody else.
    RemoveOther,
    /// Leave.
    Leave,
}

/// Whether a caller with this role (none: takes no part) may do this.
///
/// # Errors
/// NOT_FOUND for outsiders, who never learn that the conversation exists; VALIDATION_FAILED for any change of a P2P
/// conversation; FORBIDDEN for what only ADMINs do.
pub fn check(action: Action, conversation_type: ConversationType, role: Option<Role>) -> Result<(), Error> {
    let role = role.ok_or_else(no_such_conversation)?;
    match (action, conversation_type, role) {
        (_, ConversationType::P2p, _) => {
            Err(Error::new(ErrorKind::ValidationFailed, "a P2P conversation cannot be changed"))
        }
        (Action::Leave, _, _) | (_, _, Role::Admin) => Ok(()),
        (_, _, Role::Member) => Err(Error::forbidden("Only admins can change the group")),
    }
}

/// Whether a conversation of this version is the one a change is meant for.
///
/// # Errors
/// VERSION_CONFLICT when it has another one than expected.
pub fn check_version(expected: Option<i64>, version: i64) -> Result<(), Error> {
    if expected.is_none_or(|expected| expected == version) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::VersionConflict, "the conversation has changed: look at it again"))
}

/// Whether a group may have this many participants.
///
/// # Errors
/// GROUP_FULL over 1,000, or over 100,000 when it is restricted.
pub fn check_group_size(is_restricted: bool, participant_count: i64) -> Result<(), Error> {
    let most = if is_restricted { limits::RESTRICTED_GROUP_PARTICIPANTS_MAX } else { limits::GROUP_PARTICIPANTS_MAX };
    if participant_count <= most {
        return Ok(());
    }
    let kind = if is_restricted { "a restricted" } else { "an open" };
    Err(Error::new(ErrorKind::GroupFull, format!("{kind} group has at most {most} participants")))
}

/// Whether a participant with this role may be demoted: some other ADMIN must remain.
///
/// # Errors
/// LAST_ADMIN.
pub fn check_demotion(role: Role, has_other_admin: bool) -> Result<(), Error> {
    if role == Role::Admin && !has_other_admin { Err(last_admin()) } else { Ok(()) }
}

/// Whether a participant with this role may go: some other ADMIN must remain, unless nobody remains.
///
/// # Errors
/// LAST_ADMIN.
pub fn check_departure(role: Role, has_other_admin: bool, participant_count: i64) -> Result<(), Error> {
    if participant_count <= 1 { Ok(()) } else { check_demotion(role, has_other_admin) }
}

/// Whether a user may take part in this many conversations, the one that is begun in this role included. Nobody becomes a
/// MEMBER of a group by oneself.
///
/// # Errors
/// VALIDATION_FAILED over 5,000, as a MEMBER of a group 4,000: not GROUP_FULL, for it is the user that is full.
pub fn check_conversations(kind: ConversationType, role: Role, conversation_count: i64) -> Result<(), Error> {
    let (most, of) = match (kind, role) {
        (ConversationType::Group, Role::Member) => (limits::CONVERSATIONS_BY_OTHERS_MAX, "whom others add "),
        _ => (limits::CONVERSATIONS_PER_USER_MAX, ""),
    };
    if conversation_count <= most {
        return Ok(());
    }
    let message = format!("a user {of}takes part in at most {most} conversations");
    Err(Error::new(ErrorKind::ValidationFailed, message))
}

/// What an outsider hears, whether the conversation exists or not.
#[must_use]
pub fn no_such_conversation() -> Error {
    Error::not_found("no such conversation")
}

fn last_admin() -> Error {
    Error::new(ErrorKind::LastAdmin, "a group keeps at least one admin: make somebody else one first")
}

#[cfg(test)]
mod tests {
    use messenger_core::ErrorKind::{Forbidden, GroupFull, LastAdmin, NotFound, ValidationFailed};

    use super::*;

    const GROUP: ConversationType = ConversationType::Group;
    const P2P: ConversationType = ConversationType::P2p;
    const ADMIN: Option<Role> = Some(Role::Admin);
    const MEMBER: Option<Role> = Some(Role::Member);

    fn kind(result: Result<(), Error>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn role_by_type_by_action() {
        use Action::{AddParticipants, ChangeRole, Leave, RemoveOther, Update};
        // The columns: GROUP for ADMIN, MEMBER, outsider; then P2P for ADMIN (there are none), MEMBER, outsider.
        let (no, bad, not_found) = (Some(Forbidden), Some(ValidationFailed), Some(NotFound));
        let table = [
            (Update, [None, no, not_found, bad, bad, not_found]),
            (AddParticipants, [None, no, not_found, bad, bad, not_found]),
            (ChangeRole, [None, no, not_found, bad, bad, not_found]),
            (RemoveOther, [None, no, not_found, bad, bad, not_found]),
            (Leave, [None, None, not_found, bad, bad, not_found]),
        ];
        for (action, expected) in table {
            let found = [(GROUP, ADMIN), (GROUP, MEMBER), (GROUP, None), (P2P, ADMIN), (P2P, MEMBER), (P2P, None)]
                .map(|(conversation_type, role)| kind(check(action, conversation_type, role)));
            assert_eq!(found, expected, "{action:?}");
        }
    }

    #[test]
    fn group_sizes() {
        let table = [
            (false, 1_000, None),
            (false, 1_001, Some(GroupFull)),
            (true, 1_001, None),
            (true, 100_000, None),
            (true, 100_001, Some(GroupFull)),
        ];
        for (is_restricted, count, expected) in table {
            assert_eq!(kind(check_group_size(is_restricted, count)), expected, "{is_restricted} {count}");
        }
    }

    #[test]
    fn the_last_admin_stays() {
        // role, another ADMIN, participants: demotion, departure
        let table = [
            (Role::Admin, true, 3, None, None),
            (Role::Admin, false, 3, Some(LastAdmin), Some(LastAdmin)),
            (Role::Admin, false, 1, Some(LastAdmin), None),
            (Role::Member, true, 3, None, None),
            (Role::Member, false, 3, None, None),
        ];
        for (role, other, count, demotion, departure) in table {
            assert_eq!(kind(check_demotion(role, other)), demotion, "{role:?} {other} {count}");
            assert_eq!(kind(check_departure(role, other, count)), departure, "{role:?} {other} {count}");
        }
    }

    #[test]
    fn conversations_per_user() {
        for (kind_of, role, most) in [
            (ConversationType::Group, Role::Member, 4_000),
            (ConversationType::Group, Role::Admin, 5_000),
            (ConversationType::P2p, Role::Member, 5_000),
        ] {
            assert_eq!(kind(check_conversations(kind_of, role, most)), None);
            assert_eq!(kind(check_conversations(kind_of, role, most + 1)), Some(ValidationFailed));
        }
    }
}
