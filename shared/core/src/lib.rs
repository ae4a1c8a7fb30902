//! Words every crate shares: ids, time, the one error, content, cursors, pages, what is counted or kept. No I/O.

pub mod bug;
mod cache;
mod clock;
pub mod content;
mod cursor;
mod error;
mod id;
mod id_map;
pub mod limits;
pub mod page;
mod role;
mod semaphore;
mod timestamp;

pub use bug::{Bug, is_seeded};
pub use cache::Cache;
pub use clock::{Clock, ManualClock, SystemClock};
pub use content::{ClientMessageId, Content, Metadata};
pub use cursor::{Cursor, JournalId, Position};
pub use error::{Error, ErrorKind, FieldViolation};
pub use id::{ConversationId, Id, MessageId, ParticipantId, SessionId, UserId};
pub use id_map::{IdMap, IdSet};
pub use role::{ConversationType, Role};
pub use semaphore::{KeyedPermit, KeyedSemaphore};
pub use timestamp::Timestamp;

/// A result with the one [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
