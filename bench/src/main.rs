//! Measures a messenger from outside, as its clients see it: over Socket.IO and REST, with the CPU its processes use.
//! Works the same against any server that speaks the client contract.

mod client;
mod cpu;
mod fanout;
mod idle;
mod p2p;
mod report;
mod target;

use clap::{Parser, Subcommand};

use crate::target::Target;

/// Load generator and measurements; loopback addresses only.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Subcommand)]
enum Workload {
    /// Pairs of users; one of each pair sends, keeping a window of unacknowledged messages.
    P2p(p2p::Options),
    /// One sender into one open group.
    Fanout(fanout::Options),
    /// Connections that do nothing: memory of each and CPU of connecting.
    Idle(idle::Options),
}

/// What every workload takes.
#[derive(clap::Args, Clone)]
struct Common {
    /// `name=http://host:port,pid[,pid…]`: a server and the processes whose CPU counts (with their children).
    /// Several are measured in turn, and compared with the first.
    #[arg(long = "target", required = true)]
    targets: Vec<Target>,
    /// How often each target is measured.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

// One thread: the generator shares the machine with what it measures and must stay small.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().workload {
        Workload::P2p(options) => p2p::run(options).await,
        Workload::Fanout(options) => fanout::run(options).await,
        Workload::Idle(options) => idle::run(options).await,
    }
}
