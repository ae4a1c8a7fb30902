//! Tokens of another identity system: rows 25 to 32 of the attacks, for each kind of key.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use messenger_core::{Clock, Error, ErrorKind, SessionId, Timestamp, UserId};
use messenger_identity::{
    AccessClaims, Admission, ClaimNames, ForeignIssuer, ForeignUser, Identity, Revocation, Signer, TokenRules,
    Verifier, foreign_user_id, jwks,
};
use messenger_testkit::IdentityKey;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ISSUER: &str = "https://id.example";

#[derive(Debug)]
struct StoppedClock(AtomicI64);

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Writes down whom it was asked to admit.
#[derive(Debug, Default)]
struct Door(Mutex<Vec<ForeignUser>>);

#[async_trait]
impl Admission for Door {
    async fn admit(&self, user: &ForeignUser) -> Result<(), Error> {
        self.0.lock().expect("no panic").push(user.clone());
        if user.subject == "kept out" {
            return Err(Error::new(ErrorKind::TokenRevoked, "the user is deactivated"));
        }
        Ok(())
    }
}

struct Setup {
    verifier: Verifier,
    door: Arc<Door>,
    clock: Arc<StoppedClock>,
    keys: [IdentityKey; 3],
}

impl Setup {
    fn new() -> Self {
        let keys = [IdentityKey::rs256("rsa"), IdentityKey::es256("ec"), IdentityKey::eddsa("ed")];
        let keys = keys.map(|key| key.expect("a key"));
        let (clock, door) = (Arc::new(StoppedClock(AtomicI64::new(NOW.as_micros()))), Arc::new(Door::default()));
        let verifier = Verifier::new(TokenRules::default(), clock.clone());
        verifier.set_foreign(vec![issuer(ISSUER, &keys.each_ref().map(IdentityKey::jwk))]);
        verifier.set_admission(door.clone());
        verifier.set_caught_up();
        Self { verifier, door, clock, keys }
    }

    async fn identify(&self, token: &str) -> Result<Identity, ErrorKind> {
        self.verifier.identify(token).await.map_err(|error| error.kind())
    }

    /// With each kind of key.
    async fn all_refused(&self, claims: &Value, why: &str) {
        for key in &self.keys {
            let refused = self.identify(&key.token(claims)).await.expect_err(why);
            assert_eq!(refused, ErrorKind::Unauthenticated, "{} {why}", key.algorithm());
        }
    }

    fn admitted(&self) -> Vec<ForeignUser> {
        self.door.0.lock().expect("no panic").clone()
    }
}

fn issuer(name: &str, keys: &[Value]) -> ForeignIssuer {
    let rules = TokenRules { issuer: name.to_owned(), audience: "chat".to_owned() };
    ForeignIssuer { rules, claims: ClaimNames::default(), jwks: jwks(keys) }
}

fn claims(subject: &str) -> Value {
    let now = NOW.as_secs();
    json!({ "iss": ISSUER, "aud": "chat", "sub": subject, "iat": now, "exp": now + 300,
            "name": " Ann\u{7} Lee ", "email": "ann@example.org" })
}

fn changed(claim: &str, value: Value) -> Value {
    let mut claims = claims("ann");
    claims[claim] = value;
    claims
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn each_kind_of_key_says_who_it_is() {
    let setup = Setup::new();
    for key in &setup.keys {
        let algorithm = key.algorithm();
        let identity = setup.identify(&key.token(&claims("ann"))).await.expect(algorithm);
        assert_eq!(identity.user_id, foreign_user_id(ISSUER, "ann"));
        assert_eq!((identity.issued_at, identity.expires_at), (NOW, NOW.plus(Duration::from_secs(300))));
    }
    let admitted = setup.admitted();
    assert_eq!(admitted.len(), 1, "auth is asked once for tokens of the same second");
    assert_eq!((admitted[0].subject.as_str(), admitted[0].full_name.as_deref()), ("ann", Some("Ann Lee")));
    assert_eq!((admitted[0].email.as_deref(), admitted[0].designation.as_deref()), (Some("ann@example.org"), None));
    let [key, ..] = &setup.keys;
    for claims in [changed("aud", json!(["other", "chat"])), changed("iat", json!(NOW.as_secs() as f64 + 0.5))] {
        setup.identify(&key.token(&claims)).await.expect("as RFC 7519 has it");
    }
    let typed = json!({ "alg": "RS256", "typ": "at+JWT", "kid": "rsa" });
    setup.identify(&key.token_with(&typed, &claims("ann"))).await.expect("RFC 9068");
    assert!(setup.verifier.verify(&key.token(&claims("ann"))).is_err(), "not where only ours are good");
}

#[tokio::test]
async fn row_25_unsigned_and_unknown_algorithms() {
    let setup = Setup::new();
    for key in &setup.keys {
        let token = key.token(&claims("ann"));
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let (_, body) = signed.split_once('.').expect("two parts");
        let kid = key.jwk()["kid"].clone();
        for algorithm in ["none", "None", "nOnE", "", "HS256", "HS512", "RS384", "PS256", "ES384", "EdDSA ", "ES256K"] {
            let header = encode(&json!({ "alg": algorithm, "typ": "JWT", "kid": kid }));
            for signature in ["", signature] {
                let forged = format!("{header}.{body}.{signature}");
                assert_eq!(setup.identify(&forged).await, Err(ErrorKind::Unauthenticated), "{algorithm}");
            }
        }
        for odd in [signed.to_owned(), format!("{signed}."), format!("{token}.x"), format!("{token} ")] {
            assert_eq!(setup.identify(&odd).await, Err(ErrorKind::Unauthenticated));
        }
    }
    assert!(setup.admitted().is_empty(), "nobody was asked about a forgery");
}

#[tokio::test]
async fn a_key_verifies_only_its_own_algorithm() {
    let setup = Setup::new();
    let [rsa, ec, ed] = &setup.keys;
    for (signer, claimed) in [(rsa, "ec"), (rsa, "ed"), (ec, "rsa"), (ec, "ed"), (ed, "rsa"), (ed, "ec")] {
        let header = json!({ "alg": signer.algorithm(), "typ": "JWT", "kid": claimed });
        let token = signer.token_with(&header, &claims("ann"));
        assert_eq!(setup.identify(&token).await, Err(ErrorKind::Unauthenticated), "{claimed}");
    }
    // RS512 with an RSA key that is published for RS256, and a key that is published for what it is not.
    let header = json!({ "alg": "RS512", "typ": "JWT", "kid": "rsa" });
    assert!(setup.identify(&rsa.token_with(&header, &claims("ann"))).await.is_err());
    for (name, value) in [
        ("alg", json!("RS512")),
        ("alg", json!("HS256")),
        ("alg", json!("ES256")),
        ("use", json!("enc")),
        ("kty", json!("oct")),
    ] {
        let mut key = rsa.jwk();
        key[name] = value;
        setup.verifier.set_foreign(vec![issuer(ISSUER, &[key])]);
        assert!(setup.identify(&rsa.token(&claims("ann"))).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn row_26_nothing_may_be_changed() {
    let setup = Setup::new();
    for key in &setup.keys {
        let (mine, other) = (key.token(&claims("ann")), key.token(&claims("bob")));
        let [mine, other]: [Vec<&str>; 2] = [mine.split('.').collect(), other.split('.').collect()];
        assert!(setup.identify(&format!("{}.{}.{}", mine[0], other[1], mine[2])).await.is_err());
        let mut flipped = URL_SAFE_NO_PAD.decode(mine[2]).expect("base64");
        flipped[10] ^= 1;
        let flipped = URL_SAFE_NO_PAD.encode(flipped);
        assert!(setup.identify(&format!("{}.{}.{flipped}", mine[0], mine[1])).await.is_err());
    }
}

#[tokio::test]
async fn rows_27_and_29_hmac_by_weak_and_by_public_keys() {
    let setup = Setup::new();
    for key in &setup.keys {
        let jwk = key.jwk();
        let kid = jwk["kid"].clone();
        let numbers = ["n", "x", "y"].iter().filter_map(|name| jwk[*name].as_str());
        let public: Vec<Vec<u8>> = numbers.map(|text| URL_SAFE_NO_PAD.decode(text).expect("base64")).collect();
        let mut secrets = vec![Vec::new(), b"secret".to_vec(), jwk.to_string().into_bytes()];
        secrets.extend(public);
        for secret in secrets {
            let message = format!("{}.{}", encode(&json!({ "alg": "HS256", "kid": kid })), encode(&claims("ann")));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
            assert_eq!(setup.identify(&token).await, Err(ErrorKind::Unauthenticated));
        }
        let long = "k".repeat(100_000);
        for kid in ["", "../../dev/null", "' OR 1=1 --", "other", &long] {
            let header = json!({ "alg": key.algorithm(), "kid": kid, "jwk": jwk, "jku": "https://evil.example" });
            assert_eq!(setup.identify(&key.token_with(&header, &claims("ann"))).await, Err(ErrorKind::Unauthenticated));
        }
        for header in
            [json!({ "alg": key.algorithm() }), json!({ "alg": key.algorithm(), "kid": kid, "crit": ["exp"] })]
        {
            assert_eq!(setup.identify(&key.token_with(&header, &claims("ann"))).await, Err(ErrorKind::Unauthenticated));
        }
    }
}

#[tokio::test]
async fn row_30_what_is_not_meant_for_calls() {
    let setup = Setup::new();
    for typ in ["Refresh", "Offline", "Logout", "ID"] {
        setup.all_refused(&changed("typ", json!(typ)), typ).await;
    }
    setup.all_refused(&changed("typ", json!(7)), "a typ that is no text").await;
    let logout = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    setup.all_refused(&changed("events", logout), "a logout notice").await;
    setup.identify(&setup.keys[0].token(&changed("typ", json!("Bearer")))).await.expect("as Keycloak has it");
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt"] {
        let header = json!({ "alg": "RS256", "typ": typ, "kid": "rsa" });
        let token = setup.keys[0].token_with(&header, &claims("ann"));
        assert_eq!(setup.identify(&token).await, Err(ErrorKind::Unauthenticated), "{typ}");
    }
}

#[tokio::test]
async fn row_31_claims_are_required_and_of_their_types() {
    let setup = Setup::new();
    for claim in ["iss", "aud", "sub", "iat", "exp"] {
        let mut missing = claims("ann");
        missing.as_object_mut().expect("an object").remove(claim);
        setup.all_refused(&missing, claim).await;
        for odd in [json!(null), json!(true), json!([]), json!({}), json!(""), json!(-1), json!(1.0e300)] {
            setup.all_refused(&changed(claim, odd), claim).await;
        }
    }
    let (now, text) = (NOW.as_secs(), (NOW.as_secs() + 60).to_string());
    let cases = [
        ("iss", json!("https://other.example")),
        ("aud", json!("messenger")),
        ("aud", json!(["messenger", 1])),
        ("sub", json!("s".repeat(256))),
        ("sub", json!("a\0b")),
        ("sub", json!(1)),
        ("exp", json!(text)),
        ("iat", json!(now + 61)),
        ("nbf", json!(now + 61)),
        ("nbf", json!("0")),
        ("nbf", json!(null)),
    ];
    for (claim, value) in cases {
        setup.all_refused(&changed(claim, value.clone()), &format!("{claim} = {value}")).await;
    }
    assert!(setup.admitted().is_empty());
    let [key, ..] = &setup.keys;
    setup.identify(&key.token(&changed("iat", json!(now + 60)))).await.expect("clocks differ");
    let ended = key.token(&changed("exp", json!(now)));
    assert_eq!(setup.identify(&ended).await, Err(ErrorKind::TokenExpired));
    // A token for a year is good for a day.
    let long = key.token(&changed("exp", json!(now + 365 * 86_400)));
    setup.identify(&long).await.expect("today");
    setup.clock.0.store(NOW.plus(Duration::from_secs(86_400)).as_micros(), Ordering::Relaxed);
    assert_eq!(setup.identify(&long).await, Err(ErrorKind::TokenExpired));
}

#[tokio::test]
async fn an_address_that_was_not_verified_is_not_believed() {
    let setup = Setup::new();
    for (subject, verified, is_believed) in [
        ("ann", json!(true), true),
        ("amy", json!("true"), true),
        ("bob", json!(null), true),
        ("eve", json!(false), false),
        ("eva", json!("false"), false),
        ("evi", json!(0), false),
    ] {
        let mut claims = claims(subject);
        claims["email_verified"] = verified;
        setup.identify(&setup.keys[0].token(&claims)).await.expect("a user all the same");
        let admitted = setup.admitted();
        assert_eq!(admitted[admitted.len() - 1].email.is_some(), is_believed, "{subject}");
    }
}

#[tokio::test]
async fn row_32_large_and_deep_tokens() {
    let setup = Setup::new();
    let deep = format!("{{\"alg\":\"RS256\",\"kid\":\"rsa\",\"x\":{}{}}}", "[".repeat(2_500), "]".repeat(2_500));
    let deep = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(deep));
    for token in ["x".repeat(1 << 20), ".".repeat(100_000), deep, "é".repeat(4_000)] {
        assert_eq!(setup.identify(&token).await, Err(ErrorKind::Unauthenticated));
    }
}

#[tokio::test]
async fn issuers_do_not_speak_for_each_other() {
    let setup = Setup::new();
    let evil = IdentityKey::eddsa("ed").expect("a key");
    let both =
        [issuer(ISSUER, &setup.keys.each_ref().map(IdentityKey::jwk)), issuer("https://evil.example", &[evil.jwk()])];
    setup.verifier.set_foreign(both.to_vec());
    // The other system has a key of the same name, signs with it in the name of the first, and for subjects of it.
    assert_eq!(setup.identify(&evil.token(&claims("ann"))).await, Err(ErrorKind::Unauthenticated));
    let own = setup.identify(&evil.token(&changed("iss", json!("https://evil.example")))).await.expect("its own");
    let ann = setup.identify(&setup.keys[2].token(&claims("ann"))).await.expect("the first one's");
    assert_ne!(own.user_id, ann.user_id, "the same subject and address of two issuers are two users");
    // Nor for us.
    let user_id = UserId::new(NOW);
    let expires_at = NOW.plus(Duration::from_secs(60));
    let identity = Identity { user_id, session_id: SessionId::new(NOW), issued_at: NOW, expires_at };
    let ours = AccessClaims::new(&TokenRules::default(), identity, "t1".to_owned());
    let ours = serde_json::to_value(ours).expect("JSON");
    assert_eq!(setup.identify(&evil.token(&ours)).await, Err(ErrorKind::Unauthenticated));
    let signer = Signer::from_pkcs8("own", &Signer::generate().expect("a key")).expect("a key");
    setup.verifier.set_keys(&jwks(&[signer.jwk()])).expect("a key");
    setup.verifier.clear_keys();
    let token = signer.sign(&AccessClaims::new(&TokenRules::default(), identity, "t1".to_owned()));
    assert_eq!(setup.identify(&token).await, Err(ErrorKind::Unauthenticated), "own tokens are switched off");
}

#[test]
fn ids_are_for_ever_and_never_shared() {
    let id = |issuer, subject| foreign_user_id(issuer, subject).to_string();
    assert_eq!(id("https://id.example", "ann"), "d104531f-a3a7-81f9-854c-2027007b1ac2");
    assert_ne!(id("https://id.example", "ann"), id("https://id.example", "Ann"));
    assert_ne!(id("https://id.examplea", "nn"), id("https://id.example", "ann"));
    assert_ne!(id("", "xy"), id("x", "y"));
}

#[tokio::test]
async fn auth_is_asked_for_each_newer_token_and_believed() {
    let setup = Setup::new();
    let [key, ..] = &setup.keys;
    let at = |seconds: i64, subject: &str| {
        let mut claims = claims(subject);
        claims["iat"] = json!(NOW.as_secs() + seconds);
        key.token(&claims)
    };
    for seconds in [0, -5, 0, 5, 5, 3] {
        setup.identify(&at(seconds, "ann")).await.expect("good");
    }
    assert_eq!(setup.admitted().len(), 2, "for the first and for the newer one");
    for _ in 0..2 {
        assert_eq!(setup.identify(&at(0, "kept out")).await, Err(ErrorKind::TokenRevoked));
    }
    assert_eq!(setup.admitted().len(), 4, "a refusal is not remembered: it may be lifted");
}

#[tokio::test]
async fn a_revocation_ends_what_was_issued_before_for_a_day() {
    let setup = Setup::new();
    let [key, ..] = &setup.keys;
    let long = key.token(&changed("exp", json!(NOW.as_secs() + 86_400)));
    let identity = setup.identify(&long).await.expect("good");
    let revoked_at = NOW.plus(Duration::from_secs(1));
    let until = Revocation::foreign_until(revoked_at);
    let revocation =
        |number, user_id| Revocation { number, user_id, session_id: None, except_session_id: None, revoked_at, until };
    setup.verifier.revoke(revocation(1, identity.user_id));
    assert_eq!(setup.identify(&long).await, Err(ErrorKind::TokenRevoked));
    setup.clock.0.store(NOW.plus(Duration::from_secs(23 * 3_600)).as_micros(), Ordering::Relaxed);
    setup.verifier.revoke(revocation(2, UserId::new(NOW)));
    assert_eq!(setup.identify(&long).await, Err(ErrorKind::TokenRevoked), "hours later");
}
