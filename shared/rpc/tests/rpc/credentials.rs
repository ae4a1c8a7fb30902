//! Who may call, and as whom.

use std::time::Duration;

use messenger_core::{Clock as _, ErrorKind, SessionId, SystemClock, UserId};
use messenger_identity::{AccessClaims, Identity, TokenRules};
use messenger_proto::auth::v1::{GetJwksRequest, GetUserRequest, auth_service_client::AuthServiceClient};
use messenger_rpc::{Caller, RpcChannel, Service, ServiceCredential, from_status, request_as};
use tonic::{Request, transport::Channel};

use crate::{
    server::{Server, credential},
    shapes::{ask, call, in_both_shapes, start},
};

#[tokio::test]
async fn a_service_acts_for_itself_or_for_a_user() {
    in_both_shapes(async |_, mut client| {
        let itself = format!("{:?}", Caller::Service { service: Service::Acting, on_behalf_of: None });
        assert_eq!(call(&mut client, ask("caller")).await.expect("a service"), itself);
        let nobody = call(&mut client, ask("user")).await.expect_err("for no user");
        assert_eq!(nobody.kind(), ErrorKind::Unauthenticated);
        let user = UserId::new(SystemClock.now());
        assert_eq!(call(&mut client, request_as(user, ask("user"))).await.expect("for a user"), user.to_string());
    })
    .await;
}

pub fn token(server: &Server, user_id: UserId) -> String {
    let now = SystemClock.now();
    let expires_at = now.plus(Duration::from_secs(60));
    let identity = Identity { user_id, session_id: SessionId::new(now), issued_at: now, expires_at };
    server.0.signer.sign(&AccessClaims::new(&TokenRules::default(), identity, "t1".to_owned()))
}

/// A foreign client: what it sends is up to it.
async fn call_with(channel: &Channel, action: &str, metadata: &[(&'static str, &str)]) -> Result<String, ErrorKind> {
    let mut request = Request::new(ask(action));
    for (name, value) in metadata {
        request.metadata_mut().append(*name, value.parse().expect("ASCII"));
    }
    let response = AuthServiceClient::new(channel.clone()).get_user(request).await;
    response.map(|answer| answer.into_inner().user.expect("a user").id).map_err(|status| from_status(&status).kind())
}

async fn connect(url: &str) -> Channel {
    Channel::from_shared(url.to_owned()).expect("a URL").connect().await.expect("connected")
}

#[tokio::test]
async fn an_end_user_calls_by_its_token() {
    let server = Server::new();
    let running = start(&server).await;
    let channel = connect(&running.url).await;
    let user = UserId::new(SystemClock.now());
    for scheme in ["Bearer", "bearer"] {
        let credential = format!("{scheme} {}", token(&server, user));
        let answer = call_with(&channel, "user", &[("authorization", &credential)]).await;
        assert_eq!(answer, Ok(user.to_string()));
        let mut keys = Request::new(GetJwksRequest::default());
        keys.metadata_mut().insert("authorization", credential.parse().expect("ASCII"));
        let refused = AuthServiceClient::new(channel.clone()).get_jwks(keys).await.expect_err("for services only");
        assert_eq!(from_status(&refused).kind(), ErrorKind::Forbidden);
    }
}

#[tokio::test]
async fn everything_else_is_refused() {
    let server = Server::new();
    let running = start(&server).await;
    let channel = connect(&running.url).await;
    let user = UserId::new(SystemClock.now()).to_string();
    let bearer = format!("Bearer {}", token(&server, UserId::new(SystemClock.now())));
    let service = "Service 0123456789abcdef0123456789abcdef";
    let refused: [&[(&str, &str)]; 13] = [
        &[],
        &[("authorization", "")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", &format!("{bearer} more"))],
        &[("authorization", "Basic dTpw")],
        &[("authorization", "Service 0123456789abcdef0123456789abcdeX")],
        &[("authorization", "Service ")],
        &[("authorization", &bearer), ("authorization", &bearer)],
        &[("authorization", service), ("authorization", &bearer)],
        &[("authorization", &bearer), ("x-on-behalf-of", &user)],
        &[("authorization", service), ("x-on-behalf-of", "me")],
        &[("authorization", service), ("x-on-behalf-of", &user), ("x-on-behalf-of", &user)],
    ];
    for metadata in refused {
        let answer = call_with(&channel, "caller", metadata).await;
        assert_eq!(answer, Err(ErrorKind::Unauthenticated), "{metadata:?}");
    }
}

#[tokio::test]
async fn a_request_that_came_another_way_has_no_caller() {
    let error = Caller::of(&Request::new(GetUserRequest::default())).expect_err("not authenticated");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{:?}", credential()).contains("0123"));
}

/// Whom it calls for has done nothing wrong: told UNAUTHENTICATED, clients would log in again.
#[tokio::test]
async fn a_service_with_another_secret_is_unavailable_to_users() {
    let server = Server::new();
    let running = start(&server).await;
    let other = ServiceCredential::secret("another0123456789another0123456789", Service::Gateway).expect("long enough");
    let channel = RpcChannel::remote(Service::Auth, &running.url, other).expect("a URL");
    let refused = call(&mut AuthServiceClient::new(channel), ask("caller")).await.expect_err("another secret");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
}
