//! Settings: flags, environment variables, defaults.

use std::{fmt, net::SocketAddr};

use clap::Parser;
use messenger_db::StoreArgs;
use messenger_identity::TokenRules;
use messenger_rpc::ServeArgs;
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
    /// `iss` of access tokens.
    #[arg(long, env = "MESSENGER_TOKEN_ISSUER", default_value = "messenger")]
    pub token_issuer: String,
    /// `aud` of access tokens.
    #[arg(long, env = "MESSENGER_TOKEN_AUDIENCE", default_value = "messenger")]
    pub token_audience: String,
    /// Those every binary has.
    #[command(flatten)]
    pub process: ProcessArgs,
}

impl Config {
    /// What end users' tokens have to say.
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
        writeln!(f, "listen = {}", self.listen)?;
        write!(f, "{}", self.store)?;
        writeln!(f, "auth-url = {}", self.auth_url)?;
        writeln!(f, "message-url = {}", self.message_url)?;
        write!(f, "{}", self.serve)?;
        writeln!(f, "token-issuer = {}", self.token_issuer)?;
        writeln!(f, "token-audience = {}", self.token_audience)?;
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
