//! Drafts: which are repeats, which are refused, and the numbers of the rest.

use std::collections::HashMap;

use messenger_core::{
    Bug, ClientMessageId, ConversationId, ConversationType, Error, ErrorKind, MessageId, Position, Role, UserId,
    is_seeded,
};

use super::{Numbering, Refusal};
use crate::{
    model::{Digest, Draft, DraftOutcome, Entry, Fact, Message, ResolvedDraft, StoredMessage},
    policy::may_post,
};

/// What is stored about one draft.
#[derive(Debug, Clone, Default)]
pub struct DraftFacts {
    /// Its conversation: kind, restriction, last seq. None if there is none.
    pub conversation: Option<(ConversationType, bool, i64)>,
    /// The sender's role in it; none if it does not take part.
    pub role: Option<Role>,
    /// The message stored under its client message id, or, if asked for, under its message id.
    pub stored: Option<StoredBefore>,
    /// How it was refused before, when it was sent to another process too.
    pub refused: Option<Refusal>,
    /// The conversation of the message it answers, if that is stored.
    pub answers_in: Option<ConversationId>,
}

/// A message stored before.
#[derive(Debug, Clone)]
pub struct StoredBefore {
    /// As it is now.
    pub message: Message,
    /// Of the draft as it was first sent.
    pub digest: Digest,
}

/// What the drafts come to.
#[derive(Debug, Default)]
pub struct NumberedDrafts {
    /// For each draft its answer.
    pub outcomes: Vec<DraftOutcome>,
    /// Messages to store, in the order of their positions.
    pub sent: Vec<Sent>,
    /// The last seq and position of each conversation they are in.
    pub heads: HashMap<ConversationId, (i64, Position)>,
    /// The last seq each sender sent, and so has read.
    pub reads: HashMap<(ConversationId, UserId), i64>,
    /// Refusals of drafts sent before: another process may still hold them, and must not store them later.
    pub refused: Vec<(MessageId, Refusal)>,
}

/// A message to store.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Of its entry.
    pub position: Position,
    /// The message.
    pub message: Message,
    /// The kind of its conversation.
    pub conversation_type: ConversationType,
    /// Of its draft.
    pub digest: Digest,
    /// The connection it came from.
    pub origin: i64,
}

impl Sent {
    /// As the journal's entry.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let fact = Fact::MessageSent {
            message: self.message.clone(),
            conversation_type: self.conversation_type,
            origin: self.origin,
        };
        Entry { position: self.position, conversation_id: self.message.conversation_id, fact }
    }
}

/// Decides the drafts in their order; `facts` has one for each, read under the lock or as if.
#[must_use]
pub fn number_drafts(drafts: &[ResolvedDraft], facts: Vec<DraftFacts>, numbering: &mut Numbering) -> NumberedDrafts {
    let mut state = State { numbering, by_key: HashMap::new(), by_id: HashMap::new(), out: NumberedDrafts::default() };
    state.out.outcomes.reserve(drafts.len());
    state.out.sent.reserve(drafts.len());
    for (resolved, facts) in drafts.iter().zip(facts) {
        let outcome = state.decide(resolved, facts);
        state.out.outcomes.push(outcome);
    }
    state.out
}

struct State<'a> {
    numbering: &'a mut Numbering,
    /// Indexes of `out.sent`, by what makes a later draft of this batch a repeat.
    by_key: HashMap<(UserId, &'a ClientMessageId), usize>,
    by_id: HashMap<MessageId, usize>,
    out: NumberedDrafts,
}

impl<'a> State<'a> {
    /// Repeats come first: they are answered also after the sender's removal.
    fn decide(&mut self, resolved: &'a ResolvedDraft, facts: DraftFacts) -> DraftOutcome {
        let (draft, digest) = (&resolved.draft, resolved.digest());
        if let Some(stored) = facts.stored {
            let conversation_type = facts.conversation.map(|(conversation_type, ..)| conversation_type);
            return repeat(draft, &digest, stored, conversation_type);
        }
        if let Some(sent) = self.sent_in_this_batch(draft) {
            let stored = StoredBefore { message: sent.message.clone(), digest: sent.digest };
            return repeat(draft, &digest, stored, Some(sent.conversation_type));
        }
        if let Some(refusal) = facts.refused.or_else(|| self.refused_in_this_batch(draft)) {
            return Err(refusal.into());
        }
        let (conversation_type, last_seq) = match self.check(resolved, &facts) {
            Ok(allowed) => allowed,
            Err(refusal) => {
                if draft.resent {
                    self.out.refused.push((draft.message_id, refusal));
                }
                return Err(refusal.into());
            }
        };
        let message = self.number(resolved, last_seq);
        self.remember(
            draft,
            Sent { position: self.numbering.position, message, conversation_type, digest, origin: draft.origin },
        )
    }

    fn sent_in_this_batch(&self, draft: &'a Draft) -> Option<&Sent> {
        let by_key = draft.client_message_id.as_ref().and_then(|key| self.by_key.get(&(draft.sender_id, key)));
        by_key.or_else(|| self.by_id.get(&draft.message_id)).map(|&index| &self.out.sent[index])
    }

    fn refused_in_this_batch(&self, draft: &Draft) -> Option<Refusal> {
        self.out.refused.iter().find(|(id, _)| *id == draft.message_id).map(|&(_, refusal)| refusal)
    }

    /// The kind and the last seq of the conversation, if the draft may be stored.
    fn check(&self, resolved: &ResolvedDraft, facts: &DraftFacts) -> Result<(ConversationType, i64), Refusal> {
        let allowed = may_send(resolved, facts)?;
        let Some(answered) = resolved.draft.reply_to_id else { return Ok(allowed) };
        // The answered message may be in this very batch.
        let sent = self.by_id.get(&answered).map(|&index| self.out.sent[index].message.conversation_id);
        match facts.answers_in.or(sent) {
            Some(conversation) if conversation == resolved.conversation_id => Ok(allowed),
            _ => Err(Refusal::AnswersElsewhere),
        }
    }

    fn number(&mut self, resolved: &ResolvedDraft, last_seq: i64) -> Message {
        let &ResolvedDraft { conversation_id, ref draft, .. } = resolved;
        let position = self.numbering.next();
        let head = self.out.heads.entry(conversation_id).or_insert((last_seq, position));
        *head = (head.0 + 1, position);
        self.out.reads.insert((conversation_id, draft.sender_id), head.0);
        Message {
            id: draft.message_id,
            conversation_id,
            seq: head.0,
            sender_id: draft.sender_id,
            content: draft.content.clone(),
            created_at: self.numbering.created_at,
            client_message_id: draft.client_message_id.clone().filter(|_| !is_seeded(Bug::IdempotencyInMemory)),
            reply_to_id: draft.reply_to_id,
            metadata: draft.metadata.clone(),
        }
    }

    fn remember(&mut self, draft: &'a Draft, sent: Sent) -> DraftOutcome {
        let index = self.out.sent.len();
        self.by_id.insert(draft.message_id, index);
        if let Some(key) = &draft.client_message_id {
            self.by_key.insert((draft.sender_id, key), index);
        }
        let (message, conversation_type) = (sent.message.clone(), sent.conversation_type);
        self.out.sent.push(sent);
        Ok(StoredMessage { message, conversation_type, repeated: false })
    }
}

fn repeat(
    draft: &Draft,
    digest: &Digest,
    stored: StoredBefore,
    conversation_type: Option<ConversationType>,
) -> DraftOutcome {
    let is_same = stored.digest == *digest && stored.message.sender_id == draft.sender_id;
    // Without a conversation it cannot be the same draft: the digest has the conversation in it.
    match conversation_type {
        Some(conversation_type) if is_same => {
            Ok(StoredMessage { message: stored.message, conversation_type, repeated: true })
        }
        _ => Err(Error::new(ErrorKind::IdempotencyKeyReused, "this id was used for another message")),
    }
}

fn may_send(resolved: &ResolvedDraft, facts: &DraftFacts) -> Result<(ConversationType, i64), Refusal> {
    let (Some((conversation_type, is_restricted, last_seq)), Some(role)) = (facts.conversation, facts.role) else {
        return Err(Refusal::NoConversation);
    };
    if resolved.group_only && conversation_type == ConversationType::P2p {
        return Err(Refusal::NoConversation);
    }
    if !may_post(role, is_restricted) {
        return Err(Refusal::AdminsOnly);
    }
    Ok((conversation_type, last_seq))
}

#[cfg(test)]
mod tests {
    use messenger_core::{Content, Timestamp};

    use super::*;

    fn id<K>(number: u128) -> messenger_core::Id<K> {
        messenger_core::Id::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn draft(message: u128, content: &str) -> ResolvedDraft {
        let draft = Draft {
            sender_id: id(2),
            message_id: id(message),
            content: Content::new(content).expect("valid"),
            client_message_id: None,
            reply_to_id: None,
            metadata: None,
            resent: false,
            origin: 0,
            trace: messenger_rpc::TraceParent::default(),
        };
        ResolvedDraft { conversation_id: id(1), group_only: false, draft }
    }

    fn keyed(message: u128, content: &str) -> ResolvedDraft {
        let key = ClientMessageId::new("k").expect("valid");
        but(draft(message, content), |draft| draft.client_message_id = Some(key))
    }

    fn but(mut of: ResolvedDraft, change: impl FnOnce(&mut Draft)) -> ResolvedDraft {
        change(&mut of.draft);
        of
    }

    fn group(role: Option<Role>, is_restricted: bool) -> DraftFacts {
        DraftFacts { conversation: Some((ConversationType::Group, is_restricted, 7)), role, ..DraftFacts::default() }
    }

    fn number(drafts: &[ResolvedDraft], facts: Vec<DraftFacts>) -> NumberedDrafts {
        let mut numbering = Numbering { position: Position(10), created_at: Timestamp::from_micros(5) };
        number_drafts(drafts, facts, &mut numbering)
    }

    fn kinds(numbered: &NumberedDrafts) -> Vec<Result<i64, ErrorKind>> {
        let kind = |outcome: &DraftOutcome| match outcome {
            Ok(stored) => Ok(stored.message.seq),
            Err(error) => Err(error.kind()),
        };
        numbered.outcomes.iter().map(kind).collect()
    }

    #[test]
    fn refused_drafts_take_no_seq() {
        let drafts = [draft(1, "a"), draft(2, "b"), draft(3, "c"), draft(4, "d"), draft(5, "e")];
        let member = Some(Role::Member);
        let facts = vec![
            group(member, false),
            group(None, false),
            DraftFacts::default(),
            group(member, true),
            group(Some(Role::Admin), true),
        ];
        let numbered = number(&drafts, facts);
        let not_found = Err(ErrorKind::NotFound);
        assert_eq!(kinds(&numbered), [Ok(8), not_found, not_found, Err(ErrorKind::Forbidden), Ok(9)]);
        assert_eq!(numbered.heads[&id(1)], (9, Position(12)));
        assert_eq!(numbered.reads[&(id(1), id(2))], 9);
    }

    #[test]
    fn a_group_draft_does_not_reach_a_p2p_conversation() {
        let facts =
            DraftFacts { conversation: Some((ConversationType::P2p, false, 0)), ..group(Some(Role::Member), false) };
        let group_only = ResolvedDraft { group_only: true, ..draft(1, "a") };
        assert_eq!(kinds(&number(&[group_only], vec![facts.clone()])), [Err(ErrorKind::NotFound)]);
        assert_eq!(kinds(&number(&[draft(1, "a")], vec![facts])), [Ok(1)]);
    }

    #[test]
    fn repeats_in_one_batch() {
        let drafts = [keyed(1, "a"), keyed(2, "a"), keyed(3, "b"), draft(1, "a"), draft(1, "c")];
        let numbered = number(&drafts, vec![group(Some(Role::Member), false); 5]);
        let reused = Err(ErrorKind::IdempotencyKeyReused);
        assert_eq!(kinds(&numbered), [Ok(8), Ok(8), reused, Ok(8), reused]);
        assert_eq!(numbered.sent.len(), 1);
    }

    #[test]
    fn a_repeat_is_answered_before_rights() {
        let first = number(&[keyed(1, "a")], vec![group(Some(Role::Member), false)]).sent.remove(0);
        let stored = Some(StoredBefore { message: first.message, digest: first.digest });
        let removed = DraftFacts { stored: stored.clone(), ..group(None, true) };
        assert_eq!(kinds(&number(&[keyed(9, "a")], vec![removed.clone()])), [Ok(8)]);
        assert_eq!(kinds(&number(&[keyed(9, "b")], vec![removed])), [Err(ErrorKind::IdempotencyKeyReused)]);
        let foreign = but(draft(1, "a"), |draft| draft.sender_id = id(3));
        let facts = DraftFacts { stored, ..group(Some(Role::Member), false) };
        assert_eq!(kinds(&number(&[foreign], vec![facts])), [Err(ErrorKind::IdempotencyKeyReused)]);
    }

    #[test]
    fn a_refusal_of_a_draft_sent_before_is_for_good() {
        let resent = but(draft(1, "a"), |draft| draft.resent = true);
        let numbered = number(&[resent.clone(), draft(2, "b")], vec![group(None, false); 2]);
        assert_eq!(numbered.refused, [(id(1), Refusal::NoConversation)]);
        let refused = DraftFacts { refused: Some(Refusal::AdminsOnly), ..group(Some(Role::Admin), false) };
        let numbered = number(&[draft(1, "a"), resent], vec![refused; 2]);
        assert_eq!(kinds(&numbered), [Err(ErrorKind::Forbidden), Err(ErrorKind::Forbidden)]);
        assert_eq!((numbered.sent.len(), numbered.refused.len()), (0, 0), "it is recorded already");
    }

    #[test]
    fn answers_stay_in_their_conversation() {
        let answer = |message, to| but(draft(message, "a"), |draft| draft.reply_to_id = Some(id(to)));
        let drafts = [draft(1, "a"), answer(2, 1), answer(3, 99), answer(4, 98), answer(5, 97)];
        let mut facts = vec![group(Some(Role::Member), false); 5];
        facts[3].answers_in = Some(id(1));
        facts[4].answers_in = Some(id(77));
        let invalid = Err(ErrorKind::ValidationFailed);
        assert_eq!(kinds(&number(&drafts, facts)), [Ok(8), Ok(9), invalid, Ok(10), invalid]);
    }
}
