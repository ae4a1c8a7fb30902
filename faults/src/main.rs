//! Breaks a messenger in every way it can while clients write and read, and then compares what every client was told
//! with the database. See docs/reliability.md.

mod aim;
mod board;
mod bugs;
mod check;
mod client;
mod cluster;
mod content;
mod facts;
mod flood;
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
mod rest;
mod rights;
mod run;
mod servers;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

/// Breaks a messenger on purpose and tells what was lost, doubled, out of order or seen by the wrong people.
#[derive(Clone, Debug, Parser)]
#[command(name = "messenger-faults")]
pub struct Config {
    /// Messages to be acknowledged, at least.
    #[arg(long, default_value_t = 5_000)]
    acked: u64,
    /// Faults. 24 are one of each kind.
    #[arg(long, default_value_t = 24)]
    faults: usize,
    /// Readers of the busy group, beside its 20 writers.
    #[arg(long, default_value_t = 180)]
    readers: usize,
    /// Writers of the group whose rights change.
    #[arg(long, default_value_t = 4)]
    restrained: usize,
    /// A run for every change: 5,000 acknowledged, 12 faults.
    #[arg(long, conflicts_with_all = ["acked", "faults", "bugs"])]
    small: bool,
    /// Short runs of processes that have a bug, one after the other: each has to be found.
    #[arg(long, conflicts_with_all = ["acked", "faults", "readers", "restrained", "folder"])]
    bugs: bool,
    /// Only faults, or bugs, whose name contains this.
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
        (config.acked, config.faults) = (5_000, 12);
    }
    let running = async {
        if config.bugs {
            return bugs::run(&config).await;
        }
        Ok(run::run(&config, None).await?.is_clean())
    };
    // The first time no more harm is done; a run that is dropped takes its processes with it.
    let interrupted_twice = async {
        let _ = tokio::signal::ctrl_c().await;
        tokio::signal::ctrl_c().await
    };
    let outcome = tokio::select! {
        outcome = running => outcome,
        _ = interrupted_twice => Err(anyhow::anyhow!("interrupted")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the run failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
