//! Settings: flags, environment variables, defaults.

use std::{fmt, net::SocketAddr};

use clap::{Parser, Subcommand};
use messenger_core::Result;
use messenger_db::{Location, StoreArgs};
use messenger_rpc::{SendArgs, ServeArgs, TokenNames};
use messenger_telemetry::{ProcessArgs, Settings};

use crate::JournalCommand;

/// The journal: messages, history, read positions and the feed.
#[derive(Parser)]
#[command(name = "messenger-message", version, about, args_conflicts_with_subcommands = true)]
pub struct Config {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Address of the gRPC server.
    #[arg(long, env = "MESSENGER_LISTEN", default_value = "127.0.0.1:50053")]
    pub listen: SocketAddr,
    /// Where the stores are.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The conversation service; several addresses separated by commas, a name may stand for several.
    #[arg(long, env = "MESSENGER_CONVERSATION_URL", default_value = "http://127.0.0.1:50052")]
    pub conversation_url: String,
    /// The auth service; several addresses separated by commas, a name may stand for several.
    #[arg(long, env = "MESSENGER_AUTH_URL", default_value = "http://127.0.0.1:50051")]
    pub auth_url: String,
    /// Redis URL of the bus between message processes, or `redis+sentinel://host,host/master` of its Sentinels; without
    /// one they use PostgreSQL.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// Which callers are served.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// How often end users may send by gRPC.
    #[command(flatten)]
    pub sends: SendArgs,
    /// What access tokens must say.
    #[command(flatten)]
    pub names: TokenNames,
    /// Those every binary has.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// What to do instead of serving.
#[derive(Subcommand)]
pub enum Command {
    /// Care for the journal.
    #[command(subcommand)]
    Journal(JournalCommand),
}

/// What connects the message processes of one journal.
#[derive(Clone, PartialEq, Eq)]
pub enum BusLocation {
    /// Nothing: there is one process.
    Local,
    /// LISTEN and NOTIFY of the database at this URL.
    Postgres(String),
    /// The Redis at this URL.
    Redis(String),
}

impl Config {
    /// What connects this process with others.
    ///
    /// # Errors
    /// As [`StoreArgs::location`].
    pub fn bus(&self) -> Result<BusLocation> {
        Ok(match (self.redis_url(), self.store.location()?) {
            (Some(url), _) => BusLocation::Redis(url.to_owned()),
            (None, Location::Postgres(url)) => BusLocation::Postgres(url),
            (None, Location::Sqlite(_)) => BusLocation::Local,
        })
    }

    /// An empty one is none: so it comes from files of settings.
    fn redis_url(&self) -> Option<&str> {
        self.redis_url.as_deref().filter(|url| !url.is_empty())
    }
}

impl Settings for Config {
    fn process(&self) -> &ProcessArgs {
        &self.process
    }
}

/// The settings in force, secrets hidden.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |is_set| if is_set { "(hidden)" } else { "(not set)" };
        writeln!(f, "listen = {}", self.listen)?;
        write!(f, "{}", self.store)?;
        writeln!(f, "conversation-url = {}", self.conversation_url)?;
        writeln!(f, "auth-url = {}", self.auth_url)?;
        writeln!(f, "redis-url = {}", hidden(self.redis_url().is_some()))?;
        write!(f, "{}{}", self.serve, self.sends)?;
        write!(f, "{}", self.names)?;
        write!(f, "{}", self.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_bus_follows_the_store() {
        let secret = "s".repeat(40);
        let (database, redis) = ("postgres://me:hunter2@db/chat", "redis://:hunter2@cache");
        let arguments = ["messenger-message", "--service-secret", &secret, "--database-url", database];
        let config = Config::try_parse_from(arguments).expect("valid");
        assert!(config.bus().expect("valid") == BusLocation::Postgres(database.to_owned()));
        let config = Config::try_parse_from(arguments.into_iter().chain(["--redis-url", redis])).expect("valid");
        assert!(config.bus().expect("valid") == BusLocation::Redis(redis.to_owned()));
        let shown = config.to_string();
        assert!(!shown.contains(&secret) && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_command_has_a_store_of_its_own() {
        let read = |line: &str| Config::try_parse_from(["messenger-message"].into_iter().chain(line.split(' ')));
        let config = read("journal new-identity --data-dir d").expect("valid");
        let Some(Command::Journal(JournalCommand::NewIdentity(store))) = config.command else { panic!("a command") };
        assert_eq!(store.location().expect("valid"), Location::Sqlite("d".into()));
        assert!(read("--data-dir d journal new-identity").is_err(), "it would not be that store");
    }
}
