//! Values of ours as protobuf has them, and back.

use messenger_core::{ConversationType, Error, Role, Timestamp};
use messenger_proto::event::v1 as proto;

/// A time for the wire.
#[must_use]
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = time.to_parts();
    prost_types::Timestamp { seconds, nanos }
}

/// A time from the wire; what is beyond our range becomes its end.
#[must_use]
pub fn from_timestamp(time: prost_types::Timestamp) -> Timestamp {
    Timestamp::from_parts(time.seconds, time.nanos)
}

/// A role for the wire.
#[must_use]
pub const fn to_proto_role(role: Role) -> proto::Role {
    match role {
        Role::Admin => proto::Role::Admin,
        Role::Member => proto::Role::Member,
    }
}

/// A role from the wire, where enums are numbers.
///
/// # Errors
/// VALIDATION_FAILED for UNSPECIFIED and numbers not known.
pub fn from_proto_role(number: i32) -> Result<Role, Error> {
    match proto::Role::try_from(number) {
        Ok(proto::Role::Admin) => Ok(Role::Admin),
        Ok(proto::Role::Member) => Ok(Role::Member),
        _ => Err(Error::invalid("role", "must be ADMIN or MEMBER")),
    }
}

/// A kind of conversation for the wire.
#[must_use]
pub const fn to_proto_type(kind: ConversationType) -> proto::ConversationType {
    match kind {
        ConversationType::P2p => proto::ConversationType::P2p,
        ConversationType::Group => proto::ConversationType::Group,
    }
}

/// A kind of conversation from the wire, where enums are numbers.
///
/// # Errors
/// VALIDATION_FAILED for UNSPECIFIED and numbers not known.
pub fn from_proto_type(number: i32) -> Result<ConversationType, Error> {
    match proto::ConversationType::try_from(number) {
        Ok(proto::ConversationType::P2p) => Ok(ConversationType::P2p),
        Ok(proto::ConversationType::Group) => Ok(ConversationType::Group),
        _ => Err(Error::invalid("type", "must be P2P or GROUP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for micros in [-1, 0, 1_700_000_000_123_456] {
            let time = Timestamp::from_micros(micros);
            assert_eq!(from_timestamp(timestamp(time)), time);
        }
        for role in [Role::Admin, Role::Member] {
            assert_eq!(from_proto_role(to_proto_role(role).into()).expect("known"), role);
        }
        for kind in [ConversationType::P2p, ConversationType::Group] {
            assert_eq!(from_proto_type(to_proto_type(kind).into()).expect("known"), kind);
        }
        assert!(from_proto_role(0).is_err() && from_proto_type(9).is_err());
    }
}
