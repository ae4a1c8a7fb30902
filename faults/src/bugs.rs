//! The test of the test: ten bugs, one at a time, in the processes under test, each for a short run that gives it its
//! chance. The checker has to find every one, and nothing in the same runs without a bug.

use std::fmt;

use messenger_core::{Bug, bug};

use crate::{Config, check::Verdict, run};

/// A bug and what brings it out: a kind of fault and how often.
struct Trial {
    bug: Option<Bug>,
    only: &'static str,
    faults: usize,
    acked: u64,
}

/// A fault that these bugs do not need.
const ANY: &str = "SIGTERM auth";

fn trials() -> Vec<Trial> {
    let trial = |bug| {
        let (only, faults, acked) = match bug {
            Bug::AckBeforeCommit => ("freeze message", 4, 1_500),
            Bug::LostPublication => (ANY, 1, 5_000),
            Bug::RightsBeforeLock => ("freeze message in commit", 4, 4_000),
            Bug::IdempotencyInMemory | Bug::ReplayOffByOne | Bug::ResumeWithoutMembership => ("cut clients", 4, 1_500),
            // The reader of large bursts has to stand still at the right moment, and buffers of sockets hold megabytes.
            Bug::FullQueueIgnored => (ANY, 1, 60_000),
            Bug::ConcurrentHandlers | Bug::PositionBeforeCommit | Bug::EmitAfterRemove => (ANY, 1, 2_000),
        };
        Trial { bug: Some(bug), only, faults, acked }
    };
    let control = Trial { bug: None, only: "cut", faults: 6, acked: 5_000 };
    std::iter::once(control).chain(Bug::ALL.into_iter().map(trial)).collect()
}

/// Whether all were found, and nothing where there was nothing.
pub async fn run(config: &Config) -> anyhow::Result<bool> {
    anyhow::ensure!(bug::IS_SEEDABLE, "this build has no bugs to seed: scripts/faults --bugs makes one that has");
    let mut lines = Vec::new();
    let mut is_right = true;
    for trial in trials().into_iter().filter(|trial| trial.to_string().contains(&config.only)) {
        println!("\n== {trial}");
        let config = Config {
            acked: trial.acked,
            faults: trial.faults,
            readers: READERS,
            restrained: RESTRAINED,
            only: trial.only.to_owned(),
            ..config.clone()
        };
        // A run that ends early has compared nothing: nothing is found.
        let (is_as_expected, found) = match run::run(&config, trial.bug).await {
            Ok(verdict) => (verdict.is_clean() == trial.bug.is_none(), found(&verdict)),
            Err(error) => (false, format!("the run failed: {error:#}")),
        };
        is_right &= is_as_expected;
        lines.push(format!("{:<26}{found}", trial.to_string()));
    }
    println!("\n{}", lines.join("\n"));
    Ok(is_right)
}

const READERS: usize = 10;
const RESTRAINED: usize = 16;

/// What was found, and one example of it.
fn found(verdict: &Verdict) -> String {
    let breaches: Vec<String> = verdict
        .breaches
        .iter()
        .map(|(kind, count)| format!("{count} {}", format!("{kind:?}").to_lowercase()))
        .collect();
    if breaches.is_empty() { "nothing".to_owned() } else { breaches.join(", ") }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bug {
            Some(bug) => write!(f, "{bug:?}"),
            None => f.write_str("no bug"),
        }
    }
}
