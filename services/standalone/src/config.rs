//! Settings: flags, environment variables, defaults.

use std::{fmt, net::SocketAddr};

use clap::{Args, Parser, Subcommand};
use messenger_auth::TokenConfig;
use messenger_core::{Error, ErrorKind, Result};
use messenger_db::{Location, StoreArgs};
use messenger_gateway::GatewayConfig;
use messenger_message::{BusLocation, JournalCommand};
use messenger_rpc::ServiceCredential;
use messenger_telemetry::{ProcessArgs, Settings};

use crate::run::run;

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
}

impl CommandLine {
    fn config(&self) -> &Config {
        match &self.command {
            Some(Command::Serve(config)) => config,
            Some(Command::Journal(_)) | None => &self.config,
        }
    }

    /// Does what the process was started for.
    ///
    /// # Errors
    /// Those of serving, or of the command.
    pub async fn run(self) -> Result<()> {
        match self.command {
            Some(Command::Journal(command)) => command.run().await,
            Some(Command::Serve(config)) => run(*config).await,
            None => run(self.config).await,
        }
    }
}

impl Settings for CommandLine {
    fn process(&self) -> &ProcessArgs {
        &self.config().process
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
    /// Redis URL of the bus between several processes on one PostgreSQL; without one, what another process stored is
    /// found within a second.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// What services of yours prove themselves by over gRPC: at least 32 characters; without one, only users call.
    #[arg(long, env = "MESSENGER_SERVICE_SECRET", hide_env_values = true)]
    pub service_secret: Option<String>,
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
        Ok(match (self.store.location()?, &self.redis_url) {
            (Location::Sqlite(_), _) => BusLocation::Local,
            (Location::Postgres(_), Some(redis)) => BusLocation::Redis(redis.clone()),
            (Location::Postgres(_), None) => BusLocation::Local,
        })
    }

    /// What services prove themselves by, inside this process and, when it is a setting, from outside.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is too short.
    pub fn credential(&self) -> Result<ServiceCredential> {
        let Some(secret) = &self.service_secret else { return ServiceCredential::random() };
        ServiceCredential::new(secret).map_err(|cause| {
            let line = "--service-secret (MESSENGER_SERVICE_SECRET) must have at least 32 visible characters";
            Error::new(ErrorKind::ValidationFailed, line).with_cause(cause)
        })
    }
}

/// The settings in force, secrets hidden.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |setting: &Option<String>| if setting.is_some() { "(hidden)" } else { "(not set)" };
        write!(f, "{}", self.gateway)?;
        writeln!(f, "grpc-listen = {}", self.grpc_listen)?;
        write!(f, "{}", self.store)?;
        writeln!(f, "redis-url = {}", hidden(&self.redis_url))?;
        writeln!(f, "service-secret = {}", hidden(&self.service_secret))?;
        writeln!(f, "access-token-ttl = {}s", self.tokens.access_token_ttl.as_secs())?;
        writeln!(f, "refresh-token-ttl = {}s", self.tokens.refresh_token_ttl.as_secs())?;
        writeln!(f, "token-issuer = {}", self.tokens.token_issuer)?;
        writeln!(f, "token-audience = {}", self.tokens.token_audience)?;
        writeln!(f, "log = {}", self.process.log)
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
