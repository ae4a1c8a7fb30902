//! Databases that are full, locked, read-only or damaged: what cannot be stored is refused, nothing acknowledged is lost,
//! and everything goes on by itself afterwards.

use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use messenger_testkit::{Api, Beside, Cluster, Part, Shape, TestClient, Tolerates, User, Wire, process::free_address};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tokio::process::{Child, Command};

/// A send until it succeeds; every refusal before says that the store is away.
async fn send_until_stored(client: &mut TestClient, draft: Value) -> anyhow::Result<Value> {
    loop {
        let answer = client.request("send_message", draft.clone()).await?;
        if answer["error"].is_null() {
            return Ok(answer);
        }
        ensure!(answer["error"]["code"] == "UNAVAILABLE", "{answer}");
    }
}

/// The newest page, once no session that the database ended is left in the pool.
async fn history(api: &Api, user: &User, conversation: &Value) -> anyhow::Result<Vec<Value>> {
    let path = format!("conversations/{}/messages?limit=100", conversation.as_str().unwrap_or_default());
    loop {
        let (status, page) = api.call(Method::GET, &path, Some(&user.token), None).await?;
        if status != 503 {
            ensure!(status == 200, "{status} {page}");
            return Ok(page["messages"].as_array().cloned().unwrap_or_default());
        }
    }
}

#[tokio::test]
async fn row_78_a_pool_whose_sessions_are_all_held() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::StandalonePostgres).await?;
    let api = cluster.api();
    let (ann, bob) = (api.register("ann").await?, api.register("bob").await?);
    let mut sender = TestClient::connect(cluster.edge(), Wire::SocketIo, &ann).await?;
    let draft = |text: &str| json!({ "receiverId": bob.id, "content": text, "clientMessageId": text });
    let first = sender.request("send_message", draft("first")).await?;
    let beside = Beside::start(cluster.edge(), Tolerates::Unavailable).await?;
    let mut holder = PgConnection::connect(cluster.database_url().context("PostgreSQL")?).await?;
    holder.execute("BEGIN").await?;
    holder.execute("LOCK TABLE message.message IN ACCESS EXCLUSIVE MODE").await?;

    let path = format!("conversations/{}/messages", first["conversationId"].as_str().unwrap_or_default());
    // As many of each as a user may make at once.
    let readers = [&ann, &bob].into_iter().cycle().take(32);
    let reads = join_all(readers.map(|reader| api.call(Method::GET, &path, Some(&reader.token), None)));
    let (reads, refused) = tokio::join!(reads, sender.request("send_message", draft("held")));
    ensure!(refused?["error"]["code"] == "UNAVAILABLE");
    for read in reads {
        let (status, problem) = read?;
        ensure!(status == 503 && problem["code"] == "UNAVAILABLE", "{status} {problem}");
    }
    // Nobody else is held up: other tables, other contexts.
    ensure!(api.get(&ann, "users/me").await?["id"] == ann.id.as_str());

    holder.execute("ROLLBACK").await?;
    let stored = send_until_stored(&mut sender, draft("held")).await?;
    ensure!(stored["seq"] == 2, "{stored}");
    ensure!(history(&api, &ann, &first["conversationId"]).await?.len() == 2);
    beside.unharmed().await
}

/// While somebody sends; whatever a killed session had come to, a repeat finds it.
#[tokio::test]
async fn row_79_sessions_killed_again_and_again() -> anyhow::Result<()> {
    const SENDS: usize = 100;
    const KILL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'messenger-message'";
    let cluster = Cluster::start(Shape::StandalonePostgres).await?;
    let api = cluster.api();
    let (ann, bob) = (api.register("ann").await?, api.register("bob").await?);
    let mut sender = TestClient::connect(cluster.edge(), Wire::SocketIo, &ann).await?;
    let beside = Beside::start(cluster.edge(), Tolerates::Unavailable).await?;
    let mut killer = PgConnection::connect(cluster.database_url().context("PostgreSQL")?).await?;
    let killing = async {
        for pause in 0..40 {
            killer.execute(KILL).await?;
            tokio::time::sleep(Duration::from_millis(pause * 7 % 100)).await;
        }
        anyhow::Ok(())
    };
    let sending = async {
        let mut conversation = Value::Null;
        for n in 1..=SENDS {
            let draft = json!({ "receiverId": bob.id, "content": n.to_string(), "clientMessageId": n.to_string() });
            let stored = send_until_stored(&mut sender, draft).await?;
            ensure!(stored["seq"] == n, "{stored}");
            conversation = stored["conversationId"].clone();
        }
        Ok(conversation)
    };
    let ((), conversation) = tokio::try_join!(killing, sending)?;
    ensure!(history(&api, &bob, &conversation).await?.len() == SENDS);
    beside.unharmed().await
}

#[tokio::test]
async fn row_81_a_database_that_is_read_only() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::StandalonePostgres).await?;
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let mut sender = TestClient::connect(cluster.edge(), Wire::SocketIo, &ann).await?;
    let draft = |text: &str| json!({ "receiverId": bob.id, "content": text, "clientMessageId": text });
    let first = sender.request("send_message", draft("first")).await?;
    let beside = Beside::start(cluster.edge(), Tolerates::Unavailable).await?;

    let server = std::env::var(messenger_testkit::database::SERVER_URL)?;
    let name = cluster.database_url().and_then(|url| url.rsplit_once('/')).map_or("", |(_, name)| name).to_owned();
    let mut admin = PgConnection::connect(&server).await?;
    for (setting, content) in [("on", "refused"), ("off", "stored")] {
        admin
            .execute(AssertSqlSafe(format!("ALTER DATABASE {name} SET default_transaction_read_only = {setting}")))
            .await?;
        // As a change of the primary does: the sessions that are left would keep their old setting.
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        admin.execute(AssertSqlSafe(end)).await?;
        if setting == "on" {
            for _ in 0..3 {
                let refused = sender.request("send_message", draft(content)).await?;
                ensure!(refused["error"]["code"] == "UNAVAILABLE", "{refused}");
            }
            continue;
        }
        let stored = send_until_stored(&mut sender, draft(content)).await?;
        ensure!(stored["seq"] == 2, "{stored}");
    }
    ensure!(history(&cluster.api(), &ann, &first["conversationId"]).await?.len() == 2);
    beside.unharmed().await
}

/// A messenger whose files may not grow beyond a bound, which `prlimit` can lift while it runs. The signal that comes with
/// it is ignored, so that a write fails as it does on a full disk.
struct Bounded {
    child: Child,
    edge: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

impl Bounded {
    async fn start(bound_kib: u32) -> anyhow::Result<Self> {
        let (folder, edge, grpc) = (tempfile::tempdir()?, free_address()?, free_address()?);
        let script = format!("trap '' XFSZ; ulimit -S -f {bound_kib}; exec \"$0\" \"$@\"");
        let child = Command::new("bash")
            .args(["-c", &script, env!("CARGO_BIN_EXE_messenger")])
            .args([format!("--listen={edge}"), format!("--grpc-listen={grpc}"), "--no-rate-limits".to_owned()])
            .arg(format!("--data-dir={}", folder.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let ready = async {
            while !reqwest::get(format!("http://{edge}/readyz")).await.is_ok_and(|answer| answer.status().is_success())
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ready).await.context("it does not become ready")?;
        Ok(Self { child, edge, _folder: folder })
    }

    async fn lift(&self) -> anyhow::Result<()> {
        let pid = self.child.id().context("it runs")?.to_string();
        let status = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:unlimited"]).status().await?;
        ensure!(status.success(), "prlimit ended with {status}");
        Ok(())
    }
}

#[tokio::test]
async fn row_81_a_full_disk() -> anyhow::Result<()> {
    let bounded = Bounded::start(2_048).await?;
    let api = Api::new(format!("http://{}", bounded.edge));
    let (ann, bob) = (api.register("ann").await?, api.register("bob").await?);
    let mut sender = TestClient::connect(bounded.edge, Wire::SocketIo, &ann).await?;
    let group = json!(api.group(&ann, false, &[&bob]).await?);
    let beside = Beside::start(bounded.edge, Tolerates::Unavailable).await?;
    let draft = |n: u64| json!({ "groupId": group, "content": "x".repeat(9_000), "clientMessageId": n.to_string() });
    let mut stored = 0;
    let refused = loop {
        let answer = sender.request("send_message", draft(stored)).await?;
        if !answer["error"].is_null() {
            break answer;
        }
        stored += 1;
        ensure!(stored < 2_000, "the bound is not reached");
    };
    ensure!(refused["error"]["code"] == "UNAVAILABLE", "{refused}");
    ensure!(sender.request("send_message", draft(stored)).await?["error"]["code"] == "UNAVAILABLE");
    // What was acknowledged is there, and can be read.
    let page = history(&api, &ann, &group).await?;
    ensure!(page.first().is_some_and(|newest| newest["seq"] == stored), "{stored} were acknowledged");
    bounded.lift().await?;
    let after = send_until_stored(&mut sender, draft(stored)).await?;
    ensure!(after["seq"] == stored + 1, "{after}");
    beside.unharmed().await
}

async fn sqlite(cluster: &Cluster) -> anyhow::Result<SqliteConnection> {
    let url = format!("sqlite://{}", cluster.folder().join("message.db").display());
    Ok(SqliteConnection::connect(&url).await?)
}

#[tokio::test]
async fn row_82_a_second_writer_of_the_file() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::StandaloneSqlite).await?;
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let mut sender = TestClient::connect(cluster.edge(), Wire::SocketIo, &ann).await?;
    let draft = |text: &str| json!({ "receiverId": bob.id, "content": text, "clientMessageId": text });
    sender.request("send_message", draft("first")).await?;
    let beside = Beside::start(cluster.edge(), Tolerates::Unavailable).await?;
    let mut other = sqlite(&cluster).await?;
    other.execute("BEGIN IMMEDIATE").await?;
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        other.execute("ROLLBACK").await
    };
    let (answer, released) = tokio::join!(sender.request("send_message", draft("waited")), waiting);
    released?;
    ensure!(answer?["seq"] == 2, "it waits its turn");

    other.execute("BEGIN IMMEDIATE").await?;
    let refused = sender.request("send_message", draft("refused")).await?;
    ensure!(refused["error"]["code"] == "UNAVAILABLE", "{refused}");
    other.execute("ROLLBACK").await?;
    ensure!(send_until_stored(&mut sender, draft("refused")).await?["seq"] == 3);
    beside.unharmed().await
}

#[tokio::test]
async fn row_82_killed_while_the_log_is_copied_into_the_file() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::StandaloneSqlite).await?;
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let group = json!(cluster.api().group(&ann, false, &[&bob]).await?);
    let mut acknowledged = 0;
    for _ in 0..4 {
        let mut sender = TestClient::connect(cluster.edge(), Wire::SocketIo, &ann).await?;
        let mut other = sqlite(&cluster).await?;
        let copying = tokio::spawn(async move {
            while other.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.is_ok() {
                tokio::task::yield_now().await;
            }
        });
        for _ in 0..40 {
            let draft = json!({ "groupId": group, "content": "x".repeat(5_000) });
            let answer = sender.request("send_message", draft).await?;
            if answer["error"].is_null() {
                acknowledged = answer["seq"].as_u64().context("a number")?;
            }
        }
        cluster.kill(Part::Standalone).await?;
        copying.abort();
        let _ = copying.await;
        cluster.restart(Part::Standalone).await?;
        let page = history(&cluster.api(), &ann, &group).await?;
        ensure!(page.first().is_some_and(|newest| newest["seq"].as_u64() >= Some(acknowledged)), "{acknowledged}");
    }
    Ok(())
}

#[tokio::test]
async fn row_82_the_log_of_another_file() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::StandaloneSqlite).await?;
    let (ann, bob) = (cluster.api().register("ann").await?, cluster.api().register("bob").await?);
    let mut sender = TestClient::connect(cluster.edge(), Wire::SocketIo, &ann).await?;
    sender.request("send_message", json!({ "receiverId": bob.id, "content": "first" })).await?;
    cluster.kill(Part::Standalone).await?;
    let file = |name: &str| cluster.folder().join(name);
    let _ = fs::remove_file(file("message.db-shm"));
    fs::copy(file("auth.db-wal"), file("message.db-wal"))?;
    let error = cluster.restart(Part::Standalone).await.err().context("it starts on a foreign log")?.to_string();
    ensure!(error.contains("message") && error.contains("did not become ready"), "{error}");
    ensure!(!error.contains("panicked"), "{error}");
    Ok(())
}
