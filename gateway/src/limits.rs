//! What clients have to keep to, as they are told.

use std::num::NonZeroU32;

use messenger_core::limits;
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::GatewayConfig;

/// What clients have to keep to, as `config` and the first frame of a plain WebSocket show it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Characters in a message.
    pub content_chars_max: usize,
    /// Bytes of a message's metadata.
    pub metadata_bytes_max: usize,
    /// Bytes of a frame.
    pub frame_bytes_max: usize,
    /// Rows on a page.
    pub page_rows_max: u32,
    /// Participants of an open group.
    pub group_participants_max: i64,
    /// Participants of a restricted group.
    pub restricted_group_participants_max: i64,
    /// Conversations of one user.
    pub conversations_per_user_max: i64,
    /// Conversations of one user up to which others put it into groups.
    pub conversations_by_others_max: i64,
    /// Characters in a password at least.
    pub password_chars_min: usize,
    /// Characters in a password at most.
    pub password_chars_max: usize,
    /// Logins a minute from one address to one account; `null`: not limited.
    pub logins_per_minute: Option<u32>,
    /// Connections of one user.
    pub connections_per_user: usize,
    /// Connections of one address.
    pub connections_per_address: usize,
    /// Sends a second of one user; `null`: not limited.
    pub sends_per_second: Option<u32>,
    /// Sends of one user at once, after a pause; `null`: not limited.
    pub send_burst: Option<u32>,
    /// Sends a second to one conversation; `null`: not limited.
    pub sends_per_second_and_conversation: Option<u32>,
    /// From a client's sign of life to the next ping.
    pub heartbeat_interval_ms: u64,
    /// How long the answer to a ping may take.
    pub heartbeat_timeout_ms: u64,
}

impl Limits {
    /// Of a gateway that is configured like this.
    #[must_use]
    pub fn of(config: &GatewayConfig) -> Self {
        let counted = |limit: NonZeroU32| config.rate_limits().then_some(limit.get());
        Self {
            content_chars_max: limits::CONTENT_CHARS_MAX,
            metadata_bytes_max: limits::METADATA_BYTES_MAX,
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            page_rows_max: limits::PAGE_ROWS_MAX,
            group_participants_max: limits::GROUP_PARTICIPANTS_MAX,
            restricted_group_participants_max: limits::RESTRICTED_GROUP_PARTICIPANTS_MAX,
            conversations_per_user_max: limits::CONVERSATIONS_PER_USER_MAX,
            conversations_by_others_max: limits::CONVERSATIONS_BY_OTHERS_MAX,
            password_chars_min: limits::PASSWORD_CHARS_MIN,
            password_chars_max: limits::PASSWORD_CHARS_MAX,
            logins_per_minute: counted(config.logins_per_minute),
            connections_per_user: config.connections_per_user,
            connections_per_address: config.connections_per_address,
            sends_per_second: counted(config.sends.sends_per_user),
            send_burst: counted(config.sends.send_burst_per_user),
            sends_per_second_and_conversation: counted(config.sends.sends_per_conversation),
            heartbeat_interval_ms: u64::try_from(config.heartbeat_interval.as_millis()).unwrap_or(u64::MAX),
            heartbeat_timeout_ms: u64::try_from(config.heartbeat_timeout.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
