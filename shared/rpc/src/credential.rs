//! The secret by which services know each other.

use std::{fmt, sync::Arc};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use messenger_core::Error;

const SECRET_CHARS_MIN: usize = 32;

/// A secret shared by all services of one installation: at least 32 visible ASCII characters. Never shown.
#[derive(Clone)]
pub struct ServiceCredential {
    secret: Arc<str>,
    authorization: HeaderValue,
}

impl ServiceCredential {
    /// From configuration.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is too short or has characters a header cannot carry.
    pub fn new(secret: &str) -> Result<Self, Error> {
        if secret.len() < SECRET_CHARS_MIN || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid("MESSENGER_SERVICE_SECRET", "must have at least 32 visible ASCII characters"));
        }
        let mut authorization = HeaderValue::try_from(format!("Service {secret}")).map_err(Error::internal)?;
        authorization.set_sensitive(true);
        Ok(Self { secret: secret.into(), authorization })
    }

    /// 256 random bits, for services of one process.
    ///
    /// # Errors
    /// INTERNAL when the machine has no randomness to give.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
        Self::new(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// In constant time for presented secrets of the right length.
    pub(crate) fn is(&self, presented: &str) -> bool {
        verify_slices_are_equal(self.secret.as_bytes(), presented.as_bytes()).is_ok()
    }
}

impl fmt::Debug for ServiceCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceCredential(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_visible() {
        assert!(ServiceCredential::new(&"x".repeat(32)).is_ok());
        for secret in ["", &"x".repeat(31), &"x ".repeat(32), &"é".repeat(32)] {
            assert!(ServiceCredential::new(secret).is_err(), "{secret}");
        }
    }

    #[test]
    fn random_ones_differ_and_are_not_shown() {
        let (one, other) = (ServiceCredential::random().expect("random"), ServiceCredential::random().expect("random"));
        assert!(one.is(&one.secret) && !one.is(&other.secret) && !one.is(""));
        assert_eq!(format!("{one:?}"), "ServiceCredential(hidden)");
    }
}
