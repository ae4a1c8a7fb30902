//! One connection between where it was and now: replaying, then live, as often as the feed breaks. No I/O: it is told
//! what happened and says which page is to be read.

use std::{sync::Arc, time::Duration};

use messenger_core::{Cursor, Error, ErrorKind, Position};
use messenger_proto::message::v1::{ReplayRequest, ReplayResponse};

use super::{
    connection::Connection,
    frame::Frame,
    hub::Hub,
    replay::Replay,
    reply::Request,
    rooms::{GoLive, Progress},
};

/// The pause before a failed page is read again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Where a connection is on its way to now.
pub(super) struct CatchUp {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    /// Everything above it that concerns this connection was or will be sent on it.
    begun: Position,
    state: State,
}

enum State {
    /// It is live, or the hub made something else of it that is not seen yet.
    Live,
    /// Boxed, for few connections replay.
    Replaying(Box<Replay>),
    /// What was missed cannot be had: live as soon as the feed carries the user.
    AtHead,
}

impl CatchUp {
    /// Of a connection that goes on after a cursor; `page` is the first.
    pub(super) fn resume(hub: &Arc<Hub>, connection: &Arc<Connection>, cursor: Cursor, page: ReplayResponse) -> Self {
        let replay = Box::new(Replay::resume(cursor, page));
        Self::new(hub, connection, cursor.position, State::Replaying(replay))
    }

    /// Of a connection that is live from now on; none while the feed does not carry the user: it gets attention then.
    pub(super) fn begin(hub: &Arc<Hub>, connection: &Arc<Connection>) -> Option<Self> {
        let mut begun = Position(0);
        match hub.go_live_at_head(connection, |head| begun = head) {
            GoLive::Live(_) => Some(Self::new(hub, connection, begun, State::Live)),
            GoLive::NotYet | GoLive::ReadOn => None,
        }
    }

    fn new(hub: &Arc<Hub>, connection: &Arc<Connection>, begun: Position, state: State) -> Self {
        // Whatever came before the session could look is looked at first.
        connection.outbound.call_attention();
        Self { hub: Arc::clone(hub), connection: Arc::clone(connection), begun, state }
    }

    /// Everything above it that concerns the connection was or will be sent on it.
    pub(super) fn begun(&self) -> Position {
        self.begun
    }

    /// `sync`: replays what lies between the cursor and where this connection began.
    pub(super) fn sync(&mut self, cursor: Cursor, request: &Request) -> Result<(), Error> {
        if !matches!(self.state, State::Live) {
            return Err(Error::new(ErrorKind::Unavailable, "a replay is under way, wait for sync_completed"));
        }
        let Some(sent) = self.hub.step_back(&self.connection) else {
            return Err(Error::new(ErrorKind::Unavailable, "the feed is being restored, try again"));
        };
        let is_same_journal = self.hub.journal() == Some(cursor.journal);
        let replay = if is_same_journal && (self.begun..=sent).contains(&cursor.position) {
            Replay::asked_in_vain(Cursor { position: sent, ..cursor }, request)
        } else {
            let begun = std::mem::replace(&mut self.begun, cursor.position);
            Replay::asked(cursor, (begun, sent), request)
        };
        self.state = State::Replaying(Box::new(replay));
        self.advance();
        Ok(())
    }

    /// Looks at what the hub made of the connection, and goes on.
    pub(super) fn look(&mut self) {
        if matches!(self.state, State::Live) {
            match self.hub.progress(&self.connection) {
                Some(Progress::Behind(reached)) => {
                    if let Some(cursor) = self.hub.cursor(reached) {
                        self.state = State::Replaying(Box::new(Replay::heal(cursor)));
                    }
                }
                Some(Progress::Lost) => self.state = State::AtHead,
                Some(Progress::Live(_)) | None => {}
            }
        }
        self.advance();
    }

    /// The page that was due was read, or could not be.
    pub(super) fn turn(&mut self, page: Result<ReplayResponse, Error>) {
        let State::Replaying(replay) = &mut self.state else { return };
        match page {
            Ok(page) => replay.take(page),
            Err(error) if matches!(error.kind(), ErrorKind::ResyncRequired | ErrorKind::CursorInvalid) => {
                if let Some(request) = replay.request() {
                    request.fail(&error);
                }
                self.state = State::AtHead;
            }
            Err(error) => {
                tracing::debug!(?error, "a page of a replay could not be read");
                replay.retry(RETRY_AFTER);
            }
        }
        self.advance();
    }

    /// The page that is due, to be read after the pause. Its answer is for [`CatchUp::turn`].
    pub(super) fn due(&mut self) -> Option<(ReplayRequest, Duration)> {
        match &mut self.state {
            State::Replaying(replay) => replay.due(),
            State::Live | State::AtHead => None,
        }
    }

    fn advance(&mut self) {
        let (hub, connection) = (&self.hub, &*self.connection);
        let went = match &mut self.state {
            State::Live => return,
            State::AtHead => {
                let begun = &mut self.begun;
                hub.go_live_at_head(connection, |head| {
                    *begun = head;
                    // Not before: what happens until it is live nobody would send, and the client fetches when told.
                    resync_required(connection);
                })
            }
            State::Replaying(replay) => {
                if replay.is_reading() || !replay.queue(connection) {
                    return;
                }
                if replay.has_more() {
                    return replay.read_on();
                }
                let went = hub.go_live(connection, replay.cursor(), |reached| replay.complete(connection, reached));
                if went == GoLive::ReadOn {
                    replay.read_on();
                }
                went
            }
        };
        if let GoLive::Live(_) = went {
            self.state = State::Live;
        }
    }
}

/// What was missed cannot be had: the client is told to fetch anew, and goes on from now.
pub(super) fn resync_required(connection: &Connection) {
    connection.outbound.push(Frame::event(connection.wire, "resync_required", b"{}", None));
}
