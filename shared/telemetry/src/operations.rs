//! The small HTTP server for operators of a process that has no other: `/metrics`, `/healthz`, `/readyz`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::Shutdown;

/// Scrapers and probes, at once; who comes then is turned away.
const CONNECTIONS_MAX: usize = 64;
/// From the connection to the end of the answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// When there are no file descriptors, for example.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What operators ask a process for.
#[derive(Debug, Clone)]
pub struct Operations {
    /// The figures of this process.
    pub metrics: PrometheusHandle,
    /// Whether it can do its work.
    pub ready: watch::Receiver<bool>,
}

impl Operations {
    /// Answers one request a connection until the shutdown.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.token.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else {
                sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
            let (operations, token) = (self.clone(), shutdown.token.clone());
            shutdown.spawn(async move {
                token.run_until_cancelled(timeout(ANSWERED_WITHIN, operations.answer(stream))).await;
                drop(permit);
            });
        }
    }

    async fn answer(&self, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let response = self.respond(request.method(), request.uri().path());
            async { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // What a client does to its own connection is no news.
        let _ = connection.await;
    }

    fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match path {
            "/metrics" => text(StatusCode::OK, self.metrics.render()),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if *self.ready.borrow() => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
