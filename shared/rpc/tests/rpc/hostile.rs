//! Rows 72 to 74 of docs/security.md: credentials, methods and messages that are none. A neighbour notices nothing.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request as HttpRequest};
use tokio::net::TcpStream;
use tonic::{Code, Request, metadata::MetadataValue, transport::Channel};

use messenger_proto::auth::v1::auth_service_client::AuthServiceClient;

use crate::{
    neighbour::{Neighbour, address, resident_bytes},
    server::Server,
    shapes::{Running, ask, start},
};

const GET_USER: &str = "/messenger.auth.v1.AuthService/GetUser";
const SECRET: (&str, &str) = ("authorization", "Service 0123456789abcdef0123456789abcdef");
const NAME: (&str, &str) = ("x-service", "acting");
/// What one hostile message may take, whatever it claims: the window of a connection, and what this test holds itself.
const MEMORY_BYTES_MAX: u64 = 32 << 20;

async fn connect(running: &Running) -> Channel {
    Channel::from_shared(running.url.clone()).expect("a URL").connect().await.expect("connected")
}

#[tokio::test(flavor = "multi_thread")]
async fn row_72_identity_is_proven_and_not_claimed() {
    let running = start(&Server::new()).await;
    let neighbour = Neighbour::begin(&running).await;
    let channel = connect(&running).await;
    let user = "0190c0de-0000-7000-8000-000000000001";
    let forged: [&[(&'static str, &str)]; 9] = [
        &[],
        &[("x-service", "gateway")],
        &[("x-service", "gateway"), ("x-on-behalf-of", user)],
        &[("x-on-behalf-of", user)],
        &[("x-user-id", user), ("x-forwarded-client-cert", "URI=spiffe://messenger/gateway")],
        &[("authorization", "Service 0123456789abcdef0123456789abcdeF"), NAME],
        &[("authorization", "Service gateway"), NAME],
        &[("authorization", "Bearer eyJhbGciOiJub25lIn0.e30."), ("x-service", "gateway")],
        &[("authorization", "Bearer 0123456789abcdef0123456789abcdef")],
    ];
    for metadata in forged {
        let mut request = Request::new(ask("caller"));
        for (name, value) in metadata {
            request.metadata_mut().append(*name, value.parse::<MetadataValue<_>>().expect("ASCII"));
        }
        let refused = AuthServiceClient::new(channel.clone()).get_user(request).await.expect_err("refused");
        assert_eq!(refused.code(), Code::Unauthenticated, "{metadata:?}");
    }
    neighbour.end("forged credentials").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_72_a_service_may_do_what_its_name_may() {
    let running = start(&Server::new()).await;
    let channel = connect(&running).await;
    for (name, code) in [("acting", Code::Ok), ("reports", Code::Ok), ("auth", Code::PermissionDenied)] {
        let mut request = Request::new(ask("caller"));
        for (key, value) in [SECRET, ("x-service", name)] {
            request.metadata_mut().insert(key, value.parse().expect("ASCII"));
        }
        let answer = AuthServiceClient::new(channel.clone()).get_user(request).await;
        assert_eq!(answer.err().map_or(Code::Ok, |status| status.code()), code, "{name}");
    }
}

/// How a call ended: by `grpc-status`, by the status of HTTP, or with the stream.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Grpc(Code),
    Http(u16),
    Reset(Reason),
}

/// A call with these bytes for a body, and whatever headers, on a connection of its own.
async fn raw_call(running: &Running, path: &str, more: &[(&str, String)], body: Vec<u8>) -> Ended {
    let stream = TcpStream::connect(address(running)).await.expect("connected");
    let (mut sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut request = HttpRequest::post(format!("http://a{path}")).header("content-type", "application/grpc");
    for (name, value) in [SECRET, NAME] {
        request = request.header(name, value);
    }
    for (name, value) in more {
        request = request.header(*name, value);
    }
    let (answer, mut sending) = sender.send_request(request.body(()).expect("a request"), false).expect("sent");
    // What is refused at once need not be taken.
    let _ = sending.send_data(Bytes::from(body), true);
    let ended = async {
        let (head, mut body) = answer.await?.into_parts();
        if let Some(code) = grpc_status(&head.headers) {
            return Ok(Ended::Grpc(code));
        }
        while let Some(bytes) = body.data().await {
            let _ = body.flow_control().release_capacity(bytes?.len());
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        Ok(grpc_status(&trailers).map_or(Ended::Http(head.status.as_u16()), Ended::Grpc))
    };
    let ended = ended.await.unwrap_or_else(|error: h2::Error| Ended::Reset(error.reason().unwrap_or(Reason::NO_ERROR)));
    connection.abort();
    ended
}

fn grpc_status(headers: &HeaderMap) -> Option<Code> {
    Some(Code::from_bytes(headers.get("grpc-status")?.as_bytes()))
}

/// A message as gRPC has it, which claims a length of its own.
fn message(claimed: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &claimed.to_be_bytes(), bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_73_an_unknown_method_is_unimplemented() {
    let running = start(&Server::new()).await;
    let neighbour = Neighbour::begin(&running).await;
    for path in ["/messenger.auth.v1.AuthService/NoSuch", "/no.such.Service/Call", "/", "/../..", "/a?b=c", "/%00"] {
        assert_eq!(raw_call(&running, path, &[], message(0, b"")).await, Ended::Grpc(Code::Unimplemented), "{path}");
    }
    neighbour.end("unknown methods").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_74_messages_that_are_none() {
    let running = start(&Server::new()).await;
    let neighbour = Neighbour::begin(&running).await;
    let garbage: Vec<u8> = (0..4_096_u32).map(|n| u8::try_from(n * 131 % 251).expect("a byte")).collect();
    let length = u32::try_from(garbage.len()).expect("short");
    let compressed = [&[1][..], &4_u32.to_be_bytes(), b"gzip"].concat();
    let cases: [(&str, Vec<u8>, &[Code]); 8] = [
        ("garbage", message(length, &garbage), &[Code::InvalidArgument]),
        ("a field cut off", message(2, &[0x0a, 0x05]), &[Code::InvalidArgument]),
        ("text that is not UTF-8", message(4, &[0x0a, 0x02, 0xff, 0xfe]), &[Code::InvalidArgument]),
        ("compressed, unasked", compressed, &[Code::InvalidArgument, Code::Internal, Code::Unimplemented]),
        ("2 GiB claimed", message(u32::MAX / 2, b"x"), &[Code::ResourceExhausted]),
        ("4 GiB claimed", message(u32::MAX, b"x"), &[Code::ResourceExhausted]),
        ("16 MiB", message(16 << 20, &vec![b'x'; 16 << 20]), &[Code::ResourceExhausted]),
        ("less than claimed", message(100, b"x"), &[Code::InvalidArgument, Code::Internal]),
    ];
    for (what, body, codes) in cases {
        let (held, before) = (body.len() as u64, resident_bytes());
        let ended = raw_call(&running, GET_USER, &[], body).await;
        assert!(matches!(ended, Ended::Grpc(code) if codes.contains(&code)), "{what}: {ended:?}");
        let taken = resident_bytes().saturating_sub(before + held);
        assert!(taken < MEMORY_BYTES_MAX, "{what}: {taken} bytes");
    }
    neighbour.end("messages that are none").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_74_a_megabyte_of_metadata() {
    let running = start(&Server::new()).await;
    let neighbour = Neighbour::begin(&running).await;
    for (headers, bytes) in [(1, 1 << 20), (64, 16 << 10), (1_024, 1 << 10)] {
        let names: Vec<String> = (0..headers).map(|n| format!("x-{n}")).collect();
        let more: Vec<(&str, String)> = names.iter().map(|name| (name.as_str(), "v".repeat(bytes))).collect();
        let ended = raw_call(&running, GET_USER, &more, message(0, b"")).await;
        let is_refused = matches!(ended, Ended::Http(431) | Ended::Reset(_) | Ended::Grpc(Code::ResourceExhausted));
        assert!(is_refused, "{headers} of {bytes} bytes: {ended:?}");
    }
    neighbour.end("a megabyte of metadata").await;
}
