//! Identity: users, passwords, sessions, and the tokens they are known by. The only issuer of tokens.
//!
//! Wiring: [`Config`] > [`open_store`] > [`build`] > [`Auth::routes`], served over TCP by [`run`] or in process by the
//! standalone binary. [`Auth::start`] runs what belongs beside them.

mod command;
mod config;
mod convert;
pub mod foreign;
mod foreign_args;
mod guesses;
mod issuers;
pub mod keys;
pub mod model;
mod passwords;
mod policy;
mod refresh;
mod revocations;
mod rpc;
pub mod seal;
pub mod search;
mod sessions;
pub mod store;
mod tokens;
mod users;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use messenger_core::{Clock, Result, SystemClock};
use messenger_identity::Verifier;
use messenger_proto::auth::v1::auth_service_server::{AuthServiceServer, SERVICE_NAME};
use messenger_rpc::{Check, Process, Served, ServerAuth, Service, Trust};
use messenger_telemetry::Shutdown;
use tonic::service::{Routes, RoutesBuilder};

pub use self::{
    command::{KeysCommand, UsersCommand},
    config::{Command, Config, TokenConfig},
    foreign_args::ForeignArgs,
    store::open as open_store,
};
use self::{
    foreign::{Foreign, Pace},
    guesses::Guesses,
    issuers::Issuers,
    keys::KeyRing,
    passwords::Passwords,
    revocations::Revocations,
    rpc::Rpc,
    sessions::Sessions,
    store::Store,
    tokens::Issuer,
    users::Users,
};

/// Larger than any request of this service: 1,000 ids.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// How often the store is asked whether the signing keys have changed.
const KEYS_EVERY: Duration = Duration::from_secs(5);

/// The service, ready to be served.
pub struct Auth {
    users: Arc<Users>,
    sessions: Arc<Sessions>,
    revocations: Arc<Revocations>,
    issuers: Arc<Issuers>,
    clock: Arc<dyn Clock>,
    lasting_key: hmac::Key,
}

/// Puts the service together. Makes the keys when the store has none.
///
/// # Errors
/// VALIDATION_FAILED, for the operator, when a setting cannot be used; UNAVAILABLE or INTERNAL when the store cannot.
pub async fn build(config: &TokenConfig, store: Store, clock: Arc<dyn Clock>) -> Result<Auth> {
    config.check()?;
    let (keys, refresh_secret) = KeyRing::open(store.clone(), clock.clone(), config.seal.seal()?).await?;
    let keys = Arc::new(keys);
    let foreign = Foreign::open(config.sources()?, store.clone(), clock.clone(), Pace::default()).await?;
    let verifier = Arc::new(Verifier::new(config.rules(), clock.clone()));
    let issuers = Arc::new(Issuers::new(keys.clone(), foreign, verifier.clone(), config.accounts()));
    let issuer = Issuer::new(keys, &refresh_secret, config);
    let revocations = Arc::new(Revocations::new(store.clone(), clock.clone()));
    revocations.catch_up(&verifier).await?;
    let sessions = Arc::new(Sessions::new(store.clone(), clock.clone(), issuer, revocations.clone()));
    let guarded = (Passwords::default(), Guesses::new(&refresh_secret));
    let users = Arc::new(Users::new(store, clock.clone(), guarded, sessions.clone()));
    verifier.set_admission(users.clone());
    let lasting_key = hmac::Key::new(hmac::HMAC_SHA256, &refresh_secret);
    Ok(Auth { users, sessions, revocations, issuers, clock, lasting_key })
}

impl Auth {
    /// Starts what runs beside the server: it follows keys and revocations, and removes what is over.
    pub fn start(&self, shutdown: &Shutdown) {
        let (revocations, verifier) = (self.revocations.clone(), self.verifier());
        let token = shutdown.token.clone();
        shutdown.spawn(async move { revocations.follow(&verifier, token).await });
        let (issuers, token) = (self.issuers.clone(), shutdown.token.clone());
        shutdown.spawn(async move { issuers.follow_foreign(token).await });
        let (issuers, token) = (self.issuers.clone(), shutdown.token.clone());
        shutdown.spawn(async move { issuers.follow_own(KEYS_EVERY, token).await });
    }

    /// The generated server behind authentication, by this service's own keys and what services are believed by.
    #[must_use]
    pub fn routes(&self, trust: Trust, shutdown: &Shutdown) -> Routes {
        let auth = ServerAuth { verifier: self.verifier(), trust };
        messenger_rpc::routes(auth, |routes| self.add_to(routes, shutdown))
    }

    /// Adds the generated server to those behind one authentication.
    pub fn add_to(&self, routes: &mut RoutesBuilder, shutdown: &Shutdown) {
        let rpc = Rpc {
            users: self.users.clone(),
            sessions: self.sessions.clone(),
            revocations: self.revocations.clone(),
            issuers: self.issuers.clone(),
            clock: self.clock.clone(),
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
        self.issuers.verifier()
    }
}

/// The process: serves over TCP until SIGTERM or SIGINT.
///
/// # Errors
/// One line for the operator that names the setting, when it cannot start; INTERNAL when the server breaks.
pub async fn run(config: Config) -> Result<()> {
    match config.command {
        Some(Command::Keys(command)) => return command.run().await,
        Some(Command::Users(command)) => return command.run().await,
        None => {}
    }
    let process = Process::bind(Service::Auth, &config.serve, config.listen).await?;
    let store = open_store(&config.store.location()?).await?;
    let auth = build(&config.tokens, store.clone(), Arc::new(SystemClock)).await?;
    auth.start(&process.shutdown);
    let routes = auth.routes(process.trust.clone(), &process.shutdown);
    process.serve(Served { services: &[SERVICE_NAME], routes, check: check(store) }).await
}

/// Whether the store answers.
#[must_use]
pub fn check(store: Store) -> Check {
    Box::new(move || {
        let store = store.clone();
        Box::pin(async move { store.revocation_head().await.map(drop) })
    })
}
