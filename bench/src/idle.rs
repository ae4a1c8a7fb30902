//! Connections that do nothing.

use std::time::Instant;

use futures_util::{StreamExt as _, stream};

use crate::{Common, client::Client, cpu};

/// Options of the workload.
#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many connections; users have ten each.
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
}

const CONNECTIONS_PER_USER: usize = 10;
const CONNECTS_AT_ONCE: usize = 50;

/// Connects, then prints what each connection cost.
pub async fn run(options: Options) -> anyhow::Result<()> {
    for target in &options.common.targets {
        let accounts = target.register(options.connections.div_ceil(CONNECTIONS_PER_USER)).await?;
        let (memory, cpu_before, begin) = (cpu::resident_kib(&target.pids), cpu::seconds(&target.pids), Instant::now());
        let clients: Vec<_> = stream::iter(0..options.connections)
            .map(|n| Client::connect(target, &accounts[n / CONNECTIONS_PER_USER]))
            .buffer_unordered(CONNECTS_AT_ONCE)
            .collect()
            .await;
        let clients = clients.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let (seconds, count) = (begin.elapsed().as_secs_f64(), clients.len() as f64);
        println!(
            "{:<12} {count} connections  {:.0} connects/s  {:.2} ms CPU each  {:.1} KiB each",
            target.name,
            count / seconds,
            (cpu::seconds(&target.pids) - cpu_before) * 1e3 / count,
            cpu::resident_kib(&target.pids).saturating_sub(memory) as f64 / count,
        );
    }
    Ok(())
}
