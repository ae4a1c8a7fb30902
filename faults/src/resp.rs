//! As much of the Redis protocol (RESP3) as it takes to see where a message ends and whether it is a publication.

/// Where the first message of the buffer ends; none while it is incomplete.
pub fn end(buffer: &[u8]) -> Option<usize> {
    let (mut at, mut wanted) = (0, 1_usize);
    while wanted > 0 {
        let line = buffer.get(at..)?.windows(2).position(|two| two == b"\r\n")?;
        let head = &buffer[at..at + line];
        at += line + 2;
        wanted -= 1;
        let (kind, number) = head.split_first()?;
        let count: Option<usize> = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        match (kind, count) {
            (b'$' | b'!' | b'=', Some(bytes)) => at += bytes + 2,
            (b'*' | b'~' | b'>', Some(items)) => wanted += items,
            (b'%', Some(pairs)) => wanted += 2 * pairs,
            (b'|', Some(pairs)) => wanted += 2 * pairs + 1,
            _ => {}
        }
    }
    (at <= buffer.len()).then_some(at)
}

const PUBLICATION: &[u8] = b">3\r\n$7\r\nmessage\r\n";

/// Whether a whole message is a publication on its way to a subscriber.
pub fn is_publication(message: &[u8]) -> bool {
    message.starts_with(PUBLICATION)
}

/// What it says, if it is one.
pub fn published(message: &[u8]) -> Option<Vec<u8>> {
    let after_feed = message.strip_prefix(PUBLICATION).and_then(|rest| rest.get(end(rest)?..))?;
    let begin = after_feed.windows(2).position(|two| two == b"\r\n")? + 2;
    Some(after_feed.get(begin..after_feed.len() - 2)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end() {
        let messages: [&[u8]; 6] = [
            b"+OK\r\n",
            b":12\r\n",
            b"$-1\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\nf\r\n$4\r\na\r\nb\r\n",
            b"%1\r\n$1\r\na\r\n*2\r\n:1\r\n_\r\n",
            b"$0\r\n\r\n",
        ];
        for message in messages {
            let mut buffer = message.to_vec();
            buffer.extend_from_slice(b"+next");
            assert_eq!(end(&buffer), Some(message.len()), "{}", String::from_utf8_lossy(message));
            for cut in 0..message.len() {
                assert_eq!(end(&message[..cut]), None, "{cut} of {}", String::from_utf8_lossy(message));
            }
        }
        assert!(is_publication(messages[3]) && !is_publication(messages[4]));
        assert_eq!(published(messages[3]).as_deref(), Some(&b"a\r\nb"[..]));
        assert_eq!(published(messages[4]), None);
    }
}
