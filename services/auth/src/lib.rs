//! Identity: users, passwords, sessions, and the tokens they are known by. The only issuer of tokens.
//!
//! Wiring: [`Config`] > [`open_store`] > [`build`] > [`Auth::routes`], served over TCP by [`run`] or in process by the
//! standalone binary. [`Auth::start`] runs what belongs beside them.

mod config;
mod convert;
pub mod identity;
pub mod model;
pub mod passwords;
pub mod policy;
pub mod refresh;
pub mod revocations;
mod rpc;
pub mod search;
pub mod sessions;
pub mod store;
pub mod tokens;

use std::sync::Arc;

use aws_lc_rs::hmac;
use messenger_core::{Clock, Result, SystemClock};
use messenger_identity::Verifier;
use messenger_proto::auth::v1::auth_service_server::{AuthServiceServer, SERVICE_NAME};
use messenger_rpc::{Check, Served, ServerAuth, ServiceCredential, Sockets};
use messenger_telemetry::Shutdown;
use tonic::service::{Routes, RoutesBuilder};

pub use self::{
    config::{Config, TokenConfig},
    rpc::{Rpc, SESSION_ID},
    store::open as open_store,
};
use self::{
    identity::Users, passwords::Passwords, revocations::Revocations, sessions::Sessions, store::Store, tokens::Issuer,
};

/// Larger than any request of this service: 1,000 ids.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// The service, ready to be served.
pub struct Auth {
    users: Arc<Users>,
    sessions: Arc<Sessions>,
    revocations: Arc<Revocations>,
    verifier: Arc<Verifier>,
    lasting_key: hmac::Key,
}

/// Puts the service together. Makes the keys when the store has none.
///
/// # Errors
/// UNAVAILABLE or INTERNAL when the store cannot be used.
pub async fn build(config: &TokenConfig, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Auth> {
    let keys = store.agree_on_keys(tokens::new_keys()?, clock.now()).await?;
    let issuer = Issuer::new(&keys, config)?;
    let lasting_key = hmac::Key::new(hmac::HMAC_SHA256, &keys.refresh_secret);
    let verifier = Verifier::new(config.rules(), clock.clone());
    verifier.set_keys(issuer.jwks())?;
    let revocations = Arc::new(Revocations::new(store.clone(), clock.clone()));
    let sessions = Arc::new(Sessions::new(store.clone(), clock.clone(), issuer, revocations.clone()));
    let users = Arc::new(Users::new(store, clock, Passwords::new()?, sessions.clone()));
    Ok(Auth { users, sessions, revocations, verifier: Arc::new(verifier), lasting_key })
}

impl Auth {
    /// Starts what runs beside the server: it follows the revocations, and removes what is over.
    pub fn start(&self, shutdown: &Shutdown) {
        let (revocations, verifier) = (self.revocations.clone(), self.verifier.clone());
        let token = shutdown.token.clone();
        shutdown.spawn(async move { revocations.follow(&verifier, token).await });
    }

    /// The generated server behind authentication, by this service's own keys and the credential of services.
    #[must_use]
    pub fn routes(&self, credential: ServiceCredential, shutdown: &Shutdown) -> Routes {
        let auth = ServerAuth { verifier: self.verifier.clone(), credential };
        messenger_rpc::routes(auth, |routes| self.add_to(routes, shutdown))
    }

    /// Adds the generated server to those behind one authentication.
    pub fn add_to(&self, routes: &mut RoutesBuilder, shutdown: &Shutdown) {
        let rpc = Rpc {
            users: self.users.clone(),
            sessions: self.sessions.clone(),
            revocations: self.revocations.clone(),
            shutdown: shutdown.clone(),
        };
        routes.add_service(AuthServiceServer::new(rpc).max_decoding_message_size(REQUEST_BYTES_MAX));
    }

    /// A secret for this purpose that lasts as long as the store: 64 hexadecimal digits. For a process that has the
    /// store and no setting for it.
    #[must_use]
    pub fn lasting_secret(&self, purpose: &str) -> String {
        let tag = hmac::sign(&self.lasting_key, purpose.as_bytes());
        tag.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// Knows this service's keys and, once started, its revocations.
    #[must_use]
    pub fn verifier(&self) -> Arc<Verifier> {
        self.verifier.clone()
    }
}

/// The process: serves over TCP until SIGTERM or SIGINT.
///
/// # Errors
/// One line for the operator that names the setting, when it cannot start; INTERNAL when the server breaks.
pub async fn run(config: Config) -> Result<()> {
    let credential = config.credential()?;
    let sockets = Sockets::bind(config.listen, config.metrics_listen).await?;
    let store = open_store(&config.store.location()?).await?;
    let auth = build(&config.tokens, store.clone(), Arc::new(SystemClock)).await?;
    let shutdown = Shutdown::new();
    auth.start(&shutdown);
    let served = Served {
        name: "auth",
        services: &[SERVICE_NAME],
        routes: auth.routes(credential, &shutdown),
        check: check(store),
    };
    sockets.serve(served, shutdown).await
}

/// Whether the store answers.
#[must_use]
pub fn check(store: Arc<dyn Store>) -> Check {
    Box::new(move || {
        let store = store.clone();
        Box::pin(async move { store.revocation_head().await.map(drop) })
    })
}
