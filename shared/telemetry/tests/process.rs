//! Logs and traces of a whole process. A process has one of each, so every case runs this binary again as a child.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use messenger_telemetry::{LOG_FILTER_DEFAULT, TelemetryConfig, init};

fn config(log_filter: &str) -> TelemetryConfig {
    TelemetryConfig { service_name: "messenger-test", log_filter: log_filter.to_owned() }
}

#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let guard = init(config(LOG_FILTER_DEFAULT)).expect("the first");
        let span = tracing::info_span!(target: "messenger_test", "the_span", user.id = 7);
        span.in_scope(|| tracing::info!("hello"));
        tracing::info_span!(target: "reqwest", "not_ours").in_scope(|| tracing::debug!("hidden"));
        drop(span);
        init(config(LOG_FILTER_DEFAULT)).expect_err("the second");
        drop(guard);
    });
}

fn run_child(endpoint: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "child", "--ignored", "--nocapture"]).env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
    if let Some(endpoint) = endpoint {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    }
    command.output().expect("the child runs")
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    (listener, url)
}

/// Reads one HTTP request with its body and answers 200.
fn answer(mut connection: TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = connection.read(&mut buffer).expect("a request");
        request.extend_from_slice(&buffer[..count]);
        if count == 0 || is_whole(&request) {
            break;
        }
    }
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("answered");
    request
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    request.len() >= end + 4 + length.unwrap_or(0)
}

#[test]
fn logs_are_json_when_nobody_watches() {
    let output = run_child(None);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.starts_with('{')).expect("a line of JSON");
    for part in [r#""level":"INFO""#, r#""message":"hello""#, r#""user.id":7"#] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!text.contains("hidden"));
}

#[test]
fn spans_are_exported_before_the_end() {
    let (listener, url) = listen();
    let collector = thread::spawn(move || answer(listener.accept().expect("the exporter").0));
    let output = run_child(Some(&url));
    assert!(output.status.success(), "{output:?}");
    let request = collector.join().expect("collected");
    let text = String::from_utf8_lossy(&request);
    assert!(text.starts_with("POST /v1/traces HTTP/1.1"), "{text}");
    assert!(text.contains("the_span") && text.contains("messenger-test") && !text.contains("not_ours"), "{text}");
}

#[test]
fn a_collector_that_hangs_does_not_hold_the_process() {
    let (listener, url) = listen();
    let started = Instant::now();
    let output = run_child(Some(&url));
    assert!(output.status.success(), "{output:?}");
    assert!(started.elapsed() < Duration::from_secs(30));
    drop(listener);
}
