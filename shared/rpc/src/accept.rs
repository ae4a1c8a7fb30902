//! Connections to a server: bounded in number, encrypted where it has a certificate, and known by that of the caller.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use messenger_tls::{Mutual, Name, TlsAcceptor, name_of, server::TlsStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, Sleep, sleep, sleep_until, timeout_at},
};
use tokio_util::{either::Either, task::TaskTracker};
use tonic::transport::server::Connected;

/// Connections to one server: processes of ours have one each, others come by the dozen.
const CONNECTIONS_MAX: usize = 1_024;
/// Of these, those without a certificate where others have one: whoever reaches the port leaves room for our services.
const STRANGERS_MAX: usize = 256;
/// From the accepted connection to the first bytes of HTTP/2, the handshake of TLS included.
const BEGUN_WITHIN: Duration = Duration::from_secs(5);
/// What every HTTP/2 connection begins with.
const PREFACE_BYTES: usize = 24;
/// Connections that wait to be served.
const WAITING_MAX: usize = 16;
/// When there are no file descriptors, for example.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection, as far as the connection says it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// By its certificate.
    pub name: Option<Name>,
}

/// The connections of a listener, ready to be served. Dropped, it listens no more: nobody is accepted and then left.
pub(crate) struct Incoming {
    listener: TcpListener,
    encryption: Option<Mutual>,
    places: Arc<Semaphore>,
    places_of_strangers: Arc<Semaphore>,
    handshakes: TaskTracker,
    /// What they open.
    opened: (mpsc::Sender<Connection>, mpsc::Receiver<Connection>),
    /// After an accept that failed.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(crate) fn new(listener: TcpListener, encryption: Option<Mutual>) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let places_of_strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        let (handshakes, opened) = (TaskTracker::new(), mpsc::channel(WAITING_MAX));
        Self { listener, encryption, places, places_of_strangers, handshakes, opened, pause: None }
    }

    /// Who comes when there are too many is turned away.
    fn begin(&self, stream: TcpStream, address: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        // Where the system refuses it, small answers wait a little.
        let _ = stream.set_nodelay(true);
        let (acceptor, opened) = (self.encryption.as_ref().map(Mutual::acceptor), self.opened.0.clone());
        let strangers = Arc::clone(&self.places_of_strangers);
        self.handshakes.spawn(async move {
            if let Some(connection) = open(stream, address, acceptor, place).await
                && let Some(connection) = connection.among(strangers)
            {
                // The server has ended: so does the connection.
                let _ = opened.send(connection).await;
            }
        });
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(opened) = this.opened.1.poll_recv(context) {
                return Poll::Ready(opened.map(Ok));
            }
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(context));
                this.pause = None;
            }
            match ready!(this.listener.poll_accept(context)) {
                Ok((stream, address)) => this.begin(stream, address),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    this.pause = Some(Box::pin(sleep(ACCEPT_AGAIN_AFTER)));
                }
            }
        }
    }
}

async fn open(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    place: OwnedSemaphorePermit,
) -> Option<Connection> {
    let until = Instant::now() + BEGUN_WITHIN;
    let stream = match acceptor {
        None => Either::Right(stream),
        Some(acceptor) => match timeout_at(until, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Either::Left(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(peer.address = %address, %error, "a handshake failed");
                return None;
            }
            Err(_) => return None,
        },
    };
    let opening = Some(Opening { bytes_left: PREFACE_BYTES, until: Box::pin(sleep_until(until)) });
    Some(Connection { stream, opening, _places: (place, None) })
}

/// One connection; it holds its places as long as it lasts.
pub(crate) struct Connection {
    stream: Either<Box<TlsStream<TcpStream>>, TcpStream>,
    opening: Option<Opening>,
    _places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Connection {
    /// None when it is encrypted, names nobody, and there are as many of its kind as there may be.
    fn among(mut self, strangers: Arc<Semaphore>) -> Option<Self> {
        if matches!(self.stream, Either::Left(_)) && self.connect_info().name.is_none() {
            self._places.1 = Some(strangers.try_acquire_owned().ok()?);
        }
        Some(self)
    }
}

/// Until the preface is there.
struct Opening {
    bytes_left: usize,
    until: Pin<Box<Sleep>>,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        let certificate = match &self.stream {
            Either::Left(stream) => stream.get_ref().1.peer_certificates().and_then(<[_]>::first),
            Either::Right(_) => None,
        };
        Peer { name: certificate.and_then(name_of) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(opening) = &mut self.opening else { return read };
        if read.is_pending() {
            ready!(opening.until.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        opening.bytes_left = opening.bytes_left.saturating_sub(buffer.filled().len() - before);
        if opening.bytes_left == 0 {
            self.opening = None;
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
