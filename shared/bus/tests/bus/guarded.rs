//! Redis with a password, with a user of its own, over TLS, and as a cluster.

use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use messenger_core::{JournalId, SystemClock};
use messenger_tls::{AUTHORITY_FILE, Authority, CERTIFICATE_FILE, KEY_FILE};
use redis::aio::MultiplexedConnection;
use tokio::process::Command;

use crate::{
    Bus, Carries, connects_processes, redis,
    server::{Server, free_port},
    variable,
};

#[tokio::test]
async fn with_a_password() {
    let server = Server::start(|port, _| format!("port {port}\nrequirepass p@ss/word\n")).await;
    let url = format!("redis://:p%40ss%2Fword@127.0.0.1:{}", server.port);
    connects_processes(Carries::Batches, |journal| redis(&url, journal)).await;
}

/// The least it has to be allowed; docs/deployment.md says the same.
#[tokio::test]
async fn with_a_user_of_its_own() {
    let rights = "resetchannels &messenger:* -@all +publish +subscribe +ping";
    let server =
        Server::start(|port, _| format!("port {port}\nuser default off\nuser messenger on >secret {rights}\n")).await;
    let url = format!("redis://messenger:secret@127.0.0.1:{}", server.port);
    connects_processes(Carries::Batches, |journal| redis(&url, journal)).await;
}

/// In a process that trusts the test's authority: trust is a variable of the environment.
#[tokio::test]
async fn over_tls() {
    let tls = |port: u16, folder: &std::path::Path| {
        let authority = Authority::create(folder, &SystemClock).expect("made");
        let name = "redis".parse().expect("a name");
        let issued = authority.issue(&name, &["127.0.0.1".to_owned()], LIFE, &SystemClock).expect("issued");
        let file = |name| issued.join(name).display().to_string();
        let (certificate, key, authority) = (file(CERTIFICATE_FILE), file(KEY_FILE), file(AUTHORITY_FILE));
        format!(
            "port 0\ntls-port {port}\ntls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {authority}\n\
             tls-auth-clients no\nrequirepass secret\n"
        )
    };
    let server = Server::start(tls).await;
    let output = Command::new(env::current_exe().expect("a path"))
        .args(["--exact", "guarded::with_the_certificates_it_trusts", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", server.folder.path().join("redis").join(AUTHORITY_FILE))
        .env(TLS_URL, format!("rediss://:secret@127.0.0.1:{}", server.port))
        .kill_on_drop(true)
        .output()
        .await
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}

const LIFE: Duration = Duration::from_secs(3_600);
const TLS_URL: &str = "MESSENGER_TEST_REDIS_TLS_URL";

#[tokio::test]
#[ignore = "a part of over_tls, in a process of its own"]
async fn with_the_certificates_it_trusts() {
    let url = variable(TLS_URL);
    connects_processes(Carries::Batches, |journal| redis(&url, journal)).await;
}

/// What one node of a cluster is told reaches those who listen to another.
#[tokio::test]
async fn by_different_nodes_of_a_cluster() {
    let (one, other) = (node().await, node().await);
    let url = |node: &Node| format!("redis://127.0.0.1:{}", node.server.port);
    let client = redis::Client::open(url(&one)).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
    let meet = [other.server.port, other.between].map(|port| port.to_string());
    let mut command = redis::cmd("CLUSTER");
    command.arg("MEET").arg("127.0.0.1").arg(&meet).exec_async(&mut connection).await.expect("met");
    until_met(&mut connection).await;
    let opened = AtomicUsize::new(0);
    let by_turns = |journal: JournalId| -> Bus {
        let node = if opened.fetch_add(1, Relaxed).is_multiple_of(2) { &one } else { &other };
        redis(&url(node), journal)
    };
    connects_processes(Carries::Batches, by_turns).await;
}

struct Node {
    server: Server,
    /// Where other nodes reach it.
    between: u16,
}

async fn node() -> Node {
    let between = free_port().await;
    let options = |port, _: &std::path::Path| format!("port {port}\ncluster-enabled yes\ncluster-port {between}\n");
    Node { server: Server::start(options).await, between }
}

/// Both links between the two nodes are open.
async fn until_met(connection: &mut MultiplexedConnection) {
    loop {
        let links: Vec<redis::Value> =
            redis::cmd("CLUSTER").arg("LINKS").query_async(connection).await.expect("answers");
        let nodes: String = redis::cmd("CLUSTER").arg("NODES").query_async(connection).await.expect("answers");
        if links.len() == 2 && !nodes.contains("handshake") {
            return;
        }
    }
}
