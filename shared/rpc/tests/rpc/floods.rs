//! Rows 75 and 76 of docs/security.md: floods of frames, and calls without end. A neighbour notices nothing.

use std::{sync::atomic::Ordering, time::Duration};

use futures_util::future::select_all;
use messenger_core::{Clock as _, ErrorKind, SystemClock, UserId};
use messenger_proto::auth::v1::{self as proto, WatchRevocationsRequest, auth_service_client::AuthServiceClient};
use messenger_rpc::{from_status, with_deadline};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    credentials::token,
    neighbour::{Neighbour, address, resident_bytes},
    server::Server,
    shapes::{ask, call, remote, start},
    wire::{
        CANCEL, CONTINUATION, END_HEADERS, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, RST_STREAM, Wire, frame, head, indexed,
        literal,
    },
};

const GET_USER: &str = "/messenger.auth.v1.AuthService/GetUser";
/// What a flood may take of this process, which is server and flood together.
const MEMORY_BYTES_MAX: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn row_75_streams_opened_and_reset() {
    const STREAMS: u32 = 100_000;
    let running = start(&Server::new()).await;
    let (neighbour, before) = (Neighbour::begin(&running).await, resident_bytes());
    let (mut writer, reading, _) = Wire::open(address(&running), &[]).await.expect("open").drain();
    let (headers, cancel) = (head(GET_USER, &[]), CANCEL.to_be_bytes());
    for n in 0..STREAMS {
        let stream = n * 2 + 1;
        let pair = [frame(HEADERS, END_HEADERS, stream, &headers), frame(RST_STREAM, 0, stream, &cancel)].concat();
        if writer.write_all(&pair).await.is_err() {
            break;
        }
    }
    let end = timeout(PATIENCE, reading).await.expect("an end").expect("no panic").expect("a GOAWAY");
    assert_eq!((end.kind, end.error()), (GOAWAY, ENHANCE_YOUR_CALM));
    let taken = resident_bytes().saturating_sub(before);
    assert!(taken < MEMORY_BYTES_MAX, "{taken} bytes");
    neighbour.end("a flood of resets").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_75_a_head_without_end() {
    let running = start(&Server::new()).await;
    let (neighbour, before) = (Neighbour::begin(&running).await, resident_bytes());
    let (mut writer, reading, _) = Wire::open(address(&running), &[]).await.expect("open").drain();
    let mut is_cut = writer.write_all(&frame(HEADERS, 0, 1, &head(GET_USER, &[]))).await.is_err();
    let more = literal("x", &"v".repeat(8_000));
    for _ in 0..16_384 {
        is_cut = is_cut || writer.write_all(&frame(CONTINUATION, 0, 1, &more)).await.is_err();
    }
    assert!(is_cut, "the connection is still there");
    let end = timeout(PATIENCE, reading).await.expect("an end").expect("no panic");
    assert!(end.as_ref().is_none_or(|end| end.error() == ENHANCE_YOUR_CALM), "{end:?}");
    let taken = resident_bytes().saturating_sub(before);
    assert!(taken < MEMORY_BYTES_MAX, "{taken} bytes");
    neighbour.end("a head without end").await;
}

/// A large header is put in the table once and named by single bytes after: 100 streams claim a gigabyte of headers, and
/// take no answer.
#[tokio::test(flavor = "multi_thread")]
async fn row_75_a_bomb_of_compressed_headers() {
    const INITIAL_WINDOW: u16 = 4;
    const STREAMS: u32 = 100;
    let running = start(&Server::new()).await;
    let (neighbour, before) = (Neighbour::begin(&running).await, resident_bytes());
    let wire = Wire::open(address(&running), &[(INITIAL_WINDOW, 0)]).await.expect("open");
    let (mut writer, reading, resets) = wire.drain();
    let entry = indexed("x-bomb", &"v".repeat(3_900));
    let first = [head(GET_USER, &[]), entry].concat();
    let mut is_cut = writer.write_all(&frame(HEADERS, END_HEADERS, 1, &first)).await.is_err();
    // The newest entry of the table has index 62.
    let named = [head(GET_USER, &[]), vec![0x80 | 62; 3_000]].concat();
    for n in 1..STREAMS {
        is_cut = is_cut || writer.write_all(&frame(HEADERS, END_HEADERS, n * 2 + 1, &named)).await.is_err();
    }
    // Whether the connection is ended or each stream refused: nothing of it is kept.
    let taken = resident_bytes().saturating_sub(before);
    assert!(taken < MEMORY_BYTES_MAX, "{taken} bytes");
    neighbour.end("a bomb of headers").await;
    drop(writer);
    let end = timeout(PATIENCE, reading).await.expect("an end").expect("no panic");
    println!("cut {is_cut}, streams reset {}, end {end:?}", resets.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_76_a_stream_nobody_reads() {
    const REVOCATIONS: i64 = 200_000;
    let server = Server::new();
    let running = start(&server).await;
    let (neighbour, before) = (Neighbour::begin(&running).await, resident_bytes());
    let request = WatchRevocationsRequest { after_number: 0 };
    let mut reader = remote(&running);
    let unread = reader.watch_revocations(request).await.expect("open");
    // More than the window of a stream takes.
    let one = |number| proto::Revocation { number, user_id: "u".repeat(36), ..Default::default() };
    let held = 4 * u64::try_from(REVOCATIONS).expect("positive") * 200;
    server.0.revocations.send_replace((1..=REVOCATIONS).map(one).collect());
    for _ in 0..100 {
        call(&mut remote(&running), ask("caller")).await.expect("others are answered");
    }
    let taken = resident_bytes().saturating_sub(before);
    assert!(taken < MEMORY_BYTES_MAX + held, "{taken} bytes");
    neighbour.end("a stream nobody reads").await;
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_76_a_deadline_of_a_nanosecond() {
    let server = Server::new();
    let running = start(&server).await;
    let neighbour = Neighbour::begin(&running).await;
    let mut client = remote(&running);
    for _ in 0..1_000 {
        let mut request = Request::new(ask("caller"));
        with_deadline(&mut request, Duration::from_nanos(1));
        let error = call(&mut client, request).await.expect_err("too late");
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    }
    call(&mut client, ask("caller")).await.expect("with time enough");
    neighbour.end("deadlines of a nanosecond").await;
}

/// However much one user asks at once, another is answered; and the first again when it has read its answers.
#[tokio::test(flavor = "multi_thread")]
async fn row_76_one_user_leaves_room_for_others() {
    const PLACES: usize = 32;
    let server = Server::new();
    let running = start(&server).await;
    let channel = Endpoint::from_shared(running.url.clone()).expect("a URL").connect_lazy();
    let [ann, bob] = [(); 2].map(|()| format!("Bearer {}", token(&server, UserId::new(SystemClock.now()))));
    let ask_as = async |bearer: &str, action: &str| {
        let mut request = Request::new(ask(action));
        request.metadata_mut().insert("authorization", bearer.parse().expect("ASCII"));
        with_deadline(&mut request, PATIENCE);
        AuthServiceClient::new(channel.clone()).get_user(request).await.map_err(|status| from_status(&status))
    };
    let waiting: Vec<_> = (0..=PLACES).map(|_| Box::pin(ask_as(&ann, "wait"))).collect();
    let (first, _, mut waiting) = select_all(waiting).await;
    let refused = first.expect_err("one too many");
    assert!(refused.kind() == ErrorKind::RateLimited && refused.retry_after().is_some(), "{refused:?}");
    ask_as(&bob, "caller").await.expect("another user is answered");
    while !waiting.is_empty() {
        server.0.may_finish.notify_one();
        let (answered, _, others) = select_all(waiting).await;
        answered.expect("it had its place");
        waiting = others;
    }
    ask_as(&ann, "caller").await.expect("answered again");
}

/// By users, on forty connections: one has room for 256 calls. A service calls beside them, and is answered each time.
#[tokio::test(flavor = "multi_thread")]
async fn row_76_ten_thousand_calls_at_once() {
    const CONNECTIONS: usize = 40;
    const CALLS_EACH: usize = 250;
    let server = Server::new();
    let running = start(&server).await;
    let mut neighbour = remote(&running);
    let mut calls = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let bearer = format!("Bearer {}", token(&server, UserId::new(SystemClock.now())));
        let channel = Endpoint::from_shared(running.url.clone()).expect("a URL").connect_lazy();
        for _ in 0..CALLS_EACH {
            let mut request = Request::new(ask("wait"));
            request.metadata_mut().insert("authorization", bearer.parse().expect("ASCII"));
            with_deadline(&mut request, PATIENCE);
            let mut client = AuthServiceClient::new(channel.clone());
            calls.spawn(async move { client.get_user(request).await.map_err(|status| from_status(&status).kind()) });
        }
        call(&mut neighbour, ask("caller")).await.expect("the neighbour is answered");
    }
    // Those that were let in wait, and hold their places until there is no hope for the others.
    let (mut answered, mut refused, mut late) = (0, 0, 0);
    while let Some(answer) = calls.join_next().await {
        match answer.expect("no panic") {
            Ok(_) => answered += 1,
            Err(ErrorKind::RateLimited) => refused += 1,
            Err(ErrorKind::DeadlineExceeded) => late += 1,
            Err(kind) => panic!("{kind:?}"),
        }
        if refused > 0 {
            server.0.may_finish.notify_one();
        }
    }
    assert!(refused > 0 && answered + late > 0, "{refused} refused, {answered} answered, {late} not in time");
    println!("{answered} of {} were answered, {refused} told to come back", CONNECTIONS * CALLS_EACH);
    call(&mut neighbour, ask("caller")).await.expect("as before");
}

/// Whoever needs no credential may watch and ask for what there is, as much as there are places for it; whether the
/// process is there is answered all the same.
#[tokio::test(flavor = "multi_thread")]
async fn row_76_watching_health_without_end() {
    const PLACES: usize = 256;
    let running = start(&Server::new()).await;
    let watch = async |channel: &Channel| HealthClient::new(channel.clone()).watch(HealthCheckRequest::default()).await;
    let connect = || Endpoint::from_shared(running.url.clone()).expect("a URL").connect_lazy();
    let (one, other) = (connect(), connect());
    let mut watches = Vec::new();
    for number in 0..PLACES {
        watches.push(watch(if number % 2 == 0 { &one } else { &other }).await.expect("a place"));
    }
    let refused = watch(&one).await.expect_err("no place");
    assert_eq!(from_status(&refused).kind(), ErrorKind::RateLimited);
    HealthClient::new(connect()).check(HealthCheckRequest::default()).await.expect("orchestrators are answered");
    call(&mut remote(&running), ask("caller")).await.expect("services are answered");
    watches.clear();
    let again = async { while watch(&one).await.is_err() {} };
    timeout(PATIENCE, again).await.expect("their places are given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_ended() {
    let running = start(&Server::new()).await;
    let mut silent = TcpStream::connect(address(&running)).await.expect("connected");
    let mut dribbling = TcpStream::connect(address(&running)).await.expect("connected");
    dribbling.write_all(b"PRI * HTTP/2").await.expect("sent");
    for stream in [&mut silent, &mut dribbling] {
        let mut rest = Vec::new();
        // Ended, whether with a reset or without.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end");
    }
}
