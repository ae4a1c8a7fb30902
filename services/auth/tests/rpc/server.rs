//! One auth process in this one, on a free port, with a clock that stands still.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use messenger_auth::{TokenConfig, build};
use messenger_core::{ErrorKind, ManualClock, Timestamp, UserId};
use messenger_proto::auth::v1::{
    GetUserRequest, LoginRequest, LoginResponse, RegisterRequest, Tokens, User, auth_service_client::AuthServiceClient,
};
use messenger_rpc::{
    HealthReporter, RpcChannel, SESSION_ID, Service, ServiceCredential, from_status, request_as, serve,
};
use messenger_telemetry::Shutdown;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::Channel};

use crate::common::TestStore;

pub const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Long enough for everything but a fault.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const PASSWORD: &str = "correct horse";

pub type Services = AuthServiceClient<RpcChannel>;
pub type EndUsers = AuthServiceClient<Channel>;

pub struct Server {
    pub test_store: TestStore,
    pub clock: Arc<ManualClock>,
    pub credential: ServiceCredential,
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    in_process: RpcChannel,
}

/// A user with the tokens of its first session.
pub struct Registered {
    pub user: User,
    pub tokens: Tokens,
}

impl Registered {
    pub fn id(&self) -> UserId {
        self.user.id.parse().expect("a UUID")
    }

    /// The request with this user's access token.
    pub fn bearer<T>(&self, message: T) -> Request<T> {
        bearer(&self.tokens.access_token, message)
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::on(TestStore::sqlite()).await
    }

    pub async fn on(test_store: TestStore) -> Self {
        Self::with(test_store, &TokenConfig::default()).await
    }

    pub async fn with(test_store: TestStore, config: &TokenConfig) -> Self {
        let store = test_store.open().await;
        let clock = Arc::new(ManualClock::new(NOW));
        let credential = ServiceCredential::random(Service::Gateway).expect("randomness");
        let shutdown = Shutdown::new();
        let auth = build(config, store, clock.clone()).await.expect("built");
        auth.start(&shutdown);
        let routes = auth.routes(credential.trust(), &shutdown);
        let (in_process, slot) = RpcChannel::in_process(Service::Gateway);
        slot.fill(routes.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let health = HealthReporter::new(&[]).await;
        shutdown.spawn(serve(listener.into(), routes, shutdown.token.clone(), health));
        Self { test_store, clock, credential, address, shutdown, in_process }
    }

    /// Services in the same process.
    pub fn in_process(&self) -> Services {
        AuthServiceClient::new(self.in_process.clone())
    }

    /// A service of the operator's own.
    pub fn acting(&self) -> Services {
        AuthServiceClient::new(self.in_process.shown_by(Service::Acting))
    }

    /// Services over TCP.
    pub fn services(&self) -> Services {
        let url = format!("http://{}", self.address);
        AuthServiceClient::new(RpcChannel::remote(Service::Auth, &url, self.credential.clone()).expect("a URL"))
    }

    /// Without any credential of its own, over TCP.
    pub async fn end_users(&self) -> EndUsers {
        AuthServiceClient::connect(format!("http://{}", self.address)).await.expect("connected")
    }

    pub async fn registered(&self, name: &str, email: &str) -> Registered {
        let response = self.in_process().register(registration(name, email)).await.expect("registered").into_inner();
        Registered { user: response.user.expect("given"), tokens: response.tokens.expect("given") }
    }

    pub async fn login(&self, email: &str, password: &str) -> Result<LoginResponse, Status> {
        let (email, password) = (email.to_owned(), password.to_owned());
        let request = LoginRequest { email, password, user_agent: "test".to_owned(), address: String::new() };
        self.in_process().login(request).await.map(Response::into_inner)
    }

    /// As the gateway asks for a client at this address.
    pub async fn login_from(&self, address: &str, email: &str, password: &str) -> Result<LoginResponse, Status> {
        let [email, password, address] = [email, password, address].map(str::to_owned);
        let request = LoginRequest { email, password, user_agent: "test".to_owned(), address };
        self.in_process().login(request).await.map(Response::into_inner)
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// What a call with this access token comes to.
    pub async fn knock(&self, token: &str) -> Result<(), ErrorKind> {
        let user_id = UserId::new(NOW).to_string();
        let result = self.end_users().await.get_user(bearer(token, GetUserRequest { user_id })).await;
        match result.map_err(|status| kind(&status)) {
            Err(ErrorKind::NotFound) => Ok(()),
            Err(kind) => Err(kind),
            Ok(_) => panic!("nobody has this id"),
        }
    }

    /// Waits until this access token is refused because its session was ended.
    pub async fn until_revoked(&self, token: &str) {
        let revoked = async { while self.knock(token).await != Err(ErrorKind::TokenRevoked) {} };
        tokio::time::timeout(PATIENCE, revoked).await.expect("revoked in time");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.token.cancel();
    }
}

pub fn registration(name: &str, email: &str) -> RegisterRequest {
    RegisterRequest {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
        full_name: name.to_owned(),
        designation: "Engineer".to_owned(),
        user_agent: "test".to_owned(),
        address: String::new(),
    }
}

pub fn bearer<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
    request
}

/// As the gateway asks: for a user, in one of its sessions.
pub fn in_session<T>(user: UserId, access_token: &str, message: T) -> Request<T> {
    let mut request = request_as(user, message);
    request.metadata_mut().insert(SESSION_ID, session_of(access_token).parse().expect("ASCII"));
    request
}

pub fn session_of(access_token: &str) -> String {
    claims(access_token)["sid"].as_str().expect("a session").to_owned()
}

pub fn claims(access_token: &str) -> serde_json::Value {
    let claims = access_token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON")
}

pub fn header(access_token: &str) -> serde_json::Value {
    let part = access_token.split('.').next().expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

pub fn kind(status: &Status) -> ErrorKind {
    from_status(status).kind()
}
