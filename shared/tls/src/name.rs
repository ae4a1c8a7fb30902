//! The name of a service, as its certificate carries it.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::pki_types::CertificateDer;

const URI: &str = "spiffe://messenger/";
const NAME_BYTES_MAX: usize = 63;

/// The name of a service: 1 to 63 lower-case letters, digits and hyphens, so that it can stand for a host, too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a certificate has it.
    pub(crate) fn uri(&self) -> String {
        format!("{URI}{self}")
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain);
        if !is_name || text.starts_with('-') || text.ends_with('-') {
            return Err(format!("must be 1 to {NAME_BYTES_MAX} lower-case letters, digits and inner hyphens"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which service a certificate is of; none when it does not name exactly one. Whether to believe the certificate is
/// decided before, in the handshake.
#[must_use]
pub fn name_of(certificate: &CertificateDer<'_>) -> Option<Name> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_uri_names().filter_map(|uri| uri.strip_prefix(URI));
    let name = names.next()?;
    if names.next().is_some() { None } else { name.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!("gateway-2".parse::<Name>().is_ok());
        for text in ["", "Gateway", "a.b", "-a", "a-", "a/b", "a b", &"a".repeat(64)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
