//! Bounds of the public contract that are the same everywhere.

/// Characters in a message.
pub const CONTENT_CHARS_MAX: usize = 10_000;
/// Bytes of a message's metadata, as JSON text.
pub const METADATA_BYTES_MAX: usize = 4 * 1024;
/// Arrays and objects in one another in a message's metadata.
pub const METADATA_LEVELS_MAX: usize = 32;
/// Characters in a client message id.
pub const CLIENT_MESSAGE_ID_CHARS_MAX: usize = 64;
/// Bytes in a frame of a client; a larger one is answered with an error.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Rows on a page.
pub const PAGE_ROWS_MAX: u32 = 100;
/// Rows on a page nobody gave a size for.
pub const PAGE_ROWS_DEFAULT: u32 = 50;
/// Participants of an open group.
pub const GROUP_PARTICIPANTS_MAX: i64 = 1_000;
/// Participants of a restricted group.
pub const RESTRICTED_GROUP_PARTICIPANTS_MAX: i64 = 100_000;
/// Conversations of one user.
pub const CONVERSATIONS_PER_USER_MAX: i64 = 5_000;
/// The same when others put the user into a group: what is left is for P2P and groups of the user's own, which no stranger
/// can take away by groups.
pub const CONVERSATIONS_BY_OTHERS_MAX: i64 = 4_000;
/// Characters in a password at least.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Characters in a password at most: an attacker could have megabytes hashed.
pub const PASSWORD_CHARS_MAX: usize = 128;
/// Users named in one request.
pub const USERS_PER_REQUEST_MAX: usize = 1_000;
/// Characters in a group's name.
pub const GROUP_NAME_CHARS_MAX: usize = 200;
/// Participants up to which every participant hears who has read how far.
pub const SIGNAL_PARTICIPANTS_MAX: i64 = 300;
/// Messages missed in one conversation up to which they are replayed.
pub const REPLAY_MESSAGES_PER_CONVERSATION_MAX: i64 = 1_000;
/// Entries missed in all up to which they are replayed.
pub const REPLAY_ENTRIES_MAX: i64 = 10_000;
