//! Who presents an access token: signing by auth, verification everywhere else without asking auth.
//!
//! Ours are EdDSA (Ed25519) only; those of other identity systems ([`ForeignIssuer`]) by the algorithm each of their
//! keys is bound to. What a token says about its own algorithm or key is never believed.

mod admission;
mod claims;
mod foreign;
mod keys;
mod revocation;
mod signer;
mod verifier;

pub use admission::Admission;
pub use claims::{AccessClaims, Identity, TokenRules};
pub use foreign::{ClaimNames, ForeignIssuer, ForeignUser, SUBJECT_BYTES_MAX, foreign_user_id};
pub use keys::jwks;
pub use revocation::Revocation;
pub use signer::Signer;
pub use verifier::Verifier;

/// The other backend of jsonwebtoken may be switched on by a dependency one day: ours is installed before the first use.
fn install_crypto() {
    static INSTALLED: std::sync::Once = std::sync::Once::new();
    INSTALLED.call_once(|| {
        // Fails only when it was installed before, which is as good.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    });
}
