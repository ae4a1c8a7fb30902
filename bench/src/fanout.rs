//! One sender into one open group: what a delivery costs.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Common,
    client::{Client, Packet, read_marker, send_packet},
    cpu,
    p2p::own_cpu,
    report::{Round, compare},
    target::{Account, Target},
};

/// Options of the workload.
#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Participants of the group, each with one connection.
    #[arg(long, default_value_t = 1_000)]
    members: usize,
    /// Unacknowledged messages of the sender.
    #[arg(long, default_value_t = 4)]
    window: u64,
    /// Bytes of content.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Length of one round.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Deliveries counted so far and their latencies.
struct Deliveries {
    count: u64,
    latency: Histogram<u64>,
}

/// Runs all rounds and prints them; `messages` are deliveries.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut prepared = Vec::new();
    for target in &options.common.targets {
        let accounts = target.register(options.members).await?;
        let group = target.create_group(&accounts).await?;
        prepared.push((target, accounts, group));
    }
    let mut rounds = Vec::new();
    for _ in 0..options.common.rounds {
        for (target, accounts, group) in &prepared {
            let round = LocalSet::new().run_until(round(&options, target, accounts, group)).await?;
            println!("{round}");
            rounds.push(round);
        }
    }
    compare(&rounds);
    Ok(())
}

async fn round(options: &Options, target: &Target, accounts: &[Account], group: &str) -> anyhow::Result<Round> {
    let deliveries =
        Rc::new(RefCell::new(Deliveries { count: 0, latency: Histogram::new_with_bounds(1, 60_000_000, 3)? }));
    let stop = CancellationToken::new();
    let epoch = Instant::now();
    let mut tasks = Vec::new();
    for account in &accounts[1..] {
        let client = Client::connect(target, account).await?;
        tasks.push(tokio::task::spawn_local(receive(client, epoch, deliveries.clone(), stop.clone())));
    }
    let mut sender = Client::connect(target, &accounts[0]).await?;
    let (begin, cpu_before, own_before) = (Instant::now(), cpu::seconds(&target.pids), own_cpu());
    let limit = Duration::from_secs(options.seconds);
    let (mut sequence, mut undecided, mut errors) = (0, 0, 0);
    while begin.elapsed() < limit {
        while undecided < options.window {
            let marker = format!("@{sequence}:{}@", epoch.elapsed().as_micros());
            sender.feed(send_packet(sequence, ("groupId", group), &marker, options.size)).await?;
            (sequence, undecided) = (sequence + 1, undecided + 1);
        }
        sender.flush().await?;
        match sender.next().await? {
            Packet::Ack(text) => {
                undecided -= 1;
                errors += u64::from(text.contains("\"error\":"));
            }
            Packet::Event(_) => deliveries.borrow_mut().count += 1,
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let (server_cpu, generator_cpu) = (cpu::seconds(&target.pids) - cpu_before, own_cpu() - own_before);
    stop.cancel();
    for task in tasks {
        task.await??;
    }
    let deliveries = deliveries.borrow();
    Ok(Round {
        target: target.name.clone(),
        messages: deliveries.count,
        seconds,
        server_cpu,
        generator_cpu,
        latency: deliveries.latency.clone(),
        reordered: 0,
        errors,
    })
}

async fn receive(
    mut client: Client,
    epoch: Instant,
    deliveries: Rc<RefCell<Deliveries>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let packet = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            packet = client.next() => packet?,
        };
        let Packet::Event(text) = packet else { continue };
        let Some((_, sent)) = read_marker(&text) else { continue };
        let now = u64::try_from(epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut deliveries = deliveries.borrow_mut();
        deliveries.count += 1;
        deliveries.latency.saturating_record(now.saturating_sub(sent));
    }
}
