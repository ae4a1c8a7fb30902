//! The HTTP server: a head has to come in time, connections are bounded, and a shutdown lets what runs finish.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::ConnectInfo,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use messenger_core::{Error, KeyedSemaphore};
use messenger_tls::{Edge, TlsAcceptor, server::TlsStream};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::{Gateway, head, peer, proxies, router, stall::Unstalled};

/// From the first byte to the end of a request's head, and between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Connections that are not WebSockets, of all addresses.
const CONNECTIONS_MAX: usize = 16_384;
/// How long requests have to finish after the shutdown.
const DRAIN_WITHIN: Duration = Duration::from_secs(6);
/// The pause after an accept that failed: there are no file descriptors, for example.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// How long a peer may leave unacknowledged what was sent to it: then its connection is cut, whoever waits on it. One
/// that is there and reads nothing is found by [`Unstalled`].
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(20);
/// Bytes the system keeps for a peer that does not read; beyond, our own bounds count.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// Browsers that came encrypted come so for a year, whatever link they follow: one in plain text could be bent.
const STAY_ENCRYPTED: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Answers on the listener, encrypted if there is a certificate, until the gateway's shutdown and its drain delay; then
/// waits at most 6 s for the requests that run. WebSockets are drained by the session core at the same time.
///
/// # Errors
/// None today: what a client or the network does to a connection ends that connection.
pub async fn serve(listener: TcpListener, encryption: Option<Edge>, gateway: Arc<Gateway>) -> Result<(), Error> {
    if let Some(encryption) = encryption.clone() {
        gateway.shutdown.spawn(encryption.follow(gateway.shutdown.token.clone()));
    }
    let router = router(Arc::clone(&gateway));
    let (permits, connections) = (KeyedSemaphore::new(CONNECTIONS_MAX), TaskTracker::new());
    let closing = CancellationToken::new();
    let mut ending = pin!(async {
        gateway.shutdown.token.cancelled().await;
        sleep(gateway.config.drain_delay()).await;
    });
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut ending => break,
        };
        let per_address_max = per_address_max(&gateway, peer.ip());
        // Whoever comes beyond is not answered: that would need a permit, too.
        let Some(permit) = permits.try_acquire(peer::network(peer.ip()), per_address_max) else { continue };
        let peer = Peer { address: peer, gateway: Arc::clone(&gateway) };
        let (router, closing) = (router.clone(), closing.clone());
        let acceptor = encryption.as_ref().map(Edge::acceptor);
        connections.spawn(async move {
            if let Some(stream) = open(stream, acceptor).await {
                answer(stream, peer, router, closing).await;
            }
            drop(permit);
        });
    }
    drop(listener);
    closing.cancel();
    connections.close();
    if timeout(DRAIN_WITHIN, connections.wait()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
    Ok(())
}

/// This machine and the balancers in front of it may have as many as there are.
fn per_address_max(gateway: &Gateway, address: IpAddr) -> usize {
    let config = &gateway.config;
    if config.is_ours(address) { CONNECTIONS_MAX } else { config.http_connections_per_address }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tune(&stream);
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

/// A system that refuses one of these serves well without.
fn tune(stream: &TcpStream) {
    // Frames are small and whole: nothing is to wait for more.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN));
}

/// A connection, encrypted or not.
type Stream = Either<Box<TlsStream<TcpStream>>, TcpStream>;

/// Shakes hands if the connection is to be encrypted; none when that fails or takes too long.
async fn open(stream: TcpStream, acceptor: Option<TlsAcceptor>) -> Option<Stream> {
    let Some(acceptor) = acceptor else { return Some(Either::Right(stream)) };
    match timeout(HEAD_WITHIN, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Either::Left(Box::new(stream))),
        Ok(Err(_)) | Err(_) => None,
    }
}

/// Of this name a browser would remember it for whatever else is served on the machine.
fn is_localhost(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("localhost"))
}

/// Who is connected, and the gateway that knows whom it may speak for.
struct Peer {
    address: SocketAddr,
    gateway: Arc<Gateway>,
}

/// Answers the requests of one connection; when the server is closing the one that runs is the last.
async fn answer(mut stream: Stream, peer: Peer, router: Router, closing: CancellationToken) {
    let head = timeout(HEAD_WITHIN, head::read(&mut stream, HEAD_BYTES_MAX));
    let Some(Ok(Some(head))) = closing.run_until_cancelled(head).await else { return };
    let is_encrypted = matches!(stream, Either::Left(_));
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let client = proxies::client(peer.address, request.headers(), &peer.gateway.config.trusted_proxies);
        request.extensions_mut().insert(ConnectInfo(client));
        let (length, router) = (Length::of(request.headers()), router.clone());
        let stays_encrypted = is_encrypted && !is_localhost(request.headers());
        async move {
            if length == Length::Ambiguous {
                return Ok(closing_after(StatusCode::BAD_REQUEST.into_response()));
            }
            let mut response = router.oneshot(request).await?;
            if stays_encrypted {
                response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, STAY_ENCRYPTED);
            }
            Ok::<_, Infallible>(if length == Length::Chunked { closing_after(response) } else { response })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Unstalled::new(head, stream)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // What a client does to its own connection is no news.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// How a request says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Told,
    Chunked,
    /// In two ways, of which a proxy in front may believe the other.
    Ambiguous,
}

impl Length {
    fn of(headers: &HeaderMap) -> Self {
        match (headers.contains_key(header::TRANSFER_ENCODING), headers.contains_key(header::CONTENT_LENGTH)) {
            (true, true) => Self::Ambiguous,
            (true, false) => Self::Chunked,
            (false, _) => Self::Told,
        }
    }
}

/// Nothing is read after it on this connection. hyper drops a length that comes after the encoding, so it goes for every
/// body in chunks: what a proxy took for part of the body is never taken for a request here (RFC 9112, 6.3).
fn closing_after(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_peer_does_not_hold_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (client, (server, _)) = tokio::join!(TcpStream::connect(address), accept(&listener));
        assert!(client.is_ok() && server.nodelay().expect("readable"));
        #[cfg(target_os = "linux")]
        assert_eq!(SockRef::from(&server).tcp_user_timeout().expect("readable"), Some(ACKNOWLEDGED_WITHIN));
    }
}
