//! What this context is about: conversations, participants, and the changes of both.

use aws_lc_rs::digest;
use messenger_core::{ConversationId, ConversationType, Error, ParticipantId, Role, Timestamp, UserId};

/// A conversation as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Names it.
    pub id: ConversationId,
    /// P2P or GROUP; never changes.
    pub conversation_type: ConversationType,
    /// Empty for P2P.
    pub name: String,
    /// Whether only ADMINs may post. Never for P2P.
    pub is_restricted: bool,
    /// Counts the changes of the conversation and its participants; the first is 1.
    pub version: i64,
    /// Users taking part.
    pub participant_count: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A user's part in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// Names the part; a user added again gets another.
    pub id: ParticipantId,
    /// What it is a part in.
    pub conversation_id: ConversationId,
    /// Who.
    pub user_id: UserId,
    /// What the user may do there.
    pub role: Role,
    /// When the user was added.
    pub joined_at: Timestamp,
}

/// A conversation as one of its participants sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationView {
    /// The conversation.
    pub conversation: Conversation,
    /// The participant's role.
    pub role: Role,
    /// P2P: the other user.
    pub peer: Option<UserId>,
}

/// Two different users in the order of their ids, so that both sides name the same pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The lower id.
    pub low: UserId,
    /// The higher id.
    pub high: UserId,
}

impl Pair {
    /// The pair of two users.
    ///
    /// # Errors
    /// VALIDATION_FAILED for a user and itself.
    pub fn new(one: UserId, other: UserId) -> Result<Self, Error> {
        if one == other {
            return Err(Error::invalid("userId", "must be another user"));
        }
        Ok(Self { low: one.min(other), high: one.max(other) })
    }
}

/// A group to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGroup {
    /// 1 to 200 characters.
    pub name: String,
    /// Whether only ADMINs may post.
    pub is_restricted: bool,
    /// Who takes part beside the caller, each named once.
    pub members: Vec<UserId>,
    /// Makes a repeat the same request.
    pub key: Option<GroupKey>,
}

/// The creator's idempotency key of a group: 1 to 64 characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupKey(String);

/// The first half of SHA-256 over a request.
pub type RequestDigest = [u8; 16];

const KEY_CHARS_MAX: usize = 64;

impl GroupKey {
    /// Checks the key.
    ///
    /// # Errors
    /// VALIDATION_FAILED naming `clientGroupId`.
    pub fn new(text: &str) -> Result<Self, Error> {
        let length = text.chars().take(KEY_CHARS_MAX + 1).count();
        if length == 0 || length > KEY_CHARS_MAX || text.chars().any(char::is_control) {
            return Err(Error::invalid("clientGroupId", "must have 1 to 64 characters, no control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What makes two requests for a group the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRequest {
    /// The one id a group of this creator under this key can have.
    pub conversation_id: ConversationId,
    /// Of what was asked for.
    pub digest: RequestDigest,
}

impl NewGroup {
    /// The request when it has a key: whoever repeats it asks for the same conversation.
    #[must_use]
    pub fn request(&self, creator: UserId) -> Option<GroupRequest> {
        let key = self.key.as_ref()?;
        let id = half_digest(&[creator.uuid().as_bytes(), key.0.as_bytes()]);
        let conversation_id = ConversationId::from_uuid(uuid::Builder::from_custom_bytes(id).into_uuid());
        let mut members: Vec<[u8; 16]> = self.members.iter().map(|member| *member.uuid().as_bytes()).collect();
        members.sort_unstable();
        let digest =
            half_digest(&[&[u8::from(self.is_restricted)], self.name.as_bytes(), &[0], members.as_flattened()]);
        Some(GroupRequest { conversation_id, digest })
    }
}

/// The name has no NUL and the rest is of one length each: no two requests are the same sequence of bytes.
fn half_digest(parts: &[&[u8]]) -> RequestDigest {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut half = RequestDigest::default();
    half.copy_from_slice(&context.finish().as_ref()[..16]);
    half
}

/// A P2P conversation that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundP2p {
    /// The conversation.
    pub conversation: Conversation,
    /// Whether the journal has all of its changes.
    pub is_delivered: bool,
}

/// The conversation a change is meant for, as its caller knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Which.
    pub id: ConversationId,
    /// The version it must have; None: whatever it has.
    pub version: Option<i64>,
}

/// What is asked to change about a group; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupUpdate {
    /// A new name.
    pub name: Option<String>,
    /// Whether only ADMINs may post.
    pub is_restricted: Option<bool>,
}

/// What a version of a conversation changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was made, with these participants.
    Created(Vec<Participant>),
    /// Name or restriction.
    Updated,
    /// These users are new.
    ParticipantsAdded(Vec<Participant>),
    /// A role.
    ParticipantUpdated(Participant),
    /// A user is gone.
    ParticipantRemoved {
        /// Who is gone.
        user_id: UserId,
        /// Who asked for it; the user itself when it left.
        removed_by: UserId,
    },
}

/// A change the journal has not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingChange {
    /// The version it makes.
    pub version: i64,
    /// An encoded `messenger.event.v1.ConversationChanged`.
    pub body: Vec<u8>,
}
