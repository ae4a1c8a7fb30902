//! Redis watched by a Sentinel: which server is the master changes.

use std::{collections::HashMap, path::Path, time::Duration};

use messenger_core::JournalId;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, aio::MultiplexedConnection};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{expect_interrupted, expect_signal, redis, run, server::Server, signal};

const AGAIN_AFTER: Duration = Duration::from_millis(100);

#[tokio::test]
async fn the_master_dies() {
    let first = Server::start(|port, _| guarded(port)).await;
    let replica = |port, _: &Path| format!("{}replicaof 127.0.0.1 {}\n", guarded(port), first.port);
    let second = Server::start(replica).await;
    let mut connection = connect(&second, "of-redis").await;
    while !ask::<String>(&mut connection, &["INFO", "REPLICATION"]).await.contains("master_link_status:up") {
        sleep(AGAIN_AFTER).await;
    }
    let watch = |port, _: &Path| {
        format!(
            "port {port}\nrequirepass of-sentinel\nsentinel monitor chat 127.0.0.1 {} 1\n\
             sentinel auth-pass chat of-redis\nsentinel down-after-milliseconds chat 3000\n\
             sentinel failover-timeout chat 5000\n",
            first.port
        )
    };
    let sentinel = Server::sentinel(watch).await;
    let mut connection = connect(&sentinel, "of-sentinel").await;
    while !knows_a_replica(&mut connection).await {
        sleep(AGAIN_AFTER).await;
    }

    let url = format!("redis+sentinel://:of-redis@127.0.0.1:{}/chat?sentinel_auth=:of-sentinel", sentinel.port);
    let (journal, cancel) = (JournalId(Uuid::new_v4()), CancellationToken::new());
    let (one, other) = (redis(&url, journal), redis(&url, journal));
    let mut receiver = run(&one, &cancel).await;
    run(&other, &cancel).await;
    other.publish(signal(1));
    expect_signal(&mut receiver, 1).await;

    let (_, port): (String, u16) = ask(&mut connection, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "chat"]).await;
    let mut servers = vec![first, second];
    servers.retain(|server| server.port != port);
    expect_interrupted(&mut receiver).await;
    other.publish(signal(2));
    expect_signal(&mut receiver, 2).await;
    cancel.cancel();
}

fn guarded(port: u16) -> String {
    format!("port {port}\nrequirepass of-redis\nmasterauth of-redis\nrepl-diskless-sync-delay 0\n")
}

async fn connect(server: &Server, password: &str) -> MultiplexedConnection {
    let client = Client::open(format!("redis://:{password}@127.0.0.1:{}", server.port)).expect("a URL");
    let patient = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    client.get_multiplexed_async_connection_with_config(&patient).await.expect("connects")
}

async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::Cmd::new();
    words.iter().for_each(|word| _ = command.arg(word));
    command.query_async(connection).await.expect("answers")
}

/// Well enough to make it the master.
async fn knows_a_replica(sentinel: &mut MultiplexedConnection) -> bool {
    let replicas: Vec<HashMap<String, String>> = ask(sentinel, &["SENTINEL", "REPLICAS", "chat"]).await;
    replicas.iter().any(|replica| replica["flags"] == "slave" && replica["master-link-status"] == "ok")
}
