//! What anybody may ask without a credential: health, and what the interface is. By the bounds of every call.

use std::{
    convert::Infallible,
    future::ready,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use messenger_core::{Error, ErrorKind};
use tokio::sync::Semaphore;
use tonic::{body::Body, server::NamedService, service::AxumBody};
use tower::Service;

use crate::{
    call::{HANDLER_TIMEOUT, handle, refuse},
    held::Held,
    timely::Timely,
};

/// Questions that are being answered, those who watch included; more are refused.
const ANSWERS_MAX: usize = 256;
/// What orchestrators ask, and our own services when they connect: whoever watches without end does not take it away.
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

/// A generated server for everybody. Its body has to arrive in time, as its answer has to begin.
#[derive(Debug, Clone)]
pub(crate) struct Public<S> {
    inner: S,
    permits: Arc<Semaphore>,
}

impl<S> Public<S> {
    /// Shares its permits with others.
    pub(crate) fn new(inner: S, permits: &Arc<Semaphore>) -> Self {
        Self { inner, permits: Arc::clone(permits) }
    }
}

/// Of all that one process serves to everybody.
pub(crate) fn permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ANSWERS_MAX))
}

impl<S: NamedService> NamedService for Public<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Public<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_check = request.uri().path() == HEALTH_CHECK;
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            _ if is_check => None,
            Ok(permit) => Some(permit),
            Err(_) => {
                let busy = Error::new(ErrorKind::RateLimited, "too many ask at once");
                return Box::pin(ready(Ok(refuse(busy))));
            }
        };
        let request = request.map(|body| Body::new(Timely::new(AxumBody::new(body), HANDLER_TIMEOUT)));
        let answer = handle(self.inner.call(request), HANDLER_TIMEOUT);
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(Held::new(body, permit)))) })
    }
}
