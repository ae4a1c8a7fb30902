//! The first head of a connection, read before HTTP begins: the HTTP server sets 16 KiB aside for each connection it
//! serves, and whoever never finishes a request is not worth that.

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Set aside before the first byte is there; most heads fit.
const HEAD_BYTES: usize = 512;

/// Reads until the head may be complete, or longer than `bytes_max`: what is wrong with it the HTTP server says. None when
/// the peer has left before.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> Option<Bytes> {
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    let mut seen = 0;
    while !has_empty_line(&head[seen..]) && head.len() <= bytes_max {
        // An empty line may have begun in what was read before.
        seen = head.len().saturating_sub(2);
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
        // HTTP skips empty lines before a request: they are no head.
        let blank = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        head.advance(blank);
    }
    Some(head.freeze())
}

fn has_empty_line(bytes: &[u8]) -> bool {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    ends.any(|next| bytes[next..].starts_with(b"\n") || bytes[next..].starts_with(b"\r\n"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    async fn read_of(bytes: &'static [u8], at_once: usize) -> Option<Bytes> {
        let (mut near, mut far) = duplex(1024);
        let writing = async move {
            for piece in bytes.chunks(at_once) {
                far.write_all(piece).await.expect("read");
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(read(&mut near, 600), writing).0
    }

    #[tokio::test]
    async fn a_head_is_read_to_its_end_however_it_comes() {
        for head in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"GET / HTTP/1.1\nHost: x\n\n"] {
            for at_once in [1, 2, 3, 100] {
                assert_eq!(read_of(head, at_once).await.as_deref(), Some(head), "{at_once}");
            }
        }
        assert_eq!(read_of(b"GET / HTTP/1.1\r\nHost: x\r\n", 3).await, None);
        for nothing in [&b""[..], b"\r\n\r\n", b"\n\n\n"] {
            assert_eq!(read_of(nothing, 1).await, None);
        }
    }

    #[tokio::test]
    async fn more_than_a_head_may_have_is_not_read() {
        let head = read_of(&[b'x'; 1_500], 100).await.expect("the server says that it is too long");
        assert!((601..1_200).contains(&head.len()), "{}", head.len());
    }
}
