//! Fuzzes for as long as one likes: `scripts/fuzz 60` gives each target a minute.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use messenger_fuzz::{Budget, Fuzzer, TARGETS};

/// Bytes of an input that broke a target that are printed; the seed repeats the whole.
const SHOWN_BYTES_MAX: usize = 2_000;

/// Shows changed inputs to everything that reads what strangers send.
#[derive(Debug, Parser)]
#[command(name = "messenger-fuzz")]
struct Config {
    /// Seconds for each target.
    #[arg(default_value_t = 60)]
    seconds: u64,
    /// Only targets whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Repeats an earlier run; else by chance.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let config = Config::parse();
    let seed = config.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    println!("{:16} {:>12} {:>8} {:>10} {:>16}", "target", "inputs", "shapes", "held %", "allocated %");
    for target in TARGETS.iter().filter(|target| target.name.contains(&config.only)) {
        match Fuzzer::new(target, seed).run(Budget::Time(Duration::from_secs(config.seconds))) {
            Ok(report) => {
                let (held, allocated) = (report.probe.held_percent_max, report.probe.allocated_percent_max);
                println!("{:16} {:>12} {:>8} {held:>10} {allocated:>16}", target.name, report.inputs, report.outcomes);
            }
            Err(failure) => {
                let shown = &failure.input[..failure.input.len().min(SHOWN_BYTES_MAX)];
                println!("{}: input {} breaks it, {} bytes:", target.name, failure.number, failure.input.len());
                println!("{}", shown.escape_ascii());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
