//! What every call to a generated server goes through: authentication, policy, span, deadline, panic safety.

use std::{
    convert::Infallible,
    future::Future,
    mem,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response, request::Parts};
use messenger_core::{Error, ErrorKind, KeyedPermit, KeyedSemaphore, UserId};
use messenger_identity::Verifier;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::{
    Status,
    service::{AxumBody, Routes, RoutesBuilder},
};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use crate::{
    Caller, Trust,
    caller::Shown,
    credential::{SERVICE, SERVICE_REFUSED},
    held::Held,
    policy,
    refusals::Refusals,
    status::{deadline_exceeded, to_status},
    timely::Timely,
    trace,
    uncancelled::Uncancelled,
};

/// For callers that name no deadline, and the longest an end user may name: until a handler answers, or opens its stream
/// of answers.
pub(crate) const HANDLER_TIMEOUT: Duration = Duration::from_secs(10);
/// The grain of the runtime's clock: a deadline below it is over before anything is begun.
const SHORTEST: Duration = Duration::from_millis(1);
/// Calls of end users that are being answered; more are refused, so that users never keep services waiting.
const CALLS_OF_USERS_MAX: usize = 1_024;
/// Answers to end users that are on their way or not read to the end, open streams included.
const ANSWERS_TO_USERS_MAX: usize = 4_096;
/// Of these, to one user.
const ANSWERS_TO_USER_MAX: usize = 32;
/// When a user with too many calls may try again.
const BUSY_FOR: Duration = Duration::from_secs(1);
const GRPC_TIMEOUT: &str = "grpc-timeout";
const GRPC_STATUS: &str = "grpc-status";
/// The code of a call that nobody serves.
const UNIMPLEMENTED: &str = "12";
const GRPC_STATUS_DETAILS: &str = "grpc-status-details-bin";

/// By what a server knows its callers.
#[derive(Debug, Clone)]
pub struct ServerAuth {
    /// End users.
    pub verifier: Arc<Verifier>,
    /// Services.
    pub trust: Trust,
}

/// Generated servers with authentication in front of them. Serve them with [`serve`](crate::serve), put them in an
/// [`InProcessSlot`](crate::InProcessSlot), or both.
pub fn routes(auth: ServerAuth, build: impl FnOnce(&mut RoutesBuilder)) -> Routes {
    let mut builder = Routes::builder();
    build(&mut builder);
    let layer = CallLayer {
        auth: Arc::new(auth),
        refusals: Arc::default(),
        calls_of_users: Arc::new(Semaphore::new(CALLS_OF_USERS_MAX)),
        answers_to_users: KeyedSemaphore::new(ANSWERS_TO_USERS_MAX),
    };
    Routes::from(builder.routes().into_axum_router().layer(layer)).prepare()
}

#[derive(Clone)]
struct CallLayer {
    auth: Arc<ServerAuth>,
    refusals: Arc<Refusals>,
    calls_of_users: Arc<Semaphore>,
    answers_to_users: Arc<KeyedSemaphore<UserId>>,
}

/// What a user's call takes: the first until it is answered, the second until the answer is read.
type Seat = (OwnedSemaphorePermit, KeyedPermit<UserId>);

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { layer: self.clone(), inner }
    }
}

impl CallLayer {
    /// Who calls, if it may make this call; none for a call there is not. With a user its seat.
    async fn admit(&self, request: &Parts) -> Result<Option<(Caller, Option<Seat>)>, Error> {
        let caller = match Caller::shown(&self.auth, request) {
            Ok(Shown::Service(caller)) => caller,
            // The verifier records itself which tokens it refuses.
            Ok(Shown::Token(token)) => Caller::User(self.auth.verifier.identify(token).await?),
            Err(error) => return self.refusals.by_stranger(request, error),
        };
        let Some(rule) = policy::rule(request.uri.path()) else { return Ok(None) };
        rule.admit(&caller).or_else(|error| self.refusals.by_caller(caller, request, error))?;
        let seat = match caller {
            Caller::Service { .. } => None,
            Caller::User(identity) => Some(self.seat(identity.user_id).ok_or_else(busy)?),
        };
        Ok(Some((caller, seat)))
    }

    /// Marks the answer to a service that was not believed.
    fn refuse(&self, request: &Parts, error: Error) -> Response<AxumBody> {
        let mut answer = refuse(error);
        if request.headers.contains_key(SERVICE) && Caller::shown(&self.auth, request).is_err() {
            answer.headers_mut().insert(SERVICE_REFUSED, HeaderValue::from_static("true"));
        }
        answer
    }

    fn seat(&self, user: UserId) -> Option<Seat> {
        let answer = self.answers_to_users.try_acquire(user, ANSWERS_TO_USER_MAX)?;
        Some((Arc::clone(&self.calls_of_users).try_acquire_owned().ok()?, answer))
    }
}

fn busy() -> Error {
    Error::new(ErrorKind::RateLimited, "too many calls at once").with_retry_after(BUSY_FOR)
}

#[derive(Clone)]
struct CallService<S> {
    layer: CallLayer,
    inner: S,
}

impl<S> Service<Request<AxumBody>> for CallService<S>
where
    S: Service<Request<AxumBody>, Response = Response<AxumBody>, Error = Infallible, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    type Response = Response<AxumBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<AxumBody>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<AxumBody>) -> Self::Future {
        let span = trace::server_span(&request);
        let waiting = self.inner.clone();
        let (layer, mut inner) = (self.layer.clone(), mem::replace(&mut self.inner, waiting));
        let answer = async move {
            let (mut head, mut body) = request.into_parts();
            let (caller, seat) = match layer.admit(&head).await {
                Ok(Some(admitted)) => admitted,
                Ok(None) => return Ok(Status::unimplemented("there is no such call").into_http()),
                Err(error) => return Ok(layer.refuse(&head, error)),
            };
            head.extensions.insert(caller);
            let mut limit = deadline(&head.headers).unwrap_or(HANDLER_TIMEOUT);
            if let Caller::User(_) = caller {
                head.extensions.insert(Arc::clone(&layer.auth.verifier));
                limit = limit.min(HANDLER_TIMEOUT);
                body = AxumBody::new(Timely::new(body, limit));
            }
            let path = head.uri.path().to_owned();
            let handler = inner.call(Request::from_parts(head, body));
            // As long as the handler runs, whoever still waits for it.
            let handler = async move {
                let answer = handler.await;
                match seat {
                    Some((_, permit)) => answer.map(|answer| answer.map(|body| AxumBody::new(Held::new(body, permit)))),
                    None => answer,
                }
            };
            measured(path, handle(handler, limit)).await
        };
        Box::pin(answer.instrument(span))
    }
}

/// Until the answer, or until a stream of answers is open. What this process does not serve is not told apart.
async fn measured<R>(
    path: String,
    handler: impl Future<Output = Result<Response<R>, Infallible>>,
) -> Result<Response<R>, Infallible> {
    let began = Instant::now();
    let Ok(response) = handler.await;
    let code = response.headers().get(GRPC_STATUS).and_then(|code| code.to_str().ok()).unwrap_or("0").to_owned();
    let method = if code == UNIMPLEMENTED { "other".to_owned() } else { path };
    metrics::histogram!("messenger_rpc_seconds", "method" => method, "code" => code).record(began.elapsed());
    Ok(response)
}

pub(crate) async fn handle<R>(
    handler: impl Future<Output = Result<Response<R>, Infallible>> + Send + 'static,
    limit: Duration,
) -> Result<Response<R>, Infallible>
where
    R: Default + Send + 'static,
{
    if limit < SHORTEST {
        return Ok(refuse(deadline_exceeded()));
    }
    let handler = Uncancelled::new(Box::pin(AssertUnwindSafe(handler).catch_unwind()));
    let response = match timeout(limit, handler).await {
        Ok(Ok(Ok(response))) => checked(response),
        Ok(Err(panic)) => refuse(Error::internal(describe(&*panic))),
        Err(_) => refuse(deadline_exceeded()),
    };
    Ok(response)
}

pub(crate) fn refuse<R: Default>(error: Error) -> Response<R> {
    Span::current().record("rpc.status", error.kind().code());
    to_status(error).into_http()
}

/// Our own INTERNAL and OUT_OF_RANGE always have details. Those without are tonic's: it could not decode the request, or
/// it is too large.
fn checked<R: Default>(response: Response<R>) -> Response<R> {
    let Some(status) = response.headers().get(GRPC_STATUS) else { return response };
    let error = match status.as_bytes() {
        b"11" => Error::new(ErrorKind::PayloadTooLarge, "the message is too large"),
        b"13" => Error::invalid("request", "is not the message this call takes"),
        _ => return recorded(response),
    };
    if response.headers().contains_key(GRPC_STATUS_DETAILS) {
        return recorded(response);
    }
    let reason = Status::from_header_map(response.headers()).map(|status| status.message().to_owned());
    tracing::debug!(reason, "request not understood");
    refuse(error)
}

fn recorded<R>(response: Response<R>) -> Response<R> {
    let status = response.headers().get(GRPC_STATUS).and_then(|status| status.to_str().ok());
    Span::current().record("rpc.status", status.unwrap_or_default());
    response
}

fn describe(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no message"))
}

/// Up to eight digits and a unit, as the gRPC protocol has it.
pub(crate) fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3_600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn deadlines() {
        let read = |text| {
            let value = HeaderValue::from_static(text);
            deadline(&HeaderMap::from_iter([(http::HeaderName::from_static(GRPC_TIMEOUT), value)]))
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(read("15m"), Some(Duration::from_millis(15)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for text in ["", "1", "S", "1x", "-1S", "+1S", "123456789S", "1.5S"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
