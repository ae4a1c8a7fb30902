//! Users of another identity system, over the wire of this service.

use std::{
    mem,
    time::{Duration, Instant},
};

use messenger_auth::{
    ForeignArgs, TokenConfig,
    foreign::{Foreign, JwksLocation, Pace, Source},
};
use messenger_core::{ErrorKind, Timestamp};
use messenger_identity::{ClaimNames, TokenRules, foreign_user_id};
use messenger_proto::auth::v1::*;
use messenger_testkit::{IdentityKey, IdentitySystem, identity_system::AUDIENCE};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    common::TestStore,
    server::{NOW, Server, bearer, kind, registration},
};

/// Whatever passes by itself passes within this.
const SOON: Duration = Duration::from_secs(20);

fn accepting(systems: &[&IdentitySystem]) -> TokenConfig {
    let foreign = ForeignArgs {
        identity_issuer: systems.iter().map(|system| system.issuer()).collect(),
        identity_jwks_url: systems.iter().map(|system| system.jwks_url()).collect(),
        identity_audience: vec![AUDIENCE.to_owned()],
        ..ForeignArgs::default()
    };
    TokenConfig { foreign, ..TokenConfig::default() }
}

fn claims(system: &IdentitySystem, subject: &str, at: Timestamp) -> Value {
    system.claims_at(subject, at.as_secs().unsigned_abs())
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

impl Server {
    /// Until the first look is over: a token shown before it may use up the one look a minute that unknown keys have.
    async fn has_foreign_keys(&self) {
        let began = Instant::now();
        loop {
            let known = self.in_process().get_jwks(GetJwksRequest::default()).await.expect("given").into_inner();
            if known.foreign_issuers.iter().all(|issuer| !issuer.jwks.is_empty()) {
                return;
            }
            assert!(began.elapsed() < SOON, "no keys");
            tokio::task::yield_now().await;
        }
    }

    /// Knocks until it is let in: new keys are fetched beside the calls.
    async fn let_in(&self, token: &str) {
        let began = Instant::now();
        while let Err(refused) = self.knock(token).await {
            assert!(began.elapsed() < SOON, "still {refused:?}");
            tokio::task::yield_now().await;
        }
    }

    async fn user(&self, token: &str, id: &str) -> User {
        let request = bearer(token, GetUserRequest { user_id: id.to_owned() });
        let answer = self.end_users().await.get_user(request).await.expect("found");
        answer.into_inner().user.expect("given")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_at_first_use_that_follows_the_claims() -> anyhow::Result<()> {
    let key = IdentityKey::rs256("k1")?;
    let system = IdentitySystem::start(&[&key]).await?;
    let server = Server::with(TestStore::sqlite(), &accepting(&[&system])).await;
    let id = foreign_user_id(&system.issuer(), "ann").to_string();
    let token = key.token(&claims(&system, "ann", NOW));
    server.let_in(&token).await;
    let user = server.user(&token, &id).await;
    assert_eq!((user.full_name.as_str(), user.email.as_str()), ("ann of another system", "ann@example.org"));
    assert_eq!(user.designation, "Engineer");

    server.advance(60);
    let mut changed = claims(&system, "ann", later(60));
    changed["name"] = json!("Ann Lee");
    changed["email"] = json!("no address");
    changed["designation"] = json!("d".repeat(250));
    let newer = key.token(&changed);
    let user = server.user(&newer, &id).await;
    assert_eq!(
        (user.full_name.as_str(), user.email.as_str()),
        ("Ann Lee", "ann@example.org"),
        "what is odd is left out"
    );
    assert_eq!(user.designation.len(), 200);
    assert_eq!(server.user(&token, &id).await.full_name, "Ann Lee", "an older token changes nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_pushed() -> anyhow::Result<()> {
    let key = IdentityKey::eddsa("k1")?;
    let system = IdentitySystem::start(&[&key]).await?;
    let server = Server::with(TestStore::sqlite(), &accepting(&[&system])).await;
    let push = |name: &str, as_of: Option<Timestamp>| UpsertUserRequest {
        issuer: system.issuer(),
        subject: "ann".to_owned(),
        full_name: Some(name.to_owned()),
        as_of: as_of.map(messenger_rpc::timestamp),
        ..UpsertUserRequest::default()
    };
    let mut acting = server.acting();
    let pushed = acting.upsert_user(push("Pushed", None)).await?.into_inner();
    let user = pushed.user.expect("given");
    assert_eq!(user.id, foreign_user_id(&system.issuer(), "ann").to_string());
    assert!(pushed.is_active && user.full_name == "Pushed");
    // A token from before the push does not undo it, one from after does.
    let before = key.token(&claims(&system, "ann", NOW));
    server.let_in(&before).await;
    assert_eq!(server.user(&before, &user.id).await.full_name, "Pushed");
    server.advance(60);
    let after = key.token(&claims(&system, "ann", later(60)));
    assert_eq!(server.user(&after, &user.id).await.full_name, "ann of another system");
    let old = acting.upsert_user(push("Old", Some(NOW))).await?.into_inner();
    assert_eq!(old.user.expect("given").full_name, "ann of another system");

    let unknown = UpsertUserRequest { issuer: "https://nobody.example".to_owned(), ..push("X", None) };
    let long = UpsertUserRequest { subject: "s".repeat(256), ..push("X", None) };
    let odd = UpsertUserRequest { email: Some("no address".to_owned()), ..push("X", None) };
    for (request, expected) in [
        (unknown, ErrorKind::NotFound),
        (long, ErrorKind::ValidationFailed),
        (odd, ErrorKind::ValidationFailed),
        (push("", None), ErrorKind::ValidationFailed),
    ] {
        assert_eq!(kind(&acting.upsert_user(request).await.expect_err("refused")), expected);
    }
    let by_user = server.end_users().await.upsert_user(bearer(&after, push("X", None))).await;
    assert_eq!(kind(&by_user.expect_err("refused")), ErrorKind::Forbidden);
    let by_gateway = server.in_process().upsert_user(push("X", None)).await;
    assert_eq!(kind(&by_gateway.expect_err("refused")), ErrorKind::Forbidden);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_rotate_with_overlap_and_an_outage_is_survived() -> anyhow::Result<()> {
    let [rsa, ec, ed] = [IdentityKey::rs256("k1")?, IdentityKey::es256("k2")?, IdentityKey::eddsa("k3")?];
    let system = IdentitySystem::start(&[&rsa]).await?;
    let server = Server::with(TestStore::sqlite(), &accepting(&[&system])).await;
    let token = |key: &IdentityKey| key.token(&claims(&system, "ann", NOW));
    server.has_foreign_keys().await;
    server.let_in(&token(&rsa)).await;
    // A key nobody knows is looked for at once; the old one is still good.
    system.publish(&[&rsa, &ec]);
    server.let_in(&token(&ec)).await;
    server.let_in(&token(&rsa)).await;
    // The next unknown key within the minute is not.
    let asked = system.asked();
    system.publish(&[&ec, &ed]);
    for _ in 0..20 {
        assert_eq!(server.knock(&token(&ed)).await, Err(ErrorKind::Unauthenticated));
    }
    assert_eq!(system.asked(), asked);
    // Away, and another process begins on the same store meanwhile: the last keys are good.
    system.set_away(true);
    server.let_in(&token(&ec)).await;
    let store = server.test_store.open().await;
    let second = messenger_auth::build(&accepting(&[&system]), store, server.clock.clone()).await?;
    let identity = second.verifier().identify(&token(&rsa)).await?;
    assert_eq!(identity.user_id, foreign_user_id(&system.issuer(), "ann"));
    // Back: keys that are published no more are forgotten.
    system.set_away(false);
    second.start(&server.shutdown);
    let began = Instant::now();
    while second.verifier().identify(&token(&rsa)).await.is_ok() {
        assert!(began.elapsed() < SOON);
        tokio::task::yield_now().await;
    }
    second.verifier().identify(&token(&ed)).await?;
    Ok(())
}

/// Gateways ask every process of auth in turn.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_fetched_all_know_also_when_the_system_is_away() -> anyhow::Result<()> {
    let [first, second] = [IdentityKey::es256("k1")?, IdentityKey::eddsa("k2")?];
    let system = IdentitySystem::start(&[&first]).await?;
    let server = Server::with(TestStore::sqlite(), &accepting(&[&system])).await;
    server.has_foreign_keys().await;
    let store = server.test_store.open().await;
    let other = messenger_auth::build(&accepting(&[&system]), store, server.clock.clone()).await?;
    system.publish(&[&first, &second]);
    let token = second.token(&claims(&system, "ann", NOW));
    server.let_in(&token).await;
    system.set_away(true);
    other.start(&server.shutdown);
    let began = Instant::now();
    while other.verifier().identify(&token).await.is_err() {
        assert!(began.elapsed() < SOON);
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_set_changes_nothing() -> anyhow::Result<()> {
    let key = IdentityKey::es256("k1")?;
    let system = IdentitySystem::start(&[&key]).await?;
    let store = TestStore::sqlite();
    let store = store.open().await;
    let clock = std::sync::Arc::new(messenger_core::ManualClock::new(NOW));
    let rules = TokenRules { issuer: system.issuer(), audience: AUDIENCE.to_owned() };
    let source = Source { rules, claims: ClaimNames::default(), jwks: JwksLocation::Url(system.jwks_url()) };
    let quick = Duration::from_millis(10);
    let pace = Pace { again: quick, retry: quick, unknown_key: quick };
    let foreign = std::sync::Arc::new(Foreign::open(vec![source], store.clone(), clock, pace).await?);
    let end = CancellationToken::new();
    let following = tokio::spawn({
        let (foreign, end) = (foreign.clone(), end.clone());
        async move { foreign.follow(|| {}, end).await }
    });
    let until_asked_again = async |foreign: &Foreign| {
        let asked = system.asked();
        while system.asked() < asked + 2 {
            foreign.look_for_key().await;
        }
    };
    until_asked_again(&foreign).await;
    let good = foreign.issuers()[0].jwks.clone();
    assert!(good.contains("P-256"));
    let huge = format!("{{\"keys\":[{}],\"x\":\"{}\"}}", key.jwk(), "x".repeat(300 * 1024));
    for bad in
        ["", "[]", "<html>", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"k1\",\"k\":\"AAAA\"}]}", &huge]
    {
        system.publish_text(bad.to_owned());
        until_asked_again(&foreign).await;
        assert_eq!(foreign.issuers()[0].jwks, good, "{bad:.40}");
    }
    assert_eq!(store.foreign_keys(&system.issuer()).await?.as_deref(), Some(good.as_str()));
    end.cancel();
    following.await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_and_deactivation_end_tokens_of_others() -> anyhow::Result<()> {
    let key = IdentityKey::eddsa("k1")?;
    let system = IdentitySystem::start(&[&key]).await?;
    let server = Server::with(TestStore::sqlite(), &accepting(&[&system])).await;
    let token = |seconds| key.token(&claims(&system, "ann", later(seconds)));
    server.let_in(&token(0)).await;
    // By a clock that is ahead.
    server.let_in(&token(30)).await;
    server.end_users().await.logout(bearer(&token(0), LogoutRequest {})).await?;
    server.until_revoked(&token(30)).await;
    assert_eq!(server.knock(&token(0)).await, Err(ErrorKind::TokenRevoked));
    server.let_in(&token(31)).await;

    let user_id = foreign_user_id(&system.issuer(), "ann").to_string();
    let mut acting = server.acting();
    acting.deactivate_user(DeactivateUserRequest { user_id: user_id.clone() }).await?;
    // One that auth has never seen is refused at once.
    assert_eq!(server.knock(&token(40)).await, Err(ErrorKind::TokenRevoked));
    server.until_revoked(&token(31)).await;
    let pushed = UpsertUserRequest { issuer: system.issuer(), subject: "ann".to_owned(), ..Default::default() };
    assert!(!acting.upsert_user(pushed).await?.into_inner().is_active);
    acting.reactivate_user(ReactivateUserRequest { user_id }).await?;
    server.let_in(&token(41)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_account_of_ours() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let mut acting = server.acting();
    acting.deactivate_user(DeactivateUserRequest { user_id: ann.user.id.clone() }).await.expect("deactivated");
    server.until_revoked(&ann.tokens.access_token).await;
    let refresh = RefreshTokenRequest { refresh_token: ann.tokens.refresh_token.clone() };
    let refused = server.in_process().refresh_token(refresh).await.expect_err("refused");
    assert_eq!(kind(&refused), ErrorKind::TokenRevoked);
    let login = server.login("ann@example.org", crate::server::PASSWORD).await.expect_err("refused");
    assert_eq!(kind(&login), ErrorKind::InvalidCredentials);
    acting.reactivate_user(ReactivateUserRequest { user_id: ann.user.id.clone() }).await.expect("reactivated");
    server.login("ann@example.org", crate::server::PASSWORD).await.expect("in again");
    for user_id in ["x".to_owned(), messenger_core::UserId::new(NOW).to_string()] {
        assert!(acting.deactivate_user(DeactivateUserRequest { user_id }).await.is_err());
    }
    let by_user = server.end_users().await.deactivate_user(ann.bearer(DeactivateUserRequest::default())).await;
    assert!(by_user.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_accounts_of_our_own() -> anyhow::Result<()> {
    let mut both = Server::start().await;
    let ann = both.registered("Ann", "ann@example.org").await;
    let key = IdentityKey::rs256("k1")?;
    let system = IdentitySystem::start(&[&key]).await?;
    let mut config = accepting(&[&system]);
    config.foreign.no_own_accounts = true;
    let test_store = mem::replace(&mut both.test_store, TestStore::sqlite());
    let server = Server::with(test_store, &config).await;
    server.let_in(&key.token(&claims(&system, "ann", NOW))).await;
    assert_eq!(server.knock(&ann.tokens.access_token).await, Err(ErrorKind::Unauthenticated));
    let mut services = server.in_process();
    let refresh = RefreshTokenRequest { refresh_token: ann.tokens.refresh_token.clone() };
    let refused = [
        kind(&services.register(registration("Bob", "bob@example.org")).await.expect_err("refused")),
        kind(&server.login("ann@example.org", crate::server::PASSWORD).await.expect_err("refused")),
        kind(&services.refresh_token(refresh).await.expect_err("refused")),
    ];
    assert_eq!(refused, [ErrorKind::Forbidden; 3]);
    let jwks = services.get_jwks(GetJwksRequest::default()).await?.into_inner();
    assert!(jwks.jwks.is_empty() && jwks.foreign_issuers.len() == 1);
    Ok(())
}
