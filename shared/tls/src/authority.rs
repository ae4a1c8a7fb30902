//! The certificate authority of one installation: a key and a certificate in a folder, and what they sign.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use messenger_core::{Clock, Error, ErrorKind, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, string::Ia5String,
};
use time::OffsetDateTime;

use crate::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, Name};

/// Ten years: it is replaced by hand, services by themselves.
const AUTHORITY_LIFE: Duration = Duration::from_secs(3_650 * 86_400);
/// For clocks that are behind.
const BEGUN_BEFORE: Duration = Duration::from_secs(3_600);
/// Where it keeps its own files, in the folder of all.
const FOLDER: &str = "ca";
const AUTHORITY_KEY_FILE: &str = "ca.key";

/// Makes certificates for the services of one installation.
pub struct Authority {
    folder: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new one in `ca` of this folder.
    ///
    /// # Errors
    /// VALIDATION_FAILED when there is one already, or the folder cannot be written to.
    pub fn create(folder: &Path, clock: &dyn Clock) -> Result<Self> {
        let key = KeyPair::generate().map_err(Error::internal)?;
        let certificate = authority_params(clock)?.self_signed(&key).map_err(Error::internal)?.pem();
        let own = folder.join(FOLDER);
        if own.join(AUTHORITY_KEY_FILE).exists() {
            let line = format!("{} exists: what it signed would be worth nothing any more", own.display());
            return Err(Error::new(ErrorKind::ValidationFailed, line));
        }
        write(&own.join(AUTHORITY_KEY_FILE), &key.serialize_pem())?;
        write(&own.join(AUTHORITY_FILE), &certificate)?;
        Ok(Self { folder: folder.to_owned(), certificate, issuer: Issuer::new(authority_params(clock)?, key) })
    }

    /// The one that was made in this folder.
    ///
    /// # Errors
    /// VALIDATION_FAILED when there is none.
    pub fn open(folder: &Path, clock: &dyn Clock) -> Result<Self> {
        let own = folder.join(FOLDER);
        let read = |name: &str| {
            let path = own.join(name);
            fs::read_to_string(&path).map_err(|cause| unusable(&path, &cause))
        };
        let key = KeyPair::from_pem(&read(AUTHORITY_KEY_FILE)?);
        let key = key.map_err(|cause| unusable(&own.join(AUTHORITY_KEY_FILE), &cause))?;
        let issuer = Issuer::new(authority_params(clock)?, key);
        Ok(Self { folder: folder.to_owned(), certificate: read(AUTHORITY_FILE)?, issuer })
    }

    /// Makes the folder of a service, or what is in it anew: a certificate with its name, for `life`. `hosts` are names
    /// and addresses that others than our own services check.
    ///
    /// # Errors
    /// VALIDATION_FAILED for what is no host, or when the folder cannot be written to.
    pub fn issue(&self, name: &Name, hosts: &[String], life: Duration, clock: &dyn Clock) -> Result<PathBuf> {
        let key = KeyPair::generate().map_err(Error::internal)?;
        let params = service_params(name, hosts, life, clock)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(Error::internal)?;
        let folder = self.folder.join(name.as_str());
        // Who reads between two of these keeps what it had, for they do not belong together yet.
        write(&folder.join(AUTHORITY_FILE), &self.certificate)?;
        write(&folder.join(KEY_FILE), &key.serialize_pem())?;
        write(&folder.join(CERTIFICATE_FILE), &certificate.pem())?;
        Ok(folder)
    }
}

/// The same each time but for the dates, so that the certificate need not be read to sign with its key.
fn authority_params(clock: &dyn Clock) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "messenger services");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(AUTHORITY_LIFE, clock)?;
    Ok(params)
}

fn service_params(name: &Name, hosts: &[String], life: Duration, clock: &dyn Clock) -> Result<CertificateParams> {
    let names = [name.as_str().to_owned()].into_iter().chain(hosts.iter().cloned()).collect::<Vec<_>>();
    let wrong =
        |cause| Error::new(ErrorKind::ValidationFailed, "--host must be a name or an address").with_cause(cause);
    let mut params = CertificateParams::new(names).map_err(|cause: rcgen::Error| wrong(cause))?;
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    params.subject_alt_names.push(SanType::URI(Ia5String::try_from(name.uri()).map_err(Error::internal)?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = validity(life, clock)?;
    Ok(params)
}

fn validity(life: Duration, clock: &dyn Clock) -> Result<(OffsetDateTime, OffsetDateTime)> {
    let (seconds, _) = clock.now().to_parts();
    let now = OffsetDateTime::from_unix_timestamp(seconds).map_err(Error::internal)?;
    Ok((now - BEGUN_BEFORE, now + life))
}

/// Whole or not at all, and readable by nobody else.
fn write(path: &Path, text: &str) -> Result<()> {
    let written = || {
        let folder = path.parent().ok_or_else(|| io::Error::other("it has no folder"))?;
        fs::create_dir_all(folder)?;
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|cause| unusable(path, &cause))
}

fn unusable(path: &Path, cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::ValidationFailed, format!("{} cannot be used: {cause}", path.display()))
}
