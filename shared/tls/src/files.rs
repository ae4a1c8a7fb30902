//! Certificates and keys as PEM files.

use std::{io, path::PathBuf};

use messenger_core::{Error, ErrorKind, Result};
use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};

/// Larger than any certificate with its chain.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A file as it was read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    /// Blocks for as long as the disk does: at the start, and in a thread that may.
    pub(crate) fn read(path: PathBuf) -> Result<Self> {
        let read = || match std::fs::metadata(&path)?.len() {
            0..=FILE_BYTES_MAX => std::fs::read(&path),
            _ => Err(io::Error::other("it is larger than 1 MiB")),
        };
        let bytes = read().map_err(|cause| refused(&path, &cause))?;
        Ok(Self { path, bytes })
    }

    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        let certificates = read.map_err(|cause| refused(&self.path, &cause))?;
        if certificates.is_empty() {
            Err(refused(&self.path, &"it holds no certificate in PEM"))
        } else {
            Ok(certificates)
        }
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|cause| refused(&self.path, &cause))
    }

    pub(crate) fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|cause| refused(&self.path, &cause))?;
        }
        Ok(roots)
    }

    /// What is wrong with it, for the operator.
    pub(crate) fn refused(&self, cause: &dyn std::fmt::Display) -> Error {
        refused(&self.path, cause)
    }
}

fn refused(path: &std::path::Path, cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::ValidationFailed, format!("{} cannot be used: {cause}", path.display()))
}
