//! Access tokens nobody issued: each is shown to REST, to the CONNECT of Socket.IO and to the plain WebSocket.

use std::time::SystemTime;

use aws_lc_rs::{hmac, signature::Ed25519KeyPair};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use messenger_testkit::{TestClient, User, Wire};
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::{
    client::Socket,
    world::{World, brief, refusal},
};

/// Makes tokens: it has auth's own key, so that a signature is wrong only when it is meant to be.
pub struct Forge {
    kid: String,
    key: Ed25519KeyPair,
    public_key: Vec<u8>,
    /// Of a real token.
    claims: Value,
    genuine: String,
    refresh_token: String,
}

impl Forge {
    async fn of(world: &World, user: &User) -> Self {
        let (kid, pkcs8) = world.server.signing_key().await;
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).expect("auth's key");
        Self::new(kid, key, user.token.clone(), user.refresh_token.clone())
    }

    fn new(kid: String, key: Ed25519KeyPair, genuine: String, refresh_token: String) -> Self {
        use aws_lc_rs::signature::KeyPair as _;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(part(&genuine, 1)).expect("base64");
        let claims = serde_json::from_slice(&claims).expect("JSON");
        let public_key = key.public_key().as_ref().to_vec();
        Self { kid, key, public_key, claims, genuine, refresh_token }
    }

    /// For the count of inputs, which needs no server.
    pub fn of_nobody() -> Self {
        let pkcs8 = messenger_identity::Signer::generate().expect("randomness");
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).expect("a key");
        let genuine = format!("{0}.{0}.{0}", encode(&json!({})));
        Self::new("k".to_owned(), key, genuine, "refresh".to_owned())
    }

    fn header(&self, algorithm: &str) -> Value {
        json!({ "alg": algorithm, "kid": self.kid, "typ": "JWT" })
    }

    /// These claims under a good signature.
    fn signed(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// The real claims with one changed, or without it when the value is null.
    fn with(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        match value {
            Value::Null => drop(claims.as_object_mut().map(|claims| claims.remove(name))),
            value => claims[name] = value,
        }
        self.signed(&self.header("EdDSA"), &claims)
    }

    fn keyed_hash(&self, algorithm: hmac::Algorithm, header: &Value, secret: &[u8]) -> String {
        let message = format!("{}.{}", encode(header), encode(&self.claims));
        let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }
}

fn encode(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn part(token: &str, index: usize) -> &str {
    token.split('.').nth(index).expect("three parts")
}

fn now() -> f64 {
    #[expect(clippy::disallowed_methods, reason = "tokens are compared with the server's own clock")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_secs_f64()
}

pub fn row_25(forge: &Forge) -> Vec<String> {
    let (claims, signature) = (part(&forge.genuine, 1), part(&forge.genuine, 2));
    let mut tokens = Vec::new();
    for algorithm in ["none", "None", "nOnE", "NONE", ""] {
        let header = encode(&forge.header(algorithm));
        tokens.push(format!("{header}.{claims}."));
        tokens.push(format!("{header}.{claims}.{signature}"));
    }
    let header = part(&forge.genuine, 0);
    tokens.extend([
        format!("{header}.{claims}."),
        format!("{header}.{claims}"),
        format!("{header}."),
        format!("..{signature}"),
        format!(".{claims}.{signature}"),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "x".to_owned(),
        format!("{}.x", forge.genuine),
    ]);
    tokens
}

pub fn row_26(forge: &Forge) -> Vec<String> {
    let [header, claims, signature] = [0, 1, 2].map(|index| part(&forge.genuine, index));
    let exchanged = |name: &str, value: Value| {
        let mut claims = forge.claims.clone();
        claims[name] = value;
        format!("{header}.{}.{signature}", encode(&claims))
    };
    let reversed: String = signature.chars().rev().collect();
    vec![
        exchanged("sub", json!("0191d3c8-8f7b-7f00-8000-000000000000")),
        exchanged("sid", json!("0191d3c8-8f7b-7f00-8000-000000000000")),
        exchanged("exp", json!(now() as i64 + 86_400)),
        format!("{header}.{claims}.{reversed}"),
        format!("{header}.{claims}.{signature}AA"),
        format!("{header}.{claims}.{}", BASE64_URL_SAFE_NO_PAD.encode([0; 64])),
        format!("{}.{claims}.{signature}", encode(&json!({ "alg": "EdDSA" }))),
        format!("{header}A.{claims}.{signature}"),
    ]
}

pub fn row_27(forge: &Forge) -> Vec<String> {
    let hs256 = |kid: Value| json!({ "alg": "HS256", "typ": "JWT", "kid": kid });
    let sha256 = hmac::HMAC_SHA256;
    let kid = json!(forge.kid);
    let mut tokens: Vec<_> = [&b""[..], b"secret", b"changeme", b"messenger", b"password"]
        .map(|secret| forge.keyed_hash(sha256, &hs256(kid.clone()), secret))
        .into();
    tokens.push(forge.keyed_hash(sha256, &hs256(json!("../../../../dev/null")), b""));
    tokens.push(forge.keyed_hash(sha256, &hs256(json!("/dev/null")), b""));
    for kid in [json!("x' UNION SELECT 'secret' --"), json!("k".repeat(20_000)), json!(["a"]), json!(1), json!("")] {
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": kid });
        tokens.push(forge.signed(&header, &forge.claims));
    }
    for (name, value) in [
        ("jku", json!("https://evil.example.com/jwks.json")),
        ("x5u", json!("https://evil.example.com/cert.pem")),
        ("jwk", json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64_URL_SAFE_NO_PAD.encode([9; 32]) })),
    ] {
        let mut header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": "theirs" });
        header[name] = value;
        tokens.push(forge.signed(&header, &forge.claims));
    }
    tokens
}

pub fn row_29(forge: &Forge) -> Vec<String> {
    let x = BASE64_URL_SAFE_NO_PAD.encode(&forge.public_key);
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": forge.kid }).to_string();
    let mut tokens = Vec::new();
    for secret in [forge.public_key.as_slice(), x.as_bytes(), jwk.as_bytes()] {
        tokens.push(forge.keyed_hash(hmac::HMAC_SHA256, &forge.header("HS256"), secret));
        tokens.push(forge.keyed_hash(hmac::HMAC_SHA256, &forge.header("EdDSA"), secret));
    }
    tokens
}

pub fn row_30(forge: &Forge) -> Vec<String> {
    vec![forge.refresh_token.clone(), forge.with("typ", json!("refresh")), forge.with("typ", Value::Null)]
}

pub fn row_31(forge: &Forge) -> Vec<String> {
    let now = now();
    let mut tokens: Vec<_> = [
        ("exp", json!(now as i64 - 1)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!((now as i64 + 60).to_string())),
        ("exp", json!(1e300)),
        ("exp", Value::Null),
        ("nbf", json!(now + 3_600.0)),
        ("nbf", json!("tomorrow")),
        ("iat", json!("yesterday")),
        ("iat", Value::Null),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!(1)),
        ("sub", json!("admin")),
        ("sub", json!(["0191d3c8-8f7b-7f00-8000-000000000000"])),
        ("sid", Value::Null),
        ("aud", json!("another")),
        ("aud", Value::Null),
        ("iss", json!("https://evil.example.com")),
        ("iss", Value::Null),
        ("jti", Value::Null),
    ]
    .into_iter()
    .map(|(name, value)| forge.with(name, value))
    .collect();
    let critical = json!({ "alg": "EdDSA", "typ": "JWT", "kid": forge.kid, "crit": ["exp"], "exp": 1 });
    tokens.push(forge.signed(&critical, &forge.claims));
    tokens.push(forge.keyed_hash(hmac::HMAC_SHA384, &forge.header("HS384"), &forge.public_key));
    tokens.push(forge.keyed_hash(hmac::HMAC_SHA512, &forge.header("HS512"), &forge.public_key));
    tokens.push(forge.signed(&forge.header("EdDSA"), &json!([])));
    tokens.push(forge.signed(&forge.header("EdDSA"), &json!({})));
    tokens
}

pub fn row_32(forge: &Forge) -> Vec<String> {
    let deep = BASE64_URL_SAFE_NO_PAD.encode("[".repeat(10_000));
    let (claims, signature) = (part(&forge.genuine, 1), part(&forge.genuine, 2));
    vec![
        "a".repeat(1 << 20),
        ".".repeat(100_000),
        ".".repeat(7_000),
        format!("{deep}.{claims}.{signature}"),
        format!("{}.{deep}.{signature}", part(&forge.genuine, 0)),
        format!("{}.{claims}.{}", part(&forge.genuine, 0), "A".repeat(20_000)),
        format!("{}{}", "\u{e9}".repeat(200), forge.genuine),
    ]
}

/// Refused by all three ways in; a head that is too large may be cut off.
async fn is_refused(world: &World, token: &str) {
    let name = brief(token);
    if let Ok(value) = header::HeaderValue::from_str(&format!("Bearer {token}")) {
        let answer = world.request(Method::GET, "users/me").header(header::AUTHORIZATION, &value).send().await;
        // hyper itself refuses a head over 32 KiB, with 431 or an end.
        if let Ok(answer) = answer {
            let status = answer.status().as_u16();
            assert!(status == 431 || refusal(answer).await.0 == 401, "{name}: {status}");
        }
        if token.len() < 16_000 {
            let value = value.to_str().unwrap_or_default();
            let opened = Socket::try_open(&world.server, "/ws", &[("authorization", value)]).await;
            assert_eq!(opened.err().map(|refused| refused.status().as_u16()), Some(401), "{name}");
        }
    }
    let mut socket = Socket::engine(&world.server).await;
    socket.send(&format!("40{}", json!({ "token": token }))).await;
    match socket.text_or_close().await {
        Some(text) => {
            assert!(text.starts_with("44") && text.contains(r#""code":"#), "{name}: {text}");
            assert!(!text.contains("INTERNAL"), "{name}: {text}");
        }
        None => assert!(token.len() > 64 * 1024, "{name}"),
    }
}

async fn all_are_refused(row: fn(&Forge) -> Vec<String>) {
    let world = World::start().await;
    let eve = world.register("eve").await;
    let forge = Forge::of(&world, &eve).await;
    for token in row(&forge) {
        is_refused(&world, &token).await;
    }
    // The forge works: with nothing changed the token is good.
    let genuine = User { token: forge.signed(&forge.header("EdDSA"), &forge.claims), ..eve };
    world.connect(&genuine).await;
    world.unharmed().await;
}

#[tokio::test]
async fn row_25_tokens_without_a_signature() {
    all_are_refused(row_25).await;
}

#[tokio::test]
async fn row_26_tokens_with_a_changed_part() {
    all_are_refused(row_26).await;
}

#[tokio::test]
async fn row_27_guessed_secrets_and_odd_key_names() {
    all_are_refused(row_27).await;
}

#[tokio::test]
async fn row_29_the_published_key_as_a_secret() {
    all_are_refused(row_29).await;
}

#[tokio::test]
async fn row_30_a_refresh_token_is_no_access_token_and_the_reverse() {
    all_are_refused(row_30).await;
    let world = World::start().await;
    let eve = world.register("eve").await;
    let body = json!({ "refreshToken": eve.token });
    let (status, _) = world.api.call(Method::POST, "auth/refresh", None, Some(body)).await.expect("an answer");
    assert_eq!(status, 401);
    world.unharmed().await;
}

#[tokio::test]
async fn row_31_claims_that_are_missing_or_wrong() {
    all_are_refused(row_31).await;
}

#[tokio::test]
async fn row_32_tokens_that_cost_much_to_read() {
    all_are_refused(row_32).await;
}

/// Of the header `Authorization`.
pub fn row_13(token: &str) -> Vec<String> {
    vec![
        "Basic YTpi".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        token.to_owned(),
        format!("Bearer {token} x"),
        format!("Bearer  {token}"),
        format!("Bearer {token},Bearer {token}"),
        format!("Bearer \"{token}\""),
        format!("Token {token}"),
        format!("Bearer {token}x"),
    ]
}

pub fn row_13_queries() -> Vec<&'static str> {
    vec!["token", "access_token", "accessToken", "authorization", "auth"]
}

#[tokio::test]
async fn row_13_credentials_that_are_none() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    for value in row_13(&eve.token) {
        let request = world.request(Method::GET, "users/me").header(header::AUTHORIZATION, &value);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(refusal(answer).await.0, 401, "{}", brief(&value));
    }
    let without = world.request(Method::GET, "users/me").send().await.expect("an answer");
    assert_eq!(refusal(without).await.0, 401);
    let twice = world.request(Method::GET, "users/me").bearer_auth(&eve.token).bearer_auth(&eve.token);
    assert_eq!(refusal(twice.send().await.expect("an answer")).await.0, 401);
    for query in row_13_queries() {
        let request = world.request(Method::GET, &format!("users/me?{query}={}", eve.token));
        assert_eq!(refusal(request.send().await.expect("an answer")).await.0, 401, "{query}");
        let path = format!("/ws?{query}={}", eve.token);
        let opened = Socket::try_open(&world.server, &path, &[]).await;
        assert_eq!(opened.err().map(|refused| refused.status().as_u16()), Some(401), "{query}");
    }
    world.unharmed().await;
}

#[tokio::test]
async fn row_33_a_connection_ends_with_its_token() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    let forge = Forge::of(&world, &eve).await;
    for wire in [Wire::SocketIo, Wire::Plain] {
        let short = User { token: forge.with("exp", json!(now() as i64 + 3)), ..eve.clone() };
        let mut client = TestClient::connect(world.server.address, wire, &short).await.expect("still good");
        let code = client.closed().await.expect("closed");
        assert!(code == 4401 || wire == Wire::SocketIo, "{code}");
    }
    world.unharmed().await;
}

/// Path of what ends the other sessions or all, its body, and whether the asking session ends, too.
pub fn row_34() -> Vec<(&'static str, Value, bool)> {
    let password = messenger_testkit::api::PASSWORD;
    vec![
        ("auth/logout", json!({}), true),
        ("auth/logout-all", json!({}), true),
        ("auth/password", json!({ "currentPassword": password, "newPassword": "another horse" }), false),
    ]
}

#[tokio::test]
async fn row_34_ended_sessions_lose_their_connections() {
    for (path, body, ends_itself) in row_34() {
        let world = World::start().await;
        let eve = world.register("eve").await;
        let login = json!({ "email": eve.email, "password": messenger_testkit::api::PASSWORD });
        let (_, other) = world.api.call(Method::POST, "auth/login", None, Some(login)).await.expect("an answer");
        let other = User { token: other["accessToken"].as_str().expect("a token").to_owned(), ..eve.clone() };
        let (mut own, mut foreign) = (world.connect(&eve).await, world.connect(&other).await);
        world.api.post(&eve, path, body).await.expect("done");
        let ending = if ends_itself { &mut own } else { &mut foreign };
        ending.closed().await.expect("closed");
        let ended = if ends_itself { &eve } else { &other };
        assert!(TestClient::connect(world.server.address, Wire::SocketIo, ended).await.is_err(), "{path}");
        world.unharmed().await;
    }
}

#[tokio::test]
async fn row_35_a_refresh_token_used_ten_times_at_once_has_one_successor() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    let refresh = || async {
        let body = json!({ "refreshToken": eve.refresh_token });
        let (status, answer) = world.api.call(Method::POST, "auth/refresh", None, Some(body)).await.expect("an answer");
        assert_eq!(status, 200, "{answer}");
        answer["refreshToken"].as_str().expect("a token").to_owned()
    };
    let mut successors = futures_util::future::join_all((0..10).map(|_| refresh())).await;
    successors.dedup();
    assert_eq!(successors.len(), 1, "{successors:?}");
    world.unharmed().await;
}
