//! Another identity system, as far as a messenger sees one: it issues tokens and serves its keys over HTTP.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// A key it signs with.
pub struct IdentityKey {
    kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl IdentityKey {
    /// RS256, 2,048 bits.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn rs256(kid: &str) -> anyhow::Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no RSA key"))?;
        Ok(Self { kid: kid.to_owned(), pair: Pair::Rsa(pair) })
    }

    /// ES256.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn es256(kid: &str) -> anyhow::Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| anyhow!("no EC key"))?;
        Ok(Self { kid: kid.to_owned(), pair: Pair::P256(pair) })
    }

    /// EdDSA (Ed25519).
    ///
    /// # Errors
    /// When no key can be made.
    pub fn eddsa(kid: &str) -> anyhow::Result<Self> {
        let pair = Ed25519KeyPair::generate().map_err(|_| anyhow!("no Ed25519 key"))?;
        Ok(Self { kid: kid.to_owned(), pair: Pair::Ed25519(pair) })
    }

    /// The algorithm's name in tokens.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// Its public half.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (kid, alg) = (&self.kid, self.algorithm());
        match &self.pair {
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                let n = text(key.modulus().big_endian_without_leading_zero());
                let e = text(key.exponent().big_endian_without_leading_zero());
                json!({ "kty": "RSA", "use": "sig", "kid": kid, "alg": alg, "n": n, "e": e })
            }
            Pair::P256(pair) => {
                // An uncompressed point: 4, x, y.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "alg": alg, "x": text(x), "y": text(y) })
            }
            Pair::Ed25519(pair) => {
                let x = text(pair.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "alg": alg, "x": x })
            }
        }
    }

    /// A token with these claims.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": self.algorithm(), "typ": "JWT", "kid": self.kid }), claims)
    }

    /// A token with a header of any kind, signed as this key signs.
    #[must_use]
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.sign(message.as_bytes())))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("the key was made for it");
                signature
            }
            Pair::P256(pair) => pair.sign(&random, message).expect("the key was made for it").as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// The `aud` of its tokens.
pub const AUDIENCE: &str = "chat";

/// A running system.
pub struct IdentitySystem {
    address: SocketAddr,
    shown: Arc<Shown>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shown {
    jwks: Mutex<String>,
    is_away: AtomicBool,
    asked: AtomicUsize,
}

impl IdentitySystem {
    /// Starts one on a free port, with these keys published.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(keys: &[&IdentityKey]) -> anyhow::Result<Self> {
        let shown = Arc::new(Shown::default());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/jwks.json", get(jwks)).with_state(Arc::clone(&shown));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap_or_default() });
        let system = Self { address, shown, server };
        system.publish(keys);
        Ok(system)
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its keys are.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    /// The settings that make a messenger accept its tokens.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MESSENGER_IDENTITY_ISSUER", self.issuer()),
            ("MESSENGER_IDENTITY_JWKS_URL", self.jwks_url()),
            ("MESSENGER_IDENTITY_AUDIENCE", AUDIENCE.to_owned()),
        ]
    }

    /// Replaces the published keys.
    pub fn publish(&self, keys: &[&IdentityKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.publish_text(json!({ "keys": keys }).to_string());
    }

    /// Publishes any text.
    pub fn publish_text(&self, text: String) {
        *self.shown.jwks.lock().expect("nobody panics while holding it") = text;
    }

    /// Answers 503 from now on, or no longer.
    pub fn set_away(&self, is_away: bool) {
        self.shown.is_away.store(is_away, Ordering::Relaxed);
    }

    /// How often its keys were asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.shown.asked.load(Ordering::Relaxed)
    }

    /// Claims of a token issued now to a subject, good for five minutes.
    ///
    /// # Errors
    /// When the clock stands before 1970.
    #[expect(clippy::disallowed_methods, reason = "the real time, as the processes under test have it")]
    pub fn claims(&self, subject: &str) -> anyhow::Result<Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?.as_secs();
        Ok(self.claims_at(subject, now))
    }

    /// Claims of a token issued at a time (seconds since 1970), good for five minutes.
    #[must_use]
    pub fn claims_at(&self, subject: &str, issued_at: u64) -> Value {
        json!({
            "iss": self.issuer(), "aud": [AUDIENCE, "other"], "sub": subject, "iat": issued_at, "exp": issued_at + 300,
            "name": format!("{subject} of another system"), "email": format!("{subject}@example.org"),
            "designation": "Engineer",
        })
    }
}

impl Drop for IdentitySystem {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn jwks(State(shown): State<Arc<Shown>>) -> (StatusCode, String) {
    shown.asked.fetch_add(1, Ordering::Relaxed);
    if shown.is_away.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    (StatusCode::OK, shown.jwks.lock().expect("nobody panics while holding it").clone())
}
