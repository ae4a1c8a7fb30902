//! By what services know each other: certificates, and where nothing is encrypted a secret.

use std::{collections::HashSet, fmt, sync::Arc};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use messenger_core::{Error, Result};
use messenger_tls::{Mutual, Name};

use crate::Service;

/// Which service a caller is that has no certificate.
pub(crate) const SERVICE: HeaderName = HeaderName::from_static("x-service");
/// On the answer to a service that was not believed: whom it calls for must not be told to log in again.
pub(crate) const SERVICE_REFUSED: HeaderName = HeaderName::from_static("x-service-refused");
const SECRET_CHARS_MIN: usize = 32;
/// Hexadecimal digits have 16, and 32 of them about 14.
const DIFFERENT_CHARS_MIN: usize = 10;

/// How a service proves to another which one it is. Never shown.
#[derive(Clone)]
pub struct ServiceCredential(Proof);

#[derive(Clone)]
enum Proof {
    /// Over TLS: by its name in the certificate.
    Certificate(Mutual),
    /// In plain text: whoever has the secret is believed.
    Secret { secret: Arc<str>, authorization: HeaderValue, service: Service },
}

impl ServiceCredential {
    /// A certificate of the installation's authority.
    #[must_use]
    pub fn certificate(certificate: Mutual) -> Self {
        Self(Proof::Certificate(certificate))
    }

    /// The secret that all services of one installation share, as `service` shows it: at least 32 visible ASCII
    /// characters, 10 different ones among them.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is too short or too simple, or has characters a header cannot carry.
    pub fn secret(secret: &str, service: Service) -> Result<Self> {
        let different: HashSet<u8> = secret.bytes().collect();
        let is_strong = secret.len() >= SECRET_CHARS_MIN && different.len() >= DIFFERENT_CHARS_MIN;
        if !is_strong || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = "must have at least 32 visible ASCII characters, 10 different ones among them";
            return Err(Error::invalid("MESSENGER_SERVICE_SECRET", message));
        }
        let mut authorization = HeaderValue::try_from(format!("Service {secret}")).map_err(Error::internal)?;
        authorization.set_sensitive(true);
        Ok(Self(Proof::Secret { secret: secret.into(), authorization, service }))
    }

    /// A secret of 256 random bits.
    ///
    /// # Errors
    /// INTERNAL when the machine has no randomness to give.
    pub fn random(service: Service) -> Result<Self> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
        Self::secret(&URL_SAFE_NO_PAD.encode(bytes), service)
    }

    /// The same secret, shown by another service; a certificate stays what it is.
    #[must_use]
    pub fn shown_by(&self, service: Service) -> Self {
        let mut shown = self.clone();
        if let Proof::Secret { service: showing, .. } = &mut shown.0 {
            *showing = service;
        }
        shown
    }

    /// Trusts whoever proves itself in the same way.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let secret = match &self.0 {
            Proof::Certificate(_) => None,
            Proof::Secret { secret, .. } => Some(Arc::clone(secret)),
        };
        Trust { secret, secret_is_ours: true, acting: Arc::default() }
    }

    /// What connections are encrypted with, if they are.
    pub(crate) fn encryption(&self) -> Option<&Mutual> {
        match &self.0 {
            Proof::Certificate(certificate) => Some(certificate),
            Proof::Secret { .. } => None,
        }
    }

    /// Puts it on a request; nothing where the connection says it.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        if let Proof::Secret { authorization, service, .. } = &self.0 {
            headers.insert(AUTHORIZATION, authorization.clone());
            headers.insert(SERVICE, HeaderValue::from_static(service.name()));
        }
    }
}

impl fmt::Debug for ServiceCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceCredential(hidden)")
    }
}

/// Which services a server believes. Certificates are checked by the connection; what is decided here is what a name
/// means.
#[derive(Clone, Default)]
pub struct Trust {
    secret: Option<Arc<str>>,
    secret_is_ours: bool,
    acting: Arc<[Name]>,
}

impl Trust {
    /// Those with certificates, and those of this process.
    #[must_use]
    pub fn certificates() -> Self {
        Self::default()
    }

    /// Of a process that has our own services in it: who comes from outside with the secret is one of the operator's.
    ///
    /// # Errors
    /// As [`ServiceCredential::secret`].
    pub fn secret_of_others(secret: &str) -> Result<Self> {
        Ok(Self { secret_is_ours: false, ..ServiceCredential::secret(secret, Service::Other)?.trust() })
    }

    /// Services of the operator's own that may act for users.
    #[must_use]
    pub fn with_acting(self, acting: &[Name]) -> Self {
        Self { acting: acting.into(), ..self }
    }

    /// What a service of this name may be, by its certificate.
    pub(crate) fn certified(&self, name: &str) -> Service {
        Service::OURS.into_iter().find(|ours| ours.name() == name).unwrap_or_else(|| self.of_operator(name))
    }

    /// The same by the secret, compared in constant time for those of the right length; none for another secret.
    pub(crate) fn by_secret(&self, presented: &str, name: &str) -> Option<Service> {
        let secret = self.secret.as_ref()?;
        verify_slices_are_equal(secret.as_bytes(), presented.as_bytes()).ok()?;
        Some(if self.secret_is_ours { self.certified(name) } else { self.of_operator(name) })
    }

    fn of_operator(&self, name: &str) -> Service {
        if self.acting.iter().any(|acting| acting.as_str() == name) { Service::Acting } else { Service::Other }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("has_secret", &self.secret.is_some()).field("acting", &self.acting).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_visible() {
        let check = |secret: &str| ServiceCredential::secret(secret, Service::Auth);
        assert!(check(&"0123456789abcdef".repeat(2)).is_ok());
        for secret in
            ["", &"abcdefghij".repeat(3), &"abcdefgh ".repeat(4), &"abcdefghé".repeat(4), &"abcdefghi".repeat(4)]
        {
            assert!(check(secret).is_err(), "{secret}");
        }
    }

    #[test]
    fn random_ones_differ_and_are_not_shown() {
        let random = || ServiceCredential::random(Service::Gateway).expect("randomness");
        let (one, other) = (random(), random());
        let Proof::Secret { secret, .. } = &other.0 else { panic!("a secret") };
        assert_eq!(other.trust().by_secret(secret, "gateway"), Some(Service::Gateway));
        assert_eq!(one.trust().by_secret(secret, "gateway"), None);
        assert_eq!(one.trust().by_secret("", "gateway"), None);
        assert_eq!(Trust::certificates().by_secret("", "gateway"), None);
        let shown = format!("{other:?}{:?}", other.trust());
        assert!(!shown.contains(&**secret), "{shown}");
    }

    #[test]
    fn what_a_name_means() {
        let secret = "0123456789abcdef".repeat(2);
        let acting = ["orders".parse().expect("a name")];
        let ours = ServiceCredential::secret(&secret, Service::Auth).expect("long").trust().with_acting(&acting);
        let outside = Trust::secret_of_others(&secret).expect("long").with_acting(&acting);
        for (name, inside, from_outside) in [
            ("conversation", Service::Conversation, Service::Other),
            ("orders", Service::Acting, Service::Acting),
            ("reports", Service::Other, Service::Other),
            ("", Service::Other, Service::Other),
        ] {
            assert_eq!(ours.by_secret(&secret, name), Some(inside), "{name}");
            assert_eq!(outside.by_secret(&secret, name), Some(from_outside), "{name}");
            assert_eq!(outside.certified(name), inside, "{name}");
        }
    }
}
