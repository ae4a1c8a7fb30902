//! The frame of every binary: settings, logs, a runtime, and the code it ends with.

use std::{
    env,
    error::Error as _,
    ffi::{OsStr, OsString},
    fmt::{self, Display},
    iter,
    num::NonZeroUsize,
    process::ExitCode,
    thread::available_parallelism,
    time::Duration,
};

use clap::Command;
use messenger_core::{Error, ErrorKind};
use tokio::runtime::Builder;

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
    /// Threads that serve connections and calls; without a number one for each core in `messenger`, one for every two
    /// cores in a service of its own.
    #[arg(long, env = "MESSENGER_THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// Show the settings in force, secrets hidden, and exit.
    #[arg(long)]
    pub print_config: bool,
}

/// The settings in force.
impl Display for ProcessArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "log = {}", self.log)?;
        let threads = self.threads.map_or("(not set)".to_owned(), |threads| threads.to_string());
        writeln!(f, "threads = {threads}")
    }
}

/// The settings of a binary. Shown, they are one `flag = value` a line, secrets hidden.
pub trait Settings: clap::Parser + Display {
    /// Those every binary has.
    fn process(&self) -> &ProcessArgs;

    /// Threads on a machine of so many cores, unless told otherwise: half as many, for a service is not alone there, and
    /// threads that hand work to each other cost more than they bring.
    fn threads(cores: usize) -> usize {
        (cores / 2).max(1)
    }
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
    let by_cores = || S::threads(available_parallelism().map_or(1, NonZeroUsize::get));
    let threads = settings.process().threads.map_or_else(by_cores, NonZeroUsize::get);
    // One thread has nobody to hand work to.
    let mut runtime = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let runtime = runtime.worker_threads(threads).enable_all().build().map_err(Error::internal)?;
    let result = runtime.block_on(async {
        let log_filter = settings.process().log.clone();
        let _telemetry = init(TelemetryConfig { service_name: name, log_filter })?;
        for line in misspelt::<S>(env::vars_os().map(|(name, _)| name)) {
            tracing::warn!("{line}");
        }
        run(settings).await
    });
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    result
}

/// From the arguments and the environment. Prints help and version itself.
fn read<S: Settings>() -> Result<S, Error> {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    let parsed = without(S::command(), &is_empty).try_get_matches();
    parsed.and_then(|matches| S::from_arg_matches(&matches)).map_err(|error| {
        if !error.use_stderr() {
            error.exit();
        }
        Error::new(ErrorKind::ValidationFailed, in_one_line(&error.to_string()))
    })
}

/// Without these variables of the environment. An empty one is none: it is what `${NAME:-}` of a compose file gives.
fn without(command: Command, is_left_out: &dyn Fn(&OsStr) -> bool) -> Command {
    command
        .mut_args(|argument| {
            let is_left_out = argument.get_env().is_some_and(is_left_out);
            if is_left_out { argument.env(None::<&'static str>) } else { argument }
        })
        .mut_subcommands(|command| without(command, is_left_out))
}

/// What is wrong, and the hint if there is one; the usage follows them.
fn in_one_line(text: &str) -> String {
    let is_said = |paragraph: &&str| !["Usage:", "For more"].iter().any(|rest| paragraph.starts_with(rest));
    let paragraphs = text.trim_start_matches("error: ").split("\n\n").take_while(is_said);
    let lines = paragraphs.map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("; ")
}

/// Variables of the environment that nobody reads, but that differ in two letters at most from one that is: nothing else
/// would say that a setting is not in force.
fn misspelt<S: Settings>(variables: impl Iterator<Item = OsString>) -> Vec<String> {
    let command = S::command();
    let commands = iter::once(&command).chain(command.get_subcommands());
    let known: Vec<&str> =
        commands.flat_map(Command::get_arguments).filter_map(|argument| argument.get_env()?.to_str()).collect();
    let variables = variables.filter_map(|name| name.into_string().ok()).filter(|name| !known.contains(&name.as_str()));
    let meant = |name: &str| known.iter().find(|known| strsim::osa_distance(known, name) <= 2);
    variables.filter_map(|name| Some(format!("{name} is no setting: is {} meant?", meant(&name)?))).collect()
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
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;

    #[test]
    fn an_operator_reads_one_line() {
        assert_eq!(line(&Error::unavailable("secret").with_cause("a")), Error::unavailable("b").message());
        assert!(line(&Error::internal("first\nsecond")).ends_with(": first second"));
        let text =
            "error: unexpected argument '--lisen' found\n\n  tip: a similar one\n  exists\n\nUsage: x\n\nFor more …\n";
        assert_eq!(in_one_line(text), "unexpected argument '--lisen' found; tip: a similar one exists");
    }

    #[derive(clap::Parser)]
    struct Example {
        #[arg(long, env = "DATABASE_URL")]
        database_url: Option<String>,
        #[arg(long, env = "CARGO_PKG_NAME")]
        package: Option<String>,
        #[command(flatten)]
        process: ProcessArgs,
    }

    impl Settings for Example {
        fn process(&self) -> &ProcessArgs {
            &self.process
        }
    }

    impl Display for Example {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:?}", self.database_url)
        }
    }

    #[test]
    fn an_empty_variable_is_none() {
        let of = |is_left_out: bool| {
            let command = without(Example::command(), &|name| is_left_out && name == "CARGO_PKG_NAME");
            let matches = command.try_get_matches_from(["example"]).expect("nothing is required");
            Example::from_arg_matches(&matches).expect("complete").package
        };
        assert_eq!((of(false).as_deref(), of(true)), (Some(env!("CARGO_PKG_NAME")), None));
    }

    #[test]
    fn a_misspelt_variable_is_told() {
        let names = ["DATABSE_URL", "DATABASE_URL", "MESSENGER_LOGS", "MESSENGER_AUTH_URL", "PATH"].map(OsString::from);
        let told = [
            "DATABSE_URL is no setting: is DATABASE_URL meant?",
            "MESSENGER_LOGS is no setting: is MESSENGER_LOG meant?",
        ];
        assert_eq!(misspelt::<Example>(names.into_iter()), told);
    }
}
