//! The frame of every binary: settings, logs, a runtime, and the code it ends with.

use std::{error::Error as _, fmt::Display, process::ExitCode, time::Duration};

use messenger_core::{Error, ErrorKind};
use tokio::runtime;

use crate::{TelemetryConfig, init};

/// Of every binary (Cargo.toml says why), named in its `main.rs`: a library does not choose for whoever links it.
pub use mimalloc::MiMalloc as Allocator;

/// It broke.
const EXIT_BROKEN: u8 = 1;
/// An operator has to put something right.
const EXIT_SETTINGS: u8 = 2;
/// For what still blocks a thread at the end, a name being looked up for example.
const THREADS_END_WITHIN: Duration = Duration::from_millis(200);

/// The settings every binary has.
#[derive(Debug, Clone, clap::Args)]
pub struct ProcessArgs {
    /// What is logged: a level, or levels by target (`info,messenger_message=debug`).
    #[arg(long, env = "MESSENGER_LOG", default_value = crate::LOG_FILTER_DEFAULT)]
    pub log: String,
    /// Show the settings in force, secrets hidden, and exit.
    #[arg(long)]
    pub print_config: bool,
}

/// The settings of a binary. Shown, they are one `flag = value` a line, secrets hidden.
pub trait Settings: clap::Parser + Display {
    /// Those every binary has.
    fn process(&self) -> &ProcessArgs;
}

/// A binary's `main`: reads the settings, begins to log as `name`, and runs. What keeps it from that is one line on
/// standard error and exit code 2; 1 when it breaks later.
#[must_use]
pub fn main<S, F>(name: &'static str, run: impl FnOnce(S) -> F) -> ExitCode
where
    S: Settings,
    F: Future<Output = Result<(), Error>>,
{
    match start(name, run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", line(&error));
            ExitCode::from(if error.kind() == ErrorKind::Internal { EXIT_BROKEN } else { EXIT_SETTINGS })
        }
    }
}

fn start<S, F>(name: &'static str, run: impl FnOnce(S) -> F) -> Result<(), Error>
where
    S: Settings,
    F: Future<Output = Result<(), Error>>,
{
    let settings: S = read()?;
    if settings.process().print_config {
        print!("{settings}");
        return Ok(());
    }
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::internal)?;
    let result = runtime.block_on(async {
        let log_filter = settings.process().log.clone();
        let _telemetry = init(TelemetryConfig { service_name: name, log_filter })?;
        run(settings).await
    });
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    result
}

/// From the arguments and the environment. Prints help and version itself.
fn read<S: Settings>() -> Result<S, Error> {
    S::try_parse().map_err(|error| {
        if !error.use_stderr() {
            error.exit();
        }
        let text = error.to_string();
        // The first paragraph says what is wrong; hints and usage follow it.
        let paragraph: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let line = paragraph.join(" ").trim_start_matches("error: ").to_owned();
        Error::new(ErrorKind::ValidationFailed, line)
    })
}

/// What an operator is told: of what is INTERNAL the cause says more than the message.
fn line(error: &Error) -> String {
    match error.source() {
        Some(cause) if error.kind() == ErrorKind::Internal => format!("{}: {cause}", error.message()),
        _ => error.message().to_owned(),
    }
    .replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_reads_one_line() {
        assert_eq!(line(&Error::unavailable("secret").with_cause("a")), Error::unavailable("b").message());
        assert!(line(&Error::internal("first\nsecond")).ends_with(": first second"));
    }
}
