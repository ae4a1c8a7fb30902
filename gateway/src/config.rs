//! Settings: flags, environment variables, defaults.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser};
use messenger_core::Error;
use messenger_rpc::{
    ConnectArgs, Encrypted, Plaintext, SendArgs, Service, TokenNames, args::duration_within, at_least_one,
};
use messenger_telemetry::{ProcessArgs, Settings};
use messenger_tls::{Edge, Mutual};
use tokio::net::TcpListener;

use crate::{
    origin,
    proxies::{self, Network},
    services::Services,
};

/// The edge: Socket.IO, plain WebSocket and REST for clients.
#[derive(Debug, Parser)]
#[command(name = "messenger-gateway", version, about)]
pub struct Config {
    /// What the gateway itself needs.
    #[command(flatten)]
    pub gateway: GatewayConfig,
    /// The auth service; several addresses separated by commas, a name may stand for several.
    #[arg(long, env = "MESSENGER_AUTH_URL", default_value = "http://127.0.0.1:50051")]
    pub auth_url: String,
    /// The conversation service; several addresses separated by commas, a name may stand for several.
    #[arg(long, env = "MESSENGER_CONVERSATION_URL", default_value = "http://127.0.0.1:50052")]
    pub conversation_url: String,
    /// The message service; several addresses separated by commas, a name may stand for several.
    #[arg(long, env = "MESSENGER_MESSAGE_URL", default_value = "http://127.0.0.1:50053")]
    pub message_url: String,
    /// By what services know each other.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// What access tokens must say.
    #[command(flatten)]
    pub names: TokenNames,
    /// Those every binary has.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// What the gateway needs in every shape.
#[derive(Debug, Clone, Args)]
pub struct GatewayConfig {
    /// Address of the HTTP server.
    #[arg(long, env = "MESSENGER_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// PEM file with the certificate that clients are shown, and its chain: the HTTP server is encrypted then. Read again
    /// when it changes.
    #[arg(long, env = "MESSENGER_TLS_CERTIFICATE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    #[arg(long, env = "MESSENGER_TLS_KEY", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// Tells several gateways apart: session ids of Socket.IO begin with it, so that a balancer can bring the requests of
    /// a long poll to where the session is. Lower-case letters, digits and hyphens.
    #[arg(long, env = "MESSENGER_GATEWAY_NAME", default_value = "", hide_default_value = true, value_parser = gateway_name)]
    pub gateway_name: String,
    /// After the signal to end, how long requests are still taken while `readyz` says no: what a balancer needs to see
    /// it. None: not at all.
    #[arg(long, env = "MESSENGER_DRAIN_DELAY", value_parser = duration)]
    pub drain_delay: Option<Duration>,
    /// Origins of pages that may connect, separated by commas, beside our own.
    #[arg(long, env = "MESSENGER_ALLOWED_ORIGINS", value_delimiter = ',', value_parser = origin::entry)]
    pub allowed_origins: Vec<String>,
    /// Balancers that are believed when they name their client in `X-Forwarded-For`: addresses and networks like
    /// 10.0.0.0/8, separated by commas.
    #[arg(long, env = "MESSENGER_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
    /// How often users may send.
    #[command(flatten)]
    pub sends: SendArgs,
    /// Logins a minute from one address to one account; each process counts for itself.
    #[arg(long, env = "MESSENGER_LOGINS_PER_MINUTE", default_value = "5", value_parser = at_least_one)]
    pub logins_per_minute: NonZeroU32,
    /// Connections of one user.
    #[arg(long, env = "MESSENGER_CONNECTIONS_PER_USER", default_value = "20")]
    pub connections_per_user: usize,
    /// Connections of one address (an IPv6 network of 64 bits); this machine and trusted proxies excepted.
    #[arg(long, env = "MESSENGER_CONNECTIONS_PER_ADDRESS", default_value = "4096")]
    pub connections_per_address: usize,
    /// Connections in all.
    #[arg(long, env = "MESSENGER_CONNECTIONS_MAX", default_value = "100000")]
    pub connections_max: usize,
    /// HTTP connections of one address (an IPv6 network of 64 bits) that are not WebSockets; this machine and trusted
    /// proxies excepted.
    #[arg(long, env = "MESSENGER_HTTP_CONNECTIONS_PER_ADDRESS", default_value = "512")]
    pub http_connections_per_address: usize,
    /// Bytes that may wait for slow readers in all; beyond, the connections with most waiting are closed, and resume.
    #[arg(long, env = "MESSENGER_QUEUED_BYTES_MAX", default_value = "268435456")]
    pub queued_bytes_max: usize,
    /// How long a Socket.IO client may be connected without CONNECT.
    #[arg(long, env = "MESSENGER_CONNECT_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub connect_timeout: Duration,
    /// Socket.IO clients without CONNECT from one address (an IPv6 network of 64 bits), this machine excepted; behind
    /// a proxy on another machine: in all.
    #[arg(long, env = "MESSENGER_UNCONNECTED_PER_ADDRESS", default_value = "50")]
    pub unconnected_per_address: usize,
    /// From a client's sign of life to the next ping.
    #[arg(long, env = "MESSENGER_HEARTBEAT_INTERVAL", default_value = "25s", value_parser = duration)]
    pub heartbeat_interval: Duration,
    /// How long the answer to a ping may take.
    #[arg(long, env = "MESSENGER_HEARTBEAT_TIMEOUT", default_value = "20s", value_parser = duration)]
    pub heartbeat_timeout: Duration,
}

impl GatewayConfig {
    /// Whether sends, logins and registrations are counted.
    #[must_use]
    pub const fn rate_limits(&self) -> bool {
        !self.sends.no_rate_limits
    }

    /// How long requests are still taken after the signal to end.
    #[must_use]
    pub fn drain_delay(&self) -> Duration {
        self.drain_delay.unwrap_or_default()
    }

    /// Whether it is this machine or one of the balancers in front: they speak for many.
    pub(crate) fn is_ours(&self, address: IpAddr) -> bool {
        address.to_canonical().is_loopback() || proxies::is_trusted(address, &self.trusted_proxies)
    }

    /// Listens for clients, encrypted when there is a certificate.
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names the setting, when the address or the certificate cannot be used, or
    /// other machines could reach it unencrypted without that having been asked for.
    pub async fn bind(&self, connect: &ConnectArgs) -> Result<(TcpListener, Option<Edge>), Error> {
        let encryption = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(Edge::open(certificate.clone(), key.clone())?),
            _ => None,
        };
        let encrypted = match encryption {
            Some(_) => Encrypted::Yes,
            None => Encrypted::No("give it a certificate with --tls-certificate and --tls-key"),
        };
        Ok((connect.listen(Plaintext::Listen, self.listen, encrypted).await?, encryption))
    }
}

impl Config {
    /// The clients of the services; nothing is connected yet.
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names the setting.
    pub fn services(&self, certificate: Option<&Mutual>) -> Result<Services, Error> {
        // Its own use of the secret does not end with certificates: all gateways resume each other's sessions by it.
        let secret = self.connect.credential(Service::Gateway, None)?;
        let credential = match certificate {
            None => secret,
            Some(_) => self.connect.credential(Service::Gateway, certificate)?,
        };
        let channel = |to, urls: &str| self.connect.channel(&credential, to, urls);
        let auth = channel(Service::Auth, &self.auth_url)?;
        let conversation = channel(Service::Conversation, &self.conversation_url)?;
        Ok(Services::new(auth, conversation, channel(Service::Message, &self.message_url)?))
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
        write!(f, "{}", self.gateway)?;
        writeln!(f, "auth-url = {}", self.auth_url)?;
        writeln!(f, "conversation-url = {}", self.conversation_url)?;
        writeln!(f, "message-url = {}", self.message_url)?;
        write!(f, "{}", self.connect)?;
        write!(f, "{}", self.names)?;
        write!(f, "{}", self.process)
    }
}

impl fmt::Display for GatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listen = {}", self.listen)?;
        for (setting, file) in [("tls-certificate", &self.tls_certificate), ("tls-key", &self.tls_key)] {
            let shown = file.as_ref().map_or("(not set)".into(), |file| file.to_string_lossy());
            writeln!(f, "{setting} = {shown}")?;
        }
        writeln!(f, "gateway-name = {}", self.gateway_name)?;
        writeln!(f, "drain-delay = {:?}", self.drain_delay())?;
        writeln!(f, "allowed-origins = {}", self.allowed_origins.join(","))?;
        let proxies: Vec<String> = self.trusted_proxies.iter().map(Network::to_string).collect();
        writeln!(f, "trusted-proxies = {}", proxies.join(","))?;
        write!(f, "{}", self.sends)?;
        writeln!(f, "logins-per-minute = {}", self.logins_per_minute)?;
        writeln!(f, "connections-per-user = {}", self.connections_per_user)?;
        writeln!(f, "connections-per-address = {}", self.connections_per_address)?;
        writeln!(f, "connections-max = {}", self.connections_max)?;
        writeln!(f, "http-connections-per-address = {}", self.http_connections_per_address)?;
        writeln!(f, "queued-bytes-max = {}", self.queued_bytes_max)?;
        writeln!(f, "connect-timeout = {:?}", self.connect_timeout)?;
        writeln!(f, "unconnected-per-address = {}", self.unconnected_per_address)?;
        writeln!(f, "heartbeat-interval = {:?}", self.heartbeat_interval)?;
        writeln!(f, "heartbeat-timeout = {:?}", self.heartbeat_timeout)
    }
}

/// Up to 32 characters that need no quoting anywhere; none is a name, too.
fn gateway_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.len() <= 32 && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("must have at most 32 lower-case letters, digits and hyphens".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::from_millis(10), Duration::from_secs(3_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn secrets_are_hidden() {
        let secret = "0123456789".repeat(4);
        let config = Config::try_parse_from(["messenger-gateway", "--service-secret", &secret]).expect("valid");
        let shown = format!("{config}{config:?}");
        assert!(!shown.contains(&secret), "{shown}");
        assert!(config.services(None).is_ok());
    }

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        let config = Config::try_parse_from(["messenger-gateway"]).expect("defaults");
        assert!(config.services(None).err().expect("no secret").message().contains("MESSENGER_SERVICE_SECRET"));
        assert!(Config::try_parse_from(["messenger-gateway", "--heartbeat-interval", "2h"]).is_err());
        assert!(Config::try_parse_from(["messenger-gateway", "--gateway-name", "a.b"]).is_err());
    }
}
