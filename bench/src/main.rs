//! Measures a messenger from outside, as its clients see it: over Socket.IO and REST, with the CPU its processes use.
//! Works the same against any server that speaks the client contract.

mod client;
mod compare;
mod fanout;
mod history;
mod http;
mod idle;
mod list;
mod load;
mod meter;
mod overload;
mod p2p;
mod pages;
mod report;
mod server;
mod target;
mod workload;

use anyhow::ensure;
use clap::{Parser, Subcommand};

use crate::{load::Load, target::Target};

/// Load generator and measurements; loopback addresses only.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand)]
enum Command {
    /// Starts servers by given commands, measures them in turn and compares the first with the second.
    Compare(compare::Options),
    #[command(flatten)]
    One(Load),
}

/// What every command takes.
#[derive(clap::Args)]
struct Common {
    /// `name=http://host:port,pid[,pid…]`: a server that runs already and the processes it is made of (their children
    /// count with them). Several are measured in turn; the first is compared with each other.
    #[arg(long = "target", global = true)]
    targets: Vec<Target>,
    /// A database the servers share: its CPU counts for whichever is measured, its memory does not.
    #[arg(long = "database", value_name = "PID", global = true)]
    databases: Vec<u32>,
    /// How often each server is measured.
    #[arg(long, default_value_t = 3, global = true)]
    rounds: u32,
}

// One thread: the generator shares the machine with what it measures and must stay small.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { command, mut common } = Arguments::parse();
    for target in &mut common.targets {
        target.databases.clone_from(&common.databases);
    }
    match command {
        Command::Compare(options) => Box::pin(compare::run(options, common)).await,
        Command::One(load) => {
            ensure!(!common.targets.is_empty(), "--target says what is measured");
            let rounds = load.measure(&common.targets, common.rounds).await?;
            report::print(load.name(), &rounds);
            Ok(())
        }
    }
}
