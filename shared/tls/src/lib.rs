//! Encryption: what a process shows of itself, whom it believes, and the small authority that makes certificates.
//!
//! Between services both sides show a certificate of the installation's own authority ([`Mutual`]); a service is known
//! by the name in it. Towards clients the edge shows one from wherever the operator has it ([`Edge`]). Both are read again
//! when their files change.

mod authority;
mod edge;
mod files;
mod live;
mod mutual;
mod name;

pub use authority::Authority;
pub use edge::Edge;
pub use mutual::Mutual;
pub use name::{Name, name_of};
pub use rustls::{Error as TlsError, pki_types::ServerName};
pub use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream, server};

/// In the folder of a service: the authorities it believes. As Kubernetes and cert-manager name them.
pub const AUTHORITY_FILE: &str = "ca.crt";
/// In the folder of a service: its own certificate.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// In the folder of a service: the key of its certificate.
pub const KEY_FILE: &str = "tls.key";
