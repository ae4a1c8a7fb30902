//! Settings of every process that calls services or serves calls.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use messenger_core::{Error, ErrorKind, Result};
use messenger_identity::TokenRules;
use messenger_tls::{Mutual, Name};
use tokio::net::TcpListener;

use crate::{RpcChannel, Service, ServiceCredential, Trust};

const CERTIFICATE_REMEDY: &str = "give each service a certificate with --certificates (MESSENGER_CERTIFICATES)";

/// By what services know each other, and what may go unencrypted.
#[derive(Debug, Clone, Args)]
pub struct ConnectArgs {
    /// What services prove themselves by where nothing is encrypted, the same for all of them: at least 32 characters.
    /// Gateways sign resumable sessions by it in any case.
    #[arg(
        long,
        env = "MESSENGER_SERVICE_SECRET",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub service_secret: Secret,
    /// Folder with this service's certificate as `messenger certs issue` makes it: ca.crt, tls.crt, tls.key. Calls
    /// between services are encrypted then, and a service is known by its certificate instead of the secret.
    #[arg(long, env = "MESSENGER_CERTIFICATES")]
    pub certificates: Option<PathBuf>,
    /// What may go without encryption although other machines take part, separated by commas: listeners, and
    /// `service-urls`, the calls to other services, which show the secret.
    #[arg(long, env = "MESSENGER_ALLOW_PLAINTEXT", value_delimiter = ',')]
    pub allow_plaintext: Vec<Plaintext>,
}

/// Which callers a process serves.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// By what services know each other.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Services of yours that may act for users and follow what users receive, separated by commas: by the name in their
    /// certificate, or by `x-service` beside the secret.
    #[arg(long, env = "MESSENGER_ACTING_SERVICES", value_delimiter = ',')]
    pub acting_services: Vec<Name>,
    /// Address for operators: `/metrics`, `/healthz` and `/readyz` over HTTP; without one there is none.
    #[arg(long, env = "MESSENGER_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// How those are served who come by gRPC.
    #[command(flatten)]
    pub grpc: GrpcArgs,
}

/// What access tokens say of themselves, the same in every process of an installation.
#[derive(Debug, Clone, Args)]
pub struct TokenNames {
    /// `iss` of access tokens.
    #[arg(long, env = "MESSENGER_TOKEN_ISSUER", default_value = "messenger")]
    pub token_issuer: String,
    /// `aud` of access tokens.
    #[arg(long, env = "MESSENGER_TOKEN_AUDIENCE", default_value = "messenger")]
    pub token_audience: String,
}

impl TokenNames {
    /// What verifiers check.
    #[must_use]
    pub fn rules(&self) -> TokenRules {
        TokenRules { issuer: self.token_issuer.clone(), audience: self.token_audience.clone() }
    }
}

impl Default for TokenNames {
    fn default() -> Self {
        let TokenRules { issuer, audience } = TokenRules::default();
        Self { token_issuer: issuer, token_audience: audience }
    }
}

/// The settings in force.
impl fmt::Display for TokenNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "token-issuer = {}", self.token_issuer)?;
        writeln!(f, "token-audience = {}", self.token_audience)
    }
}

/// How a gRPC server treats who comes.
#[derive(Debug, Clone, Args)]
pub struct GrpcArgs {
    /// When a gRPC connection takes no new calls, 1s to 24h: its caller makes another, for which certificates are looked at
    /// again. Calls under way are finished; streams end 10 s and up to half of it later, each at its own time, and begin anew
    /// elsewhere.
    #[arg(long, env = "MESSENGER_GRPC_CONNECTION_AGE", default_value = "1h", value_parser = connection_age)]
    pub grpc_connection_age: Duration,
    /// Describe the gRPC interface to nobody. With reflection, which needs no credential, grpcurl needs no .proto files.
    #[arg(long, env = "MESSENGER_NO_REFLECTION")]
    pub no_reflection: bool,
}

impl Default for GrpcArgs {
    fn default() -> Self {
        Self { grpc_connection_age: Duration::from_secs(3_600), no_reflection: false }
    }
}

/// What may be unencrypted, as `--allow-plaintext` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Plaintext {
    /// `--listen`.
    Listen,
    /// `--grpc-listen`.
    GrpcListen,
    /// `--metrics-listen`.
    MetricsListen,
    /// `--auth-url`, `--conversation-url` and `--message-url`.
    ServiceUrls,
}

impl Plaintext {
    const fn name(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::GrpcListen => "grpc-listen",
            Self::MetricsListen => "metrics-listen",
            Self::ServiceUrls => "service-urls",
        }
    }

    /// For the operator: what is wrong with a setting, and what there is to do.
    fn refused(self, setting: &str, danger: &str, remedy: &str) -> Error {
        let name = self.name();
        let line = format!(
            "{setting}: {danger} without encryption. Either {remedy}, or allow it with --allow-plaintext={name} \
             (MESSENGER_ALLOW_PLAINTEXT={name})"
        );
        Error::new(ErrorKind::ValidationFailed, line)
    }
}

/// A flag with its variable.
fn setting(flag: &str) -> String {
    format!("--{flag} (MESSENGER_{})", flag.replace('-', "_").to_uppercase())
}

/// Whether a listener is encrypted; if not, by what it would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encrypted {
    /// It is.
    Yes,
    /// It is not: what the operator may do about it.
    No(&'static str),
}

impl ConnectArgs {
    /// Listens on an address.
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names the setting, when the address cannot be used or could be reached from
    /// other machines unencrypted without having been asked for.
    pub async fn listen(&self, which: Plaintext, address: SocketAddr, encrypted: Encrypted) -> Result<TcpListener> {
        let setting = setting(which.name());
        if let Encrypted::No(remedy) = encrypted
            && !address.ip().to_canonical().is_loopback()
            && !self.allow_plaintext.contains(&which)
        {
            return Err(which.refused(&setting, &format!("other machines could reach {address}"), remedy));
        }
        TcpListener::bind(address).await.map_err(|cause| {
            let line = format!("{setting}: {address} cannot be listened on: {cause}");
            Error::new(ErrorKind::ValidationFailed, line).with_cause(cause)
        })
    }

    /// The way to a service, at the URLs of its setting (`--auth-url` and so on).
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names the setting, when it cannot be used, or the secret would go to another
    /// machine unencrypted without that having been asked for.
    pub fn channel(&self, credential: &ServiceCredential, to: Service, urls: &str) -> Result<RpcChannel> {
        let setting = setting(&format!("{to}-url"));
        let channel = RpcChannel::remote(to, urls, credential.clone()).map_err(|cause| {
            let scheme = if credential.encryption().is_some() { "https" } else { "http" };
            let line = format!("{setting} must be of the form {scheme}://host:port, or several separated by commas");
            Error::new(ErrorKind::ValidationFailed, line).with_cause(cause)
        })?;
        match channel.unencrypted_to() {
            Some(machine) if !self.allow_plaintext.contains(&Plaintext::ServiceUrls) => {
                let danger = format!("the service secret would go to {machine}");
                Err(Plaintext::ServiceUrls.refused(&setting, &danger, CERTIFICATE_REMEDY))
            }
            _ => Ok(channel),
        }
    }

    /// The certificate of this process, if it has one.
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names the file, when it cannot be used.
    pub fn certificate(&self) -> Result<Option<Mutual>> {
        self.certificates.as_deref().map(Mutual::open).transpose()
    }

    /// What this process proves itself by, as `service`.
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names the setting, when the certificate is of another service, or the secret
    /// is missing or too short.
    pub fn credential(&self, service: Service, certificate: Option<&Mutual>) -> Result<ServiceCredential> {
        let Some(certificate) = certificate else {
            return ServiceCredential::secret(self.service_secret.expose(), service).map_err(secret_refused);
        };
        let name = certificate.name();
        if name.as_str() != service.name() {
            let line =
                format!("--certificates (MESSENGER_CERTIFICATES): the certificate is of {name}, not of {service}");
            return Err(Error::new(ErrorKind::ValidationFailed, line));
        }
        Ok(ServiceCredential::certificate(certificate.clone()))
    }
}

/// For the operator.
pub(crate) fn secret_refused(cause: Error) -> Error {
    let line =
        "--service-secret (MESSENGER_SERVICE_SECRET) must have at least 32 visible characters, 10 different ones";
    Error::new(ErrorKind::ValidationFailed, line).with_cause(cause)
}

impl ServeArgs {
    /// Whom this process believes that has this credential.
    #[must_use]
    pub fn trust(&self, credential: &ServiceCredential) -> Trust {
        credential.trust().with_acting(&self.acting_services)
    }
}

/// The settings in force, secrets hidden.
impl fmt::Display for ConnectArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "service-secret = {:?}", self.service_secret)?;
        let certificates = self.certificates.as_ref().map_or("(not set)".into(), |folder| folder.to_string_lossy());
        writeln!(f, "certificates = {certificates}")?;
        let allowed: Vec<&str> = self.allow_plaintext.iter().map(|plaintext| plaintext.name()).collect();
        writeln!(f, "allow-plaintext = {}", allowed.join(","))
    }
}

/// The settings in force, secrets hidden.
impl fmt::Display for ServeArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.connect)?;
        let acting: Vec<&str> = self.acting_services.iter().map(Name::as_str).collect();
        writeln!(f, "acting-services = {}", acting.join(","))?;
        let metrics_listen = self.metrics_listen.map_or("(not set)".to_owned(), |address| address.to_string());
        writeln!(f, "metrics-listen = {metrics_listen}")?;
        write!(f, "{}", self.grpc)
    }
}

impl fmt::Display for GrpcArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "grpc-connection-age = {}s", self.grpc_connection_age.as_secs())?;
        writeln!(f, "no-reflection = {}", self.no_reflection)
    }
}

fn connection_age(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::from_secs(1), Duration::from_secs(86_400))
}

/// A whole number with a unit: ms, s, m, h or d.
///
/// # Errors
/// With what it must be, for the operator.
pub fn duration_within(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let parsed = units.into_iter().find_map(|(unit, millis)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(millis).map(Duration::from_millis)
    });
    parsed
        .filter(|duration| (min..=max).contains(duration))
        .ok_or_else(|| format!("must be a number with ms, s, m, h or d, from {min:?} to {max:?}"))
}

/// A setting that is never shown.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// The secret itself; empty when it is not set.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self(secret.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "(hidden)" } else { "(not set)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_of_connections() {
        assert_eq!(connection_age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(connection_age("1500ms"), Ok(Duration::from_millis(1_500)));
        for text in ["", "s", "0s", "999ms", "25h", "1", "-1s", "1.5h", "99999999999999999999d", "ä"] {
            assert!(connection_age(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn the_secret_leaves_this_machine_only_when_that_was_asked_for() {
        let secret = "0123456789abcdef".repeat(2);
        let connect = |allow_plaintext| ConnectArgs {
            service_secret: Secret::from(secret.as_str()),
            certificates: None,
            allow_plaintext,
        };
        let (strict, allowed) = (connect(vec![Plaintext::Listen]), connect(vec![Plaintext::ServiceUrls]));
        let credential = strict.credential(Service::Gateway, None).expect("long enough");
        for urls in ["http://127.0.0.1:1", "http://127.9.9.9:1", "http://localhost:1, http://[::1]:2"] {
            strict.channel(&credential, Service::Auth, urls).expect(urls);
        }
        for (urls, machine) in [
            ("http://auth:1", "auth:1"),
            ("http://192.0.2.1:1", "192.0.2.1:1"),
            ("http://[2001:db8::1]:1", "[2001:db8::1]:1"),
            ("http://127.0.0.1:1,http://localhost.example.com:2", "localhost.example.com:2"),
        ] {
            let refused = strict.channel(&credential, Service::Auth, urls).expect_err(urls);
            let line = refused.message();
            assert!(!line.contains('\n') && !line.contains(&secret), "{line}");
            for part in ["--auth-url (MESSENGER_AUTH_URL)", machine, "--allow-plaintext=service-urls", "--certificates"]
            {
                assert!(line.contains(part), "{line}");
            }
            allowed.channel(&credential, Service::Auth, urls).expect("asked for");
        }
    }
}
