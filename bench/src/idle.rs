//! Connections that do nothing.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

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
        let clients = connect(target, accounts, self.connections).await?;
        let (usage, count) = (meter.usage(), clients.len() as u64);
        let (target, part) = (target.name.clone(), String::new());
        Ok(vec![Round { target, part, count, usage, latency: latencies(), trouble: Trouble::default() }])
    }
}

/// Opens connections, as many for each account.
pub async fn connect(target: &Target, accounts: &[Account], connections: usize) -> anyhow::Result<Vec<Client>> {
    stream::iter(0..connections)
        .map(|n| Client::connect(target, &accounts[n % accounts.len()]))
        .buffer_unordered(CONNECTS_AT_ONCE)
        .try_collect()
        .await
}
