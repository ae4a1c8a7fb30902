//! Pairs of users: one sends with a window of unacknowledged messages (or at a fixed rate), the other receives.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Common,
    client::{Client, Packet, read_marker, send_packet},
    cpu,
    report::{Round, compare},
    target::{Account, Target},
};

/// Options of the workload.
#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Pairs of users.
    #[arg(long, default_value_t = 100)]
    pairs: usize,
    /// Unacknowledged messages of each sender.
    #[arg(long, default_value_t = 8)]
    window: u64,
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
}

#[derive(Default)]
struct Tally {
    acked: u64,
    reordered: u64,
    errors: u64,
    latency: Option<Histogram<u64>>,
}

/// Runs all rounds and prints them.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut accounts = HashMap::new();
    for target in &options.common.targets {
        accounts.insert(target.name.clone(), target.register(options.pairs * 2).await?);
    }
    let mut rounds = Vec::new();
    for _ in 0..options.common.rounds {
        for target in &options.common.targets {
            let round = LocalSet::new().run_until(round(&options, target, &accounts[&target.name])).await?;
            println!("{round}");
            rounds.push(round);
        }
    }
    compare(&rounds);
    Ok(())
}

async fn round(options: &Options, target: &Target, accounts: &[Account]) -> anyhow::Result<Round> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let stop = CancellationToken::new();
    let epoch = Instant::now();
    let mut tasks = Vec::new();
    for pair in accounts.chunks_exact(2) {
        let sender = Client::connect(target, &pair[0]).await?;
        let receiver = Client::connect(target, &pair[1]).await?;
        let sending = Sending { options: options.clone(), receiver: pair[1].id.clone(), epoch };
        tasks.push(tokio::task::spawn_local(sending.run(sender, tally.clone(), stop.clone())));
        tasks.push(tokio::task::spawn_local(receive(receiver, epoch, tally.clone(), stop.clone())));
    }
    tokio::time::sleep(Duration::from_secs(options.warmup)).await;
    *tally.borrow_mut() = Tally { latency: Some(Histogram::new_with_bounds(1, 60_000_000, 3)?), ..Tally::default() };
    let (begin, cpu_before, own_before) = (Instant::now(), cpu::seconds(&target.pids), own_cpu());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let counted = tally.take();
    let (seconds, server_cpu) = (begin.elapsed().as_secs_f64(), cpu::seconds(&target.pids) - cpu_before);
    let generator_cpu = own_cpu() - own_before;
    stop.cancel();
    for task in tasks {
        task.await??;
    }
    Ok(Round {
        target: target.name.clone(),
        messages: counted.acked,
        seconds,
        server_cpu,
        generator_cpu,
        latency: counted.latency.context("set above")?,
        reordered: counted.reordered,
        errors: counted.errors,
    })
}

/// CPU seconds of this process.
pub fn own_cpu() -> f64 {
    cpu::seconds(&[std::process::id()])
}

struct Sending {
    options: Options,
    receiver: String,
    epoch: Instant,
}

impl Sending {
    async fn run(self, mut client: Client, tally: Rc<RefCell<Tally>>, stop: CancellationToken) -> anyhow::Result<()> {
        let pause = self.options.rate.map(|rate| Duration::from_secs_f64(self.options.pairs as f64 / rate));
        let mut next_send = tokio::time::Instant::now();
        let (mut sequence, mut undecided) = (0, 0);
        loop {
            let due = pause.is_none_or(|_| next_send <= tokio::time::Instant::now());
            let mut queued = false;
            while undecided < self.options.window && due && !(queued && pause.is_some()) {
                let marker = format!("@{sequence}:{}@", self.epoch.elapsed().as_micros());
                client.feed(send_packet(sequence, ("receiverId", &self.receiver), &marker, self.options.size)).await?;
                (sequence, undecided, queued) = (sequence + 1, undecided + 1, true);
            }
            if queued {
                client.flush().await?;
                next_send += pause.unwrap_or_default();
            }
            let wake = tokio::time::sleep_until(next_send);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = wake, if pause.is_some() && undecided < self.options.window => {}
                packet = client.next() => if let Packet::Ack(text) = packet? {
                    undecided -= 1;
                    let mut tally = tally.borrow_mut();
                    if text.contains("\"error\":") { tally.errors += 1 } else { tally.acked += 1 }
                },
            }
        }
    }
}

async fn receive(
    mut client: Client,
    epoch: Instant,
    tally: Rc<RefCell<Tally>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut last = None;
    loop {
        let packet = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            packet = client.next() => packet?,
        };
        let Packet::Event(text) = packet else { continue };
        let Some((sequence, sent)) = read_marker(&text) else { continue };
        let now = u64::try_from(epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut tally = tally.borrow_mut();
        if last.is_some_and(|last| sequence <= last) {
            tally.reordered += 1;
        }
        last = last.max(Some(sequence));
        if let Some(latency) = &mut tally.latency {
            latency.saturating_record(now.saturating_sub(sent));
        }
    }
}
