//! From a token, and perhaps a cursor, to an open session. Nothing is reachable before.

use std::{net::IpAddr, sync::Arc, time::Duration};

use messenger_core::{Cursor, Error, ErrorKind};
use messenger_identity::Identity;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    Session,
    catch_up::{self, CatchUp},
    connection::Connection,
    fetch::{self, Fetch},
    frame::WireFormat,
    gateway::Gateway,
    hub::{Capacity, Seat},
    openings::try_later,
    pid::{Pid, new_origin},
    places::Place,
    replay,
};

/// How long a client waits for its session, at most.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// What a client brings.
#[derive(Debug, Clone, Copy)]
pub struct Handshake<'a> {
    /// How it wants its frames.
    pub wire: WireFormat,
    /// Its access token.
    pub token: Option<&'a str>,
    /// Where it wants to go on.
    pub resume: Resume<'a>,
    /// Where it connects from.
    pub address: IpAddr,
}

/// Where a client wants to go on.
#[derive(Debug, Clone, Copy)]
pub enum Resume<'a> {
    /// From now on.
    None,
    /// A returning Socket.IO client: the `pid` it was given and the last offset (cursor) it saw.
    Pid {
        /// As given in an earlier CONNECT answer.
        pid: &'a str,
        /// None: it saw no durable event yet.
        offset: Option<&'a str>,
    },
    /// After a cursor.
    Cursor(&'a str),
}

/// What the transport's first frame tells the client.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Names this connection to its client.
    pub sid: String,
    /// What the client comes back with; the same as before if everything missed is being replayed.
    pub pid: String,
    /// Whether everything missed is being replayed.
    pub recovered: bool,
    /// Everything after it will be sent on this connection.
    pub cursor: String,
}

/// Where a connection begins.
struct Beginning {
    cursor: Cursor,
    catch_up: CatchUp,
    recovered: bool,
}

impl Session {
    /// Verifies who it is, puts the connection into the hub and finds where it goes on.
    ///
    /// # Errors
    /// UNAUTHENTICATED, TOKEN_EXPIRED, TOKEN_REVOKED, CURSOR_INVALID, RATE_LIMITED, DRAINING, UNAVAILABLE.
    pub async fn open(gateway: &Arc<Gateway>, handshake: Handshake<'_>) -> Result<Self, Error> {
        let opened = timeout(OPEN_WITHIN, Self::open_unbounded(gateway, handshake)).await;
        opened.unwrap_or_else(|_| Err(try_later("the feed did not carry the user in time")))
    }

    async fn open_unbounded(gateway: &Arc<Gateway>, handshake: Handshake<'_>) -> Result<Self, Error> {
        let token = handshake.token.ok_or_else(|| Error::unauthenticated("an access token is required"))?;
        let identity = gateway.verifier.identify(token).await?;
        let _permit = gateway.openings.permit()?;
        let (from, pid) = resume_from(gateway, &identity, handshake.resume)?;
        let origin = pid.map_or_else(new_origin, |pid| pid.origin);
        let connection = Connection::new(identity.user_id, origin, handshake.wire);
        let place = gateway.places.take(&gateway.config, identity.user_id, handshake.address)?;
        let seat = take_seat(gateway, &connection, &identity)?;
        let beginning = match from {
            Some(cursor) => resume(gateway, &connection, cursor).await?,
            None => begin(gateway, &connection).await?,
        };
        let unrecovered = || Pid::fresh(identity.user_id, beginning.cursor, origin);
        let connected = Connected {
            sid: Uuid::new_v4().simple().to_string(),
            pid: gateway.resume_key.sign(&pid.filter(|_| beginning.recovered).unwrap_or_else(unrecovered)),
            recovered: beginning.recovered,
            cursor: beginning.cursor.encode(),
        };
        tracing::debug!(connection.id = connected.sid, user.id = %identity.user_id, client.address = %handshake.address, recovered = connected.recovered, "connected");
        Ok(Self::new(gateway, identity, (connection, seat, place), (connected, beginning)))
    }

    fn new(
        gateway: &Arc<Gateway>,
        identity: Identity,
        (connection, seat, place): (Arc<Connection>, Seat, Place),
        (connected, beginning): (Connected, Beginning),
    ) -> Self {
        let mut session = Self {
            gateway: Arc::clone(gateway),
            identity,
            connection,
            _seat: seat,
            place,
            connected,
            catch_up: beginning.catch_up,
            fetch: Fetch::default(),
            errand: None,
            alarm: Box::pin(sleep(Duration::ZERO)),
            has_warned: false,
        };
        session.set_alarm();
        session
    }
}

/// In the hub first, the revocations after: whichever comes between is seen by one of them.
fn take_seat(gateway: &Gateway, connection: &Arc<Connection>, identity: &Identity) -> Result<Seat, Error> {
    let config = &gateway.config;
    let capacity = Capacity { per_user: config.connections_per_user, in_all: config.connections_max };
    let seat = gateway.hub.join(connection, identity, capacity)?;
    if gateway.verifier.is_revoked(identity) {
        return Err(Error::new(ErrorKind::TokenRevoked, "the session was ended"));
    }
    Ok(seat)
}

/// The cursor to go on from, and the pid if it is this user's.
fn resume_from(
    gateway: &Gateway,
    identity: &Identity,
    resume: Resume<'_>,
) -> Result<(Option<Cursor>, Option<Pid>), Error> {
    match resume {
        Resume::None => Ok((None, None)),
        Resume::Cursor(cursor) => Ok((Some(Cursor::decode(cursor)?), None)),
        Resume::Pid { pid, offset } => {
            let Some(pid) = gateway.resume_key.read(pid).filter(|pid| pid.user_id == identity.user_id) else {
                return Ok((None, None));
            };
            let offset = offset.and_then(|offset| Cursor::decode(offset).ok());
            // An offset from before the pid is of an earlier life of the client: it fetched anew since.
            let later = offset.filter(|at| at.journal == pid.start.journal && at.position > pid.start.position);
            Ok((Some(later.unwrap_or(pid.start)), Some(pid)))
        }
    }
}

async fn resume(gateway: &Gateway, connection: &Arc<Connection>, cursor: Cursor) -> Result<Beginning, Error> {
    let first = async {
        let _turn = gateway.openings.turn(connection.user_id).await?;
        fetch::read(gateway.services.message.clone(), connection.user_id, replay::first_page(cursor)).await
    };
    let first = tokio::select! {
        page = first => page,
        error = closed(connection) => return Err(error),
    };
    match first {
        Ok(page) => {
            let recovered = page.limited.is_empty();
            let catch_up = CatchUp::resume(&gateway.hub, connection, cursor, page);
            Ok(Beginning { cursor, catch_up, recovered })
        }
        Err(error) if matches!(error.kind(), ErrorKind::ResyncRequired | ErrorKind::CursorInvalid) => {
            let beginning = begin(gateway, connection).await?;
            catch_up::resync_required(connection);
            Ok(beginning)
        }
        Err(error) => Err(error),
    }
}

/// Live from now on, as soon as the feed carries the user.
async fn begin(gateway: &Gateway, connection: &Arc<Connection>) -> Result<Beginning, Error> {
    loop {
        refuse_closing(connection)?;
        if let Some(catch_up) = CatchUp::begin(&gateway.hub, connection)
            && let Some(cursor) = gateway.hub.cursor(catch_up.begun())
        {
            return Ok(Beginning { cursor, catch_up, recovered: false });
        }
        connection.outbound.attention().await;
    }
}

/// Resolves when it is to be closed before it is open: the client came back on a newer one, or may not come.
async fn closed(connection: &Connection) -> Error {
    loop {
        if let Err(error) = refuse_closing(connection) {
            return error;
        }
        connection.outbound.attention().await;
    }
}

fn refuse_closing(connection: &Connection) -> Result<(), Error> {
    match connection.outbound.closing() {
        Some(_) => Err(Error::unavailable("the connection was closed while it was opened")),
        None => Ok(()),
    }
}
