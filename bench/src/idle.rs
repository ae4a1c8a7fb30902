//! Connections that do nothing.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use tokio::time::timeout;

use crate::{
    client::Client,
    meter::Meter,
    report::{Round, Trouble, latencies},
    target::{Account, Target},
    workload::Workload,
};

/// Options of the workload. Needs as many open files as connections, here and in the server.
#[derive(clap::Args, Clone, Debug)]
pub struct Idle {
    /// How many connections.
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Connections of each user.
    #[arg(long, default_value_t = 10)]
    per_user: usize,
    /// Seconds they are left alone, measured as well.
    #[arg(long, default_value_t = 0)]
    rest: u64,
    /// Groups of 50 each user takes part in.
    #[arg(long, default_value_t = 5)]
    groups: usize,
}

const GROUP_SIZE: usize = 50;
const SHIFT: usize = 7;
const CONNECTS_AT_ONCE: usize = 50;

impl Workload for Idle {
    type Ground = Vec<Account>;

    async fn prepare(&self, target: &Target) -> anyhow::Result<Vec<Account>> {
        let mut accounts = target.register(self.connections.div_ceil(self.per_user)).await?;
        for _ in 0..self.groups {
            for members in accounts.chunks(GROUP_SIZE).filter(|members| members.len() > 1) {
                target.create_group(members).await?;
            }
            // The next groups have other neighbours.
            let shift = SHIFT % accounts.len();
            accounts.rotate_left(shift);
        }
        Ok(accounts)
    }

    /// The first round is the one whose memory counts: later ones use what it has left free.
    async fn round(&self, target: &Target, accounts: &Vec<Account>) -> anyhow::Result<Vec<Round>> {
        let meter = Meter::begin(target);
        let mut clients = connect(target, accounts, self.connections).await?;
        let count = clients.len() as u64;
        let round = |part: &str, usage| {
            let (target, part) = (target.name.clone(), part.to_owned());
            Round { target, part, count, usage, latency: latencies(), trouble: Trouble::default() }
        };
        let mut rounds = vec![round("connect", meter.usage())];
        if self.rest > 0 {
            let meter = Meter::begin(target);
            if let Ok(ended) = timeout(Duration::from_secs(self.rest), stay(&mut clients)).await {
                ended?;
            }
            rounds.push(round("rest", meter.usage()));
        }
        Ok(rounds)
    }
}

/// Answers pings until one connection ends.
async fn stay(clients: &mut [Client]) -> anyhow::Result<()> {
    let stays = clients.iter_mut().map(async |client| -> anyhow::Result<()> {
        loop {
            client.next().await?;
        }
    });
    future::try_join_all(stays).await?;
    Ok(())
}

/// Opens connections, as many for each account.
pub async fn connect(target: &Target, accounts: &[Account], connections: usize) -> anyhow::Result<Vec<Client>> {
    stream::iter(0..connections)
        .map(|n| Client::connect(target, &accounts[n % accounts.len()]))
        .buffer_unordered(CONNECTS_AT_ONCE)
        .try_collect()
        .await
}
