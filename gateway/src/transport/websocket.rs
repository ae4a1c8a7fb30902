//! Plain WebSocket at `/ws`: JSON text frames `{event, data, id?}` both ways. The token is verified before the upgrade.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Router,
    extract::{Query, Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use messenger_core::{Error, ErrorKind, limits::FRAME_BYTES_MAX};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use super::{
    Connection, End, Protocol,
    link::Link,
    socket::{Handshake, Refusal},
};
use crate::{
    limits::Limits,
    origin, peer,
    problem::{self, Problem},
    session::{self, Gateway, ReplyTo, Resume, Session, WireFormat},
};

/// The subprotocol that brings a token from a browser: offered as the pair `bearer, <token>`.
const SUBPROTOCOL: &str = "bearer";
/// Bytes in the `id` of a frame, as JSON: it is given back.
const ID_BYTES_MAX: usize = 128;

/// `/ws`.
pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new().route("/ws", any(serve))
}

async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    match open(&gateway, &mut parts).await {
        Ok(response) => response,
        Err(problem) => refused(problem),
    }
}

fn refused(problem: Problem) -> Response {
    let mut response = problem::render(&Uuid::new_v4().to_string(), problem.into_response());
    if response.status() == StatusCode::UPGRADE_REQUIRED {
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

#[derive(Deserialize)]
struct Parameters {
    cursor: Option<String>,
}

async fn open(gateway: &Arc<Gateway>, parts: &mut Parts) -> Result<Response, Problem> {
    if !origin::is_allowed(&parts.headers, &gateway.config.allowed_origins) {
        return Err(Error::forbidden("pages of this origin may not connect").into());
    }
    let handshake = Handshake::of(parts).map_err(refuse)?;
    if gateway.shutdown.token.is_cancelled() {
        return Err(Error::draining().into());
    }
    let malformed = |_| Error::new(ErrorKind::ValidationFailed, "the query string is malformed");
    let Query(parameters) = Query::<Parameters>::try_from_uri(&parts.uri).map_err(malformed)?;
    let (token, protocol) = credential(&parts.headers);
    let session = session::Handshake {
        wire: WireFormat::Plain,
        token,
        resume: parameters.cursor.as_deref().map_or(Resume::None, Resume::Cursor),
        address: peer::address(parts),
    };
    let session = Session::open(gateway, session).await?;
    let response = handshake.response(protocol);
    gateway.shutdown.tracker.spawn(run(Arc::clone(gateway), handshake, session));
    Ok(response)
}

fn refuse(refusal: Refusal) -> Problem {
    let (message, status) = match refusal {
        Refusal::NotWebSocket => ("a WebSocket handshake is needed here", StatusCode::BAD_REQUEST),
        Refusal::Version => ("only version 13 of WebSocket is spoken here", StatusCode::UPGRADE_REQUIRED),
    };
    Problem::with_status(Error::new(ErrorKind::ValidationFailed, message), status)
}

/// The token, and the subprotocol to answer with if it came as one.
fn credential(headers: &HeaderMap) -> (Option<&str>, Option<&'static str>) {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
    let is_offered = offered.any(|protocol| protocol == SUBPROTOCOL);
    let token = peer::bearer(headers).ok().flatten().or_else(|| offered.next().filter(|_| is_offered));
    (token, is_offered.then_some(SUBPROTOCOL))
}

async fn run(gateway: Arc<Gateway>, handshake: Handshake, session: Session) {
    let Some(mut socket) = handshake.socket().await else { return };
    socket.connected();
    let mut connection = Connection::new(&gateway, Link::socket(socket), Some(session), Plain);
    if connection.greet().await.is_ok() {
        connection.run().await;
    }
}

/// Plain WebSocket keeps nothing of its own.
pub(super) struct Plain;

impl Protocol for Plain {
    const TOO_BIG: u16 = 4413;

    async fn receive(connection: &mut Connection<Self>, text: Utf8Bytes) -> Result<(), End> {
        let session = connection.session.as_mut().ok_or(End::Left)?;
        match Envelope::decode(&text) {
            Ok(envelope) if text.len() > FRAME_BYTES_MAX => {
                session.refuse_event(&super::too_large(), &envelope.event, envelope.data, envelope.reply_to());
            }
            Ok(envelope) => session.receive(&envelope.event, envelope.data, envelope.reply_to()),
            Err(error) => session.refuse(&error, ReplyTo::None),
        }
        Ok(())
    }

    fn binary(connection: &mut Connection<Self>) -> Result<(), End> {
        let session = connection.session.as_mut().ok_or(End::Left)?;
        session.refuse(&malformed("frames are text"), ReplyTo::None);
        Ok(())
    }

    async fn ping(link: &mut Link) -> Result<(), End> {
        link.ping().await
    }

    fn farewell() -> Option<Bytes> {
        None
    }
}

impl Connection<Plain> {
    async fn greet(&mut self) -> Result<(), End> {
        let session = self.session.as_ref().ok_or(End::Left)?;
        let connected = session.connected();
        let frame = json!({
            "event": "connected",
            "data": {
                "sessionId": connected.sid,
                "cursor": connected.cursor,
                "limits": Limits::of(&self.gateway.config),
            },
        });
        self.link.say(frame.to_string().into()).await
    }
}

/// A frame of the client.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    /// The event's name.
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    /// What it says.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    /// What the client wants its answer marked with: a JSON string or number.
    #[serde(borrow, default)]
    pub id: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads one text frame.
    ///
    /// # Errors
    /// MALFORMED_FRAME when it is no object with an event, or has an id that is long or no string or number.
    pub fn decode(text: &'a str) -> Result<Self, Error> {
        // serde would also read a struct from an array.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(malformed("a frame is a JSON object"));
        }
        let envelope: Self = serde_json::from_str(text).map_err(|_| malformed("a frame is {event, data, id?}"))?;
        match envelope.id.map(RawValue::get) {
            Some(id) if !is_id(id) => Err(malformed("an id is a short string or a number")),
            _ => Ok(envelope),
        }
    }

    fn reply_to(&self) -> ReplyTo {
        self.id.map_or(ReplyTo::None, |id| ReplyTo::Id(id.get().into()))
    }
}

fn is_id(json: &str) -> bool {
    json.len() <= ID_BYTES_MAX && json.starts_with(|first: char| matches!(first, '"' | '-' | '0'..='9'))
}

fn malformed(message: &'static str) -> Error {
    Error::new(ErrorKind::MalformedFrame, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn reads_frames() {
        for (text, event, data, id) in [
            (r#"{"event":"a"}"#, "a", None, ReplyTo::None),
            (r#" {"data":{"b":[1]},"event":"a","x":1}"#, "a", Some(r#"{"b":[1]}"#), ReplyTo::None),
            (r#"{"event":"\u0061","data":null,"id":null}"#, "a", None, ReplyTo::None),
            (r#"{"event":"a","id":"x"}"#, "a", None, ReplyTo::Id("\"x\"".into())),
            (r#"{"event":"a","id":-1.5e3}"#, "a", None, ReplyTo::Id("-1.5e3".into())),
        ] {
            let envelope = Envelope::decode(text).expect(text);
            assert_eq!((&*envelope.event, envelope.data.map(RawValue::get)), (event, data), "{text}");
            assert_eq!(envelope.reply_to(), id, "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        let deep = "[".repeat(100_000);
        let long_id = format!(r#"{{"event":"a","id":"{}"}}"#, "i".repeat(ID_BYTES_MAX));
        for text in [
            "",
            "null",
            "1",
            "[]",
            r#"["a",{}]"#,
            "{",
            "{}",
            r#"{"event":1}"#,
            r#"{"event":null}"#,
            r#"{"event":"a"}}"#,
            r#"{"event":"a","event":"b"}"#,
            r#"{"event":"a","id":{}}"#,
            r#"{"event":"a","id":true}"#,
            &deep,
            &long_id,
        ] {
            assert_eq!(Envelope::decode(text).expect_err(text).kind(), ErrorKind::MalformedFrame);
        }
    }

    #[test]
    fn a_token_comes_by_header_or_subprotocol() {
        let request = |authorization: Option<&'static str>, protocols: &[&'static str]| {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            for value in protocols {
                headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value));
            }
            let (token, protocol) = credential(&headers);
            (token.map(str::to_owned), protocol)
        };
        let token = |token: &str| Some(token.to_owned());
        assert_eq!(request(None, &[]), (None, None));
        assert_eq!(request(Some("Bearer a.b.c"), &[]), (token("a.b.c"), None));
        assert_eq!(request(Some("Basic x"), &[]), (None, None));
        assert_eq!(request(None, &["bearer, a.b.c"]), (token("a.b.c"), Some("bearer")));
        assert_eq!(request(None, &["chat, bearer", "a.b.c"]), (token("a.b.c"), Some("bearer")));
        assert_eq!(request(None, &["bearer"]), (None, Some("bearer")));
        assert_eq!(request(None, &["chat, a.b.c"]), (None, None));
        assert_eq!(request(Some("Bearer a"), &["bearer, b"]), (token("a"), Some("bearer")));
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = Envelope::decode(&text);
            let _ = Envelope::decode(&format!("{{{text}}}"));
        }
    }
}
