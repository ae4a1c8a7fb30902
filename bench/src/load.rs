//! What can be measured, as the command line has it.

use std::str::FromStr;

use clap::{Parser, Subcommand};
use tokio::task::LocalSet;

use crate::{
    fanout::Fanout, history::History, idle::Idle, list::List, overload::Overload, p2p::P2p, report::Round,
    target::Target, workload::Workload,
};

/// A workload with its options.
#[derive(Subcommand, Clone, Debug)]
pub enum Load {
    /// Pairs of users; one of each pair sends, as fast as its window allows or at a fixed rate.
    P2p(P2p),
    /// One sender into one open group.
    Fanout(Fanout),
    /// Connections that do nothing: memory of each and CPU of connecting.
    Idle(Idle),
    /// Pages of one long conversation, the newest and far back.
    History(History),
    /// Pages of the list of conversations.
    List(List),
    /// Users who send without measure, and what that does to others.
    Overload(Overload),
}

impl Load {
    /// The name of the workload.
    pub fn name(&self) -> &'static str {
        match self {
            Self::P2p(_) => "p2p",
            Self::Fanout(_) => "fanout",
            Self::Idle(_) => "idle",
            Self::History(_) => "history",
            Self::List(_) => "list",
            Self::Overload(_) => "overload",
        }
    }

    /// All rounds of all targets, each printed when it ends.
    pub async fn measure(&self, targets: &[Target], rounds: u32) -> anyhow::Result<Vec<Round>> {
        match self {
            Self::P2p(workload) => measure(workload, targets, rounds).await,
            Self::Fanout(workload) => measure(workload, targets, rounds).await,
            Self::Idle(workload) => measure(workload, targets, rounds).await,
            Self::History(workload) => measure(workload, targets, rounds).await,
            Self::List(workload) => measure(workload, targets, rounds).await,
            Self::Overload(workload) => measure(workload, targets, rounds).await,
        }
    }
}

/// A command line without the program's name: `p2p --window 8`.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(subcommand)]
    load: Load,
}

impl FromStr for Load {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        Line::try_parse_from(line.split_whitespace()).map(|line| line.load).map_err(|error| error.to_string())
    }
}

async fn measure<W: Workload>(workload: &W, targets: &[Target], rounds: u32) -> anyhow::Result<Vec<Round>> {
    let mut grounds = Vec::new();
    for target in targets {
        grounds.push(workload.prepare(target).await?);
    }
    let mut measured = Vec::new();
    for _ in 0..rounds {
        for (target, ground) in targets.iter().zip(&grounds) {
            let results = LocalSet::new().run_until(workload.round(target, ground)).await?;
            for round in &results {
                println!("{round}");
            }
            measured.extend(results);
        }
    }
    Ok(measured)
}
