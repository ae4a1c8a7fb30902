//! What becomes of calls: answers, errors, deadlines, peers that are away.

use std::time::Duration;

use messenger_core::ErrorKind;
use messenger_proto::auth::v1::{WatchRevocationsRequest, auth_service_client::AuthServiceClient};
use messenger_rpc::{GrpcArgs, RpcChannel, Service, with_deadline};
use tokio::time::timeout;
use tonic::{Code, Request, Status, body::Body, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::{
    v1::{ServerReflectionRequest, server_reflection_client, server_reflection_request::MessageRequest},
    v1alpha,
};
use tower::ServiceExt as _;

use crate::{
    server::{Server, credential},
    shapes::{Client, ask, call, in_both_shapes, remote, start, start_at, start_with},
};

async fn kind(client: &mut Client, action: &str) -> ErrorKind {
    call(client, ask(action)).await.expect_err(action).kind()
}

#[tokio::test]
async fn errors_arrive_as_they_were() {
    in_both_shapes(async |_, mut client| {
        let error = call(&mut client, ask("invalid")).await.expect_err("invalid");
        assert_eq!(error.kind(), ErrorKind::ValidationFailed);
        assert_eq!((&*error.fields()[0].field, &*error.fields()[0].message), ("userId", "must be a UUID"));
        let error = call(&mut client, ask("limited")).await.expect_err("limited");
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(2))));
        let error = call(&mut client, ask("broken")).await.expect_err("broken");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, "internal error"));
        assert_eq!(kind(&mut client, "unicorn é").await, ErrorKind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_panic_is_internal_and_the_server_goes_on() {
    in_both_shapes(async |_, mut client| {
        assert_eq!(kind(&mut client, "panic").await, ErrorKind::Internal);
        call(&mut client, ask("caller")).await.expect("still there");
    })
    .await;
}

#[tokio::test]
async fn a_deadline_ends_the_call_and_not_the_work() {
    in_both_shapes(async |server, mut client| {
        let mut request = Request::new(ask("wait"));
        with_deadline(&mut request, Duration::from_secs(1));
        let error = call(&mut client, request).await.expect_err("too slow");
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        server.0.is_entered.notified().await;
        server.0.may_finish.notify_one();
        server.0.is_finished.notified().await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_end_the_work() {
    in_both_shapes(async |server, mut client| {
        let mut waiting = Box::pin(call(&mut client, ask("wait")));
        tokio::select! {
            _ = &mut waiting => panic!("nothing was allowed to finish"),
            () = server.0.is_entered.notified() => {}
        }
        drop(waiting);
        server.0.may_finish.notify_one();
        server.0.is_finished.notified().await;
    })
    .await;
}

#[tokio::test]
async fn an_empty_slot_is_unavailable() {
    let (channel, _slot) = RpcChannel::in_process(Service::Acting);
    assert_eq!(kind(&mut AuthServiceClient::new(channel), "caller").await, ErrorKind::Unavailable);
}

#[tokio::test]
async fn urls_are_checked() {
    for url in ["", "localhost", "https://localhost:1", "http://", "ftp://x:1", "http://x:port", "http://x"] {
        assert!(RpcChannel::remote(Service::Auth, url, credential()).is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_peer_that_is_away_is_unavailable_until_it_is_back() {
    let server = Server::new();
    let running = start(&server).await;
    let mut client = remote(&running);
    call(&mut client, ask("caller")).await.expect("there");
    running.shutdown.cancel();
    running.task.await.expect("no panic").expect("an orderly end");
    assert_eq!(kind(&mut client, "caller").await, ErrorKind::Unavailable);
    let address = running.url.trim_start_matches("http://");
    let _again = start_at(&server, address).await;
    // It is not asked again before as much time has passed as it took to find that it is away.
    let back = async { while call(&mut client, ask("caller")).await.is_err() {} };
    timeout(Duration::from_secs(30), back).await.expect("back");
}

#[tokio::test]
async fn open_streams_are_left_behind_at_the_end_of_the_drain() {
    let server = Server::new();
    let running = start(&server).await;
    let mut stream =
        remote(&running).watch_revocations(WatchRevocationsRequest::default()).await.expect("opened").into_inner();
    stream.message().await.expect("received").expect("the first");
    running.shutdown.cancel();
    let ended = timeout(Duration::from_secs(30), running.task).await.expect("bounded");
    ended.expect("no panic").expect("an orderly end");
}

/// What a server says to a call no generated client would make: `body` is one message.
async fn raw_call(channel: RpcChannel, path: &str, body: &str) -> Code {
    let frame = format!("\0\0\0\0{}{body}", char::from(u8::try_from(body.len()).expect("short")));
    let request = http::Request::post(format!("http://peer{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(frame))
        .expect("a request");
    let response = channel.oneshot(request).await.expect("answered");
    Status::from_header_map(response.headers()).expect("refused at once").code()
}

#[tokio::test]
async fn garbage_and_unknown_methods() {
    let server = Server::new();
    let running = start(&server).await;
    let channel = || RpcChannel::remote(Service::Auth, &running.url, credential()).expect("a URL");
    let get_user = "/messenger.auth.v1.AuthService/GetUser";
    assert_eq!(raw_call(channel(), get_user, "\x0f\x0f\x0f").await, Code::InvalidArgument);
    assert_eq!(raw_call(channel(), "/messenger.auth.v1.AuthService/Nothing", "").await, Code::Unimplemented);
    assert_eq!(raw_call(channel(), "/messenger.none.v1.Nothing/GetUser", "").await, Code::Unimplemented);
}

#[tokio::test]
async fn health_and_reflection_need_no_credential() {
    let server = Server::new();
    let running = start(&server).await;
    let channel = Channel::from_shared(running.url.clone()).expect("a URL").connect_lazy();
    let status = async || {
        let request = HealthCheckRequest { service: "messenger.auth.v1.AuthService".to_owned() };
        HealthClient::new(channel.clone()).check(request).await.expect("answered").into_inner().status()
    };
    assert_eq!(status().await, ServingStatus::NotServing);
    running.health.set_serving(true).await;
    assert_eq!(status().await, ServingStatus::Serving);

    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut reflection = server_reflection_client::ServerReflectionClient::new(channel.clone());
    let answer = reflection.server_reflection_info(tokio_stream::once(request)).await.expect("answered");
    let answer = answer.into_inner().message().await.expect("received").expect("one");
    let text = format!("{answer:?}");
    for service in ["messenger.auth.v1.AuthService", "messenger.message.v1.MessageService", "grpc.health.v1.Health"] {
        assert!(text.contains(service), "{text}");
    }
    let mut old = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let list = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    assert!(old.server_reflection_info(tokio_stream::once(request)).await.is_ok());
}

#[tokio::test]
async fn reflection_can_be_switched_off() {
    let grpc = GrpcArgs { no_reflection: true, ..GrpcArgs::default() };
    let running = start_with(&Server::new(), "127.0.0.1:0", grpc).await;
    let channel = Channel::from_shared(running.url.clone()).expect("a URL").connect_lazy();
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.expect("health stays");
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut reflection = server_reflection_client::ServerReflectionClient::new(channel);
    let refused = reflection.server_reflection_info(tokio_stream::once(request)).await.expect_err("not described");
    assert_eq!(refused.code(), Code::Unauthenticated, "as any call nobody serves");
}
