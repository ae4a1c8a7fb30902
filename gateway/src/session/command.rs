//! What a client may ask for: each event decoded, checked at the edge, and handed on.

use std::{borrow::Cow, sync::Arc};

use messenger_core::{
    Bug, ClientMessageId, Content, ConversationId, Cursor, Error, ErrorKind, MessageId, Metadata, UserId, is_seeded,
};
use messenger_proto::message::v1::{self as message, draft::Target};
use messenger_rpc::request_as;
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::Instrument as _;

use super::{Session, bugs, pipe::Undecided, reply::Request};
use crate::{
    read_position::{ReadPositionObject, up_to},
    violation,
};

/// How the data of an event is read.
type Decode = for<'a> fn(Option<&'a RawValue>) -> Result<Command<'a>, Error>;

/// What a client may ask for.
const COMMANDS: [(&str, Decode); 4] = [
    ("send_message", |data| decode(data).map(Command::SendMessage)),
    ("mark_read", |data| decode(data).map(Command::MarkRead)),
    ("sync", |data| decode(data).map(Command::Sync)),
    ("refresh_token", |data| decode(data).map(Command::RefreshToken)),
];

fn find(event: &str) -> Option<(&'static str, Decode)> {
    COMMANDS.into_iter().find(|(name, _)| *name == event)
}

/// The name of an event a client may send; none for any other.
pub(super) fn known(event: &str) -> Option<&'static str> {
    find(event).map(|(name, _)| name)
}

/// Text that is borrowed from the frame unless it has escapes in it.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is to be sent, and where to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessage<'a> {
    #[serde(borrow)]
    receiver_id: Option<Text<'a>>,
    group_id: Option<Text<'a>>,
    conversation_id: Option<Text<'a>>,
    content: Option<Text<'a>>,
    client_message_id: Option<Text<'a>>,
    reply_to_id: Option<Text<'a>>,
    metadata: Option<&'a RawValue>,
}

/// Up to where a conversation was read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MarkRead<'a> {
    #[serde(borrow)]
    conversation_id: Text<'a>,
    message_id: Option<Text<'a>>,
    seq: Option<i64>,
}

/// Where to replay from.
#[derive(Debug, Deserialize)]
pub struct Sync<'a> {
    #[serde(borrow)]
    cursor: Text<'a>,
}

/// The token to go on with.
#[derive(Debug, Deserialize)]
pub struct RefreshToken<'a> {
    #[serde(borrow)]
    token: Text<'a>,
}

/// An event of a client, read as far as no session is needed. Borrows from the frame.
#[derive(Debug)]
pub enum Command<'a> {
    /// `send_message`
    SendMessage(SendMessage<'a>),
    /// `mark_read`
    MarkRead(MarkRead<'a>),
    /// `sync`
    Sync(Sync<'a>),
    /// `refresh_token`
    RefreshToken(RefreshToken<'a>),
}

impl<'a> Command<'a> {
    /// Reads the data of an event.
    ///
    /// # Errors
    /// UNKNOWN_EVENT, VALIDATION_FAILED when the data is no object or has a field of another type.
    pub fn decode(event: &str, data: Option<&'a RawValue>) -> Result<Self, Error> {
        let (_, decode) = find(event).ok_or_else(|| Error::new(ErrorKind::UnknownEvent, "no such event"))?;
        decode(data)
    }
}

impl Session {
    /// Carries out one event; an error is the answer.
    pub(super) fn command(&mut self, event: &str, data: Option<&RawValue>, request: &Request) -> Result<(), Error> {
        match Command::decode(event, data)? {
            Command::SendMessage(asked) => {
                let weight = 1 + data.map_or(0, |data| data.get().len() / 1024);
                self.send_message(&asked, weight, request)
            }
            Command::MarkRead(asked) => self.mark_read(&asked, request),
            Command::Sync(asked) => {
                self.catch_up.sync(Cursor::decode(&asked.cursor.0)?, request)?;
                self.read_on();
                Ok(())
            }
            Command::RefreshToken(asked) => {
                self.refresh_token(&asked.token.0, request);
                Ok(())
            }
        }
    }

    fn send_message(&mut self, asked: &SendMessage<'_>, weight: usize, request: &Request) -> Result<(), Error> {
        // An error names the send it belongs to, unless the name itself is the error.
        let client_message_id = asked.client_message_id.as_ref().map(|id| ClientMessageId::new(&id.0)).transpose()?;
        let request = request.clone().with_client_message_id(client_message_id.as_ref().map(ClientMessageId::as_str));
        let sent = self.target(asked).and_then(|target| draft(asked, target)).and_then(|draft| {
            let message_id = MessageId::new(self.gateway.clock.now());
            if self.connection.is_leaving() {
                return Err(Error::draining());
            }
            let sends = Arc::clone(&self.gateway.rates.sends);
            let undecided = Undecided::new(draft, message_id, request.clone(), weight, sends);
            if is_seeded(Bug::ConcurrentHandlers) {
                bugs::send_concurrently(&self.gateway.pipe, undecided);
                return Ok(());
            }
            self.gateway.pipe.send(undecided)
        });
        if let Err(error) = sent {
            request.fail(&error);
        }
        Ok(())
    }

    /// Exactly one of receiver, group and conversation; counted against the rates.
    fn target(&self, asked: &SendMessage<'_>) -> Result<Target, Error> {
        let (sender, sends) = (self.identity.user_id, &self.gateway.rates.sends);
        match (&asked.receiver_id, &asked.group_id, &asked.conversation_id) {
            (Some(id), None, None) => {
                let receiver = UserId::parse("receiverId", &id.0)?;
                if receiver == sender {
                    return Err(Error::invalid("receiverId", "must not be yourself"));
                }
                sends.send_to_user(sender, receiver)?;
                Ok(Target::ReceiverId(receiver.to_string()))
            }
            (None, Some(id), None) => {
                let group = ConversationId::parse("groupId", &id.0)?;
                sends.send_to(sender, group)?;
                Ok(Target::GroupId(group.to_string()))
            }
            (None, None, Some(id)) => {
                let conversation = ConversationId::parse("conversationId", &id.0)?;
                sends.send_to(sender, conversation)?;
                Ok(Target::ConversationId(conversation.to_string()))
            }
            _ => Err(Error::invalid("receiverId", "give exactly one of receiverId, groupId and conversationId")),
        }
    }

    fn mark_read(&mut self, asked: &MarkRead<'_>, request: &Request) -> Result<(), Error> {
        let conversation_id = ConversationId::parse("conversationId", &asked.conversation_id.0)?.to_string();
        let up_to = Some(up_to(asked.message_id.as_ref().map(|id| &*id.0), asked.seq)?);
        let origin = self.connection.origin;
        let call = message::MarkReadRequest { conversation_id: conversation_id.clone(), up_to, origin };
        let call = request_as(self.identity.user_id, call);
        let (mut service, request, span) =
            (self.gateway.services.message.clone(), request.clone(), request.span().clone());
        span.record("conversation.id", &*conversation_id);
        let errand = async move {
            match service.mark_read(call).await {
                Ok(read) => request.succeed(&ReadPositionObject::new(&conversation_id, read.get_ref())),
                Err(status) => request.fail(&messenger_rpc::from_status(&status)),
            }
            None
        };
        self.errand = Some(Box::pin(errand.instrument(span)));
        Ok(())
    }
}

fn draft(asked: &SendMessage<'_>, target: Target) -> Result<message::Draft, Error> {
    let content = asked.content.as_ref().ok_or_else(|| Error::invalid("content", "is missing"))?;
    let reply_to = asked.reply_to_id.as_ref().map(|id| MessageId::parse("replyToId", &id.0)).transpose()?;
    let metadata = asked.metadata.map(|json| Metadata::new(json.get())).transpose()?;
    Content::check(&content.0)?;
    Ok(message::Draft {
        target: Some(target),
        content: content.0.clone().into_owned(),
        client_message_id: asked.client_message_id.as_ref().map(|id| id.0.clone().into_owned()),
        reply_to_id: reply_to.map(|id| id.to_string()),
        metadata: metadata.map(|metadata| metadata.as_str().to_owned()),
    })
}

fn decode<'a, T: Deserialize<'a>>(data: Option<&'a RawValue>) -> Result<T, Error> {
    let json = data.map_or("null", RawValue::get);
    if !json.starts_with('{') {
        return Err(Error::invalid("data", "must be an object"));
    }
    let unreadable = || Error::invalid("data", "has a text or a number that cannot be read");
    // What is right is read once and without looking where one is.
    let explained = |_| violation::read_object(json.as_bytes()).map_err(|error| error.unwrap_or_else(unreadable));
    serde_json::from_str(json).or_else(explained)
}

/// The key of a send that went wrong before it was read as one.
pub(super) fn client_message_id(data: Option<&RawValue>) -> Option<ClientMessageId> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, rename = "clientMessageId")]
        id: Text<'a>,
    }
    let named: Named<'_> = serde_json::from_str(data?.get()).ok()?;
    ClientMessageId::new(&named.id.0).ok()
}
