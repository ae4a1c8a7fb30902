//! Posted bodies whose packets the session has not taken yet.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::engine;

/// Bodies that may be unread: stock clients wait for the answer to one before they post the next.
const BODIES_MAX: usize = 2;

/// Unread bodies, the oldest first. Dropping them refuses those that were not answered.
#[derive(Default)]
pub struct Posts(VecDeque<Post>);

struct Post {
    body: Bytes,
    read_bytes: usize,
    done: Option<oneshot::Sender<bool>>,
}

impl Posts {
    /// Takes a body, unless it is malformed or one too many. It is answered when it is read to its end.
    pub fn push(&mut self, body: Bytes, done: oneshot::Sender<bool>) -> bool {
        let is_well_formed = std::str::from_utf8(&body)
            .is_ok_and(|body| engine::packets(body).all(|packet| engine::Packet::decode(packet).is_ok()));
        if !is_well_formed || self.0.len() >= BODIES_MAX {
            let _ = done.send(false);
            return false;
        }
        self.0.push_back(Post { body, read_bytes: 0, done: Some(done) });
        true
    }

    /// Answers every body before it is read.
    pub fn answer(&mut self) {
        self.0.iter_mut().for_each(Post::answer);
    }
}

/// The packets, one after the other.
impl Iterator for Posts {
    type Item = Utf8Bytes;

    fn next(&mut self) -> Option<Utf8Bytes> {
        loop {
            let packet = self.0.front_mut()?.next();
            if packet.is_some() {
                return packet;
            }
            self.0.pop_front()?.answer();
        }
    }
}

impl Post {
    fn next(&mut self) -> Option<Utf8Bytes> {
        if self.read_bytes > self.body.len() {
            return None;
        }
        let rest = self.body.slice(self.read_bytes..);
        let length = rest.iter().position(|byte| *byte == engine::SEPARATOR as u8).unwrap_or(rest.len());
        self.read_bytes += length + 1;
        Some(Utf8Bytes::try_from(rest.slice(..length)).expect("the body is text and separators are one byte"))
    }

    fn answer(&mut self) {
        if let Some(done) = self.done.take() {
            let _ = done.send(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(posts: &mut Posts, body: &'static str) -> oneshot::Receiver<bool> {
        let (done, answer) = oneshot::channel();
        posts.push(Bytes::from_static(body.as_bytes()), done);
        answer
    }

    #[test]
    fn a_body_is_answered_when_it_is_read() {
        let mut posts = Posts::default();
        let mut answer = post(&mut posts, "4a\u{1e}4b");
        assert_eq!(posts.next().as_deref(), Some("4a"));
        assert_eq!(posts.next().as_deref(), Some("4b"));
        assert!(answer.try_recv().is_err());
        assert_eq!(posts.next(), None);
        assert_eq!(answer.try_recv(), Ok(true));
    }

    #[test]
    fn bodies_are_read_in_order_even_if_answered_before() {
        let mut posts = Posts::default();
        let mut answers = [post(&mut posts, "4a"), post(&mut posts, "3")];
        assert_eq!(post(&mut posts, "4c").try_recv(), Ok(false), "one too many");
        posts.answer();
        assert_eq!(answers.each_mut().map(oneshot::Receiver::try_recv), [Ok(true), Ok(true)]);
        assert_eq!([posts.next().as_deref(), posts.next().as_deref()], [Some("4a"), Some("3")]);
        assert_eq!(post(&mut posts, "abc").try_recv(), Ok(false), "malformed");
    }
}
