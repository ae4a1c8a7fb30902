//! Tokens as auth signs them, and as attackers make them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use messenger_core::{Clock, ErrorKind, SessionId, Timestamp, UserId};
use messenger_identity::{AccessClaims, Identity, Revocation, Signer, TokenRules, Verifier, jwks};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const LIFE: Duration = Duration::from_secs(900);

#[derive(Debug)]
struct StoppedClock(AtomicI64);

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

struct Setup {
    signer: Signer,
    verifier: Verifier,
    clock: Arc<StoppedClock>,
    identity: Identity,
}

impl Setup {
    fn new() -> Self {
        let signer = signer("k1");
        let clock = Arc::new(StoppedClock(AtomicI64::new(NOW.as_micros())));
        let verifier = Verifier::new(TokenRules::default(), clock.clone());
        verifier.set_keys(&jwks(&[signer.jwk()])).expect("a key");
        verifier.set_caught_up();
        let identity = Identity {
            user_id: UserId::new(NOW),
            session_id: SessionId::new(NOW),
            issued_at: NOW,
            expires_at: NOW.plus(LIFE),
        };
        Self { signer, verifier, clock, identity }
    }

    fn claims(&self) -> AccessClaims {
        AccessClaims::new(&TokenRules::default(), self.identity, "t1".to_owned())
    }

    fn token(&self) -> String {
        self.signer.sign(&self.claims())
    }

    fn kind(&self, token: &str) -> ErrorKind {
        self.verifier.verify(token).expect_err(token.get(..80).unwrap_or(token)).kind()
    }

    /// The claims with changes, under a valid signature.
    fn signed(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = serde_json::to_value(self.claims()).expect("JSON");
        change(&mut claims);
        self.sign_raw(&json!({"alg": "EdDSA", "kid": "k1"}), &claims)
    }

    fn sign_raw(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let key = jsonwebtoken::EncodingKey::from_ed_der(&self.pkcs8());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::EdDSA);
        format!("{message}.{}", signature.expect("signed"))
    }

    fn pkcs8(&self) -> Vec<u8> {
        KEY.with(Clone::clone)
    }
}

thread_local! {
    static KEY: Vec<u8> = Signer::generate().expect("a key");
}

fn signer(kid: &str) -> Signer {
    Signer::from_pkcs8(kid, &KEY.with(Clone::clone)).expect("a key")
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn part(token: &str, index: usize) -> &str {
    token.split('.').nth(index).expect("three parts")
}

#[test]
fn what_auth_signs_is_verified() {
    let setup = Setup::new();
    assert_eq!(setup.verifier.verify(&setup.token()).expect("valid"), setup.identity);
    assert_eq!(setup.verifier.verify(&setup.signed(|_| {})).expect("valid"), setup.identity);
    let whole_seconds = setup.signed(|claims| claims["iat"] = json!(NOW.as_secs()));
    assert_eq!(setup.verifier.verify(&whole_seconds).expect("valid").issued_at, NOW);
}

#[test]
fn issued_at_keeps_its_microseconds() {
    let mut setup = Setup::new();
    setup.identity.issued_at = Timestamp::from_micros(NOW.as_micros() + 123_457);
    assert_eq!(setup.verifier.verify(&setup.token()).expect("valid").issued_at, setup.identity.issued_at);
}

#[test]
fn unsigned_and_unknown_algorithms() {
    let setup = Setup::new();
    let token = setup.token();
    for algorithm in ["none", "None", "nOnE", "", "EdDSA ", "RS256", "ES256", "HS512"] {
        let header = encode(&json!({"alg": algorithm, "kid": "k1"}));
        for signature in ["", part(&token, 2)] {
            assert_eq!(setup.kind(&format!("{header}.{}.{signature}", part(&token, 1))), ErrorKind::Unauthenticated);
        }
    }
    for odd in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", &token[..token.len() - 87], "Bearer"] {
        assert_eq!(setup.kind(odd), ErrorKind::Unauthenticated);
    }
}

#[test]
fn nothing_may_be_changed() {
    let setup = Setup::new();
    let (token, other) = (setup.token(), Setup::new());
    let others = other.token();
    let exchanged = format!("{}.{}.{}", part(&token, 0), part(&others, 1), part(&token, 2));
    assert_eq!(setup.kind(&exchanged), ErrorKind::Unauthenticated);
    let mut flipped = URL_SAFE_NO_PAD.decode(part(&token, 2)).expect("base64");
    flipped[10] ^= 1;
    let flipped = format!("{}.{}.{}", part(&token, 0), part(&token, 1), URL_SAFE_NO_PAD.encode(flipped));
    assert_eq!(setup.kind(&flipped), ErrorKind::Unauthenticated);
    for odd in [format!("{token} "), format!(" {token}"), format!("{token}="), format!("{token}.x")] {
        assert_eq!(setup.kind(&odd), ErrorKind::Unauthenticated);
    }
}

#[test]
fn hmac_with_the_public_key_or_a_weak_one() {
    let setup = Setup::new();
    let claims = encode(&serde_json::to_value(setup.claims()).expect("JSON"));
    let x = setup.signer.jwk()["x"].as_str().expect("text").to_owned();
    let public_key = URL_SAFE_NO_PAD.decode(&x).expect("base64");
    let jwks_text = jwks(&[setup.signer.jwk()]);
    for key in [&public_key[..], x.as_bytes(), jwks_text.as_bytes(), b"", b"secret"] {
        let message = format!("{}.{claims}", encode(&json!({"alg": "HS256", "kid": "k1"})));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
        assert_eq!(setup.kind(&token), ErrorKind::Unauthenticated);
    }
}

#[test]
fn the_header_names_only_a_key_we_have() {
    let setup = Setup::new();
    let claims = serde_json::to_value(setup.claims()).expect("JSON");
    let jwk = setup.signer.jwk();
    let headers = [
        json!({"alg": "EdDSA"}),
        json!({"alg": "EdDSA", "kid": ""}),
        json!({"alg": "EdDSA", "kid": "../../dev/null"}),
        json!({"alg": "EdDSA", "kid": "' OR 1=1 --"}),
        json!({"alg": "EdDSA", "kid": 1}),
        json!({"alg": "EdDSA", "kid": "k2", "jwk": jwk}),
        json!({"alg": "EdDSA", "kid": "k2", "jku": "https://evil.example/jwks.json"}),
        json!({"alg": "EdDSA", "kid": "k1", "crit": ["exp"]}),
    ];
    for header in headers {
        assert_eq!(setup.kind(&setup.sign_raw(&header, &claims)), ErrorKind::Unauthenticated, "{header}");
    }
    let foreign = Signer::from_pkcs8("k1", &Signer::generate().expect("a key")).expect("a key");
    assert_eq!(setup.kind(&foreign.sign(&setup.claims())), ErrorKind::Unauthenticated);
}

#[test]
fn every_claim_is_required_and_of_its_type() {
    let setup = Setup::new();
    for claim in ["sub", "sid", "iss", "aud", "exp", "iat", "jti", "typ"] {
        let missing = setup.signed(|claims| drop(claims.as_object_mut().expect("object").remove(claim)));
        assert_eq!(setup.kind(&missing), ErrorKind::Unauthenticated, "{claim} missing");
        for odd in [json!(null), json!(true), json!([]), json!({}), json!(""), json!(-1), json!("x"), json!(1.0e300)] {
            let token = setup.signed(|claims| claims[claim] = odd.clone());
            // A token id may be any text.
            if (claim, &odd) != ("jti", &json!("x")) {
                assert_eq!(setup.kind(&token), ErrorKind::Unauthenticated, "{claim} = {odd}");
            }
        }
    }
}

#[test]
fn for_us_by_us_as_an_access_token() {
    let setup = Setup::new();
    let cases = [
        ("iss", json!("other")),
        ("aud", json!("other")),
        ("aud", json!(["messenger"])),
        ("typ", json!("refresh")),
        ("nbf", json!(NOW.as_secs() + 1)),
        ("nbf", json!("0")),
        ("exp", json!((NOW.as_secs() + 60).to_string())),
    ];
    for (claim, value) in cases {
        let token = setup.signed(|claims| claims[claim] = value.clone());
        assert_eq!(setup.kind(&token), ErrorKind::Unauthenticated, "{claim} = {value}");
    }
    let begun = setup.signed(|claims| claims["nbf"] = json!(NOW.as_secs()));
    assert!(setup.verifier.verify(&begun).is_ok());
}

#[test]
fn expired_on_the_second_without_leeway() {
    let setup = Setup::new();
    let token = setup.token();
    let end = NOW.plus(LIFE).as_micros();
    setup.clock.0.store(end - 1, Ordering::Relaxed);
    assert!(setup.verifier.verify(&token).is_ok());
    setup.clock.0.store(end, Ordering::Relaxed);
    assert_eq!(setup.kind(&token), ErrorKind::TokenExpired);
}

/// With a key that leaked nobody makes tokens for a time when the key is long withdrawn.
#[test]
fn issued_ahead_of_time() {
    let mut setup = Setup::new();
    for (ahead, is_good) in [(60, true), (61, false), (86_400, false)] {
        let issued_at = NOW.plus(Duration::from_secs(ahead));
        setup.identity = Identity { issued_at, expires_at: issued_at.plus(LIFE), ..setup.identity };
        assert_eq!(setup.verifier.verify(&setup.token()).is_ok(), is_good, "{ahead} s ahead");
    }
}

#[test]
fn large_and_deep_tokens_cost_nothing() {
    let setup = Setup::new();
    let deep = format!("{{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"x\":{}{}}}", "[".repeat(2_500), "]".repeat(2_500));
    let deep = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(deep));
    assert!(deep.len() < 8 * 1024);
    let started = Instant::now();
    for token in ["x".repeat(1 << 20), ".".repeat(100_000), deep, "é".repeat(4_000)] {
        assert_eq!(setup.kind(&token), ErrorKind::Unauthenticated);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "more than a look at their size");
}

fn revocation(setup: &Setup) -> Revocation {
    let user_id = setup.identity.user_id;
    let until = Revocation::own_until(NOW);
    Revocation { number: 1, user_id, session_id: None, except_session_id: None, revoked_at: NOW, until }
}

#[test]
fn a_revoked_session_is_over_others_go_on() {
    let setup = Setup::new();
    let token = setup.token();
    let session_id = Some(SessionId::new(NOW));
    setup.verifier.revoke(Revocation { session_id, ..revocation(&setup) });
    assert!(setup.verifier.verify(&token).is_ok());
    let session_id = Some(setup.identity.session_id);
    setup.verifier.revoke(Revocation { number: 2, session_id, ..revocation(&setup) });
    assert_eq!(setup.kind(&token), ErrorKind::TokenRevoked);
    assert!(setup.verifier.is_revoked(&setup.identity));
}

#[test]
fn all_sessions_but_one_and_those_begun_later() {
    let mut setup = Setup::new();
    let revoked_at = Timestamp::from_micros(NOW.as_micros() + 1);
    let but_ours = Some(setup.identity.session_id);
    setup.verifier.revoke(Revocation { except_session_id: but_ours, revoked_at, ..revocation(&setup) });
    assert!(setup.verifier.verify(&setup.token()).is_ok());
    setup.verifier.revoke(Revocation { number: 2, revoked_at, ..revocation(&setup) });
    assert_eq!(setup.kind(&setup.token()), ErrorKind::TokenRevoked);
    setup.identity.issued_at = revoked_at;
    assert!(setup.verifier.verify(&setup.token()).is_ok(), "logged in anew in the same millisecond");
    setup.identity = Identity { user_id: UserId::new(NOW), issued_at: NOW, ..setup.identity };
    assert!(setup.verifier.verify(&setup.token()).is_ok(), "another user");
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_and_keys_rotate() {
    let setup = Setup::new();
    let next = Signer::from_pkcs8("k2", &Signer::generate().expect("a key")).expect("a key");
    let token = next.sign(&setup.claims());
    assert_eq!(setup.kind(&token), ErrorKind::Unauthenticated);
    setup.verifier.wants_keys().notified().await;
    setup.verifier.set_keys(&jwks(&[setup.signer.jwk(), next.jwk()])).expect("both");
    assert!(setup.verifier.verify(&token).is_ok() && setup.verifier.verify(&setup.token()).is_ok());
    setup.verifier.set_keys(&jwks(&[next.jwk()])).expect("the new one");
    assert_eq!(setup.kind(&setup.token()), ErrorKind::Unauthenticated);
}

#[test]
fn key_sets_without_a_usable_key_change_nothing() {
    let setup = Setup::new();
    let ours = setup.signer.jwk();
    let with = |name: &str, value: Value| {
        let mut key = ours.clone();
        key[name] = value;
        jwks(&[key])
    };
    let sets = [
        "".to_owned(),
        "[]".to_owned(),
        jwks(&[]),
        with("kty", json!("oct")),
        with("crv", json!("X25519")),
        with("use", json!("enc")),
        with("alg", json!("HS256")),
        with("x", json!("AAAA")),
        jwks(&[json!({"kty": "OKP", "crv": "Ed25519", "x": ours["x"]})]),
    ];
    for set in sets {
        assert!(setup.verifier.set_keys(&set).is_err(), "{set}");
    }
    assert!(setup.verifier.verify(&setup.token()).is_ok());
    setup
        .verifier
        .set_keys(&jwks(&[json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), ours]))
        .expect("the other is left out");
}
