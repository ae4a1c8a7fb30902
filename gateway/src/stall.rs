//! A stream whose peer has to take what is written to it: an answer nobody reads, or reads by the drop, is given up.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How long a write may wait for the peer to take a byte.
pub(crate) const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// Bytes a second the peer takes at least of what takes it longer.
const TAKEN_PER_SECOND: f64 = 16.0 * 1024.0;

/// A stream on which a write that waits longer than [`TAKEN_WITHIN`] fails with `TimedOut`, and so does one whose peer
/// takes less than 16 KiB/s of all there is to write.
pub(crate) struct Unstalled<S> {
    /// What was read from the stream already, to be read again first.
    ahead: Bytes,
    stream: S,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
    /// Since a write had to wait, until all is written.
    behind: Option<Behind>,
}

struct Behind {
    since: Instant,
    taken_bytes: usize,
}

impl Behind {
    /// Until when the peer may take all it took and 10 s of nothing.
    fn deadline(&self) -> Instant {
        self.since + TAKEN_WITHIN + Duration::from_secs_f64(self.taken_bytes as f64 / TAKEN_PER_SECOND)
    }
}

impl<S> Unstalled<S> {
    pub(crate) fn new(ahead: Bytes, stream: S) -> Self {
        Self { ahead, stream, stall: None, behind: None }
    }

    /// What came of a write, or its end when it waits for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let now = Instant::now();
        let behind = self.behind.get_or_insert(Behind { since: now, taken_bytes: 0 });
        let deadline = behind.deadline().min(now + TAKEN_WITHIN);
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        stall.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn count(&mut self, written: &Poll<io::Result<usize>>) {
        if let (Some(behind), Poll::Ready(Ok(bytes))) = (&mut self.behind, written) {
            behind.taken_bytes += bytes;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let length = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead[..length]);
        this.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.count(&written);
        this.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.count(&written);
        this.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if flushed.is_ready() {
            this.behind = None;
        }
        this.watch(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.watch(cx, closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_comes_first() {
        let (near, mut far) = duplex(10);
        far.write_all(b"and this").await.expect("room");
        drop(far);
        let mut read = String::new();
        Unstalled::new(Bytes::from_static(b"first this "), near).read_to_string(&mut read).await.expect("text");
        assert_eq!(read, "first this and this");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (near, _far) = duplex(10);
        let mut near = Unstalled::new(Bytes::new(), near);
        assert_eq!(near.write_all(&[7; 11]).await.expect_err("stalled").kind(), io::ErrorKind::TimedOut);
    }

    /// What becomes of 20 pieces of `bytes` each when the peer takes one every nine seconds.
    async fn written_to_one_that_takes(bytes: usize) -> io::Result<()> {
        let (near, mut far) = duplex(bytes);
        let mut near = Unstalled::new(Bytes::new(), near);
        let reading = async {
            let mut piece = vec![0; bytes];
            for _ in 0..20 {
                tokio::time::sleep(TAKEN_WITHIN - Duration::from_secs(1)).await;
                far.read_exact(&mut piece).await.expect("written");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            written = async { near.write_all(&vec![7; 20 * bytes]).await?; near.flush().await } => written,
            () = reading => unreachable!("it reads on"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_waited_for_and_one_that_sips_is_not() {
        written_to_one_that_takes(150 * 1024).await.expect("16 KiB/s at least");
        let sipped = written_to_one_that_takes(100 * 1024).await.expect_err("less");
        assert_eq!(sipped.kind(), io::ErrorKind::TimedOut);
    }
}
