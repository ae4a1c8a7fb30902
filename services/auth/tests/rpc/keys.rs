//! Signing keys that take turns while processes run, and keys at rest.

use std::time::{Duration, Instant};

use messenger_auth::{
    keys::{KeyRing, PUBLISHED_BEFORE},
    seal::Seal,
    store::Replaces,
};
use messenger_core::ErrorKind;
use messenger_proto::auth::v1::{GetJwksRequest, LoginResponse};
use serde_json::Value;

use crate::{
    common::TestStore,
    server::{PASSWORD, Server, header},
};

const SECRET: &str = "2f1b6a93c4d7e80f5a6b7c8d9e0f112233445566778899aabbccddeeff001e3d";
const OTHER: &str = "3f1b6a93c4d7e80f5a6b7c8d9e0f112233445566778899aabbccddeeff001e3d";

impl Server {
    async fn rotate(&self, replaces: Replaces) -> String {
        let ring = KeyRing::open(self.test_store.open().await, self.clock.clone(), None).await.expect("opened").0;
        ring.rotate(replaces).await.expect("rotated").0
    }

    async fn published(&self) -> Vec<String> {
        let request = GetJwksRequest { has_unknown_key: true };
        let jwks = self.in_process().get_jwks(request).await.expect("given").into_inner().jwks;
        let jwks: Value = serde_json::from_str(&jwks).expect("JSON");
        let keys = jwks["keys"].as_array().expect("a set");
        keys.iter().map(|key| key["kid"].as_str().expect("named").to_owned()).collect()
    }

    async fn signed_by(&self) -> (String, String) {
        let LoginResponse { tokens, .. } = self.login("ann@example.org", PASSWORD).await.expect("logged in");
        let token = tokens.expect("given").access_token;
        (header(&token)["kid"].as_str().expect("named").to_owned(), token)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_published_signs_and_is_forgotten_in_turn() {
    let server = Server::start().await;
    server.registered("Ann", "ann@example.org").await;
    let (first, old_token) = server.signed_by().await;
    let second = server.rotate(Replaces::InTurn).await;
    assert_eq!(server.published().await, [first.clone(), second.clone()], "without a restart");
    assert_eq!(server.signed_by().await.0, first, "verifiers get to know it first");
    server.advance(PUBLISHED_BEFORE.as_secs());
    let (kid, new_token) = server.signed_by().await;
    assert_eq!(kid, second);
    for token in [&old_token, &new_token] {
        server.knock(token).await.expect("both are good");
    }
    server.advance(20 * 60 + 1);
    assert_eq!(server.published().await, std::slice::from_ref(&second));
    let third = server.rotate(Replaces::InTurn).await;
    assert_eq!(server.published().await, [second, third]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_leaked_is_worth_nothing_at_once() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let (first, _) = server.signed_by().await;
    let second = server.rotate(Replaces::All).await;
    assert_ne!(first, second);
    // Noticed by itself.
    let began = Instant::now();
    while server.knock(&ann.tokens.access_token).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
    let (kid, token) = server.signed_by().await;
    assert_eq!(kid, second);
    server.knock(&token).await.expect("good");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_at_rest() {
    for test_store in [TestStore::sqlite(), TestStore::postgres().await] {
        let clock = Server::start().await.clock.clone();
        let open = async |secret: Option<&str>| {
            let seal = secret.map(|secret| Seal::new(secret).expect("strong"));
            KeyRing::open(test_store.open().await, clock.clone(), seal).await
        };
        let (plain, refresh_secret) = open(None).await.expect("made");
        let (sealed, same_secret) = open(Some(SECRET)).await.expect("encrypted in place");
        assert!(plain.jwks() == sealed.jwks() && refresh_secret == same_secret);
        sealed.rotate(Replaces::InTurn).await.expect("rotated");
        let stored = test_store.open().await.keys().await.expect("read");
        assert!(stored.signing.len() == 2 && stored.refresh_secret.sealed_by.is_some());
        for key in &stored.signing {
            // Not the beginning of PKCS#8.
            assert!(key.private_key.sealed_by.is_some() && !key.private_key.bytes.starts_with(&[0x30, 0x2e]));
        }
        for (secret, says) in [(None, "give --key-encryption-secret"), (Some(OTHER), "with another secret")] {
            let error = open(secret).await.err().expect("not ours");
            assert_eq!(error.kind(), ErrorKind::ValidationFailed);
            assert!(error.message().contains(says), "{}", error.message());
        }
        open(Some(SECRET)).await.expect("again");
        test_store.remove().await;
    }
}
