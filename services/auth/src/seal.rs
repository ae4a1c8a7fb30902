//! Keys at rest, encrypted with a secret that the store does not have: AES-256-GCM of aws-lc, by a key derived from the
//! secret, each bound to what it is for, so that one cannot be put in another's place.

use std::{fmt, fs, path::PathBuf};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};
use base64::{Engine as _, engine::general_purpose};
use messenger_core::{Error, ErrorKind, Result};

use crate::model::StoredSecret;

const SECRET_BYTES_MIN: usize = 32;
/// Of 32 random bytes about 30 differ; fewer than this among them is no chance.
const DIFFERENT_BYTES_MIN: usize = 20;
const FILE_BYTES_MAX: u64 = 4 * 1024;
const FINGERPRINT_BYTES: usize = 8;
const SETTINGS: &str = "--key-encryption-secret or --key-encryption-secret-file (MESSENGER_KEY_ENCRYPTION_SECRET or \
                        MESSENGER_KEY_ENCRYPTION_SECRET_FILE)";

/// Encrypts and decrypts keys.
pub struct Seal {
    key: RandomizedNonceKey,
    fingerprint: String,
}

impl Seal {
    /// From the setting or the file it names; none when there is neither.
    ///
    /// # Errors
    /// VALIDATION_FAILED, for the operator: both are given, the file cannot be read, the secret is weak.
    pub fn from_settings(secret: Option<&str>, file: Option<&PathBuf>) -> Result<Option<Self>> {
        let text = match (secret, file) {
            (None, None) => return Ok(None),
            (Some(secret), None) => secret.to_owned(),
            (None, Some(file)) => read(file)?,
            (Some(_), Some(_)) => return Err(refused(format!("give one of {SETTINGS}"))),
        };
        Self::new(&text).map(Some)
    }

    /// From at least 32 random bytes as hexadecimal digits or base64.
    ///
    /// # Errors
    /// VALIDATION_FAILED for less, and for bytes that are not random.
    pub fn new(secret: &str) -> Result<Self> {
        let bytes = decode(secret.trim()).filter(|bytes| is_strong(bytes)).ok_or_else(|| {
            refused(format!(
                "{SETTINGS} must be at least 32 random bytes, in hexadecimal or base64: openssl rand -hex 32"
            ))
        })?;
        let root = Salt::new(HKDF_SHA256, b"messenger keys at rest").extract(&bytes);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &derive::<32>(&root, "key")?).map_err(Error::internal)?;
        let fingerprint = derive::<FINGERPRINT_BYTES>(&root, "fingerprint")?;
        let fingerprint = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { key, fingerprint })
    }

    /// As it is to be stored; `purpose` must be the same when it is opened.
    ///
    /// # Errors
    /// INTERNAL when the machine has no randomness.
    pub fn close(&self, secret: &[u8], purpose: &str) -> Result<StoredSecret> {
        let mut sealed = secret.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(purpose), &mut sealed)
            .map_err(|_| Error::internal("a key could not be encrypted"))?;
        let bytes = [nonce.as_ref().as_slice(), &sealed].concat();
        Ok(StoredSecret { bytes, sealed_by: Some(self.fingerprint.clone()) })
    }

    fn decrypt(&self, sealed: &[u8], purpose: &str) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let mut bytes = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = self.key.open_in_place(nonce, Aad::from(purpose), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({})", self.fingerprint)
    }
}

/// As it is to be stored, with a seal or without.
///
/// # Errors
/// INTERNAL when the machine has no randomness.
pub fn close(seal: Option<&Seal>, secret: &[u8], purpose: &str) -> Result<StoredSecret> {
    match seal {
        Some(seal) => seal.close(secret, purpose),
        None => Ok(StoredSecret { bytes: secret.to_vec(), sealed_by: None }),
    }
}

/// What was stored.
///
/// # Errors
/// VALIDATION_FAILED, for the operator, when it is encrypted and the secret is missing or another; INTERNAL when it was
/// changed.
pub fn open(seal: Option<&Seal>, stored: &StoredSecret, purpose: &str) -> Result<Vec<u8>> {
    match (&stored.sealed_by, seal) {
        (None, _) => Ok(stored.bytes.clone()),
        (Some(_), None) => Err(refused(format!("the keys in the store are encrypted: give {SETTINGS}"))),
        (Some(by), Some(seal)) if *by != seal.fingerprint => {
            let ours = &seal.fingerprint;
            Err(refused(format!(
                "the keys in the store are encrypted with another secret ({by}) than {SETTINGS} ({ours})"
            )))
        }
        (Some(_), Some(seal)) => seal
            .decrypt(&stored.bytes, purpose)
            .ok_or_else(|| Error::internal("an encrypted key in the store was changed")),
    }
}

fn derive<const LENGTH: usize>(root: &Prk, what: &str) -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let info = [what.as_bytes()];
    let key = root.expand(&info, Length(LENGTH)).map_err(Error::internal)?;
    key.fill(&mut bytes).map_err(Error::internal)?;
    Ok(bytes)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn read(file: &PathBuf) -> Result<String> {
    let unusable = |cause: String| refused(format!("{SETTINGS}: {} cannot be read: {cause}", file.display()));
    let size = fs::metadata(file).map_err(|error| unusable(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unusable("it is over 4 KiB".to_owned()));
    }
    fs::read_to_string(file).map_err(|error| unusable(error.to_string()))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        return (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
    }
    let text = text.trim_end_matches('=').replace('-', "+").replace('_', "/");
    general_purpose::STANDARD_NO_PAD.decode(text).ok()
}

fn is_strong(bytes: &[u8]) -> bool {
    let mut different = bytes.to_vec();
    different.sort_unstable();
    different.dedup();
    bytes.len() >= SECRET_BYTES_MIN && different.len() >= DIFFERENT_BYTES_MIN
}

fn refused(line: String) -> Error {
    Error::new(ErrorKind::ValidationFailed, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "2f1b6a93c4d7e80f5a6b7c8d9e0f112233445566778899aabbccddeeff001e3d";
    const OTHER: &str = "0f1b6a93c4d7e80f5a6b7c8d9e0f112233445566778899aabbccddeeff001e3d";

    fn seal(secret: &str) -> Seal {
        Seal::new(secret).expect("strong")
    }

    #[test]
    fn opens_what_it_closed_for_the_same_purpose_only() {
        let one = seal(ONE);
        let stored = one.close(b"a key", "signing k1").expect("closed");
        assert!(!stored.bytes.windows(5).any(|part| part == b"a key"));
        assert!(one.close(b"a key", "signing k1").expect("closed") != stored, "never the same twice");
        assert_eq!(open(Some(&one), &stored, "signing k1").expect("ours"), b"a key");
        assert_eq!(open(Some(&one), &stored, "signing k2").expect_err("moved").kind(), ErrorKind::Internal);
        let mut changed = stored.clone();
        *changed.bytes.last_mut().expect("not empty") ^= 1;
        assert_eq!(open(Some(&one), &changed, "signing k1").expect_err("changed").kind(), ErrorKind::Internal);
        let short = StoredSecret { bytes: vec![1; 5], ..stored };
        assert_eq!(open(Some(&one), &short, "signing k1").expect_err("cut").kind(), ErrorKind::Internal);
    }

    #[test]
    fn what_an_operator_has_to_put_right_is_said() {
        let stored = seal(ONE).close(b"a key", "x").expect("closed");
        for (seal, says) in
            [(None, "are encrypted: give --key-encryption-secret"), (Some(seal(OTHER)), "another secret")]
        {
            let error = open(seal.as_ref(), &stored, "x").expect_err("not ours");
            assert_eq!(error.kind(), ErrorKind::ValidationFailed);
            assert!(error.message().contains(says), "{}", error.message());
        }
        let plain = close(None, b"a key", "x").expect("stored");
        assert_eq!(open(Some(&seal(ONE)), &plain, "x").expect("not yet encrypted"), b"a key");
    }

    #[test]
    fn weak_secrets_are_refused() {
        for base64 in ["Lxtqk8TX6A9aa3yNng8RIjNEVWZ3iJmqu8zd7v8AHj0=", "Lxtqk8TX6A9aa3yNng8RIjNEVWZ3iJmqu8zd7v8AHj0"] {
            assert_eq!(seal(base64).fingerprint, seal(&format!("{ONE}\n")).fingerprint);
        }
        let (zeros, repeated) = ("0".repeat(64), "0123456789abcdef".repeat(4));
        for weak in ["", "secret", "correct horse battery staple correct horse", &ONE[..62], &zeros, &repeated, "ä"] {
            assert!(Seal::new(weak).is_err(), "{weak}");
        }
        assert!(Seal::from_settings(Some(ONE), Some(&PathBuf::from("x"))).is_err());
        assert!(Seal::from_settings(None, Some(&PathBuf::from("/nowhere/at/all"))).is_err());
        assert!(Seal::from_settings(None, None).expect("none is fine").is_none());
    }
}
