//! Settings: flags, environment variables, defaults.

use std::{fmt, net::SocketAddr};

use clap::Parser;
use messenger_db::StoreArgs;
use messenger_rpc::{SendArgs, ServeArgs, TokenNames};
use messenger_telemetry::{ProcessArgs, Settings};

/// Conversations and their participants.
#[derive(Parser)]
#[command(name = "messenger-conversation", version, about)]
pub struct Config {
    /// Address of the gRPC server.
    #[arg(long, env = "MESSENGER_LISTEN", default_value = "127.0.0.1:50052")]
    pub listen: SocketAddr,
    /// Where the stores are.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The auth service; several addresses separated by commas, a name may stand for several.
    #[arg(long, env = "MESSENGER_AUTH_URL", default_value = "http://127.0.0.1:50051")]
    pub auth_url: String,
    /// The message service; several addresses separated by commas, a name may stand for several.
    #[arg(long, env = "MESSENGER_MESSAGE_URL", default_value = "http://127.0.0.1:50053")]
    pub message_url: String,
    /// Which callers are served.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// How often end users may change conversations by gRPC: as often as they may send.
    #[command(flatten)]
    pub changes: SendArgs,
    /// What access tokens must say.
    #[command(flatten)]
    pub names: TokenNames,
    /// Those every binary has.
    #[command(flatten)]
    pub process: ProcessArgs,
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
        writeln!(f, "auth-url = {}", self.auth_url)?;
        writeln!(f, "message-url = {}", self.message_url)?;
        write!(f, "{}{}", self.serve, self.changes)?;
        write!(f, "{}", self.names)?;
        write!(f, "{}", self.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden() {
        let (secret, url) = ("s".repeat(40), "postgres://me:hunter2@db/messenger");
        let arguments = ["messenger-conversation", "--service-secret", &secret, "--database-url", url];
        let config = Config::try_parse_from(arguments).expect("valid");
        let shown = config.to_string();
        assert!(!shown.contains(&secret) && !shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("db/messenger"));
    }
}
