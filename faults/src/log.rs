//! What one client saw and did, in the order it did: an append-only file, written before anything is sent. The stamps
//! come from one counter, so that "answered before it was sent" can be told across clients without a clock.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Context as _;
use uuid::Uuid;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// About to send message `n` on connection `connection` of this client for the `attempt`-th time.
    Send { n: u64, attempt: u32, connection: u32 },
    /// Message `n` is stored.
    Ack { n: u64, id: Uuid, seq: i64, connection: u32 },
    /// Message `n` is refused; whether it is stored is not known unless the code says so.
    Refused { n: u64, code: String },
    /// A message came.
    Event { position: i64, conversation: Uuid, id: Uuid, seq: i64, sender: usize, n: u64 },
    /// A durable event that is no message.
    Other { position: i64 },
    /// Connected; events after `position` follow.
    Connected { gateway: usize, recovered: bool, position: i64 },
    /// The connection is gone, and why.
    Gone { why: String },
    /// About to ask for a change of rights of a client; of all when it is about the group.
    Ask { change: Change, client: usize },
    /// The change is answered with success.
    Done { change: Change, client: usize },
    /// The client itself saw something that may never be.
    Wrong { what: String },
}

/// A change of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    Remove,
    Add,
    Promote,
    Demote,
    Restrict,
    Open,
}

impl Change {
    const ALL: [Self; 6] = [Self::Remove, Self::Add, Self::Promote, Self::Demote, Self::Restrict, Self::Open];

    const fn name(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Add => "add",
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::Restrict => "restrict",
            Self::Open => "open",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.name() == name)
    }
}

static LAST_STAMP: AtomicU64 = AtomicU64::new(0);

/// The log of one client, open for writing.
pub struct Log {
    file: File,
}

impl Log {
    /// The file of this client.
    pub fn path(folder: &Path, client: usize) -> PathBuf {
        folder.join(format!("client-{client}.log"))
    }

    pub fn create(folder: &Path, client: usize) -> anyhow::Result<Self> {
        Ok(Self { file: File::create_new(Self::path(folder, client))? })
    }

    /// Hands the line to the operating system: it outlives this process.
    pub fn write(&mut self, line: &Line) -> anyhow::Result<()> {
        let stamp = LAST_STAMP.fetch_add(1, Ordering::SeqCst);
        let mut text = format!("{stamp} ");
        match line {
            Line::Send { n, attempt, connection } => write!(text, "send {n} {attempt} {connection}"),
            Line::Ack { n, id, seq, connection } => write!(text, "ack {n} {id} {seq} {connection}"),
            Line::Refused { n, code } => write!(text, "refused {n} {code}"),
            Line::Event { position, conversation, id, seq, sender, n } => {
                write!(text, "event {position} {conversation} {id} {seq} {sender} {n}")
            }
            Line::Other { position } => write!(text, "other {position}"),
            Line::Connected { gateway, recovered, position } => {
                write!(text, "connected {gateway} {recovered} {position}")
            }
            Line::Gone { why } => write!(text, "gone {}", why.replace('\n', " ")),
            Line::Ask { change, client } => write!(text, "ask {} {client}", change.name()),
            Line::Done { change, client } => write!(text, "done {} {client}", change.name()),
            Line::Wrong { what } => write!(text, "wrong {}", what.replace('\n', " ")),
        }?;
        text.push('\n');
        Ok(self.file.write_all(text.as_bytes())?)
    }
}

/// Calls `visit` with each line and its stamp.
pub fn read(path: &Path, mut visit: impl FnMut(u64, Line)) -> anyhow::Result<()> {
    for text in BufReader::new(File::open(path)?).lines() {
        let text = text?;
        let (stamp, line) = parse(&text).with_context(|| format!("{}: {text}", path.display()))?;
        visit(stamp, line);
    }
    Ok(())
}

fn parse(text: &str) -> Option<(u64, Line)> {
    let mut words = text.splitn(3, ' ');
    let (stamp, kind, rest) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let mut words = rest.split(' ');
    let mut next = || words.next();
    let line = match kind {
        "send" => {
            Line::Send { n: next()?.parse().ok()?, attempt: next()?.parse().ok()?, connection: next()?.parse().ok()? }
        }
        "ack" => Line::Ack {
            n: next()?.parse().ok()?,
            id: next()?.parse().ok()?,
            seq: next()?.parse().ok()?,
            connection: next()?.parse().ok()?,
        },
        "refused" => Line::Refused { n: next()?.parse().ok()?, code: next()?.to_owned() },
        "event" => Line::Event {
            position: next()?.parse().ok()?,
            conversation: next()?.parse().ok()?,
            id: next()?.parse().ok()?,
            seq: next()?.parse().ok()?,
            sender: next()?.parse().ok()?,
            n: next()?.parse().ok()?,
        },
        "other" => Line::Other { position: next()?.parse().ok()? },
        "connected" => Line::Connected {
            gateway: next()?.parse().ok()?,
            recovered: next()?.parse().ok()?,
            position: next()?.parse().ok()?,
        },
        "gone" => Line::Gone { why: rest.to_owned() },
        "ask" => Line::Ask { change: Change::named(next()?)?, client: next()?.parse().ok()? },
        "done" => Line::Done { change: Change::named(next()?)?, client: next()?.parse().ok()? },
        "wrong" => Line::Wrong { what: rest.to_owned() },
        _ => return None,
    };
    Some((stamp, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let id = Uuid::from_u128(7);
        let lines = [
            Line::Send { n: 1, attempt: 2, connection: 3 },
            Line::Ack { n: 1, id, seq: 4, connection: 3 },
            Line::Refused { n: 2, code: "UNAVAILABLE".to_owned() },
            Line::Event { position: 5, conversation: id, id, seq: 6, sender: 7, n: 8 },
            Line::Other { position: 9 },
            Line::Connected { gateway: 1, recovered: true, position: 10 },
            Line::Gone { why: "it was closed".to_owned() },
            Line::Ask { change: Change::Remove, client: 3 },
            Line::Done { change: Change::Restrict, client: 4 },
            Line::Wrong { what: "this and that".to_owned() },
        ];
        let mut log = Log::create(folder.path(), 0)?;
        lines.iter().try_for_each(|line| log.write(line))?;
        let (mut found, mut stamps) = (Vec::new(), Vec::new());
        read(&Log::path(folder.path(), 0), |stamp, line| {
            stamps.push(stamp);
            found.push(line);
        })?;
        assert_eq!(found, lines);
        assert!(stamps.is_sorted_by(|before, after| before < after));
        Ok(())
    }
}
