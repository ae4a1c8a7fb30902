//! Towards clients: the edge shows the certificate of its host.

use std::{fmt, path::PathBuf, sync::Arc};

use messenger_core::{Error, Result};
use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{files::File, live::Live};

/// WebSockets of browsers and stock clients begin with it.
const PROTOCOL: &[u8] = b"http/1.1";

/// The certificate of the edge, with its chain, and the key. Clones are the same.
#[derive(Clone)]
pub struct Edge(Live<Arc<ServerConfig>>);

impl Edge {
    /// From two files in PEM.
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names the file, when one cannot be used.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self> {
        Live::open(vec![certificate, key], server).map(Self)
    }

    /// Takes connections.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&*self.0.current()))
    }

    /// Takes over new files until `shutdown`; for new connections.
    pub async fn follow(self, shutdown: CancellationToken) {
        self.0.follow(shutdown).await;
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edge")
    }
}

/// TLS 1.3 and, for older phones, 1.2.
fn server(files: &[File]) -> Result<Arc<ServerConfig>> {
    let [certificate, key] = files else { return Err(Error::internal("two files were asked for")) };
    let mut server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_no_client_auth()
        .with_single_cert(certificate.certificates()?, key.key()?)
        .map_err(|cause| key.refused(&cause))?;
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(server))
}
