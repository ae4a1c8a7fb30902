//! Starts ours and a peer, measures them in turn, ends them, says what falls short.

use std::{future::Future, time::Duration};

use anyhow::{bail, ensure};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use crate::{
    Common,
    load::Load,
    report::{self, Requirement},
    server::Server,
    target::Target,
};

/// Both servers run all the time and are measured alternately. A command is one of the shell and must stay in the
/// foreground; it is given the port to listen on in `PORT`.
#[derive(clap::Args)]
pub struct Options {
    /// Starts our server.
    #[arg(long, value_name = "COMMAND")]
    ours: String,
    /// Starts the peer; without one there is nothing to compare with.
    #[arg(long, value_name = "COMMAND")]
    peer: Option<String>,
    /// Stores `MESSAGES` messages of `SENDER_ID` in the conversation `CONVERSATION_ID` of ours, for `history`.
    #[arg(long, value_name = "COMMAND")]
    ours_fill: Option<String>,
    /// The same for the peer.
    #[arg(long, value_name = "COMMAND")]
    peer_fill: Option<String>,
    /// `workload.metric=times`: fail unless ours is so many times better than the peer (a higher rate, less of anything
    /// else) in the median of the rounds. Metrics: rate, cpu, p50, p99, p99.9, memory, generator.
    #[arg(long = "require", value_name = "RATIO")]
    requirements: Vec<Requirement>,
    /// Seconds for everything; what is unfinished then counts as failed.
    #[arg(long, default_value_t = 900)]
    limit: u64,
    /// Workloads with their options, each in one argument: 'p2p --window 8' 'fanout --members 1000'.
    #[arg(required = true)]
    workloads: Vec<String>,
}

const OURS: &str = "ours";
const PEER: &str = "peer";

/// Ends every server it started, however it ends itself.
pub async fn run(options: Options, common: Common) -> anyhow::Result<()> {
    let loads = parse(&options)?;
    let commands = [(OURS, Some(&options.ours), &options.ours_fill), (PEER, options.peer.as_ref(), &options.peer_fill)];
    let mut servers = Vec::new();
    let work = async {
        for (name, command, fill) in commands {
            let Some(command) = command else { continue };
            let mut server = Server::start(name, command).await?;
            server.target.databases.clone_from(&common.databases);
            server.target.fill.clone_from(fill);
            servers.push(server);
        }
        let started = servers.iter().map(|server| server.target.clone());
        let targets: Vec<Target> = started.chain(common.targets).collect();
        measure(&loads, &targets, common.rounds, &options.requirements).await
    };
    let outcome = bounded(options.limit, Box::pin(work)).await;
    for server in servers {
        server.end().await?;
    }
    outcome
}

fn parse(options: &Options) -> anyhow::Result<Vec<(&str, Load)>> {
    let mut loads = Vec::new();
    for line in &options.workloads {
        loads.push((line.as_str(), line.parse::<Load>().map_err(anyhow::Error::msg)?));
    }
    for requirement in &options.requirements {
        let known = loads.iter().any(|(_, load)| load.name() == requirement.workload());
        ensure!(known && options.peer.is_some(), "{} is required but not compared", requirement.workload());
    }
    Ok(loads)
}

async fn bounded(seconds: u64, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = timeout(Duration::from_secs(seconds), work) => match outcome {
            Ok(outcome) => outcome,
            Err(_) => bail!("not done after {seconds} s (--limit)"),
        },
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn measure(
    loads: &[(&str, Load)],
    targets: &[Target],
    rounds: u32,
    requirements: &[Requirement],
) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for (line, load) in loads {
        println!("\n== {line}");
        let measured = load.measure(targets, rounds).await?;
        report::print(line, &measured);
        for requirement in requirements.iter().filter(|requirement| requirement.workload() == load.name()) {
            failures.extend(requirement.failures(&measured, OURS, PEER));
        }
    }
    ensure!(failures.is_empty(), "fell short:\n{}", failures.join("\n"));
    Ok(())
}
