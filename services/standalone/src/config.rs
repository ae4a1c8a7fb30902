//! Settings: flags, environment variables, defaults.

use std::{fmt, net::SocketAddr};

use clap::{Args, Parser, Subcommand};
use messenger_auth::{KeysCommand, TokenConfig, UsersCommand};
use messenger_core::Result;
use messenger_db::{Location, StoreArgs};
use messenger_gateway::GatewayConfig;
use messenger_message::{BusLocation, JournalCommand};
use messenger_rpc::{ConnectArgs, GrpcArgs, Trust};
use messenger_telemetry::{ProcessArgs, Settings};
use messenger_tls::Name;

use crate::{certs::CertsCommand, run::run};

/// A self-hosted real-time messenger: everything in one process.
#[derive(Parser)]
#[command(name = "messenger", version, about, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

#[derive(Subcommand)]
enum Command {
    /// Run the messenger; what happens without a command, too.
    Serve(Box<Config>),
    /// Care for the journal.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Care for the keys that sign access tokens.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Keep users out, or let them in again.
    #[command(subcommand)]
    Users(UsersCommand),
    /// Make the certificates by which services know each other.
    #[command(subcommand)]
    Certs(CertsCommand),
}

impl CommandLine {
    fn config(&self) -> &Config {
        match &self.command {
            Some(Command::Serve(config)) => config,
            Some(Command::Journal(_) | Command::Keys(_) | Command::Users(_) | Command::Certs(_)) | None => &self.config,
        }
    }

    /// Does what the process was started for.
    ///
    /// # Errors
    /// Those of serving, or of the command.
    pub async fn run(self) -> Result<()> {
        match self.command {
            Some(Command::Journal(command)) => command.run().await,
            Some(Command::Keys(command)) => command.run().await,
            Some(Command::Users(command)) => command.run().await,
            Some(Command::Certs(command)) => command.run(),
            Some(Command::Serve(config)) => run(*config).await,
            None => run(self.config).await,
        }
    }
}

impl Settings for CommandLine {
    fn process(&self) -> &ProcessArgs {
        &self.config().process
    }

    /// The process is everything.
    fn threads(cores: usize) -> usize {
        cores
    }
}

/// The settings in force, secrets hidden.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config().fmt(f)
    }
}

/// What the process is started with.
#[derive(Args)]
pub struct Config {
    /// The edge.
    #[command(flatten)]
    pub gateway: GatewayConfig,
    /// Address of the gRPC server with all three services.
    #[arg(long, env = "MESSENGER_GRPC_LISTEN", default_value = "127.0.0.1:50050")]
    pub grpc_listen: SocketAddr,
    /// Where the stores are.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Redis URL of the bus between several processes on one PostgreSQL, or `redis+sentinel://host,host/master` of its
    /// Sentinels; without one, what another process stored is found within a second.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// By what services of the operator are known, over gRPC.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Services of yours that may act for users and follow what users receive, separated by commas: by the name in their
    /// certificate, or by `x-service` beside the secret.
    #[arg(long, env = "MESSENGER_ACTING_SERVICES", value_delimiter = ',')]
    pub acting_services: Vec<Name>,
    /// How those are served who come by gRPC.
    #[command(flatten)]
    pub grpc: GrpcArgs,
    /// Life and names of tokens.
    #[command(flatten)]
    pub tokens: TokenConfig,
    /// Those every binary has.
    #[command(flatten)]
    pub process: ProcessArgs,
}

impl Config {
    /// What carries entries between processes: nothing on SQLite, which has one process only.
    ///
    /// # Errors
    /// VALIDATION_FAILED for a database URL of another kind.
    pub fn bus(&self) -> Result<BusLocation> {
        Ok(match (self.store.location()?, self.redis_url()) {
            (Location::Sqlite(_), Some(_)) => {
                tracing::warn!(
                    "--redis-url (REDIS_URL) is not used: on SQLite this is the only process. Set --database-url \
                     (DATABASE_URL) to a PostgreSQL for several"
                );
                BusLocation::Local
            }
            (Location::Sqlite(_), None) => BusLocation::Local,
            (Location::Postgres(_), Some(redis)) => BusLocation::Redis(redis.to_owned()),
            (Location::Postgres(_), None) => BusLocation::Local,
        })
    }

    /// An empty one is none: so it comes from files of settings.
    fn redis_url(&self) -> Option<&str> {
        self.redis_url.as_deref().filter(|url| !url.is_empty())
    }

    /// Which services from outside are believed: with a certificate those that show one, else those with the secret, and
    /// without either none.
    ///
    /// # Errors
    /// VALIDATION_FAILED when the secret is too short.
    pub fn trust(&self) -> Result<Trust> {
        let secret = &self.connect.service_secret;
        let by_secret = secret.is_set() && self.connect.certificates.is_none();
        let trust = if by_secret { Trust::secret_of_others(secret.expose())? } else { Trust::certificates() };
        Ok(trust.with_acting(&self.acting_services))
    }
}

/// The settings in force, secrets hidden.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |is_set| if is_set { "(hidden)" } else { "(not set)" };
        write!(f, "{}", self.gateway)?;
        writeln!(f, "grpc-listen = {}", self.grpc_listen)?;
        write!(f, "{}", self.store)?;
        writeln!(f, "redis-url = {}", hidden(self.redis_url().is_some()))?;
        write!(f, "{}", self.connect)?;
        let acting: Vec<&str> = self.acting_services.iter().map(Name::as_str).collect();
        writeln!(f, "acting-services = {}", acting.join(","))?;
        write!(f, "{}{}", self.grpc, self.tokens)?;
        write!(f, "{}", self.process)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, env, fs, path::Path};

    use clap::{Command, CommandFactory as _};

    use super::*;

    /// Of every binary: what `--help` says is what the document says. `MESSENGER_WRITE_DOCS=1` writes it anew.
    #[test]
    fn every_setting_is_documented() {
        let binaries = [
            ("messenger", CommandLine::command()),
            ("gateway", messenger_gateway::Config::command()),
            ("auth", messenger_auth::Config::command()),
            ("conversation", messenger_conversation::Config::command()),
            ("message", messenger_message::Config::command()),
        ];
        let document = document(&binaries);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
        if env::var_os("MESSENGER_WRITE_DOCS").is_some() {
            fs::write(&path, &document).expect("the document can be written");
        }
        let written = fs::read_to_string(&path).expect("docs/settings.md");
        assert_eq!(written, document, "docs/settings.md is old: MESSENGER_WRITE_DOCS=1 cargo test");
    }

    fn document(binaries: &[(&str, Command)]) -> String {
        let mut rows: BTreeMap<[String; 4], Vec<&str>> = BTreeMap::new();
        for (binary, command) in binaries {
            for setting in command.get_arguments() {
                let Some(flag) = setting.get_long().filter(|flag| !["help", "version"].contains(flag)) else {
                    continue;
                };
                let variable = setting.get_env().map_or("", |name| name.to_str().unwrap_or_default());
                let default = setting.get_default_values().iter().map(|value| value.to_string_lossy());
                let says = setting.get_help().map(ToString::to_string).unwrap_or_default();
                let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
                let row = [format!("`--{flag}`"), code(variable), code(&default.collect::<String>()), says];
                rows.entry(row).or_default().push(binary);
            }
        }
        let mut text =
            "# Settings\n\nEach is a flag or an environment variable; the flag wins. `--print-config` shows \
                        those in force, `--help` lists those of a binary. The last column names the binaries: \
                        `messenger`, and `messenger-` before the others.\n\n\
                        | flag | variable | default | what it is | of |\n|---|---|---|---|---|\n"
                .to_owned();
        for (row, binaries) in rows {
            text += &format!("| {} | {} |\n", row.join(" | "), binaries.join(", "));
        }
        text
    }
}
