//! A stream whose peer has to take what is written to it: an answer nobody reads is given up.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long a write may wait for the peer to take a byte.
pub(crate) const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// A stream on which a write that waits longer than [`TAKEN_WITHIN`] fails with `TimedOut`.
pub(crate) struct Unstalled<S> {
    /// What was read from the stream already, to be read again first.
    ahead: Bytes,
    stream: S,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Unstalled<S> {
    pub(crate) fn new(ahead: Bytes, stream: S) -> Self {
        Self { ahead, stream, stall: None }
    }

    /// What came of a write, or its end when it waits for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(TAKEN_WITHIN)));
        stall.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
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
        this.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
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
    async fn only_a_peer_that_takes_nothing_is_given_up() {
        let (near, mut far) = duplex(10);
        let mut near = Unstalled::new(Bytes::new(), near);
        let slow = async {
            for _ in 0..5 {
                tokio::time::sleep(TAKEN_WITHIN - Duration::from_secs(1)).await;
                far.read_exact(&mut [0; 10]).await.expect("written");
            }
        };
        let (written, ()) = tokio::join!(near.write_all(&[7; 60]), slow);
        written.expect("taken, however slowly");
        assert_eq!(near.write_all(&[7; 1]).await.expect_err("stalled").kind(), io::ErrorKind::TimedOut);
    }
}
