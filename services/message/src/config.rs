//! Settings: flags, environment variables, defaults.

use std::{fmt, net::SocketAddr, path::PathBuf};

use clap::Parser;
use messenger_core::{Error, ErrorKind, Result};
use messenger_db::Location;
use messenger_identity::TokenRules;
use messenger_rpc::ServiceCredential;
use messenger_telemetry::{ProcessArgs, Settings};

/// The journal: messages, history, read positions and the feed.
#[derive(Parser)]
#[command(name = "messenger-message", version, about)]
pub struct Config {
    /// Address of the gRPC server.
    #[arg(long, env = "MESSENGER_LISTEN", default_value = "127.0.0.1:50053")]
    pub listen: SocketAddr,
    /// PostgreSQL URL; without one, SQLite in the data folder (then this must be the only message process).
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Folder of the SQLite file.
    #[arg(long, env = "MESSENGER_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// The conversation service; several addresses separated by commas, a name may stand for several.
    #[arg(long, env = "MESSENGER_CONVERSATION_URL", default_value = "http://127.0.0.1:50052")]
    pub conversation_url: String,
    /// The auth service; several addresses separated by commas, a name may stand for several.
    #[arg(long, env = "MESSENGER_AUTH_URL", default_value = "http://127.0.0.1:50051")]
    pub auth_url: String,
    /// Redis URL of the bus between message processes; without one they use PostgreSQL.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// What services prove themselves by, the same for all of them: at least 32 characters.
    #[arg(
        long,
        env = "MESSENGER_SERVICE_SECRET",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub service_secret: String,
    /// `iss` of access tokens.
    #[arg(long, env = "MESSENGER_TOKEN_ISSUER", default_value = "messenger")]
    pub token_issuer: String,
    /// `aud` of access tokens.
    #[arg(long, env = "MESSENGER_TOKEN_AUDIENCE", default_value = "messenger")]
    pub token_audience: String,
    /// Address for operators: `/metrics`, `/healthz` and `/readyz` over HTTP; without one there is none.
    #[arg(long, env = "MESSENGER_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// Those every binary has.
    #[command(flatten)]
    pub process: ProcessArgs,
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
    /// Where the store is.
    ///
    /// # Errors
    /// VALIDATION_FAILED for a URL of another kind.
    pub fn location(&self) -> Result<Location> {
        Location::new(self.database_url.as_deref(), &self.data_dir)
    }

    /// What connects this process with others.
    ///
    /// # Errors
    /// As [`Config::location`].
    pub fn bus(&self) -> Result<BusLocation> {
        Ok(match (self.redis_url.as_deref(), self.location()?) {
            (Some(url), _) if !url.is_empty() => BusLocation::Redis(url.to_owned()),
            (_, Location::Postgres(url)) => BusLocation::Postgres(url),
            (_, Location::Sqlite(_)) => BusLocation::Local,
        })
    }

    /// What services prove themselves by.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is missing or too short.
    pub fn credential(&self) -> Result<ServiceCredential> {
        ServiceCredential::new(&self.service_secret).map_err(|cause| {
            let line = "--service-secret (MESSENGER_SERVICE_SECRET) must have at least 32 visible characters";
            Error::new(ErrorKind::ValidationFailed, line).with_cause(cause)
        })
    }

    /// What access tokens must say.
    #[must_use]
    pub fn token_rules(&self) -> TokenRules {
        TokenRules { issuer: self.token_issuer.clone(), audience: self.token_audience.clone() }
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
        match self.location() {
            Ok(location) => writeln!(f, "database-url = {location:?}")?,
            Err(error) => writeln!(f, "database-url = {}", error.message())?,
        }
        writeln!(f, "data-dir = {}", self.data_dir.display())?;
        writeln!(f, "conversation-url = {}", self.conversation_url)?;
        writeln!(f, "auth-url = {}", self.auth_url)?;
        let has_redis = self.redis_url.as_deref().is_some_and(|url| !url.is_empty());
        writeln!(f, "redis-url = {}", hidden(has_redis))?;
        writeln!(f, "service-secret = {}", hidden(!self.service_secret.is_empty()))?;
        writeln!(f, "token-issuer = {}", self.token_issuer)?;
        writeln!(f, "token-audience = {}", self.token_audience)?;
        let metrics_listen = self.metrics_listen.map_or("(not set)".to_owned(), |address| address.to_string());
        writeln!(f, "metrics-listen = {metrics_listen}")?;
        writeln!(f, "log = {}", self.process.log)
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
}
