//! Between services with certificates: who is who, who is refused, and files that change.

use std::{path::PathBuf, time::Duration};

use messenger_core::{Clock as _, ErrorKind, ManualClock, SystemClock, Timestamp};
use messenger_proto::auth::v1::{
    GetJwksRequest, auth_service_client::AuthServiceClient, auth_service_server::AuthServiceServer,
};
use messenger_rpc::{
    HealthReporter, Port, RpcChannel, ServerAuth, Service, ServiceCredential, Trust, from_status, routes, serve,
};
use messenger_tls::{Authority, Mutual};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    server::Server,
    shapes::{Client, ask, call},
};

const DAY: Duration = Duration::from_secs(86_400);
const PATIENCE: Duration = Duration::from_secs(30);

/// An authority in a folder of its own.
struct Installation(TempDir);

impl Installation {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Authority::create(folder.path(), &SystemClock).expect("made");
        Self(folder)
    }

    /// The folder of a service, made or made anew.
    fn issue(&self, name: &str) -> PathBuf {
        let authority = Authority::open(self.0.path(), &SystemClock).expect("made before");
        authority.issue(&name.parse().expect("a name"), &[], DAY, &SystemClock).expect("issued")
    }

    fn certificate(&self, name: &str) -> Mutual {
        Mutual::open(&self.issue(name)).expect("a certificate")
    }

    /// From a service of this installation to auth.
    fn client(&self, from: &str, url: &str) -> Client {
        client(self.certificate(from), url)
    }
}

fn client(certificate: Mutual, url: &str) -> Client {
    let credential = ServiceCredential::certificate(certificate);
    AuthServiceClient::new(RpcChannel::remote(Service::Auth, url, credential).expect("a URL"))
}

/// Auth, with a certificate; ends with its token.
async fn start(certificate: Mutual) -> (String, CancellationToken) {
    let server = Server::new();
    let acting = ["acting".parse().expect("a name")];
    let auth = ServerAuth { trust: Trust::certificates().with_acting(&acting), ..server.auth() };
    let routes = routes(auth, |builder| {
        builder.add_service(AuthServiceServer::new(server.clone()));
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let (shutdown, health) = (CancellationToken::new(), HealthReporter::new(&[]).await);
    tokio::spawn(certificate.clone().follow(shutdown.clone()));
    let port = Port { certificate: Some(certificate), ..Port::from(listener) };
    tokio::spawn(serve(port, routes, shutdown.clone(), health));
    (url, shutdown)
}

async fn kind(client: &mut Client) -> Result<(), ErrorKind> {
    call(client, ask("caller")).await.map(drop).map_err(|error| error.kind())
}

#[tokio::test]
async fn a_service_is_who_its_certificate_says() {
    let installation = Installation::new();
    let (url, _shutdown) = start(installation.certificate("auth")).await;
    for (name, may) in [("acting", Ok(())), ("reports", Ok(())), ("auth", Err(ErrorKind::Forbidden))] {
        assert_eq!(kind(&mut installation.client(name, &url)).await, may, "{name}");
    }
    // What the gateway may do, and conversation may not.
    let mut gateway = installation.client("gateway", &url);
    gateway.get_jwks(GetJwksRequest::default()).await.expect("a verifier needs keys");
}

#[tokio::test]
async fn strangers_are_refused() {
    let (installation, stranger) = (Installation::new(), Installation::new());
    let (url, _shutdown) = start(installation.certificate("auth")).await;
    // Each believes the other's authority no more than the other believes it.
    assert_eq!(kind(&mut stranger.client("acting", &url)).await, Err(ErrorKind::Unavailable));
    // Not auth, but some other service of the same installation at auth's address.
    let (elsewhere, _shutdown) = start(installation.certificate("gateway")).await;
    assert_eq!(kind(&mut installation.client("acting", &elsewhere)).await, Err(ErrorKind::Unavailable));
    // Plain text on an encrypted port, and the secret in place of a certificate.
    let plain = url.replace("https:", "http:");
    let secret = crate::server::credential();
    let mut plain = AuthServiceClient::new(RpcChannel::remote(Service::Auth, &plain, secret).expect("a URL"));
    assert_eq!(kind(&mut plain).await, Err(ErrorKind::Unavailable));
    assert!(RpcChannel::remote(Service::Auth, &url, crate::server::credential()).is_err(), "https without certificate");
}

#[tokio::test]
async fn an_end_user_needs_no_certificate_and_the_secret_is_none() {
    let installation = Installation::new();
    let (url, _shutdown) = start(installation.certificate("auth")).await;
    // A stock client: its library's own TLS would do; here rustls without a certificate of its own.
    let metadata = [
        ("authorization", "Service 0123456789abcdef0123456789abcdef"),
        ("authorization", "Bearer nonsense"),
        ("x-service", "acting"),
    ];
    for (name, value) in metadata {
        let mut client = anonymous::client(&installation.0.path().join("ca/ca.crt"), &url).await;
        let mut request = tonic::Request::new(ask("caller"));
        request.metadata_mut().insert(name, value.parse().expect("ASCII"));
        let refused = client.get_user(request).await.expect_err("refused");
        assert_eq!(from_status(&refused).kind(), ErrorKind::Unauthenticated, "{name}: {value}");
    }
}

#[tokio::test]
async fn an_outdated_certificate_is_refused() {
    let installation = Installation::new();
    let (url, _shutdown) = start(installation.certificate("auth")).await;
    let (seconds, nanos) = SystemClock.now().to_parts();
    let long_ago = ManualClock::new(Timestamp::from_parts(seconds - 30 * 86_400, nanos));
    let authority = Authority::open(installation.0.path(), &long_ago).expect("made before");
    let name = "acting".parse().expect("a name");
    let folder = authority.issue(&name, &[], DAY, &long_ago).expect("issued");
    let outdated = Mutual::open(&folder).expect("readable");
    assert_eq!(kind(&mut client(outdated, &url)).await, Err(ErrorKind::Unavailable));
}

#[tokio::test]
async fn changed_files_are_taken_over() {
    let (old, new) = (Installation::new(), Installation::new());
    let folder = old.issue("auth");
    let (url, _shutdown) = start(Mutual::open(&folder).expect("a certificate")).await;
    assert_eq!(kind(&mut old.client("acting", &url)).await, Ok(()));
    // Half of a change is not used: what there was goes on.
    std::fs::write(folder.join("tls.key"), "half").expect("written");
    assert_eq!(kind(&mut old.client("acting", &url)).await, Ok(()));
    let issued = new.issue("auth");
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        std::fs::copy(issued.join(file), folder.join(file)).expect("copied");
    }
    let mut client = new.client("acting", &url);
    let taken_over = async { while kind(&mut client).await.is_err() {} };
    timeout(PATIENCE, taken_over).await.expect("without a restart");
    assert_eq!(kind(&mut old.client("acting", &url)).await, Err(ErrorKind::Unavailable));
}

/// A connection that begins a handshake and says nothing more has no place that a service could have.
#[tokio::test]
async fn handshakes_that_are_held_open_keep_nobody_out() {
    const HELD: usize = 1_200;
    let installation = Installation::new();
    let (url, _shutdown) = start(installation.certificate("auth")).await;
    let mut held = Vec::new();
    for _ in 0..HELD {
        held.push(TcpStream::connect(url.trim_start_matches("https://")).await.expect("accepted by the kernel"));
    }
    assert_eq!(kind(&mut installation.client("acting", &url)).await, Ok(()));
    drop(held);
}

/// A client that checks the server and shows nothing itself.
mod anonymous {
    use std::{path::Path, sync::Arc};

    use hyper_util::rt::TokioIo;
    use messenger_proto::auth::v1::auth_service_client::AuthServiceClient;
    use messenger_tls::{ServerName, TlsConnector};
    use rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, pem::PemObject as _},
    };
    use tokio::net::TcpStream;
    use tonic::transport::{Channel, Endpoint};

    pub async fn client(authority: &Path, url: &str) -> AuthServiceClient<Channel> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).expect("PEM")).expect("an authority");
        let config =
            ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
        let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (connector, address) =
            (TlsConnector::from(Arc::new(config)), url.trim_start_matches("https://").to_owned());
        let connect = tower::service_fn(move |_| {
            let (connector, address) = (connector.clone(), address.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from("auth").expect("a name");
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        let channel = Endpoint::from_static("http://auth").connect_with_connector(connect).await.expect("connected");
        AuthServiceClient::new(channel)
    }
}
