//! Settings: flags, environment variables, defaults.

use std::{fmt, net::SocketAddr};

use clap::Parser;
use messenger_core::{Error, ErrorKind, Result};
use messenger_db::StoreArgs;
use messenger_identity::TokenRules;
use messenger_proto::{
    auth::v1::auth_service_client::AuthServiceClient, message::v1::message_service_client::MessageServiceClient,
};
use messenger_rpc::{RpcChannel, ServiceCredential};
use messenger_telemetry::{ProcessArgs, Settings};

use crate::Peers;

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

impl Config {
    /// What services prove themselves by.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is missing or too short.
    pub fn credential(&self) -> Result<ServiceCredential> {
        ServiceCredential::new(&self.service_secret).map_err(|cause| {
            invalid("--service-secret (MESSENGER_SERVICE_SECRET) must have at least 32 visible characters", cause)
        })
    }

    /// The services this one asks.
    ///
    /// # Errors
    /// VALIDATION_FAILED for what is no URL.
    pub fn peers(&self, credential: &ServiceCredential) -> Result<Peers> {
        let channel = |setting: &str, url: &str| {
            RpcChannel::remote(url, credential.clone())
                .map_err(|cause| invalid(format!("{setting} must be of the form http://host:port"), cause))
        };
        Ok(Peers {
            auth: AuthServiceClient::new(channel("--auth-url (MESSENGER_AUTH_URL)", &self.auth_url)?),
            message: MessageServiceClient::new(channel("--message-url (MESSENGER_MESSAGE_URL)", &self.message_url)?),
        })
    }

    /// What end users' tokens have to say.
    #[must_use]
    pub fn token_rules(&self) -> TokenRules {
        TokenRules { issuer: self.token_issuer.clone(), audience: self.token_audience.clone() }
    }
}

fn invalid(line: impl Into<std::borrow::Cow<'static, str>>, cause: Error) -> Error {
    Error::new(ErrorKind::ValidationFailed, line).with_cause(cause)
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
        let secret = if self.service_secret.is_empty() { "(not set)" } else { "(hidden)" };
        writeln!(f, "service-secret = {secret}")?;
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
    fn secrets_are_hidden() {
        let (secret, url) = ("s".repeat(40), "postgres://me:hunter2@db/messenger");
        let arguments = ["messenger-conversation", "--service-secret", &secret, "--database-url", url];
        let config = Config::try_parse_from(arguments).expect("valid");
        let shown = config.to_string();
        assert!(!shown.contains(&secret) && !shown.contains("hunter2"), "{shown}");
        assert!(config.credential().is_ok() && shown.contains("db/messenger"));
    }

    #[test]
    fn lines_name_the_setting() {
        let config = |arguments: &[&str]| {
            Config::try_parse_from([&["messenger-conversation"], arguments].concat()).expect("parsed")
        };
        let line = config(&["--service-secret", "short"]).credential().expect_err("too short").message().to_owned();
        assert!(line.contains("MESSENGER_SERVICE_SECRET"), "{line}");
        let credential = ServiceCredential::random().expect("randomness");
        let line = config(&["--auth-url", "ftp://x"]).peers(&credential).expect_err("no URL").message().to_owned();
        assert!(line.contains("--auth-url"), "{line}");
    }
}
