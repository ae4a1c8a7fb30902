//! The way to a service.

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::{Request, Response, uri::Authority};
use messenger_core::{Error, ErrorKind};
use tonic::{Status, body::Body, service::Routes};
use tower::Service as _;

use crate::{
    Service, ServiceCredential, balance::Balance, connection::Encryption, credential::SERVICE_REFUSED, remote,
    status::to_status, trace,
};

/// The way to a service, over the network or in process: what generated clients are made with. Cheap to clone. Says on
/// every call which service calls, and carries the trace context.
#[derive(Debug, Clone)]
pub struct RpcChannel(Way);

#[derive(Debug, Clone)]
enum Way {
    Remote(Arc<Balance>, ServiceCredential),
    InProcess(Arc<OnceLock<Routes>>, Service),
}

impl RpcChannel {
    /// To the service `to` at `http://host:port`, or `https://host:port` when the credential is a certificate; several
    /// addresses are separated by commas, and a name may stand for several.
    /// Connects at the first call and again when a connection is lost; calls go in turn to the addresses that are up.
    /// When none is, calls are UNAVAILABLE, at once or after 2 s.
    ///
    /// # Errors
    /// VALIDATION_FAILED when one is no such URL.
    pub fn remote(to: Service, urls: &str, credential: ServiceCredential) -> Result<Self, Error> {
        let encryption = credential.encryption().map(|certificate| Encryption::new(certificate.clone(), to));
        Ok(Self(Way::Remote(Arc::new(Balance::new(to, urls, encryption)?), credential)))
    }

    /// Another machine to which calls go in plain text, and the secret with them; none if there is none.
    pub(crate) fn unencrypted_to(&self) -> Option<&Authority> {
        match &self.0 {
            Way::Remote(balance, credential) if credential.encryption().is_none() => balance.elsewhere(),
            Way::Remote(..) | Way::InProcess(..) => None,
        }
    }

    /// From one service of this process to another that is made later: calls are UNAVAILABLE until the slot is filled.
    #[must_use]
    pub fn in_process(from: Service) -> (Self, InProcessSlot) {
        let routes = Arc::new(OnceLock::new());
        (Self(Way::InProcess(routes.clone(), from)), InProcessSlot(routes))
    }

    /// The same way for another service of this process; a certificate stays what it is.
    #[must_use]
    pub fn shown_by(&self, from: Service) -> Self {
        Self(match &self.0 {
            Way::Remote(balance, credential) => Way::Remote(balance.clone(), credential.shown_by(from)),
            Way::InProcess(routes, _) => Way::InProcess(routes.clone(), from),
        })
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

impl tower::Service<Request<Body>> for RpcChannel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match &self.0 {
            Way::Remote(balance, credential) => {
                credential.show(request.headers_mut());
                trace::inject(request.headers_mut());
                let balance = Arc::clone(balance);
                Box::pin(async move {
                    let answer = remote::call(&balance, request).await?;
                    let is_refused = answer.headers().contains_key(SERVICE_REFUSED);
                    if is_refused { Err(to_status(balance.refused())) } else { Ok(answer) }
                })
            }
            Way::InProcess(routes, from) => {
                request.extensions_mut().insert(*from);
                Box::pin(call_in_process(routes.get().cloned(), request))
            }
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
