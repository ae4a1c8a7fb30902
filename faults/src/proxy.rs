//! A TCP proxy that misbehaves when told to: cuts what is open, refuses, delays, and loses publications of Redis.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

use crate::resp;

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Everything waits until it may pass again.
    Hold,
    /// Everything passes so much later, in order.
    Delay(Duration),
    /// What is open is closed, and whoever comes is turned away.
    Refuse,
    /// Every n-th publication of Redis is lost on its way to a subscriber.
    LoseEvery(u64),
}

const BUFFER_BYTES: u32 = 64 * 1024;
const BACKLOG: u32 = 1_024;

/// A proxy before one address.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Whether it has to know where messages begin.
    is_redis: bool,
    lost: Arc<AtomicU64>,
}

impl Proxy {
    /// One before each.
    pub async fn before(targets: &[SocketAddr]) -> anyhow::Result<Vec<Self>> {
        let mut proxies = Vec::new();
        for target in targets {
            proxies.push(Self::listen(*target, false).await?);
        }
        Ok(proxies)
    }

    /// Before a Redis.
    pub async fn before_redis(target: SocketAddr) -> anyhow::Result<Self> {
        Self::listen(target, true).await
    }

    async fn listen(target: SocketAddr, is_redis: bool) -> anyhow::Result<Self> {
        let socket = small_socket()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = socket.listen(BACKLOG)?;
        let proxy = Self {
            address: listener.local_addr()?,
            mode: watch::Sender::new(Mode::Pass),
            is_redis,
            lost: Arc::default(),
        };
        tokio::spawn(proxy.clone().accept(listener, target));
        Ok(proxy)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves like this from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Publications lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    async fn accept(self, listener: TcpListener, target: SocketAddr) {
        while let Ok((client, _)) = listener.accept().await {
            if *self.mode.borrow() != Mode::Refuse {
                tokio::spawn(self.clone().carry(client, target));
            }
        }
    }

    async fn carry(self, client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
        let server = small_socket()?.connect(target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let mut mode = self.mode.subscribe();
        tokio::select! {
            _ = self.copy(from_client, to_server) => {}
            _ = self.copy_answers(from_server, to_client) => {}
            _ = mode.wait_for(|mode| *mode == Mode::Refuse) => {}
        }
        Ok(())
    }

    async fn copy(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            self.delay().await;
            to.write_all(&buffer[..length]).await?;
        }
    }

    /// As [`Self::copy`]; before a Redis it loses publications when it is told to.
    async fn copy_answers(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let (mut waiting, mut chunk, mut seen) = (Vec::new(), vec![0; 16 * 1024], 0_u64);
        loop {
            let length = from.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            self.delay().await;
            if !self.is_redis {
                to.write_all(&chunk[..length]).await?;
                continue;
            }
            waiting.extend_from_slice(&chunk[..length]);
            while let Some(end) = resp::end(&waiting) {
                let message: Vec<u8> = waiting.drain(..end).collect();
                seen += u64::from(resp::is_publication(&message));
                if resp::is_publication(&message) && self.loses(seen) {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                } else {
                    to.write_all(&message).await?;
                }
            }
        }
    }

    fn loses(&self, number: u64) -> bool {
        matches!(*self.mode.borrow(), Mode::LoseEvery(n) if number.is_multiple_of(n))
    }

    async fn delay(&self) {
        let mode = *self.mode.borrow();
        match mode {
            Mode::Delay(by) => sleep(by).await,
            // Fails when the proxy is gone.
            Mode::Hold => _ = self.mode.subscribe().wait_for(|mode| *mode != Mode::Hold).await,
            Mode::Pass | Mode::Refuse | Mode::LoseEvery(_) => {}
        }
    }
}

/// Keeps little, so that a client that does not read is soon felt by the server.
fn small_socket() -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    Ok(socket)
}
