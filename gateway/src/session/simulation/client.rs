//! A client and its connection at a gateway: comes, reads at its pace, vanishes and comes back with its cursor.

use std::sync::Arc;

use futures_util::FutureExt as _;
use messenger_core::{Cursor, Error, ErrorKind, SessionId, Timestamp};
use messenger_identity::Identity;
use messenger_proto::message::v1::ReplayRequest;

use super::{
    gateway::Gateway,
    journal::{Journal, Page, user},
    log::{Log, Seen},
    random::Random,
};
use crate::session::{
    catch_up::{CatchUp, resync_required},
    connection::Connection,
    frame::{ReplyTo, WireFormat},
    hub::{Capacity, Hub, Seat},
    replay::first_page,
    reply::Request,
    rooms::Progress,
};

pub(super) struct Client {
    pub(super) log: Log,
    wire: WireFormat,
    /// It comes without its cursor and asks with `sync`.
    syncs: bool,
    line: Option<Line>,
    /// Connections whose end the gateway has not seen yet.
    ghosts: Vec<Line>,
    is_told: bool,
}

struct Line {
    joined: Joined,
    stage: Stage,
}

/// A connection that has joined the hub of its gateway.
struct Joined {
    gateway: usize,
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    _seat: Seat,
}

enum Stage {
    /// The handshake waits for the first page.
    Resuming(Cursor, Fetch),
    /// The handshake waits for the feed.
    Beginning {
        is_lost: bool,
    },
    Open(CatchUp, Option<Fetch>),
}

/// A page of a replay being read: what it saw may be old when it arrives.
enum Fetch {
    Asked(ReplayRequest),
    Answered(Result<Page, Error>),
}

impl Client {
    pub(super) fn new(number: usize, is_told: bool) -> Self {
        let origin = 100 + number as i64;
        let wire = if number.is_multiple_of(2) { WireFormat::Plain } else { WireFormat::SocketIo };
        // Users 0 and 1 have two clients each.
        let log = Log::new(user(number % 4), origin);
        Self { log, wire, syncs: number == 2, line: None, ghosts: Vec::new(), is_told }
    }

    pub(super) fn step(&mut self, gateways: &[Gateway], journal: &Journal, random: &mut Random) {
        if random.percent(10) && !self.ghosts.is_empty() {
            self.ghosts.swap_remove(0);
        }
        if self.line.is_none() {
            return self.connect(gateways, random);
        }
        match random.below(20) {
            0 => self.vanish(random),
            1..=6 => {
                let frames_max = random.one_of(&[1, 4, 100]);
                self.read(frames_max, journal);
            }
            7 => self.fail(),
            _ => self.go_on(journal),
        }
    }

    /// Everything that can happen does. True when it is live and has read everything.
    pub(super) fn settle(&mut self, gateways: &[Gateway], journal: &Journal, random: &mut Random) -> bool {
        self.ghosts.clear();
        if self.line.is_none() {
            self.connect(gateways, random);
        }
        for _ in 0..3 {
            self.go_on(journal);
        }
        self.read(usize::MAX, journal);
        self.line.as_ref().is_some_and(|line| {
            let is_live = matches!(line.joined.hub.progress(&line.joined.connection), Some(Progress::Live(_)));
            is_live && matches!(line.stage, Stage::Open(_, None)) && !self.log.is_syncing
        })
    }

    /// Its gateway is gone.
    pub(super) fn lose(&mut self, gateway: usize) {
        self.line.take_if(|line| line.joined.gateway == gateway);
        self.ghosts.retain(|line| line.joined.gateway != gateway);
    }

    fn connect(&mut self, gateways: &[Gateway], random: &mut Random) {
        let gateway = random.below(gateways.len());
        let hub = Arc::clone(&gateways[gateway].hub);
        let connection = Connection::new(self.log.user, self.log.origin, self.wire);
        let at = Timestamp::default();
        let identity =
            Identity { user_id: self.log.user, session_id: SessionId::new(at), issued_at: at, expires_at: at };
        let seat = hub.join(&connection, &identity, Capacity { per_user: 4, in_all: 100 }).expect("there is room");
        let stage = match self.log.cursor.filter(|_| !self.syncs) {
            Some(cursor) => Stage::Resuming(cursor, Fetch::Asked(first_page(cursor))),
            None => {
                connection.outbound.call_attention();
                Stage::Beginning { is_lost: false }
            }
        };
        self.line = Some(Line { joined: Joined { gateway, hub, connection, _seat: seat }, stage });
    }

    /// The connection goes; the gateway sees it now or later.
    fn vanish(&mut self, random: &mut Random) {
        self.ghosts.extend(self.line.take().filter(|_| random.percent(50)));
    }

    /// The session at the gateway does what is next.
    fn go_on(&mut self, journal: &Journal) {
        let Some(Line { joined, stage }) = self.line.take() else { return };
        let is_attended = joined.connection.outbound.attention().now_or_never().is_some();
        let stage = match stage {
            Stage::Resuming(cursor, Fetch::Asked(request)) => {
                Stage::Resuming(cursor, Fetch::Answered(journal.replay(self.log.user, &request)))
            }
            Stage::Resuming(cursor, Fetch::Answered(page)) => match self.resumed(&joined, cursor, page) {
                Some(stage) => stage,
                None => return,
            },
            Stage::Beginning { is_lost } if is_attended => self.begin(&joined, is_lost),
            Stage::Open(catch_up, fetch) => self.advance(catch_up, fetch, is_attended, journal),
            stage @ Stage::Beginning { .. } => stage,
        };
        self.line = Some(Line { joined, stage });
        self.leave_if_closed();
    }

    fn resumed(&mut self, joined: &Joined, cursor: Cursor, page: Result<Page, Error>) -> Option<Stage> {
        match page {
            Ok(page) => {
                self.log.connected(None);
                self.note(&page);
                let catch_up = CatchUp::resume(&joined.hub, &joined.connection, cursor, page.response);
                Some(Stage::Open(catch_up, None))
            }
            Err(error) if error.kind() == ErrorKind::ResyncRequired => {
                joined.connection.outbound.call_attention();
                Some(Stage::Beginning { is_lost: true })
            }
            Err(_) => None,
        }
    }

    fn begin(&mut self, joined: &Joined, is_lost: bool) -> Stage {
        let Some(catch_up) = CatchUp::begin(&joined.hub, &joined.connection) else {
            return Stage::Beginning { is_lost };
        };
        if is_lost {
            resync_required(&joined.connection);
        }
        if self.syncs && self.log.cursor.is_some() {
            self.log.connected_to_sync();
        } else {
            self.log.connected(Some(joined.hub.cursor(catch_up.begun()).expect("the feed was there")));
        }
        Stage::Open(catch_up, None)
    }

    fn advance(&mut self, mut catch_up: CatchUp, fetch: Option<Fetch>, is_attended: bool, journal: &Journal) -> Stage {
        if is_attended {
            catch_up.look();
        }
        let fetch = match fetch {
            Some(Fetch::Asked(request)) => Some(Fetch::Answered(journal.replay(self.log.user, &request))),
            Some(Fetch::Answered(page)) => {
                if let Ok(page) = &page {
                    self.note(page);
                }
                catch_up.turn(page.map(|page| page.response));
                None
            }
            None => None,
        };
        let fetch = fetch.or_else(|| catch_up.due().map(|(request, _)| Fetch::Asked(request)));
        Stage::Open(catch_up, fetch)
    }

    fn note(&mut self, page: &Page) {
        let limited = page.response.limited.iter().map(|limited| limited.conversation_id.parse().expect("ours"));
        self.log.replayed(page.left_out.clone(), limited);
    }

    /// The page being read is not.
    fn fail(&mut self) {
        let Some(line) = &mut self.line else { return };
        let fetch = match &mut line.stage {
            Stage::Resuming(_, fetch) | Stage::Open(_, Some(fetch)) => fetch,
            _ => return,
        };
        *fetch = Fetch::Answered(Err(Error::unavailable("the service is away")));
    }

    fn read(&mut self, frames_max: usize, journal: &Journal) {
        let Some(line) = &mut self.line else { return };
        let Stage::Open(catch_up, _) = &mut line.stage else { return };
        for frame in line.joined.connection.outbound.take(frames_max) {
            let text = std::str::from_utf8(frame.as_bytes()).expect("text");
            if self.is_told {
                println!("    client {} reads {text}", self.log.origin);
            }
            self.log.see(&seen(self.wire, text), journal);
        }
        if let Some(cursor) = self.log.cursor.filter(|_| self.log.is_syncing) {
            let request = Request::new(&line.joined.connection, "sync", Some("sync"), ReplyTo::None);
            // Refused while the feed is being restored, or the one before goes on.
            let _ = catch_up.sync(cursor, &request);
        }
        self.leave_if_closed();
    }

    fn leave_if_closed(&mut self) {
        self.line.take_if(|line| {
            let outbound = &line.joined.connection.outbound;
            outbound.closing().is_some() && outbound.bytes() == 0
        });
    }
}

/// A frame as far as the log minds.
fn seen(wire: WireFormat, text: &str) -> Seen<'_> {
    let start = match wire {
        WireFormat::Plain => "{\"event\":\"",
        WireFormat::SocketIo => "42[\"",
    };
    let event = text.strip_prefix(start).and_then(|rest| rest.split('"').next()).expect("an event");
    let cursor = match wire {
        WireFormat::Plain => text.strip_suffix("\"}").and_then(|text| text.rsplit_once(",\"cursor\":\"")),
        WireFormat::SocketIo => text.strip_suffix("\"]").and_then(|text| text.rsplit_once(",\"")),
    };
    Seen { event, cursor: cursor.map(|(_, cursor)| cursor), text }
}
