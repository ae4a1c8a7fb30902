//! Words every crate shares: ids, time, the one error, content, cursors, pages, counted places. No I/O.

pub mod bug;
pub mod clock;
pub mod content;
pub mod cursor;
pub mod error;
pub mod id;
pub mod id_map;
pub mod limits;
pub mod page;
pub mod places;
pub mod role;
pub mod timestamp;

pub use bug::{Bug, is_seeded};
pub use clock::{Clock, ManualClock, SystemClock};
pub use content::{ClientMessageId, Content, Metadata};
pub use cursor::{Cursor, JournalId, Position};
pub use error::{Error, ErrorKind, FieldViolation};
pub use id::{ConversationId, Id, MessageId, ParticipantId, SessionId, UserId};
pub use id_map::{IdMap, IdSet};
pub use places::{Place, Places};
pub use role::{ConversationType, Role};
pub use timestamp::Timestamp;

/// A result with the one [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
