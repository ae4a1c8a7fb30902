//! Settings: flags, environment variables, defaults.

use std::{fmt, net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand};
use messenger_core::{Error, ErrorKind, Result};
use messenger_db::StoreArgs;
use messenger_identity::TokenRules;
use messenger_rpc::{ServeArgs, TokenNames, args::duration_within};
use messenger_telemetry::{ProcessArgs, Settings};

use crate::{
    command::{KeysCommand, SealArgs, UsersCommand},
    foreign::Source,
    foreign_args::ForeignArgs,
    issuers::Accounts,
};

/// Every process keeps revocations a little longer than this.
const ACCESS_TOKEN_TTL_MAX: Duration = Duration::from_secs(15 * 60);
const REFRESH_TOKEN_TTL_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Identity: users, passwords, sessions and the tokens they are known by.
#[derive(Parser)]
#[command(name = "messenger-auth", version, about, args_conflicts_with_subcommands = true)]
pub struct Config {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Address of the gRPC server.
    #[arg(long, env = "MESSENGER_LISTEN", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// Where the stores are.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Which callers are served.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Life and names of tokens.
    #[command(flatten)]
    pub tokens: TokenConfig,
    /// Those every binary has.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// What to do instead of serving.
#[derive(Subcommand)]
pub enum Command {
    /// Care for the keys that sign access tokens.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Keep users out, or let them in again.
    #[command(subcommand)]
    Users(UsersCommand),
}

/// Whose tokens are accepted, their life and names, and how the keys of ours are kept.
#[derive(Debug, Clone, Args)]
pub struct TokenConfig {
    /// Life of an access token: 10s to 15m.
    #[arg(long, env = "MESSENGER_ACCESS_TOKEN_TTL", default_value = "15m", value_parser = access_token_ttl)]
    pub access_token_ttl: Duration,
    /// Life of a session nobody uses: 1m to 366d.
    #[arg(long, env = "MESSENGER_REFRESH_TOKEN_TTL", default_value = "30d", value_parser = refresh_token_ttl)]
    pub refresh_token_ttl: Duration,
    /// What access tokens must say.
    #[command(flatten)]
    pub names: TokenNames,
    /// What keys are encrypted with in the store.
    #[command(flatten)]
    pub seal: SealArgs,
    /// Other identity systems.
    #[command(flatten)]
    pub foreign: ForeignArgs,
}

impl Settings for Config {
    fn process(&self) -> &ProcessArgs {
        &self.process
    }
}

/// The settings in force, secrets hidden.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listen = {}", self.listen)?;
        write!(f, "{}", self.store)?;
        write!(f, "{}", self.serve)?;
        write!(f, "{}", self.tokens)?;
        write!(f, "{}", self.process)
    }
}

impl TokenConfig {
    /// What verifiers check.
    #[must_use]
    pub fn rules(&self) -> TokenRules {
        self.names.rules()
    }

    /// Whether the settings fit together: what revokes a session is kept as long as its refresh tokens.
    ///
    /// # Errors
    /// VALIDATION_FAILED, for the operator, when they do not.
    pub fn check(&self) -> Result<()> {
        if self.refresh_token_ttl < self.access_token_ttl {
            let line = "--refresh-token-ttl must not be shorter than --access-token-ttl";
            return Err(Error::new(ErrorKind::ValidationFailed, line));
        }
        Ok(())
    }

    /// Other identity systems whose tokens are accepted.
    ///
    /// # Errors
    /// VALIDATION_FAILED when the settings do not fit together.
    pub fn sources(&self) -> Result<Vec<Source>> {
        self.foreign.sources(&self.names.token_issuer)
    }

    /// Whether users register and log in here.
    #[must_use]
    pub const fn accounts(&self) -> Accounts {
        if self.foreign.no_own_accounts { Accounts::Elsewhere } else { Accounts::Here }
    }
}

/// The settings in force, secrets hidden.
impl fmt::Display for TokenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "access-token-ttl = {}s", self.access_token_ttl.as_secs())?;
        writeln!(f, "refresh-token-ttl = {}s", self.refresh_token_ttl.as_secs())?;
        write!(f, "{}", self.names)?;
        write!(f, "{}{}", self.seal, self.foreign)
    }
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            access_token_ttl: ACCESS_TOKEN_TTL_MAX,
            refresh_token_ttl: Duration::from_secs(30 * 86_400),
            names: TokenNames::default(),
            seal: SealArgs::default(),
            foreign: ForeignArgs::default(),
        }
    }
}

fn access_token_ttl(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::from_secs(10), ACCESS_TOKEN_TTL_MAX)
}

fn refresh_token_ttl(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::from_secs(60), REFRESH_TOKEN_TTL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(access_token_ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(refresh_token_ttl("2d"), Ok(Duration::from_secs(172_800)));
        for text in ["", "15", "s", "16m", "1s", "-1m", "99999999999999999999d", "1.5h", "ä"] {
            assert!(access_token_ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn defaults_are_the_same_by_flag_and_in_code() {
        let config = Config::try_parse_from(["messenger-auth"]).expect("defaults");
        assert_eq!(format!("{:?}", config.tokens), format!("{:?}", TokenConfig::default()));
    }

    #[test]
    fn a_session_lasts_at_least_as_long_as_its_access_tokens() {
        let checked = |access, refresh| {
            let arguments = ["messenger-auth", "--access-token-ttl", access, "--refresh-token-ttl", refresh];
            Config::try_parse_from(arguments).expect("each by itself").tokens.check()
        };
        checked("10m", "10m").expect("as long");
        let error = checked("15m", "14m").expect_err("shorter");
        assert!(error.to_string().contains("--refresh-token-ttl"), "{error}");
    }

    #[test]
    fn secrets_are_hidden() {
        let secret = "s".repeat(40);
        let url = "postgres://me:hunter2@db/chat";
        let arguments = ["messenger-auth", "--service-secret", &secret, "--database-url", url];
        let config = Config::try_parse_from(arguments).expect("valid");
        let shown = config.to_string();
        assert!(!shown.contains(&secret) && !shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("db/chat"));
    }
}
