//! One HTTP/2 connection to one address, and whether somebody answers there.

use std::{io, net::SocketAddr, time::Duration};

use http::{
    Request,
    uri::{Authority, Scheme},
};
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use messenger_tls::{Mutual, ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tonic::body::Body;

use crate::Service;

/// Until an address that is asked for a connection counts as down.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A process that is frozen, or a network that swallows everything, is noticed after both together: two seconds, so that
/// whoever waits for an answer has one from another process within three.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(500);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// `grpc.health.v1.HealthCheckRequest` for the process as a whole: no flag, no length, no field.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// A connection that has answered once.
pub(crate) struct Connection {
    /// Takes requests; a clone is the same connection.
    pub sender: SendRequest<Body>,
    /// Ends with the connection, which lasts while there are requests, even without this handle.
    pub task: JoinHandle<()>,
}

/// What connections to one service are encrypted with, and which service has to be there.
#[derive(Debug, Clone)]
pub(crate) struct Encryption {
    certificate: Mutual,
    to: ServerName<'static>,
}

impl Encryption {
    pub(crate) fn new(certificate: Mutual, to: Service) -> Self {
        let to = ServerName::try_from(to.name()).expect("services one can call have names like hosts");
        Self { certificate, to }
    }
}

/// Connects and waits for a sign of life: the kernel accepts connections for processes that are frozen or starting.
pub(crate) async fn connect(
    address: SocketAddr,
    authority: &Authority,
    encryption: Option<&Encryption>,
) -> io::Result<Connection> {
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match encryption {
            None => greet(stream, address, health_check(&Scheme::HTTP, authority)).await,
            Some(Encryption { certificate, to }) => {
                let stream = certificate.connector().connect(to.clone(), stream).await?;
                greet(stream, address, health_check(&Scheme::HTTPS, authority)).await
            }
        }
    };
    timeout(CONNECT_TIMEOUT, Box::pin(connect)).await?
}

async fn greet<S>(stream: S, address: SocketAddr, health_check: Request<Body>) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(peer.address = %address, %error, "a connection broke");
        }
    });
    // Any answer will do, also that there is no such service.
    sender.send_request(health_check).await.map_err(io::Error::other)?;
    Ok(Connection { sender, task })
}

fn health_check(scheme: &Scheme, authority: &Authority) -> Request<Body> {
    Request::post(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Full::from(EMPTY_MESSAGE)))
        .expect("a valid authority makes a valid URI")
}
