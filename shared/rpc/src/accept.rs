//! Connections to a server: bounded in number and age, encrypted where it has a certificate, and known by that of the
//! caller.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use messenger_core::Error;
use messenger_telemetry::{Audit, AuditLimit};
use messenger_tls::{Mutual, Name, TlsAcceptor, TlsError, name_of, server::TlsStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, JoinSet},
    time::{Instant, Sleep, sleep, sleep_until, timeout_at},
};
use tokio_util::either::Either;
use tonic::transport::server::Connected;
use uuid::Uuid;

use crate::call::HANDLER_TIMEOUT;

/// Connections to one server: processes of ours have one each, others come by the dozen.
const CONNECTIONS_MAX: usize = 1_024;
/// Of these, those without a certificate where others have one: whoever reaches the port leaves room for our services.
const STRANGERS_MAX: usize = 256;
/// Handshakes under way, which have no permit yet. Beyond, the one that began first is broken off: who means it is done in
/// a moment, and who holds handshakes open makes room for others.
const HANDSHAKES_MAX: usize = 512;
/// From the accepted connection to the first bytes of HTTP/2, the handshake of TLS included.
const BEGUN_WITHIN: Duration = Duration::from_secs(5);
/// What every HTTP/2 connection begins with.
const PREFACE_BYTES: usize = 24;
/// When a connection has reached its age, calls under way have as long as any call has.
const GRACE: Duration = HANDLER_TIMEOUT;
/// When there are no file descriptors, for example.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection, as far as the connection says it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// By its certificate.
    pub name: Option<Name>,
    /// Where it is; none when it has just left.
    pub address: Option<IpAddr>,
}

/// The connections of a listener, ready to be served. Dropped, it listens no more: nobody is accepted and then left.
pub(crate) struct Incoming {
    listener: TcpListener,
    encryption: Option<Mutual>,
    /// Of certificates.
    refusals: Arc<AuditLimit>,
    age: Duration,
    permits: Arc<Semaphore>,
    permits_of_strangers: Arc<Semaphore>,
    handshakes: JoinSet<Option<Opened>>,
    /// The same, in the order in which they began; some have ended.
    begun: VecDeque<AbortHandle>,
    /// After an accept that failed.
    pause: Option<Pin<Box<Sleep>>>,
}

/// A stream, and until when it has to say what it wants.
type Opened = (Encryptable, Instant);
type Encryptable = Either<Box<TlsStream<TcpStream>>, TcpStream>;

impl Incoming {
    /// Connections that are told to go at this age, and are cut some time after it.
    pub(crate) fn new(listener: TcpListener, encryption: Option<Mutual>, age: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let permits_of_strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        let (handshakes, begun) = (JoinSet::new(), VecDeque::new());
        let refusals = Arc::default();
        Self { listener, encryption, refusals, age, permits, permits_of_strangers, handshakes, begun, pause: None }
    }

    fn begin(&mut self, stream: TcpStream, address: SocketAddr) {
        // Where the system refuses it, small answers wait a little.
        let _ = stream.set_nodelay(true);
        if self.begun.len() >= HANDSHAKES_MAX {
            self.begun.retain(|handshake| !handshake.is_finished());
        }
        if self.begun.len() >= HANDSHAKES_MAX
            && let Some(first) = self.begun.pop_front()
        {
            first.abort();
        }
        let acceptor = self.encryption.as_ref().map(Mutual::acceptor);
        self.begun.push_back(self.handshakes.spawn(open(stream, address, acceptor, Arc::clone(&self.refusals))));
    }

    /// None when there are as many as there may be, in all or of those who are encrypted and name nobody.
    fn seat(&self, (stream, until): Opened) -> Option<Connection> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let is_stranger = matches!(stream, Either::Left(_)) && name(&stream).is_none();
        let strangers = is_stranger.then(|| Arc::clone(&self.permits_of_strangers).try_acquire_owned());
        Some(Connection {
            stream,
            preface_left: PREFACE_BYTES,
            deadline: Box::pin(sleep_until(until)),
            end: Instant::now() + self.age + GRACE + spread(self.age),
            _permits: (permit, strangers.transpose().ok()?),
        })
    }
}

/// Something below half of it, so that not all begin anew at once.
fn spread(age: Duration) -> Duration {
    let random = Uuid::new_v4().as_u64_pair().1 as u32;
    age / 2 * (random >> 16) / (1 << 16)
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            while let Poll::Ready(Some(opened)) = this.handshakes.poll_join_next(context) {
                if let Ok(Some(opened)) = opened
                    && let Some(connection) = this.seat(opened)
                {
                    return Poll::Ready(Some(Ok(connection)));
                }
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
    refusals: Arc<AuditLimit>,
) -> Option<Opened> {
    let until = Instant::now() + BEGUN_WITHIN;
    let Some(acceptor) = acceptor else { return Some((Either::Right(stream), until)) };
    match timeout_at(until, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some((Either::Left(Box::new(stream)), until)),
        Ok(Err(error)) => {
            tracing::debug!(peer.address = %address, %error, "a handshake failed");
            if !is_of_certificate(&error) {
                return None;
            }
            let audit = Audit::of("certificate.refused").peer(address.ip().to_canonical());
            audit.outcome_within(&refusals, Err(Error::unauthenticated("the certificate is not believed"))).ok()
        }
        Err(_) => None,
    }
}

/// Whether somebody showed a certificate that is not believed; anything else may be a scan, or a line that broke.
fn is_of_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(TlsError::InvalidCertificate(_)))
}

/// By the certificate.
fn name(stream: &Encryptable) -> Option<Name> {
    match stream {
        Either::Left(stream) => stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(name_of),
        Either::Right(_) => None,
    }
}

fn address(stream: &Encryptable) -> Option<IpAddr> {
    let stream = match stream {
        Either::Left(stream) => stream.get_ref().0,
        Either::Right(stream) => stream,
    };
    stream.peer_addr().ok().map(|address| address.ip().to_canonical())
}

/// One connection; it holds its permits as long as it lasts.
pub(crate) struct Connection {
    stream: Encryptable,
    /// Bytes that have to come before the deadline.
    preface_left: usize,
    /// Until the preface is there; from then on the end.
    deadline: Pin<Box<Sleep>>,
    end: Instant,
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { name: name(&self.stream), address: address(&self.stream) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let has_begun = self.preface_left == 0;
        if has_begun && self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if has_begun {
            return read;
        }
        // What is here already came in time, however late it is looked at.
        if read.is_pending() {
            ready!(self.deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.preface_left = self.preface_left.saturating_sub(buffer.filled().len() - before);
        if self.preface_left == 0 {
            let end = self.end;
            self.deadline.as_mut().reset(end);
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
