//! What the message context knows: messages, entries of the journal, drafts, changes of rights, read positions.

use aws_lc_rs::digest;
use bytes::Bytes;
use messenger_core::{
    ClientMessageId, Content, ConversationId, ConversationType, Error, JournalId, MessageId, Metadata, Position, Role,
    Timestamp, UserId,
};
use messenger_rpc::TraceParent;

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Where it was said.
    pub conversation_id: ConversationId,
    /// 1, 2, 3 … without gaps in its conversation.
    pub seq: i64,
    /// Who said it.
    pub sender_id: UserId,
    /// What was said.
    pub content: Content,
    /// When it was stored; never falls from one message to the next.
    pub created_at: Timestamp,
    /// The sender's idempotency key.
    pub client_message_id: Option<ClientMessageId>,
    /// The message of the same conversation it answers.
    pub reply_to_id: Option<MessageId>,
    /// What the client attached.
    pub metadata: Option<Metadata>,
}

/// One fact at its position in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Rises in commit order; not gapless.
    pub position: Position,
    /// The conversation it is a fact of.
    pub conversation_id: ConversationId,
    /// What happened.
    pub fact: Fact,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A message was sent.
    MessageSent {
        /// As it is now.
        message: Message,
        /// The kind of its conversation.
        conversation_type: ConversationType,
        /// The connection it came from; 0 when none.
        origin: i64,
    },
    /// A conversation or its participants changed: an encoded `messenger.event.v1.ConversationChanged`.
    ConversationChanged(Bytes),
}

/// Where a message is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The P2P conversation with this user.
    Receiver(UserId),
    /// This group.
    Group(ConversationId),
    /// This conversation.
    Conversation(ConversationId),
}

/// A message as asked for, valid by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Who says it.
    pub sender_id: UserId,
    /// The id it will have; chosen by the caller, so that its own repeats store nothing twice.
    pub message_id: MessageId,
    /// What is said.
    pub content: Content,
    /// The sender's idempotency key.
    pub client_message_id: Option<ClientMessageId>,
    /// The message it answers.
    pub reply_to_id: Option<MessageId>,
    /// What the client attached.
    pub metadata: Option<Metadata>,
    /// Whether it may have been stored before under the same message id.
    pub resent: bool,
    /// The connection it comes from; 0 when none.
    pub origin: i64,
    /// Where in a trace it was asked for.
    pub trace: TraceParent,
}

impl Draft {
    /// For this conversation, which is what its target comes to.
    #[must_use]
    pub fn resolved(self, target: Target, conversation_id: ConversationId) -> ResolvedDraft {
        ResolvedDraft { conversation_id, group_only: matches!(target, Target::Group(_)), draft: self }
    }
}

/// A draft whose conversation is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedDraft {
    /// Where it goes.
    pub conversation_id: ConversationId,
    /// Whether a P2P conversation is NOT_FOUND for it.
    pub group_only: bool,
    /// The draft.
    pub draft: Draft,
}

/// What tells a repeat from another draft under the same key: a digest of the draft as it was first sent.
pub type Digest = [u8; 16];

impl ResolvedDraft {
    /// The first half of SHA-256 over conversation, content, answered message and metadata.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let Self { conversation_id, draft, .. } = self;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(conversation_id.uuid().as_bytes());
        context.update(draft.reply_to_id.map(MessageId::uuid).unwrap_or_default().as_bytes());
        // Content has no NUL: no two drafts are the same sequence of bytes.
        context.update(draft.content.as_str().as_bytes());
        context.update(&[0]);
        context.update(draft.metadata.as_ref().map_or("", Metadata::as_str).as_bytes());
        let mut half = Digest::default();
        half.copy_from_slice(&context.finish().as_ref()[..16]);
        half
    }
}

/// A draft's answer once its batch is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The message.
    pub message: Message,
    /// The kind of its conversation.
    pub conversation_type: ConversationType,
    /// Whether it had been stored before.
    pub repeated: bool,
}

/// A draft's answer: stored (now or before), or refused with NOT_FOUND, FORBIDDEN, VALIDATION_FAILED,
/// IDEMPOTENCY_KEY_REUSED or, when the database refused this row alone, INTERNAL.
pub type DraftOutcome = Result<StoredMessage, Error>;

/// A change of a conversation or of its participants, decided by the conversation context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// Its kind.
    pub conversation_type: ConversationType,
    /// Whether only ADMINs may post, after the change.
    pub is_restricted: bool,
    /// Its participants, after the change.
    pub participant_count: i64,
    /// Counts the changes of the conversation; the first is 1.
    pub version: i64,
    /// What it does to the participants.
    pub effect: Effect,
    /// The encoded `messenger.event.v1.ConversationChanged`, as entries carry it.
    pub body: Bytes,
}

/// What a change does to the participants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// These take part from now on (the first ones of a new conversation, or added ones).
    Join(Vec<(UserId, Role)>),
    /// This participant has this role from now on.
    Role(UserId, Role),
    /// This one takes part no more.
    Leave(UserId),
}

/// Changes of one conversation with consecutive versions; 1 to 100.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet(pub Vec<Change>);

/// What one commit is asked to append. Change sets are applied first, in their order, then the drafts in theirs.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Changes of rights.
    pub changes: Vec<ChangeSet>,
    /// Messages.
    pub drafts: Vec<ResolvedDraft>,
}

/// What one commit appended.
#[derive(Debug)]
pub struct Appended {
    /// The last position before this commit.
    pub previous: Position,
    /// The last position it took; nobody else's entry lies between the two.
    pub last: Position,
    /// The entries, in the order of their positions. Empty when everything was refused or repeated.
    pub entries: Vec<Entry>,
    /// For each change set the version the journal holds now, below its first one less one when there is a gap.
    /// VALIDATION_FAILED when its versions are not consecutive, INTERNAL when the database refused it alone.
    pub changes: Vec<Result<i64, Error>>,
    /// For each draft its answer.
    pub drafts: Vec<DraftOutcome>,
}

/// The journal and how far it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalHead {
    /// Which journal.
    pub id: JournalId,
    /// The last position given out.
    pub last: Position,
}

/// A stretch of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalPage {
    /// In the order of their positions.
    pub entries: Vec<Entry>,
    /// Every entry up to here, and after the position asked for, is in the page.
    pub complete_to: Position,
    /// Whether the journal went on beyond `complete_to` when this was read.
    pub has_more: bool,
}

/// Memberships of some users in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Where the journal was.
    pub position: Position,
    /// Who takes part where.
    pub memberships: Vec<(UserId, ConversationId)>,
}

/// What a user missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Entries of all kinds, in all conversations.
    pub entries: i64,
    /// Conversations with missed messages.
    pub conversations: Vec<MissedMessages>,
}

/// What a user missed in one conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissedMessages {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// How many messages.
    pub messages: i64,
    /// The seq of the first of them.
    pub first_seq: i64,
}

/// A page of what a user missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayPage {
    /// In the order of their positions.
    pub entries: Vec<Entry>,
    /// Nothing for this user lies between the position asked for and this one but what is in the page.
    pub complete_to: Position,
    /// Whether there was more when this was read.
    pub has_more: bool,
}

/// Where a page of history begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryFrom {
    /// The newest message, newest first.
    Newest,
    /// Older than this message, newest first.
    Before(MessageId),
    /// Newer than this message, oldest first.
    After(MessageId),
    /// Half a page on either side of this message, itself included, newest first.
    Around(MessageId),
    /// The last message at or before this time and older ones, newest first.
    At(Timestamp),
}

/// A page of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// In the order [`HistoryFrom`] says.
    pub messages: Vec<Message>,
    /// Whether there are more in the direction asked for (either one, for `Around`).
    pub has_more: bool,
}

/// A user's state of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationState {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// Its kind.
    pub conversation_type: ConversationType,
    /// The user's role.
    pub role: Role,
    /// The seq of the last message; 0 before the first.
    pub last_seq: i64,
    /// How far the user has read; `last_seq - read_seq` is unread.
    pub read_seq: i64,
    /// When the user last read; none if never.
    pub read_at: Option<Timestamp>,
    /// When it was created or last had a message.
    pub last_activity_at: Timestamp,
    /// The last message.
    pub last_message: Option<Message>,
}

/// How far a participant has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPosition {
    /// The participant.
    pub user_id: UserId,
    /// The last message read.
    pub read_seq: i64,
    /// When; none if never.
    pub read_at: Option<Timestamp>,
}

/// Up to where a user says to have read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadUpTo {
    /// This message.
    Message(MessageId),
    /// This seq; beyond the last message it means the last message.
    Seq(i64),
}

/// A user's read position after saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadState {
    /// The last message read.
    pub read_seq: i64,
    /// When; none if never.
    pub read_at: Option<Timestamp>,
    /// The last message there is.
    pub last_seq: i64,
    /// Whether this call made it rise: only then others are told.
    pub rose: bool,
    /// How many take part: decides who is told.
    pub participant_count: i64,
}
