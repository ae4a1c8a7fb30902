//! The way to a service.

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response, header::AUTHORIZATION};
use messenger_core::{Error, ErrorKind};
use tonic::{
    Status,
    body::Body,
    service::Routes,
    transport::{Channel, Endpoint},
};
use tower::{Service, ServiceExt as _};

use crate::{ServiceCredential, status::to_status, trace};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The way to a service, over the network or in process: what generated clients are made with. Cheap to clone. Carries
/// the service credential and the trace context on every call.
#[derive(Debug, Clone)]
pub struct RpcChannel {
    peer: Peer,
    credential: ServiceCredential,
}

#[derive(Debug, Clone)]
enum Peer {
    Remote(Channel),
    InProcess(Arc<OnceLock<Routes>>),
}

impl RpcChannel {
    /// To a service at `http://host:port`. Connects at the first call and again when the connection is lost; a peer
    /// that is away makes calls UNAVAILABLE, at once or after 2 s.
    ///
    /// # Errors
    /// VALIDATION_FAILED when the URL is none.
    pub fn remote(url: &str, credential: ServiceCredential) -> Result<Self, Error> {
        let invalid = || Error::invalid("url", format!("{url} is not of the form http://host:port"));
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| invalid())?;
        if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().port_u16().is_none() {
            return Err(invalid());
        }
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(Self { peer: Peer::Remote(channel), credential })
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
            Peer::Remote(channel) => {
                trace::inject(request.headers_mut());
                Box::pin(call_remote(channel.clone(), request))
            }
            Peer::InProcess(routes) => Box::pin(call_in_process(routes.get().cloned(), request)),
        }
    }
}

async fn call_remote(channel: Channel, request: Request<Body>) -> Result<Response<Body>, Status> {
    channel.oneshot(request).await.map_err(|error| Status::from_error(error.into()))
}

async fn call_in_process(routes: Option<Routes>, request: Request<Body>) -> Result<Response<Body>, Status> {
    let Some(mut routes) = routes else {
        return Err(to_status(Error::new(ErrorKind::Unavailable, "the service has not started yet")));
    };
    match routes.call(request).await {
        Ok(response) => Ok(response),
    }
}
