//! `/socket.io/` over HTTP: which request is for which engine, and refusals as the reference server words them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Body, to_bytes},
    extract::{Query, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::oneshot, time::timeout};

use super::{
    SocketIo, engine, engines,
    engines::{Engines, UnconnectedPermit},
    polling, upgrade,
};
use crate::{
    origin, peer,
    session::Gateway,
    transport::{
        heartbeat::Rhythm,
        link::Link,
        socket::{self, Handshake},
    },
};

/// How long a posted body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What to do about a session nobody knows here.
const UNKNOWN_SID: &str = "It has ended: connect again. If another gateway has it, give each --gateway-name and let the \
     balancer route by what stands before the dot in sid (deploy/nginx.conf), or let clients use only the websocket.";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    UnknownTransport,
    UnknownSid,
    BadMethod,
    BadRequest,
    Forbidden,
    UnsupportedVersion,
    WebSocketVersion,
    TooLarge,
    TooSlow,
    Busy,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::UnknownTransport => (StatusCode::BAD_REQUEST, 0, "Transport unknown"),
            Self::UnknownSid => (StatusCode::BAD_REQUEST, 1, "Session ID unknown"),
            Self::BadMethod => (StatusCode::BAD_REQUEST, 2, "Bad handshake method"),
            Self::BadRequest => (StatusCode::BAD_REQUEST, 3, "Bad request"),
            Self::Forbidden => (StatusCode::FORBIDDEN, 4, "Forbidden"),
            Self::UnsupportedVersion => (StatusCode::BAD_REQUEST, 5, "Unsupported protocol version"),
            Self::WebSocketVersion => (StatusCode::UPGRADE_REQUIRED, 3, "Bad request"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 3, "Payload too large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, 3, "Bad request"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, 3, "Try again later"),
        };
        let mut refusal = json!({ "code": code, "message": message });
        if self == Self::UnknownSid {
            refusal["hint"] = UNKNOWN_SID.into();
        }
        let mut response = (status, axum::Json(refusal)).into_response();
        match self {
            Self::WebSocketVersion => {
                response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::Busy => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<socket::Refusal> for Refusal {
    fn from(refusal: socket::Refusal) -> Self {
        match refusal {
            socket::Refusal::NotWebSocket => Self::BadRequest,
            socket::Refusal::Version => Self::WebSocketVersion,
        }
    }
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(rename = "EIO")]
    version: Option<String>,
    transport: Option<String>,
    sid: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Polling,
    WebSocket,
}

impl Parameters {
    fn of(uri: &Uri) -> Result<(Transport, Option<String>), Refusal> {
        let Query(parameters) = Query::<Self>::try_from_uri(uri).map_err(|_| Refusal::BadRequest)?;
        let transport = match parameters.transport.as_deref() {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::WebSocket,
            _ => return Err(Refusal::UnknownTransport),
        };
        if parameters.version.as_deref() != Some("4") {
            return Err(Refusal::UnsupportedVersion);
        }
        Ok((transport, parameters.sid))
    }
}

/// Everything that comes to `/socket.io/`.
pub async fn serve(
    State(gateway): State<Arc<Gateway>>,
    Extension(engines): Extension<Arc<Engines>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    if !origin::is_allowed(&parts.headers, &gateway.config.allowed_origins) {
        return Refusal::Forbidden.into_response();
    }
    let origin = parts.headers.get(header::ORIGIN).cloned();
    let answer = Site { gateway, engines }.answer(parts, body).await;
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    origin::let_read(origin, response.headers_mut());
    response
}

struct Site {
    gateway: Arc<Gateway>,
    engines: Arc<Engines>,
}

impl Site {
    async fn answer(&self, mut parts: Parts, body: Body) -> Result<Response, Refusal> {
        if parts.method == Method::OPTIONS {
            return Ok(preflight());
        }
        let (transport, sid) = Parameters::of(&parts.uri)?;
        match (transport, &parts.method, sid) {
            (Transport::Polling, &Method::GET, None) => self.open_polling(&parts),
            (Transport::Polling, &Method::GET, Some(sid)) => self.poll(&sid).await,
            (Transport::Polling, &Method::POST, Some(sid)) => self.post(&sid, &parts.headers, body).await,
            (Transport::WebSocket, &Method::GET, None) => self.open_websocket(&mut parts),
            (Transport::WebSocket, &Method::GET, Some(sid)) => self.upgrade(&sid, &mut parts),
            (_, _, None) => Err(Refusal::BadMethod),
            (_, _, Some(_)) => Err(Refusal::BadRequest),
        }
    }

    fn open_polling(&self, parts: &Parts) -> Result<Response, Refusal> {
        let protocol = self.protocol(parts)?;
        let sid = engines::new_sid(&self.gateway.config.gateway_name);
        let open = engine::open(&sid, &["websocket"], Rhythm::of(&self.gateway.config));
        let connection = protocol.connection(&self.gateway, Link::Polling(Box::new(self.engines.open(&sid))));
        self.gateway.shutdown.tracker.spawn(connection.run());
        Ok(text(open))
    }

    fn open_websocket(&self, parts: &mut Parts) -> Result<Response, Refusal> {
        let handshake = Handshake::of(parts)?;
        let protocol = self.protocol(parts)?;
        let response = handshake.response(None);
        let gateway = Arc::clone(&self.gateway);
        self.gateway.shutdown.tracker.spawn(async move {
            let Some(mut socket) = handshake.socket().await else { return };
            let open = engine::open(&engines::new_sid(&gateway.config.gateway_name), &[], Rhythm::of(&gateway.config));
            if socket.send([Bytes::from(open)]).await.is_ok() {
                protocol.connection(&gateway, Link::socket(socket)).run().await;
            }
        });
        Ok(response)
    }

    fn upgrade(&self, sid: &str, parts: &mut Parts) -> Result<Response, Refusal> {
        let engine = self.engines.find(sid).ok_or(Refusal::UnknownSid)?;
        let handshake = Handshake::of(parts)?;
        let permit = self.unconnected(peer::address(parts))?;
        let response = handshake.response(None);
        self.gateway.shutdown.tracker.spawn(upgrade::run(handshake, engine.requests, permit));
        Ok(response)
    }

    async fn poll(&self, sid: &str) -> Result<Response, Refusal> {
        let engine = self.engines.find(sid).ok_or(Refusal::UnknownSid)?;
        let (poll, answer) = oneshot::channel();
        engine.requests.send(polling::Request::Poll(poll)).await.map_err(|_| Refusal::UnknownSid)?;
        answer.await.map(text).map_err(|_| Refusal::BadRequest)
    }

    async fn post(&self, sid: &str, headers: &HeaderMap, body: Body) -> Result<Response, Refusal> {
        let engine = self.engines.find(sid).ok_or(Refusal::UnknownSid)?;
        if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/octet-stream") {
            return Err(Refusal::BadRequest);
        }
        let (_permit, bytes_max) = engine.post_permit().ok_or(Refusal::BadRequest)?;
        let body = timeout(BODY_DEADLINE, to_bytes(body, bytes_max)).await.map_err(|_| Refusal::TooSlow)?;
        let body = body.map_err(|_| Refusal::TooLarge)?;
        let (done, answer) = oneshot::channel();
        engine.requests.send(polling::Request::Post(body, done)).await.map_err(|_| Refusal::UnknownSid)?;
        match answer.await {
            Ok(true) => Ok(text("ok")),
            Ok(false) | Err(_) => Err(Refusal::BadRequest),
        }
    }

    fn protocol(&self, parts: &Parts) -> Result<SocketIo, Refusal> {
        if self.gateway.shutdown.token.is_cancelled() {
            return Err(Refusal::Busy);
        }
        let address = peer::address(parts);
        let permit = self.unconnected(address)?;
        Ok(SocketIo::new(&self.engines, address, peer::bearer(&parts.headers).ok().flatten(), permit))
    }

    fn unconnected(&self, address: IpAddr) -> Result<UnconnectedPermit, Refusal> {
        self.engines.unconnected_permit(address, self.gateway.config.unconnected_per_address).ok_or(Refusal::Busy)
    }
}

fn text(body: impl Into<Body>) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=UTF-8");
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
