//! Every client's log against the database, and against every other log. Whatever is not zero is a broken promise.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    path::Path,
};

use uuid::Uuid;

use crate::{
    facts::{Facts, Stored},
    log::{self, Change, Line, Log},
};

/// Examples kept of each kind.
const EXAMPLES_MAX: usize = 5;

/// A kind of broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// Acknowledged but not stored, or stored but not delivered.
    Lost,
    /// Stored or delivered twice.
    Duplicated,
    /// Stored or delivered in another order than it was sent or stored.
    Reordered,
    /// Stored or delivered though nobody wrote it, or not as it was written.
    Phantom,
    /// Stored or delivered against the rights in force.
    Unauthorised,
    /// Anything else that may never be.
    Wrong,
}

impl Breach {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Lost, Self::Duplicated, Self::Reordered, Self::Phantom, Self::Unauthorised, Self::Wrong];
}

/// Who a log belongs to.
pub struct Witness {
    /// Its number.
    pub client: usize,
    /// Its user.
    pub user: Uuid,
    /// Whether it is in the group whose rights change: what it may miss depends on when it was removed.
    pub is_restrained: bool,
}

/// What was found.
#[derive(Default)]
pub struct Verdict {
    /// How often each promise was broken.
    pub breaches: BTreeMap<Breach, u64>,
    /// Some of them in words.
    pub examples: Vec<String>,
    /// Messages in the database.
    pub messages: usize,
    /// Messages acknowledged.
    pub acked: u64,
    /// Sends that had to be repeated because nobody knew.
    pub unknown: u64,
    /// Messages delivered, to all clients together.
    pub delivered: u64,
    /// Messages of whose first attempt nothing was heard, stored though a later attempt of the client was refused: the
    /// first one had its place before or after the refusal, and the rights for it there.
    pub refused_repeats: u64,
}

/// One client's sends.
#[derive(Default)]
struct Sent {
    first_stamp: u64,
    attempts: u32,
    connection: u32,
    acked: Option<Acked>,
    is_refused: bool,
}

struct Acked {
    stamp: u64,
    connection: u32,
    id: Uuid,
    seq: i64,
}

/// What one log says.
#[derive(Default)]
struct Told {
    sent: BTreeMap<u64, Sent>,
    seen: HashMap<Uuid, i64>,
}

/// A check under way.
pub struct Check<'a> {
    facts: &'a Facts,
    by_id: HashMap<Uuid, &'a Stored>,
    by_writer: HashMap<(usize, u64), &'a Stored>,
    /// Everything above it is to be delivered to everybody whom it concerns.
    start: i64,
    verdict: Verdict,
}

impl<'a> Check<'a> {
    /// Against these facts; all clients were connected at `start`.
    pub fn new(facts: &'a Facts, start: i64) -> Self {
        let by_id = facts.messages.iter().map(|message| (message.id, message)).collect();
        let verdict = Verdict { messages: facts.messages.len(), ..Verdict::default() };
        Self { facts, by_id, by_writer: HashMap::new(), start, verdict }
    }

    /// All of it.
    pub fn run(mut self, folder: &Path, witnesses: &[Witness], admin: usize) -> anyhow::Result<Verdict> {
        self.stored(witnesses);
        let forbidden = forbidden_times(&Log::path(folder, admin), witnesses)?;
        for witness in witnesses {
            let told = self.read(folder, witness)?;
            self.sends(witness, &told);
            self.order(witness.client, &told);
            self.completeness(witness, &told);
            self.obedience(witness.client, &told, forbidden.get(&witness.client).map_or(&[], Vec::as_slice));
        }
        for message in self.facts.messages.iter().filter(|message| message.written.is_none()) {
            self.verdict.breach(Breach::Phantom, || format!("{message:?}"));
        }
        Ok(self.verdict)
    }

    /// The database alone: numbers, times, rights, one row for each key.
    fn stored(&mut self, witnesses: &[Witness]) {
        let (mut seqs, mut created_at) = (HashMap::<Uuid, i64>::new(), 0);
        for message in &self.facts.messages {
            let seq = seqs.entry(message.conversation).or_default();
            *seq += 1;
            if *seq != message.seq || message.created_at < created_at {
                self.verdict.breach(Breach::Reordered, || format!("not numbered {seq} or too early: {message:?}"));
            }
            created_at = message.created_at;
            let Some(written) = message.written else { continue };
            if witnesses.get(written.0).is_none_or(|witness| witness.user != message.sender) {
                self.verdict.breach(Breach::Phantom, || format!("of another sender: {message:?}"));
            }
            if self.by_writer.insert(written, message).is_some() {
                self.verdict.breach(Breach::Duplicated, || format!("stored twice: {message:?}"));
            }
        }
        for id in &self.facts.forbidden {
            self.verdict.breach(Breach::Unauthorised, || format!("stored though its sender might not post: {id}"));
        }
    }

    /// Reads a log; checks what can be told line by line.
    fn read(&mut self, folder: &Path, witness: &Witness) -> anyhow::Result<Told> {
        let (mut told, mut last) = (Told::default(), 0);
        log::read(&Log::path(folder, witness.client), |stamp, line| match line {
            Line::Send { n, attempt, connection } => {
                let sent = told.sent.entry(n).or_insert(Sent { first_stamp: stamp, ..Sent::default() });
                (sent.attempts, sent.connection) = (attempt, connection);
                self.verdict.unknown += u64::from(attempt == 2);
            }
            Line::Ack { n, id, seq, connection } => {
                self.verdict.acked += 1;
                let acked = Acked { stamp, connection, id, seq };
                told.sent.entry(n).or_default().acked.get_or_insert(acked);
            }
            Line::Event { position, conversation, id, seq, sender, n } => {
                self.delivered(witness, (position, conversation, id), (seq, sender, n));
                if told.seen.insert(id, position).is_some() {
                    self.verdict.breach(Breach::Duplicated, || format!("client {} got {id} twice", witness.client));
                }
                self.rises(&mut last, position, witness.client);
            }
            Line::Other { position } => self.rises(&mut last, position, witness.client),
            Line::Wrong { what } => self.verdict.breach(Breach::Wrong, || format!("client {}: {what}", witness.client)),
            Line::Refused { n, code } => {
                told.sent.entry(n).or_default().is_refused = matches!(code.as_str(), "FORBIDDEN" | "NOT_FOUND");
            }
            Line::Connected { .. } | Line::Gone { .. } | Line::Ask { .. } | Line::Done { .. } => {}
        })?;
        Ok(told)
    }

    fn rises(&mut self, last: &mut i64, position: i64, client: usize) {
        if position <= *last {
            self.verdict.breach(Breach::Reordered, || format!("client {client} got {position} after {last}"));
        }
        *last = position;
    }

    /// A delivered message is the stored one, and its receiver took part then.
    fn delivered(&mut self, to: &Witness, place: (i64, Uuid, Uuid), what: (i64, usize, u64)) {
        self.verdict.delivered += 1;
        let (position, conversation, id) = place;
        let is_stored = self.by_id.get(&id).is_some_and(|stored| {
            (stored.position, stored.conversation, stored.id) == place
                && stored.written == Some((what.1, what.2))
                && stored.seq == what.0
        });
        if !is_stored {
            self.verdict.breach(Breach::Phantom, || format!("client {} got {id}, not as it is stored", to.client));
        }
        let stays = self.facts.stays.get(&(conversation, to.user)).map_or(&[][..], Vec::as_slice);
        if !stays.iter().any(|(from, until)| (*from..*until).contains(&position)) {
            let client = to.client;
            self.verdict.breach(Breach::Unauthorised, || format!("client {client} got {id} at {position}: {stays:?}"));
        }
    }

    /// What was acknowledged is stored so, and what is stored was sent.
    fn sends(&mut self, witness: &Witness, told: &Told) {
        for (n, sent) in &told.sent {
            let stored = self.by_writer.get(&(witness.client, *n));
            let Some(acked) = &sent.acked else {
                let client = witness.client;
                match (sent.is_refused && stored.is_some(), sent.attempts) {
                    (false, _) => {}
                    (true, 1) => {
                        self.verdict.breach(Breach::Wrong, || format!("client {client}: {n} was refused, then stored"));
                    }
                    (true, _) => self.verdict.refused_repeats += 1,
                }
                continue;
            };
            if stored.is_none_or(|stored| stored.id != acked.id || stored.seq != acked.seq) {
                let client = witness.client;
                self.verdict.breach(Breach::Lost, || format!("client {client}: {n} was acknowledged: {stored:?}"));
            }
        }
        let client = witness.client;
        let unsent = self.by_writer.keys().filter(|(writer, n)| *writer == client && !told.sent.contains_key(n));
        for (_, n) in unsent.copied().collect::<Vec<_>>() {
            self.verdict.breach(Breach::Phantom, || format!("client {client} never sent {n}"));
        }
    }

    /// A client has one target. What was acknowledged before the next was sent stands before it; so does what was sent
    /// before it on the same connection, if neither had to be repeated.
    fn order(&mut self, client: usize, told: &Told) {
        let mut acks: Vec<(u64, i64)> =
            told.sent.values().filter_map(|sent| sent.acked.as_ref()).map(|acked| (acked.stamp, acked.seq)).collect();
        acks.sort_unstable();
        let (mut acks, mut before, mut on_connection) = (acks.into_iter().peekable(), 0, (0, 0));
        for (n, sent) in &told.sent {
            while let Some((_, seq)) = acks.next_if(|(stamp, _)| *stamp < sent.first_stamp) {
                before = before.max(seq);
            }
            let Some(acked) = &sent.acked else { continue };
            if acked.seq <= before {
                self.verdict
                    .breach(Breach::Reordered, || format!("client {client}: {n} is {}, not after {before}", acked.seq));
            }
            if sent.attempts > 1 || acked.connection != sent.connection {
                continue;
            }
            let (connection, last) = on_connection;
            if connection == sent.connection && acked.seq <= last {
                self.verdict.breach(Breach::Reordered, || format!("client {client}: {n} passed an earlier one"));
            }
            on_connection = (sent.connection, acked.seq);
        }
    }

    /// Everything that concerned the client from the start on has come.
    fn completeness(&mut self, witness: &Witness, told: &Told) {
        for message in &self.facts.messages {
            let stays = self.facts.stays.get(&(message.conversation, witness.user));
            let Some([(joined, i64::MAX)]) = stays.map(Vec::as_slice) else { continue };
            if message.position > self.start.max(*joined) && !told.seen.contains_key(&message.id) {
                self.verdict.breach(Breach::Lost, || format!("client {} never got {message:?}", witness.client));
            }
        }
    }

    /// Nothing that was first sent after the answer to a change against it was accepted before the change back.
    fn obedience(&mut self, client: usize, told: &Told, forbidden: &[(u64, u64)]) {
        for (n, sent) in &told.sent {
            let Some(acked) = &sent.acked else { continue };
            if forbidden.iter().any(|(from, until)| sent.first_stamp > *from && acked.stamp < *until) {
                self.verdict.breach(Breach::Unauthorised, || format!("client {client}: {n} was accepted"));
            }
        }
    }
}

/// For each client of the restless group: from the answer that took its right to post to the asking that gave it back.
fn forbidden_times(log: &Path, witnesses: &[Witness]) -> anyhow::Result<HashMap<usize, Vec<(u64, u64)>>> {
    let restrained: Vec<usize> =
        witnesses.iter().filter(|witness| witness.is_restrained).map(|witness| witness.client).collect();
    let (mut gone, mut admins, mut is_restricted) = (HashSet::new(), HashSet::new(), false);
    let mut times: HashMap<usize, Vec<(u64, u64)>> = restrained.iter().map(|client| (*client, Vec::new())).collect();
    log::read(log, |stamp, line| {
        let (change, client, is_done) = match line {
            Line::Ask { change, client } => (change, client, false),
            Line::Done { change, client } => (change, client, true),
            _ => return,
        };
        let takes = matches!(change, Change::Remove | Change::Demote | Change::Restrict);
        if takes != is_done {
            // Rights taken count from the answer, rights given from the asking.
            return;
        }
        match change {
            Change::Remove => _ = (gone.insert(client), admins.remove(&client)),
            Change::Add => _ = gone.remove(&client),
            Change::Promote => _ = admins.insert(client),
            Change::Demote => _ = admins.remove(&client),
            Change::Restrict => is_restricted = true,
            Change::Open => is_restricted = false,
        }
        for client in &restrained {
            let may_post = !gone.contains(client) && (!is_restricted || admins.contains(client));
            let all = times.entry(*client).or_default();
            match all.last_mut() {
                Some((_, until)) if *until == u64::MAX && may_post => *until = stamp,
                Some((_, u64::MAX)) => {}
                _ if !may_post => all.push((stamp, u64::MAX)),
                _ => {}
            }
        }
    })?;
    Ok(times)
}

impl Verdict {
    /// Counts a breach and keeps the first ones in words.
    pub fn breach(&mut self, kind: Breach, example: impl FnOnce() -> String) {
        let count = self.breaches.entry(kind).or_default();
        *count += 1;
        if *count <= EXAMPLES_MAX as u64 {
            self.examples.push(format!("{kind:?}: {}", example()));
        }
    }

    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.breaches.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "messages stored      {}", self.messages)?;
        writeln!(f, "acked                {}", self.acked)?;
        writeln!(f, "unknown, repeated    {}", self.unknown)?;
        writeln!(f, "delivered            {}", self.delivered)?;
        writeln!(f, "repeat refused       {}", self.refused_repeats)?;
        for kind in Breach::ALL {
            let name = format!("{kind:?}").to_lowercase();
            writeln!(f, "{name:<21}{}", self.breaches.get(&kind).unwrap_or(&0))?;
        }
        self.examples.iter().try_for_each(|example| writeln!(f, "  {example}"))
    }
}

#[cfg(test)]
mod tests;
