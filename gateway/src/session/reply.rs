//! The one answer of a request: an ack when one was asked for, events beside it, or an error.

use std::{borrow::Cow, sync::Arc};

use messenger_core::{ClientMessageId, Error, ErrorKind};
use messenger_proto::event::v1::Message;
use serde::Serialize;
use tracing::{Span, field::Empty};
use uuid::Uuid;

use super::{
    connection::Connection,
    frame::{ErrorObject, Frame, ReplyTo, json},
};
use crate::objects::MessageObject;

/// What an answered event is called on the plain wire, where answers are frames like all others.
const ACK: &str = "ack";

/// Who asked what, and where the answer goes. Small: the pipe holds one for each undecided send.
#[derive(Debug, Clone)]
pub struct Request {
    connection: Arc<Connection>,
    event: Option<Cow<'static, str>>,
    reply_to: ReplyTo,
    client_message_id: Option<Box<str>>,
    /// From the event to its answer.
    span: Span,
}

/// Names of unknown events are given back, but not without bound.
const EVENT_NAME_BYTES_MAX: usize = 64;

impl Request {
    /// A request of this connection; `known` is the event's name if there is such an event.
    pub fn new(connection: &Arc<Connection>, event: &str, known: Option<&'static str>, reply_to: ReplyTo) -> Self {
        let event = match known {
            Some(known) => Cow::Borrowed(known),
            None => Cow::Owned(event[..event.floor_char_boundary(EVENT_NAME_BYTES_MAX)].to_owned()),
        };
        // What a client makes up is in no trace.
        let name = known.unwrap_or("unknown event");
        let span = tracing::debug_span!(
            parent: None,
            "command",
            otel.name = name,
            command = name,
            user.id = %connection.user_id,
            conversation.id = Empty,
            error.code = Empty,
        );
        Self { event: Some(event), span, ..Self::unnamed(connection, reply_to) }
    }

    /// Something that could not be read as an event.
    pub fn unnamed(connection: &Arc<Connection>, reply_to: ReplyTo) -> Self {
        Self { connection: Arc::clone(connection), event: None, reply_to, client_message_id: None, span: Span::none() }
    }

    /// The same with the key its errors name.
    #[must_use]
    pub fn with_client_message_id(mut self, id: Option<&str>) -> Self {
        self.client_message_id = id.map(Into::into);
        self
    }

    /// It failed before its data was read: the error names the key that is in it, if one is.
    pub fn fail_naming(self, id: Option<ClientMessageId>, error: &Error) {
        self.with_client_message_id(id.as_ref().map(ClientMessageId::as_str)).fail(error);
    }

    /// What it is traced by.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// The connection that asked.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// It succeeded: the ack, if one was asked for.
    pub fn succeed(&self, object: &impl Serialize) {
        if self.reply_to != ReplyTo::None {
            self.ack(&json(object));
        }
    }

    /// It failed: the ack `{error}` if one was asked for, else an `error` event.
    pub fn fail(&self, error: &Error) {
        #[derive(Serialize)]
        struct Failed<'a> {
            error: ErrorObject<'a>,
        }
        let request_id = (error.kind() == ErrorKind::Internal).then(|| Uuid::new_v4().to_string());
        if let Some(id) = &request_id {
            tracing::error!(parent: &self.span, request.id = id, ?error, "request failed");
        }
        let mut object = ErrorObject::new(error, self.event.as_deref(), self.client_message_id.as_deref());
        object.request_id = request_id.as_deref();
        self.span.record("error.code", object.code);
        metrics::counter!("messenger_requests_failed_total", "code" => object.code).increment(1);
        match (&self.reply_to, self.connection.wire) {
            (ReplyTo::Ack(_), _) => self.ack(&json(&Failed { error: object })),
            (ReplyTo::Id(_), wire) => {
                let answer = Frame::answer(wire, &self.reply_to, "error", &json(&object));
                answer.into_iter().for_each(|frame| self.connection.outbound.push(frame));
            }
            (ReplyTo::None, wire) => {
                self.connection.outbound.push(Frame::event(wire, "error", &json(&object), None));
            }
        }
    }

    /// A send is stored. A new P2P message comes by the feed at its place, with its cursor; everything else is
    /// `message_sent` here and now.
    pub fn stored(&self, message: &Message, comes_by_feed: bool) {
        if comes_by_feed && self.reply_to == ReplyTo::None {
            return;
        }
        let body = json(&MessageObject::from(message));
        if !comes_by_feed {
            let frame = Frame::event(self.connection.wire, "message_sent", &body, None);
            self.connection.outbound.push(frame);
        }
        self.ack(&body);
    }

    fn ack(&self, body: &[u8]) {
        if let Some(frame) = Frame::answer(self.connection.wire, &self.reply_to, ACK, body) {
            self.connection.outbound.push(frame);
        }
    }
}
