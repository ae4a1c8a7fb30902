//! Who may call what, and which credentials are none.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use messenger_core::{ErrorKind, SessionId, UserId};
use messenger_proto::auth::v1::*;
use messenger_rpc::{RpcChannel, Service, ServiceCredential, request_as};
use serde_json::{Value, json};
use tonic::{Request, Status};

use crate::server::{NOW, Server, bearer, kind, session_of};

fn refused<T>(result: Result<T, Status>) -> ErrorKind {
    kind(&result.err().expect("refused"))
}

#[tokio::test(flavor = "multi_thread")]
async fn end_users_may_not_call_what_is_for_services() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let mut end_users = server.end_users().await;
    let answers = [
        refused(end_users.register(ann.bearer(RegisterRequest::default())).await),
        refused(end_users.login(ann.bearer(LoginRequest::default())).await),
        refused(end_users.refresh_token(ann.bearer(RefreshTokenRequest::default())).await),
        refused(end_users.change_password(ann.bearer(ChangePasswordRequest::default())).await),
        refused(end_users.get_jwks(ann.bearer(GetJwksRequest::default())).await),
        refused(end_users.watch_revocations(ann.bearer(WatchRevocationsRequest::default())).await),
    ];
    assert_eq!(answers, [ErrorKind::Forbidden; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_name_the_user_they_act_for() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let session_id = session_of(&ann.tokens.access_token);
    let mut services = server.services();
    let answers = [
        refused(services.logout(LogoutRequest {}).await),
        refused(services.logout_all(LogoutAllRequest {}).await),
        refused(services.change_password(ChangePasswordRequest::default()).await),
        refused(services.list_sessions(ListSessionsRequest {}).await),
        refused(services.revoke_session(RevokeSessionRequest { session_id }).await),
        refused(services.update_user(UpdateUserRequest::default()).await),
    ];
    assert_eq!(answers, [ErrorKind::Unauthenticated; 6]);
    // And the session, where one is needed.
    let logout = services.logout(request_as(ann.id(), LogoutRequest {})).await;
    assert_eq!(refused(logout), ErrorKind::ValidationFailed);
    let change = services.change_password(request_as(ann.id(), ChangePasswordRequest::default())).await;
    assert_eq!(refused(change), ErrorKind::ValidationFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_no_call() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let mut end_users = server.end_users().await;
    let get = GetUserRequest { user_id: ann.user.id.clone() };
    assert_eq!(refused(end_users.get_user(get.clone()).await), ErrorKind::Unauthenticated);
    assert_eq!(refused(end_users.register(RegisterRequest::default()).await), ErrorKind::Unauthenticated);
    let token = &ann.tokens.access_token;
    for credential in ["Bearer", "Bearer ", &format!("Basic {token}"), &format!("Bearer {token} x"), token] {
        let mut request = Request::new(get.clone());
        request.metadata_mut().insert("authorization", credential.parse().expect("ASCII"));
        assert_eq!(refused(end_users.get_user(request).await), ErrorKind::Unauthenticated, "{credential}");
    }
    let mut twice = ann.bearer(get.clone());
    twice.metadata_mut().append("authorization", format!("Bearer {token}").parse().expect("ASCII"));
    assert_eq!(refused(end_users.get_user(twice).await), ErrorKind::Unauthenticated);
    let mut for_another = ann.bearer(get.clone());
    for_another.metadata_mut().insert("x-on-behalf-of", ann.user.id.parse().expect("ASCII"));
    assert_eq!(refused(end_users.get_user(for_another).await), ErrorKind::Unauthenticated);

    let foreign = ServiceCredential::random(Service::Gateway).expect("randomness");
    let channel = RpcChannel::remote(Service::Auth, &format!("http://{}", server.address), foreign).expect("a URL");
    let mut stranger = auth_service_client::AuthServiceClient::new(channel);
    assert_eq!(refused(stranger.get_user(get).await), ErrorKind::Unavailable, "no fault of whom it calls for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_sessions_are_its_own() {
    let server = Server::start().await;
    let (ann, bob) =
        tokio::join!(server.registered("Ann", "ann@example.org"), server.registered("Bob", "bob@example.org"));
    let of_bob = session_of(&bob.tokens.access_token);
    let mut end_users = server.end_users().await;
    let revoke = |session_id: &str| ann.bearer(RevokeSessionRequest { session_id: session_id.to_owned() });
    assert_eq!(refused(end_users.revoke_session(revoke(&of_bob)).await), ErrorKind::NotFound);
    let unknown = SessionId::new(NOW).to_string();
    assert_eq!(refused(end_users.revoke_session(revoke(&unknown)).await), ErrorKind::NotFound);
    assert_eq!(refused(end_users.revoke_session(revoke("..%2f")).await), ErrorKind::ValidationFailed);
    // A service that mixes them up ends nothing.
    let mut mixed = request_as(ann.id(), LogoutRequest {});
    mixed.metadata_mut().insert("x-session-id", of_bob.parse().expect("ASCII"));
    server.services().logout(mixed).await.expect("nothing to end");
    server.knock(&bob.tokens.access_token).await.expect("untouched");
    let second = server.login("ann@example.org", crate::server::PASSWORD).await.expect("in").tokens.expect("given");
    end_users.revoke_session(revoke(&session_of(&second.access_token))).await.expect("revoked");
    server.until_revoked(&second.access_token).await;
    server.knock(&ann.tokens.access_token).await.expect("untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_are_refused() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let good = ann.tokens.access_token.as_str();
    server.knock(good).await.expect("good");
    let jwks = server.in_process().get_jwks(GetJwksRequest::default()).await.expect("given").into_inner().jwks;
    let jwks: Value = serde_json::from_str(&jwks).expect("JSON");
    let public_key = URL_SAFE_NO_PAD.decode(jwks["keys"][0]["x"].as_str().expect("a key")).expect("base64");
    let kid = jwks["keys"][0]["kid"].as_str().expect("a name");
    assert!(jwks["keys"][0].get("d").is_none(), "the private half is not published");

    let parts: Vec<&str> = good.split('.').collect();
    let header = |alg: &str, kid: &str| encode(&json!({ "alg": alg, "typ": "JWT", "kid": kid }));
    let mut claims = crate::server::claims(good);
    let unsigned = |alg: &str| format!("{}.{}.", header(alg, kid), parts[1]);
    let hmac = |kid: &str, key: &[u8]| {
        let signed = format!("{}.{}", header("HS256", kid), parts[1]);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    claims["sub"] = json!(UserId::new(NOW).to_string());
    let exchanged = format!("{}.{}.{}", parts[0], encode(&claims), parts[2]);
    let mut flipped = good.as_bytes().to_vec();
    let middle = flipped.len() - 20;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let tokens = [
        unsigned("none"),
        unsigned("None"),
        unsigned("nOnE"),
        unsigned(""),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        exchanged,
        String::from_utf8(flipped).expect("ASCII"),
        hmac(kid, b""),
        hmac("../../dev/null", b""),
        hmac(kid, b"secret"),
        hmac(kid, &public_key),
        hmac("' OR 1=1 --", &public_key),
        ".".repeat(7_000),
        "A".repeat(9_000),
        ann.tokens.refresh_token.clone(),
    ];
    for token in tokens {
        assert_eq!(server.knock(&token).await, Err(ErrorKind::Unauthenticated), "{token:.80}");
    }
    server.advance(899);
    server.knock(good).await.expect("its last second");
    server.advance(1);
    assert_eq!(server.knock(good).await, Err(ErrorKind::TokenExpired));
    let request = bearer(&"A".repeat(1 << 20), GetUserRequest { user_id: ann.user.id.clone() });
    assert!(server.end_users().await.get_user(request).await.is_err());
}

fn encode(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}
