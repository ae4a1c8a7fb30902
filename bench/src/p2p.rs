//! Pairs of users: one sends with a window of unacknowledged messages (or at a fixed rate), the other receives.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, Packet, read_marker, send_packet},
    idle,
    meter::{Meter, Usage},
    report::{Round, Trouble, latencies},
    target::{Account, Target},
    workload::Workload,
};

/// Options of the workload.
#[derive(clap::Args, Clone, Debug)]
pub struct P2p {
    /// Pairs of users.
    #[arg(long, default_value_t = 100)]
    pairs: usize,
    /// Unacknowledged messages of each sender; by default 8, with a rate 1,000 (what is late is not left out).
    #[arg(long)]
    window: Option<u64>,
    /// Messages a second over all pairs; unset: as fast as the windows allow.
    #[arg(long)]
    rate: Option<f64>,
    /// Bytes of content.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Length of one round.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds before counting begins.
    #[arg(long, default_value_t = 2)]
    warmup: u64,
    /// Other users' connections that are open meanwhile and do nothing.
    #[arg(long, default_value_t = 0)]
    bystanders: usize,
}

const CONNECTIONS_PER_BYSTANDER: usize = 20;

impl Workload for P2p {
    type Ground = (Vec<Account>, Vec<Account>);

    async fn prepare(&self, target: &Target) -> anyhow::Result<Self::Ground> {
        let bystanders = target.register(self.bystanders.div_ceil(CONNECTIONS_PER_BYSTANDER)).await?;
        Ok((target.register(self.pairs * 2).await?, bystanders))
    }

    async fn round(&self, target: &Target, (accounts, others): &Self::Ground) -> anyhow::Result<Vec<Round>> {
        let bystanders = match self.bystanders {
            0 => Vec::new(),
            count => idle::connect(target, others, count).await?,
        };
        let pace = Pace {
            window: self.window.unwrap_or(if self.rate.is_some() { 1_000 } else { 8 }),
            pause: self.rate.map(|rate| Duration::from_secs_f64(self.pairs as f64 / rate)),
            size: self.size,
        };
        let talks = Talks::begin(target, accounts, pace).await?;
        tokio::time::sleep(Duration::from_secs(self.warmup)).await;
        talks.count_anew();
        let meter = Meter::begin(target);
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        let (counted, usage) = (talks.count_anew(), meter.usage());
        let trouble = talks.end().await?;
        drop(bystanders);
        Ok(vec![counted.round(target, "", usage, trouble)])
    }
}

/// How one sender of a pair sends.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Unacknowledged messages.
    pub window: u64,
    /// From one message to the next; none: as fast as the window allows.
    pub pause: Option<Duration>,
    /// Bytes of content.
    pub size: usize,
}

/// What was counted.
#[derive(Debug)]
pub struct Tally {
    acked: u64,
    reordered: u64,
    errors: u64,
    delivery: Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        Self { acked: 0, reordered: 0, errors: 0, delivery: latencies() }
    }

    /// As a round's result; `trouble` is what only the end of the talks tells.
    pub fn round(self, target: &Target, part: &str, usage: Usage, trouble: Trouble) -> Round {
        let Self { acked, reordered, errors, delivery } = self;
        let (target, part) = (target.name.clone(), part.to_owned());
        Round {
            target,
            part,
            count: acked,
            usage,
            latency: delivery,
            trouble: Trouble { reordered, errors, ..trouble },
        }
    }
}

/// Where all pairs count.
struct Counts {
    /// Since counting began anew.
    tally: RefCell<Tally>,
    // From the beginning to the end.
    accepted: Cell<u64>,
    delivered: Cell<u64>,
    duplicated: Cell<u64>,
}

fn count(of: &Cell<u64>) {
    of.set(of.get() + 1);
}

/// Pairs at work.
pub struct Talks {
    counts: Rc<Counts>,
    stop: CancellationToken,
    senders: JoinSet<anyhow::Result<u64>>,
    receivers: JoinSet<anyhow::Result<()>>,
    stop_receivers: CancellationToken,
}

impl Talks {
    /// Connects the accounts two by two and lets the first of each pair send; senders with a pause do not begin at once.
    pub async fn begin(target: &Target, accounts: &[Account], pace: Pace) -> anyhow::Result<Self> {
        let mut talks = Self {
            counts: Rc::new(Counts {
                tally: RefCell::new(Tally::new()),
                accepted: Cell::default(),
                delivered: Cell::default(),
                duplicated: Cell::default(),
            }),
            stop: CancellationToken::new(),
            senders: JoinSet::new(),
            receivers: JoinSet::new(),
            stop_receivers: CancellationToken::new(),
        };
        let mut connected = Vec::new();
        for pair in accounts.chunks_exact(2) {
            connected.push((Client::connect(target, &pair[0]).await?, Client::connect(target, &pair[1]).await?, pair));
        }
        let (epoch, count) = (Instant::now(), connected.len() as u32);
        for ((sender, receiver, pair), n) in connected.into_iter().zip(0..) {
            let begin = epoch + pace.pause.unwrap_or_default() * n / count;
            let sending = Sending { pace, begin, receiver: pair[1].id.clone(), epoch };
            talks.senders.spawn_local(sending.run(sender, talks.counts.clone(), talks.stop.clone()));
            talks.receivers.spawn_local(receive(receiver, epoch, talks.counts.clone(), talks.stop_receivers.clone()));
        }
        Ok(talks)
    }

    /// What was counted so far; counting begins anew.
    pub fn count_anew(&self) -> Tally {
        self.counts.tally.replace(Tally::new())
    }

    /// Ends sending, then waits for the answers and the deliveries still to come; tells which did not come.
    pub async fn end(mut self) -> anyhow::Result<Trouble> {
        self.stop.cancel();
        let mut trouble = Trouble::default();
        while let Some(sender) = self.senders.join_next().await {
            trouble.unanswered += sender??;
        }
        let give_up = Instant::now() + LAST_ANSWERS_WITHIN;
        while self.missing() > 0 && Instant::now() < give_up {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (trouble.lost, trouble.duplicated) = (self.missing(), self.counts.duplicated.get());
        self.stop_receivers.cancel();
        while let Some(receiver) = self.receivers.join_next().await {
            receiver??;
        }
        Ok(trouble)
    }

    fn missing(&self) -> u64 {
        self.counts.accepted.get().saturating_sub(self.counts.delivered.get())
    }
}

struct Sending {
    pace: Pace,
    begin: Instant,
    receiver: String,
    epoch: Instant,
}

/// Messages between two looks at what came in, so that neither side waits for the other to read.
const BURST_MAX: u64 = 256;
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(20);

impl Sending {
    async fn run(self, mut client: Client, counts: Rc<Counts>, stop: CancellationToken) -> anyhow::Result<u64> {
        let (mut sequence, mut undecided) = (0, 0);
        loop {
            let burst = self.due(sequence).min(self.pace.window - undecided).min(BURST_MAX);
            for _ in 0..burst {
                let marker = format!("@{sequence}:{}@", self.epoch.elapsed().as_micros());
                client.feed(send_packet(sequence, ("receiverId", &self.receiver), &marker, self.pace.size)).await?;
                sequence += 1;
            }
            undecided += burst;
            if burst > 0 {
                client.flush().await?;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.wait(sequence), if undecided < self.pace.window => {}
                packet = client.next() => undecided -= count_ack(packet?, &counts),
            }
        }
        let last_answers = async {
            while undecided > 0 {
                undecided -= count_ack(client.next().await?, &counts);
            }
            anyhow::Ok(())
        };
        if let Ok(ended) = timeout(LAST_ANSWERS_WITHIN, last_answers).await {
            ended?;
        }
        Ok(undecided)
    }

    /// Messages that should have been sent by now.
    fn due(&self, sent: u64) -> u64 {
        let Some(pause) = self.pace.pause else { return u64::MAX };
        match Instant::now().checked_duration_since(self.begin) {
            Some(since) => ((since.as_secs_f64() / pause.as_secs_f64()) as u64 + 1).saturating_sub(sent),
            None => 0,
        }
    }

    /// Until the next message is due; without a pause, not before an answer makes room.
    async fn wait(&self, sent: u64) {
        match self.pace.pause {
            Some(pause) => tokio::time::sleep_until((self.begin + pause.mul_f64(sent as f64)).into()).await,
            None if self.pace.window > BURST_MAX => tokio::task::yield_now().await,
            None => std::future::pending().await,
        }
    }
}

fn count_ack(packet: Packet, counts: &Counts) -> u64 {
    let Packet::Ack(text) = packet else { return 0 };
    let mut tally = counts.tally.borrow_mut();
    if text.contains("\"error\":") {
        if tally.errors == 0 {
            eprintln!("refused, and perhaps more: {text}");
        }
        tally.errors += 1;
    } else {
        tally.acked += 1;
        count(&counts.accepted);
    }
    1
}

async fn receive(
    mut client: Client,
    epoch: Instant,
    counts: Rc<Counts>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (mut last, mut seen) = (None, Seen::default());
    loop {
        let packet = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            packet = client.next() => packet?,
        };
        let Packet::Event(text) = packet else { continue };
        let Some((sequence, sent)) = read_marker(&text) else { continue };
        let now = u64::try_from(epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        let is_new = seen.insert(sequence);
        count(if is_new { &counts.delivered } else { &counts.duplicated });
        let mut tally = counts.tally.borrow_mut();
        if last.is_some_and(|last| sequence <= last) {
            tally.reordered += 1;
        }
        last = last.max(Some(sequence));
        tally.delivery.saturating_record(now.saturating_sub(sent));
    }
}

/// Numbers that came: all below `next`, and those that came early.
#[derive(Default)]
struct Seen {
    next: u64,
    early: BTreeSet<u64>,
}

impl Seen {
    /// False when it came before.
    fn insert(&mut self, sequence: u64) -> bool {
        // As it should be: nothing to remember.
        if sequence == self.next && self.early.is_empty() {
            self.next += 1;
            return true;
        }
        let is_new = sequence >= self.next && self.early.insert(sequence);
        while self.early.remove(&self.next) {
            self.next += 1;
        }
        is_new
    }
}
