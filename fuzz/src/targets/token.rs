//! Access tokens: as they come, and with a good signature over whatever header and claims.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use messenger_core::{ManualClock, SessionId, Timestamp, UserId};
use messenger_identity::{AccessClaims, Identity, Signer, TokenRules, Verifier, jwks};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Outcome, Probe};

/// The time of the seeds: 2026-01-01.
const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT","kid":"k"}"#;

struct World {
    pair: Ed25519KeyPair,
    signer: Signer,
    /// The set of its key.
    keys: String,
    /// The one good token.
    token: String,
    identity: Identity,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes are a seed");
    let document: Pkcs8V1Der<'_> = pair.as_der().expect("a key can be written");
    let signer = Signer::from_pkcs8("k", document.as_ref()).expect("a key as it was written");
    let keys = jwks(&[signer.jwk()]);
    let identity = Identity {
        user_id: UserId::from_uuid(Uuid::from_u128(1)),
        session_id: SessionId::from_uuid(Uuid::from_u128(2)),
        issued_at: NOW,
        expires_at: NOW.plus(std::time::Duration::from_secs(900)),
    };
    let token = signer.sign(&AccessClaims::new(&TokenRules::default(), identity, "1".to_owned()));
    World { pair, signer, keys, token, identity }
});

/// A new one for each input, for it remembers tokens: what an input costs is its own.
fn keyless() -> Verifier {
    let verifier = Verifier::new(TokenRules::default(), Arc::new(ManualClock::new(NOW)));
    verifier.set_caught_up();
    verifier
}

fn verifier() -> Verifier {
    let verifier = keyless();
    verifier.set_keys(&WORLD.keys).expect("a key set of ours");
    verifier
}

/// Only what was signed is taken, and in no other spelling. A `*` stands for the good token.
pub fn access_token(input: &[u8], probe: &mut Probe) -> Outcome {
    let text = String::from_utf8_lossy(input).replace('*', &WORLD.token);
    let verifier = verifier();
    match probe.read(text.len(), || verifier.verify(&text)) {
        Ok(identity) => {
            assert_eq!((text.as_str(), identity), (WORLD.token.as_str(), WORLD.identity));
            Outcome::of("good")
        }
        Err(error) => Outcome::sized(&error.to_string(), text.matches('.').count()),
    }
}

/// Claims, or a header and claims on two lines, signed by the right key. What is taken is good now, and stays so when it is
/// signed anew from what was read.
pub fn token_claims(input: &[u8], probe: &mut Probe) -> Outcome {
    let text = String::from_utf8_lossy(input);
    let (header, claims) = text.split_once('\n').unwrap_or((HEADER, &text));
    let (token, verifier) = (signed(header, claims), verifier());
    match probe.read(token.len(), || verifier.verify(&token)) {
        Ok(identity) => {
            assert!(identity.expires_at > NOW, "expired");
            let said: Value = serde_json::from_str(claims).expect("claims are JSON");
            assert_eq!(said["sub"].as_str().map(str::to_lowercase), Some(identity.user_id.to_string()));
            assert_eq!(said["exp"].as_i64(), Some(identity.expires_at.as_secs()));
            assert_eq!(["iss", "aud", "typ"].map(|name| &said[name]), ["messenger", "messenger", "access"]);
            assert!(said["nbf"].as_f64().is_none_or(|from| from * 1e6 <= NOW.as_micros() as f64), "not yet");
            let again = WORLD.signer.sign(&AccessClaims::new(&TokenRules::default(), identity, "1".to_owned()));
            let again = verifier.verify(&again).expect("signed anew");
            assert_eq!((again.user_id, again.session_id), (identity.user_id, identity.session_id));
            assert_eq!(again.expires_at, identity.expires_at);
            Outcome::sized("good", claims.len())
        }
        Err(error) => {
            let why = serde_json::from_str::<AccessClaims>(claims).err().map(|error| error.to_string());
            Outcome::of(format_args!("{error} {}", why.unwrap_or_default()))
        }
    }
}

fn signed(header: &str, claims: &str) -> String {
    let unsigned = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = WORLD.pair.sign(unsigned.as_bytes());
    format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A key set that is taken has a key; one that is refused leaves the keys as they were. A `*` stands for the good key.
pub fn jwk_set(input: &[u8], probe: &mut Probe) -> Outcome {
    let x = URL_SAFE_NO_PAD.encode(WORLD.pair.public_key());
    let text = String::from_utf8_lossy(input).replace('*', &x);
    let verifier = keyless();
    match probe.read(text.len(), || verifier.set_keys(&text)) {
        Ok(()) => {
            assert!(verifier.has_keys());
            Outcome::sized(&format!("keys {}", verifier.verify(&WORLD.token).is_ok()), text.len())
        }
        Err(error) => {
            assert!(!verifier.has_keys());
            let why = serde_json::from_str::<Value>(&text).err().map(|error| error.to_string());
            Outcome::of(format_args!("{error} {}", why.unwrap_or_else(|| json!(text.len() > 20).to_string())))
        }
    }
}
