//! The session core: what a connection is and does, whatever wire it came over.
//!
//! A transport opens a [`Session`] for each connection and drives it from one loop: it hands over what the client
//! sent ([`Session::receive`]), writes what waits in [`Outbound`], and lets the session do what is due
//! ([`Session::maintain`]). Nothing in here knows sockets or HTTP.

mod bugs;
mod catch_up;
mod command;
mod connection;
mod delivery;
mod drain;
mod feed;
mod fetch;
mod frame;
mod gateway;
mod handshake;
mod hub;
mod openings;
mod outbound;
mod pid;
mod pipe;
mod places;
mod rates;
mod recent;
mod replay;
mod reply;
mod revocation;
mod rooms;
#[cfg(test)]
mod simulation;

use std::{pin::Pin, sync::Arc};

use messenger_core::Error;
use messenger_identity::Identity;
use serde_json::value::RawValue;
use tokio::time::Sleep;

use self::{
    catch_up::CatchUp,
    command::{client_message_id, known},
    connection::Connection,
    fetch::Fetch,
    hub::Seat,
    places::Place,
    reply::Request,
    revocation::Renewal,
};
pub use self::{
    command::Command,
    frame::{Frame, ReplyTo, WireFormat},
    gateway::{Gateway, Parts},
    handshake::{Connected, Handshake, Resume},
    hub::Hub,
    outbound::{CloseReason, Outbound},
    pid::{Pid, ResumeKey},
    pipe::Pipe,
    rates::{Flood, Rates},
};

/// What the undecided sends of one connection may weigh, 1 and another 1 for each KiB asked with; beyond, its next
/// event is not read.
///
/// Each may become three frames at once (the ack, `message_sent`, and `new_message` in a group): with what may wait
/// before reading stops, they fit into the outbound queue, so that no client is too slow for its own answers.
const UNDECIDED_MAX: usize = 128;

/// A request that is being carried out by a service; its answer is queued when it ends, but for that to a newer token,
/// which is given to the session.
type Errand = Pin<Box<dyn Future<Output = Option<Renewal>> + Send>>;

/// One connection's part of the gateway. Dropping it leaves the hub.
pub struct Session {
    gateway: Arc<Gateway>,
    identity: Identity,
    connection: Arc<Connection>,
    /// Kept for its drop.
    _seat: Seat,
    place: Place,
    connected: Connected,
    catch_up: CatchUp,
    fetch: Fetch,
    errand: Option<Errand>,
    alarm: Pin<Box<Sleep>>,
    /// The client was told of the end of its token.
    has_warned: bool,
}

impl Session {
    /// What the first frame tells the client.
    #[must_use]
    pub fn connected(&self) -> &Connected {
        &self.connected
    }

    /// What waits to be written.
    #[must_use]
    pub fn outbound(&self) -> Arc<Outbound> {
        Arc::clone(&self.connection.outbound)
    }

    /// Leaves the hub. Gives what is still to be written, and the place to keep until the socket is closed.
    #[must_use]
    pub fn leave(self) -> (Vec<Frame>, Place) {
        (self.connection.outbound.take_rest(), self.place)
    }

    /// Whether the next event may be handed over. While it may not, leave the socket unread;
    /// [`Session::maintain`] returns when that changed.
    #[must_use]
    pub fn accepts(&self) -> bool {
        self.errand.is_none() && self.connection.undecided() < UNDECIDED_MAX && self.connection.outbound.has_room()
    }

    /// Carries out one event of the client; call it in the order of arrival. It never waits and never fails:
    /// what goes wrong is answered.
    pub fn receive(&mut self, event: &str, data: Option<&RawValue>, reply_to: ReplyTo) {
        let request = Request::new(&self.connection, event, known(event), reply_to);
        if let Err(error) = request.span().in_scope(|| self.command(event, data, &request)) {
            request.fail_naming(client_message_id(data), &error);
        }
    }

    /// Answers an event that was read and is not carried out (PAYLOAD_TOO_LARGE).
    pub fn refuse_event(&mut self, error: &Error, event: &str, data: Option<&RawValue>, reply_to: ReplyTo) {
        Request::new(&self.connection, event, known(event), reply_to).fail_naming(client_message_id(data), error);
    }

    /// Answers what could not be read as an event (MALFORMED_FRAME); the connection stays.
    pub fn refuse(&mut self, error: &Error, reply_to: ReplyTo) {
        Request::unnamed(&self.connection, reply_to).fail(error);
    }

    /// Does what is due (replay, end of the token, answers of services), waiting for it if there is nothing yet.
    /// Call it again and again beside the socket in one `select!`; dropping it midway loses nothing.
    pub async fn maintain(&mut self) {
        tokio::select! {
            () = self.connection.outbound.attention() => self.catch_up.look(),
            renewal = ended(self.errand.as_mut()) => {
                self.errand = None;
                self.renew(renewal);
            }
            page = self.fetch.page() => self.catch_up.turn(page),
            () = self.alarm.as_mut() => self.wake(),
        }
        self.read_on();
    }

    /// Reads the page of a replay that is due, if one is.
    fn read_on(&mut self) {
        if let Some(due) = self.catch_up.due() {
            self.fetch.start(self.gateway.services.message.clone(), self.identity.user_id, due);
        }
    }
}

async fn ended(errand: Option<&mut Errand>) -> Option<Renewal> {
    match errand {
        Some(errand) => errand.await,
        None => std::future::pending().await,
    }
}
