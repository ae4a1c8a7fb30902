//! The way to a service.

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::{Request, Response, header::AUTHORIZATION};
use messenger_core::{Error, ErrorKind};
use tonic::{Status, body::Body, service::Routes};
use tower::Service;

use crate::{ServiceCredential, balance::Balance, remote, status::to_status, trace};

/// The way to a service, over the network or in process: what generated clients are made with. Cheap to clone. Carries
/// the service credential and the trace context on every call.
#[derive(Debug, Clone)]
pub struct RpcChannel {
    peer: Peer,
    credential: ServiceCredential,
}

#[derive(Debug, Clone)]
enum Peer {
    Remote(Arc<Balance>),
    InProcess(Arc<OnceLock<Routes>>),
}

impl RpcChannel {
    /// To a service at `http://host:port`; several addresses are separated by commas, and a name may stand for several.
    /// Connects at the first call and again when a connection is lost; calls go in turn to the addresses that are up.
    /// When none is, calls are UNAVAILABLE, at once or after 2 s.
    ///
    /// # Errors
    /// VALIDATION_FAILED when one is no such URL.
    pub fn remote(urls: &str, credential: ServiceCredential) -> Result<Self, Error> {
        Ok(Self { peer: Peer::Remote(Arc::new(Balance::new(urls)?)), credential })
    }

    /// To a service of this process that is made later: calls are UNAVAILABLE until the slot is filled.
    #[must_use]
    pub fn in_process(credential: ServiceCredential) -> (Self, InProcessSlot) {
        let routes = Arc::new(OnceLock::new());
        (Self { peer: Peer::InProcess(routes.clone()), credential }, InProcessSlot(routes))
    }
}

/// Where the server of an in-process channel goes.
#[derive(Debug)]
pub struct InProcessSlot(Arc<OnceLock<Routes>>);

impl InProcessSlot {
    /// Calls are answered by `routes` from now on.
    pub fn fill(self, routes: Routes) {
        self.0.set(routes).expect("a slot is filled by its only owner, once");
    }
}

impl Service<Request<Body>> for RpcChannel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(AUTHORIZATION, self.credential.authorization().clone());
        match &self.peer {
            Peer::Remote(balance) => {
                trace::inject(request.headers_mut());
                let balance = Arc::clone(balance);
                Box::pin(async move { remote::call(&balance, request).await })
            }
            Peer::InProcess(routes) => Box::pin(call_in_process(routes.get().cloned(), request)),
        }
    }
}

async fn call_in_process(routes: Option<Routes>, request: Request<Body>) -> Result<Response<Body>, Status> {
    let Some(mut routes) = routes else {
        return Err(to_status(Error::new(ErrorKind::Unavailable, "the service has not started yet")));
    };
    match routes.call(request).await {
        Ok(response) => Ok(response),
    }
}
