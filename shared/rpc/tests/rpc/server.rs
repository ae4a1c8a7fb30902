//! A small AuthService that does on demand what servers do: answer, refuse, wait, panic, stream.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use messenger_core::{Error, ErrorKind, SystemClock};
use messenger_identity::{Signer, TokenRules, Verifier, jwks};
use messenger_proto::auth::v1::{self as proto, auth_service_server::AuthService};
use messenger_rpc::{Caller, ServerAuth, Service, ServiceCredential, to_status};
use opentelemetry::trace::TraceContextExt as _;
use tokio::sync::{Notify, watch};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What tests see and steer of the server.
pub struct Desk {
    pub signer: Signer,
    pub revocations: watch::Sender<Vec<proto::Revocation>>,
    /// Whether more of them are said to follow.
    pub has_more: AtomicBool,
    pub is_entered: Notify,
    pub may_finish: Notify,
    pub is_finished: Notify,
    pub streams_end: Notify,
}

#[derive(Clone)]
pub struct Server(pub Arc<Desk>);

impl Server {
    pub fn new() -> Self {
        let pkcs8 = Signer::generate().expect("a key");
        Self(Arc::new(Desk {
            signer: Signer::from_pkcs8("k1", &pkcs8).expect("a key"),
            revocations: watch::Sender::new(Vec::new()),
            has_more: AtomicBool::new(false),
            is_entered: Notify::new(),
            may_finish: Notify::new(),
            is_finished: Notify::new(),
            streams_end: Notify::new(),
        }))
    }

    pub fn auth(&self) -> ServerAuth {
        let verifier = Verifier::new(TokenRules::default(), Arc::new(SystemClock));
        verifier.set_keys(&jwks(&[self.0.signer.jwk()])).expect("a key");
        verifier.set_caught_up();
        ServerAuth {
            verifier: Arc::new(verifier),
            trust: credential().trust().with_acting(&["acting".parse().expect("a name")]),
        }
    }

    async fn act(&self, caller: Caller, action: &str) -> Result<String, Error> {
        match action {
            "caller" => Ok(format!("{caller:?}")),
            "user" => caller.user_id().map(|user| user.to_string()),
            "trace" => Ok(tracing::Span::current().context().span().span_context().trace_id().to_string()),
            "panic" => panic!("on purpose"),
            "invalid" => Err(Error::invalid("userId", "must be a UUID")),
            "broken" => Err(Error::internal("the cause")),
            "limited" => Err(Error::new(ErrorKind::RateLimited, "slowly").with_retry_after(Duration::from_secs(2))),
            "wait" => {
                self.0.is_entered.notify_one();
                self.0.may_finish.notified().await;
                self.0.is_finished.notify_one();
                Ok(String::new())
            }
            other => Err(Error::not_found(format!("no {other}"))),
        }
    }
}

pub fn credential() -> ServiceCredential {
    ServiceCredential::secret("0123456789abcdef0123456789abcdef", Service::Acting).expect("long enough")
}

type Revocations = Pin<Box<dyn Stream<Item = Result<proto::WatchRevocationsResponse, Status>> + Send>>;

/// The calls tests use, and a refusal for the rest.
macro_rules! auth_service {
    ($($method:ident: $request:ident -> $response:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl AuthService for Server {
            type WatchRevocationsStream = Revocations;

            async fn get_user(
                &self,
                request: Request<proto::GetUserRequest>,
            ) -> Result<Response<proto::GetUserResponse>, Status> {
                let caller = Caller::of(&request).map_err(to_status)?;
                let id = self.act(caller, &request.get_ref().user_id).await.map_err(to_status)?;
                Ok(Response::new(proto::GetUserResponse { user: Some(proto::User { id, ..Default::default() }) }))
            }

            async fn get_jwks(
                &self,
                _: Request<proto::GetJwksRequest>,
            ) -> Result<Response<proto::GetJwksResponse>, Status> {
                Ok(Response::new(proto::GetJwksResponse { jwks: jwks(&[self.0.signer.jwk()]), ..Default::default() }))
            }

            async fn watch_revocations(
                &self,
                request: Request<proto::WatchRevocationsRequest>,
            ) -> Result<Response<Revocations>, Status> {
                let mut last = request.get_ref().after_number;
                let desk = self.0.clone();
                let batches = WatchStream::new(self.0.revocations.subscribe()).map(move |all| {
                    let revocations: Vec<_> = all.into_iter().filter(|one| one.number > last).collect();
                    last = revocations.last().map_or(last, |one| one.number);
                    let has_more = desk.has_more.load(Ordering::Relaxed);
                    Ok(proto::WatchRevocationsResponse { revocations, head_number: last, has_more })
                });
                let desk = self.0.clone();
                let batches = batches.take_until(async move { desk.streams_end.notified().await });
                Ok(Response::new(Box::pin(batches)))
            }

            $(async fn $method(
                &self,
                _: Request<proto::$request>,
            ) -> Result<Response<proto::$response>, Status> {
                Err(Status::unimplemented("not in this test"))
            })*
        }
    };
}

auth_service! {
    register: RegisterRequest -> RegisterResponse,
    login: LoginRequest -> LoginResponse,
    refresh_token: RefreshTokenRequest -> RefreshTokenResponse,
    logout: LogoutRequest -> LogoutResponse,
    logout_all: LogoutAllRequest -> LogoutAllResponse,
    change_password: ChangePasswordRequest -> ChangePasswordResponse,
    list_sessions: ListSessionsRequest -> ListSessionsResponse,
    revoke_session: RevokeSessionRequest -> RevokeSessionResponse,
    batch_get_users: BatchGetUsersRequest -> BatchGetUsersResponse,
    search_users: SearchUsersRequest -> SearchUsersResponse,
    update_user: UpdateUserRequest -> UpdateUserResponse,
    upsert_user: UpsertUserRequest -> UpsertUserResponse,
    admit_user: AdmitUserRequest -> AdmitUserResponse,
    deactivate_user: DeactivateUserRequest -> DeactivateUserResponse,
    reactivate_user: ReactivateUserRequest -> ReactivateUserResponse,
}
