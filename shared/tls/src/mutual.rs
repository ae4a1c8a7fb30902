//! Between services: both sides show a certificate of the installation's authority.

use std::{fmt, path::Path, sync::Arc};

use messenger_core::{Error, Result};
use rustls::{
    ClientConfig, ServerConfig, crypto::aws_lc_rs::default_provider, server::WebPkiClientVerifier, version::TLS13,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use crate::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, Name, files::File, live::Live, name_of};

const PROTOCOL: &[u8] = b"h2";

/// What a service shows and whom it believes, from the folder `messenger certs issue` made. Clones are the same.
#[derive(Clone)]
pub struct Mutual(Live<Sides>);

struct Sides {
    name: Name,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Mutual {
    /// From a folder with `ca.crt`, `tls.crt` and `tls.key`.
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names the file, when one cannot be used.
    pub fn open(folder: &Path) -> Result<Self> {
        Live::open([AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE].map(|name| folder.join(name)).into(), sides).map(Self)
    }

    /// Which service this is, by its certificate.
    #[must_use]
    pub fn name(&self) -> Name {
        self.0.current().name.clone()
    }

    /// Takes connections. Who shows no certificate is let in without a name: an end user calls by its token.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.current().server))
    }

    /// Makes connections. Whom to reach is the name of the service, not of its host.
    #[must_use]
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0.current().client))
    }

    /// Takes over new files until `shutdown`; for new connections.
    pub async fn follow(self, shutdown: CancellationToken) {
        self.0.follow(shutdown).await;
    }
}

impl fmt::Debug for Mutual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mutual({})", self.name())
    }
}

fn sides(files: &[File]) -> Result<Sides> {
    let [authority, certificate, key] = files else { return Err(Error::internal("three files were asked for")) };
    let (roots, chain) = (Arc::new(authority.roots()?), certificate.certificates()?);
    let own = chain.first().and_then(name_of);
    let name = own.ok_or_else(|| certificate.refused(&"it names no service: make it by messenger certs issue"))?;
    let provider = Arc::new(default_provider());
    let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
    let callers = callers.allow_unauthenticated().build().map_err(|cause| authority.refused(&cause))?;
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(Error::internal)?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain.clone(), key.key()?)
        .map_err(|cause| key.refused(&cause))?;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(Error::internal)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key.key()?)
        .map_err(|cause| key.refused(&cause))?;
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Sides { name, server: Arc::new(server), client: Arc::new(client) })
}
