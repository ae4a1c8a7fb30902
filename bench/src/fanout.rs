//! One sender into one open group: what a delivery costs.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, Packet, read_marker, send_packet},
    meter::Meter,
    report::{Round, Trouble, latencies},
    target::{Account, Target},
    workload::Workload,
};

/// Options of the workload.
#[derive(clap::Args, Clone, Debug)]
pub struct Fanout {
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

impl Workload for Fanout {
    type Ground = (Vec<Account>, String);

    async fn prepare(&self, target: &Target) -> anyhow::Result<Self::Ground> {
        let accounts = target.register(self.members).await?;
        let group = target.create_group(&accounts).await?;
        Ok((accounts, group))
    }

    /// Deliveries are what is counted.
    async fn round(&self, target: &Target, (accounts, group): &Self::Ground) -> anyhow::Result<Vec<Round>> {
        let deliveries = Rc::new(RefCell::new(Deliveries { count: 0, latency: latencies() }));
        let (stop, epoch) = (CancellationToken::new(), Instant::now());
        let mut receivers = JoinSet::new();
        for account in &accounts[1..] {
            let client = Client::connect(target, account).await?;
            receivers.spawn_local(receive(client, epoch, deliveries.clone(), stop.clone()));
        }
        let sender = Client::connect(target, &accounts[0]).await?;
        let meter = Meter::begin(target);
        let errors = self.send(sender, group, epoch, &deliveries).await?;
        let (usage, count) = (meter.usage(), deliveries.borrow().count);
        stop.cancel();
        while let Some(receiver) = receivers.join_next().await {
            receiver??;
        }
        let (target, part, latency) = (target.name.clone(), String::new(), deliveries.borrow().latency.clone());
        Ok(vec![Round { target, part, count, usage, latency, trouble: Trouble { errors, ..Trouble::default() } }])
    }
}

impl Fanout {
    /// Sends until the round is over; gives how many were refused.
    async fn send(
        &self,
        mut sender: Client,
        group: &str,
        epoch: Instant,
        deliveries: &RefCell<Deliveries>,
    ) -> anyhow::Result<u64> {
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let (mut sequence, mut undecided, mut errors) = (0, 0, 0);
        while Instant::now() < end {
            while undecided < self.window {
                let marker = format!("@{sequence}:{}@", epoch.elapsed().as_micros());
                sender.feed(send_packet(sequence, ("groupId", group), &marker, self.size)).await?;
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
        Ok(errors)
    }
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
