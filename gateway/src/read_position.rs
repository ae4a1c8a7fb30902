//! Up to where a client says it has read a conversation, and what it is answered.

use messenger_core::{Error, MessageId, Timestamp};
use messenger_proto::message::v1::{MarkReadResponse, mark_read_request::UpTo};
use serde::Serialize;
use utoipa::ToSchema;

use crate::objects::time_if_any;

/// Up to the message with this id, or with this seq.
///
/// # Errors
/// VALIDATION_FAILED unless exactly one is given, a UUID or not negative.
pub fn up_to(message_id: Option<&str>, seq: Option<i64>) -> Result<UpTo, Error> {
    match (message_id, seq) {
        (Some(id), None) => Ok(UpTo::MessageId(MessageId::parse("messageId", id)?.to_string())),
        (None, Some(seq)) if seq >= 0 => Ok(UpTo::Seq(seq)),
        (None, Some(_)) => Err(Error::invalid("seq", "must not be negative")),
        _ => Err(Error::invalid("messageId", "or seq must be given, and not both")),
    }
}

/// A read position as `mark_read` and `POST conversations/{id}/read` answer it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReadPosition)]
pub struct ReadPositionObject<'a> {
    /// Where.
    #[schema(format = Uuid)]
    conversation_id: &'a str,
    /// Everything up to this message is read.
    last_read_seq: i64,
    /// When that was said; `null` before the first time.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_read_at: Option<Timestamp>,
    /// Last seq less last read seq.
    unread_count: i64,
}

impl<'a> ReadPositionObject<'a> {
    /// Where the caller is in this conversation.
    #[must_use]
    pub fn new(conversation_id: &'a str, read: &MarkReadResponse) -> Self {
        Self {
            conversation_id,
            last_read_seq: read.last_read_seq,
            last_read_at: time_if_any(read.last_read_at.as_ref()),
            unread_count: read.unread_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_and_possible() {
        let id = "0191d3c8-8f7b-7f00-8000-000000000000";
        assert_eq!(up_to(Some(id), None).expect("an id"), UpTo::MessageId(id.to_owned()));
        assert_eq!(up_to(None, Some(0)).expect("a seq"), UpTo::Seq(0));
        for (message_id, seq, field) in [
            (None, None, "messageId"),
            (Some(id), Some(1), "messageId"),
            (Some("x"), None, "messageId"),
            (None, Some(-1), "seq"),
        ] {
            assert_eq!(up_to(message_id, seq).expect_err("refused").fields()[0].field, field);
        }
    }
}
