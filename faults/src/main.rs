//! Breaks a messenger in every way it can while clients write and read, and then compares what every client was told
//! with the database. See docs/reliability.md.

mod board;
mod check;
mod client;
mod cluster;
mod content;
mod facts;
mod link;
mod log;
mod nemesis;
mod people;
mod process;
mod proxy;
mod random;
mod repeat;
mod report;
mod resp;
mod rights;
mod run;
mod servers;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

/// Breaks a messenger on purpose and tells what was lost, doubled, out of order or seen by the wrong people.
#[derive(Debug, Parser)]
#[command(name = "messenger-faults")]
pub struct Config {
    /// Messages to be acknowledged, at least.
    #[arg(long, default_value_t = 5_000)]
    acked: u64,
    /// Faults. 22 are one of each kind.
    #[arg(long, default_value_t = 22)]
    faults: usize,
    /// Readers of the busy group, beside its 20 writers.
    #[arg(long, default_value_t = 180)]
    readers: usize,
    /// A run for every change: 3,000 acknowledged, 12 faults, 30 readers.
    #[arg(long, conflicts_with_all = ["acked", "faults", "readers"])]
    small: bool,
    /// Only faults whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Repeats the order of faults and the habits of clients of an earlier run; else by chance.
    #[arg(long)]
    seed: Option<u64>,
    /// The bus between message processes: `redis` or `postgres`.
    #[arg(long, default_value = "redis", value_parser = ["redis", "postgres"])]
    bus: String,
    /// Folder of the product's programs; else beside this one.
    #[arg(long)]
    bin: Option<PathBuf>,
    /// Where the run's files go and stay; else to a temporary folder, which stays only when a promise was broken.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut config = Config::parse();
    if config.small {
        (config.acked, config.faults, config.readers) = (3_000, 12, 30);
    }
    match run::run(config).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the run failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
