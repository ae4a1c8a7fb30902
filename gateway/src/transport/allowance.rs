//! What a stranger may send before it has shown who it is: without it every open socket could have a message of 1 MiB
//! collected for it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream from which so many bytes are read, and no more until the peer is known.
pub struct Allowance<S> {
    stream: S,
    /// None: as many as there are.
    bytes_left: Option<usize>,
}

impl<S> Allowance<S> {
    /// Of a stranger.
    pub fn new(stream: S, bytes_max: usize) -> Self {
        Self { stream, bytes_left: Some(bytes_max) }
    }

    /// The peer is known.
    pub fn lift(&mut self) {
        self.bytes_left = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Allowance<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if let Some(left) = this.bytes_left {
            let left = left.checked_sub(buffer.filled().len() - before);
            this.bytes_left = Some(left.ok_or(io::ErrorKind::QuotaExceeded)?);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Allowance<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_stranger_is_read_up_to_its_allowance() {
        let mut stream = Allowance::new(&[7; 100][..], 60);
        let mut buffer = [0; 50];
        assert_eq!(stream.read(&mut buffer).await.expect("within"), 50);
        assert_eq!(stream.read(&mut buffer).await.expect_err("over").kind(), io::ErrorKind::QuotaExceeded);
        let mut stream = Allowance::new(&[7; 100][..], 10);
        stream.lift();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.expect("known"), 100);
    }
}
