//! The two ways to reach a server.

use messenger_core::Error;
use messenger_proto::auth::v1::{
    GetUserRequest,
    auth_service_client::AuthServiceClient,
    auth_service_server::{AuthServiceServer, SERVICE_NAME},
};
use messenger_rpc::{GrpcArgs, HealthReporter, Port, RpcChannel, Service, from_status, routes, serve};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::IntoRequest;

use crate::server::{Server, credential};

pub type Client = AuthServiceClient<RpcChannel>;

/// A server on a socket.
pub struct Running {
    pub url: String,
    pub health: HealthReporter,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<Result<(), Error>>,
}

pub async fn start_at(server: &Server, address: &str) -> Running {
    start_with(server, address, GrpcArgs::default()).await
}

pub async fn start_with(server: &Server, address: &str, grpc: GrpcArgs) -> Running {
    let listener = TcpListener::bind(address).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let health = HealthReporter::new(&[SERVICE_NAME]).await;
    let shutdown = CancellationToken::new();
    let routes = routes(server.auth(), |builder| {
        builder.add_service(AuthServiceServer::new(server.clone()));
    });
    let port = Port { grpc, ..Port::from(listener) };
    let task = tokio::spawn(serve(port, routes, shutdown.clone(), health.clone()));
    Running { url, health, shutdown, task }
}

pub async fn start(server: &Server) -> Running {
    start_at(server, "127.0.0.1:0").await
}

pub fn remote(running: &Running) -> Client {
    AuthServiceClient::new(RpcChannel::remote(Service::Auth, &running.url, credential()).expect("a URL"))
}

pub fn in_process(server: &Server) -> Client {
    let (channel, slot) = RpcChannel::in_process(Service::Acting);
    slot.fill(routes(server.auth(), |builder| {
        builder.add_service(AuthServiceServer::new(server.clone()));
    }));
    AuthServiceClient::new(channel)
}

/// Runs a test in both shapes.
pub async fn in_both_shapes(test: impl AsyncFn(Server, Client)) {
    let server = Server::new();
    test(server.clone(), in_process(&server)).await;
    let running = start(&server).await;
    test(server, remote(&running)).await;
}

pub fn ask(action: &str) -> GetUserRequest {
    GetUserRequest { user_id: action.to_owned() }
}

pub async fn call(client: &mut Client, request: impl IntoRequest<GetUserRequest>) -> Result<String, Error> {
    let response = client.get_user(request).await.map_err(|status| from_status(&status))?;
    Ok(response.into_inner().user.expect("always answered").id)
}
