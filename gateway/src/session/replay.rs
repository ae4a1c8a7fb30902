//! What a connection missed, read a page at a time as its queue drains, until it can go live.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use messenger_core::{Cursor, Error, ErrorKind, Position, UserId};
use messenger_proto::{
    event::v1::Entry,
    message::v1::{LimitedConversation, ReplayRequest, ReplayResponse},
};
use messenger_rpc::{from_status, request_as};
use serde::Serialize;

use super::{
    Session,
    connection::Connection,
    delivery::Delivery,
    frame::{Frame, json},
    gateway::Gateway,
    hub::Hub,
    reply::Request,
    rooms::{GoLive, Progress},
};

/// Entries on a page: 50 of the largest messages stay below the 4 MiB an answer may have.
const PAGE_ENTRIES: i32 = 50;
/// The pause before a failed page is read again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

type Fetch = Pin<Box<dyn Future<Output = Result<ReplayResponse, Error>> + Send>>;

/// A connection's way back to now.
pub struct Replay {
    /// Where the next page begins.
    cursor: Cursor,
    /// Read, not queued yet.
    entries: VecDeque<Entry>,
    has_more: bool,
    /// Only the first page says what has to be left out of the others.
    is_first: bool,
    /// Entries to ask for: fewer after a failure, for a page may have been too large to be answered.
    page_entries: i32,
    fetch: Option<Fetch>,
    /// Was sent on this connection already: above the first, up to the second.
    sent: Option<(Position, Position)>,
    limited: Vec<LimitedConversation>,
    announce: Announce,
    /// What was missed cannot be had: live as soon as the feed carries the user.
    at_head: bool,
}

/// Who hears that it is over.
enum Announce {
    /// Nobody: the gap was ours.
    Nobody,
    /// The client, which came back with a cursor.
    Client,
    /// The client, which asked with `sync`.
    Asked(Request),
}

/// `sync_completed`
#[derive(Serialize)]
struct SyncCompleted<'a> {
    cursor: &'a str,
    limited: Vec<Limited<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Limited<'a> {
    conversation_id: &'a str,
    from_seq: i64,
}

/// The page being read; pending while none is.
pub(super) async fn read(replay: Option<&mut Replay>) -> Result<ReplayResponse, Error> {
    match replay.and_then(|replay| replay.fetch.as_mut()) {
        Some(fetch) => fetch.await,
        None => std::future::pending().await,
    }
}

/// Reads the first page after a cursor.
pub(super) async fn first_page(gateway: &Gateway, user_id: UserId, cursor: Cursor) -> Result<ReplayResponse, Error> {
    let request = ReplayRequest {
        cursor: cursor.encode(),
        page_size: PAGE_ENTRIES,
        first_page: true,
        excluded_conversation_ids: Vec::new(),
    };
    let mut service = gateway.services.message.clone();
    let page = service.replay(request_as(user_id, request)).await.map_err(|status| from_status(&status))?;
    Ok(page.into_inner())
}

impl Replay {
    fn new(cursor: Cursor, announce: Announce) -> Self {
        Self {
            cursor,
            entries: VecDeque::new(),
            has_more: true,
            is_first: false,
            page_entries: PAGE_ENTRIES,
            fetch: None,
            sent: None,
            limited: Vec::new(),
            announce,
            at_head: false,
        }
    }

    /// For a client that came back; `page` is the first.
    pub(super) fn resume(cursor: Cursor, page: ReplayResponse) -> Self {
        let mut replay = Self::new(cursor, Announce::Client);
        replay.take(page);
        replay
    }

    fn take(&mut self, page: ReplayResponse) {
        (self.fetch, self.is_first, self.page_entries) = (None, false, PAGE_ENTRIES);
        self.cursor.position = Position(page.position);
        self.entries = page.entries.into();
        self.has_more = page.has_more;
        if !page.limited.is_empty() {
            self.limited = page.limited;
        }
    }

    fn request(&self) -> ReplayRequest {
        ReplayRequest {
            cursor: self.cursor.encode(),
            page_size: self.page_entries,
            first_page: self.is_first,
            excluded_conversation_ids: self.limited.iter().map(|limited| limited.conversation_id.clone()).collect(),
        }
    }

    fn start_fetch(&mut self, gateway: &Arc<Gateway>, user_id: UserId, pause: Duration) {
        let (mut service, request) = (gateway.services.message.clone(), request_as(user_id, self.request()));
        self.fetch = Some(Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            service.replay(request).await.map(tonic::Response::into_inner).map_err(|status| from_status(&status))
        }));
    }

    /// Queues what was read; false when the queue has no room for more now.
    fn queue(&mut self, connection: &Connection) -> bool {
        while let Some(entry) = self.entries.front() {
            if !connection.outbound.has_room() {
                return false;
            }
            let position = Position(entry.position);
            let is_sent = self.sent.is_some_and(|(after, to)| position > after && position <= to);
            if !is_sent && let Some(mut delivery) = Delivery::new(entry, self.cursor.journal) {
                connection.outbound.push(delivery.frame_for(connection));
            }
            self.entries.pop_front();
        }
        true
    }

    fn complete(&self, connection: &Connection, reached: Position) {
        if matches!(self.announce, Announce::Nobody) {
            return;
        }
        let cursor = Cursor { position: reached, ..self.cursor }.encode();
        let limited =
            self.limited.iter().map(|one| Limited { conversation_id: &one.conversation_id, from_seq: one.from_seq });
        let completed = SyncCompleted { cursor: &cursor, limited: limited.collect() };
        connection.outbound.push(Frame::event(connection.wire, "sync_completed", &json(&completed), None));
        if let Announce::Asked(request) = &self.announce {
            request.succeed(&completed);
        }
    }
}

impl Session {
    /// `sync`: replays what lies between the cursor and where this connection began.
    pub(super) fn sync(&mut self, cursor: &str, request: &Request) -> Result<(), Error> {
        let cursor = Cursor::decode(cursor)?;
        if self.replay.is_some() {
            return Err(Error::new(ErrorKind::Unavailable, "a replay is under way, wait for sync_completed"));
        }
        let Some(sent) = self.gateway.hub.step_back(&self.connection) else {
            return Err(Error::new(ErrorKind::Unavailable, "the feed is being restored, try again"));
        };
        let mut replay = Replay::new(cursor, Announce::Asked(request.clone()));
        let was_sent = self.begun..=sent;
        if Some(cursor.journal) == self.gateway.hub.journal() && was_sent.contains(&cursor.position) {
            // All of it was sent on this connection.
            (replay.cursor.position, replay.has_more) = (sent, false);
        } else {
            (replay.sent, replay.is_first) = (Some((self.begun, sent)), true);
            self.begun = cursor.position;
        }
        self.replay = Some(replay);
        self.advance();
        Ok(())
    }

    /// Looks at what the hub made of the connection, and goes on.
    pub(super) fn look(&mut self) {
        if self.replay.is_none() {
            match self.gateway.hub.progress(&self.connection) {
                Some(Progress::Behind(reached)) => {
                    let cursor = self.gateway.hub.cursor(reached);
                    self.replay = cursor.map(|cursor| {
                        let mut replay = Replay::new(cursor, Announce::Nobody);
                        // Perhaps nothing was missed: the hub knows.
                        replay.has_more = false;
                        replay
                    });
                }
                Some(Progress::Lost) => self.resync(&journal_changed()),
                Some(Progress::Live(_)) | None => {}
            }
        }
        self.advance();
    }

    /// A page was read, or could not be.
    pub(super) fn turn(&mut self, page: Result<ReplayResponse, Error>) {
        let Some(replay) = &mut self.replay else { return };
        match page {
            Ok(page) => replay.take(page),
            Err(error) if matches!(error.kind(), ErrorKind::ResyncRequired | ErrorKind::CursorInvalid) => {
                self.resync(&error);
            }
            Err(error) => {
                tracing::debug!(?error, "a page of a replay could not be read");
                replay.page_entries = (replay.page_entries / 2).max(1);
                replay.start_fetch(&self.gateway, self.identity.user_id, RETRY_AFTER);
            }
        }
        self.advance();
    }

    fn advance(&mut self) {
        let Some(replay) = &mut self.replay else { return };
        if replay.at_head {
            let begun = &mut self.begun;
            if let GoLive::Live(_) = self.gateway.hub.go_live_at_head(&self.connection, |head| *begun = head) {
                self.replay = None;
            }
            return;
        }
        if replay.fetch.is_some() || !replay.queue(&self.connection) {
            return;
        }
        if replay.has_more || !self.go_live() {
            self.read_on();
        }
    }

    /// False when there is more to read first.
    fn go_live(&mut self) -> bool {
        let Some(replay) = &self.replay else { return true };
        let connection = &*self.connection;
        let hub: &Hub = &self.gateway.hub;
        match hub.go_live(connection, replay.cursor.position, |reached| replay.complete(connection, reached)) {
            GoLive::Live(_) => self.replay = None,
            GoLive::NotYet => {}
            GoLive::ReadOn => return false,
        }
        true
    }

    fn read_on(&mut self) {
        if let Some(replay) = &mut self.replay {
            replay.start_fetch(&self.gateway, self.identity.user_id, Duration::ZERO);
        }
    }

    /// What was missed cannot be had: the client is told to fetch anew, and goes on from now.
    pub(super) fn resync(&mut self, error: &Error) {
        if let Some(Replay { announce: Announce::Asked(request), .. }) = &self.replay {
            request.fail(error);
        }
        let frame = Frame::event(self.connection.wire, "resync_required", b"{}", None);
        self.connection.outbound.push(frame);
        let cursor = self.replay.as_ref().map(|replay| replay.cursor);
        if let Some(cursor) = cursor.or_else(|| self.gateway.hub.cursor(Position(0))) {
            let mut replay = Replay::new(cursor, Announce::Nobody);
            replay.at_head = true;
            self.replay = Some(replay);
        }
    }
}

fn journal_changed() -> Error {
    Error::new(ErrorKind::ResyncRequired, "the journal was replaced, fetch anew")
}
