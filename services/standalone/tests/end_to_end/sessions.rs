//! What ends a session ends its connections, on every node; keys that take turns end none.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use messenger_testkit::{
    Api, Bus, Cluster, IdentityKey, IdentitySystem, Settings, Shape, Size, TestClient, User, Wire, api::PASSWORD,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::other_systems::{known, start};

/// A key nobody knows is looked for once a minute at most.
const LET_IN_WITHIN: Duration = Duration::from_secs(90);
/// Without the bus; with it 2 s, which a busy machine does not keep.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// One user, twice logged in, connected by both sessions at both nodes.
struct Twice {
    api: Api,
    first: User,
    second: User,
    /// Of the first session, then of the second, at each node.
    connections: [Vec<TestClient>; 2],
}

impl Twice {
    async fn connect(cluster: &Cluster, first: User) -> anyhow::Result<Self> {
        let api = cluster.api();
        let second = login(&api, &first).await?;
        let mut connections = [Vec::new(), Vec::new()];
        for (user, connections) in [&first, &second].into_iter().zip(&mut connections) {
            for (number, edge) in cluster.edges().iter().enumerate() {
                let wire = if number == 0 { Wire::Plain } else { Wire::SocketIo };
                connections.push(TestClient::connect(*edge, wire, user).await?);
            }
        }
        Ok(Self { api, first, second, connections })
    }

    /// Ends with this session's connections closed, its token refused, and the other session as it was.
    async fn ends(mut self, ending: usize) -> anyhow::Result<()> {
        closed(&mut self.connections[ending]).await?;
        let token = if ending == 0 { &self.first.token } else { &self.second.token };
        let (status, problem) = self.api.call(Method::GET, "users/me", Some(token), None).await?;
        ensure!(status == 401 && problem["code"] == "TOKEN_REVOKED", "{status}: {problem}");
        for client in &mut self.connections[1 - ending] {
            let answer = client.request("no_such_event", json!({})).await?;
            ensure!(answer["error"]["code"] == "UNKNOWN_EVENT", "{answer}");
        }
        Ok(())
    }
}

async fn closed(connections: &mut [TestClient]) -> anyhow::Result<()> {
    let began = Instant::now();
    for client in connections {
        let code = client.closed().await?;
        ensure!([4403, 1005].contains(&code), "{code}");
    }
    ensure!(began.elapsed() < CLOSED_WITHIN, "after {:?}", began.elapsed());
    Ok(())
}

async fn login(api: &Api, user: &User) -> anyhow::Result<User> {
    let body = json!({ "email": user.email, "password": PASSWORD });
    let (status, answer) = api.call(Method::POST, "auth/login", None, Some(body)).await?;
    ensure!(status == 200, "{status}: {answer}");
    tokens(user, &answer)
}

fn tokens(user: &User, answer: &Value) -> anyhow::Result<User> {
    let text = |name: &str| answer[name].as_str().map(str::to_owned).context("missing in the answer");
    Ok(User { token: text("accessToken")?, refresh_token: text("refreshToken")?, ..user.clone() })
}

async fn two_nodes() -> anyhow::Result<Cluster> {
    let size = Size { gateway: 2, auth: 2, ..Size::each(1) };
    Cluster::start(Shape::Many(size, Bus::Redis)).await
}

#[tokio::test]
async fn row_34_what_ends_a_session_closes_it_on_every_node() -> anyhow::Result<()> {
    let cluster = two_nodes().await?;
    let api = cluster.api();

    let user = Twice::connect(&cluster, api.register("logout").await?).await?;
    api.post(&user.first, "auth/logout", json!({})).await?;
    user.ends(0).await?;

    let user = Twice::connect(&cluster, api.register("revocation").await?).await?;
    let sessions = api.get(&user.first, "auth/sessions").await?;
    let sessions = sessions["sessions"].as_array().context("a list")?;
    let other = sessions.iter().find(|session| session["isCurrent"] == false).context("two sessions")?;
    api.delete(&user.first, &format!("auth/sessions/{}", other["id"].as_str().context("an id")?)).await?;
    user.ends(1).await?;

    let user = Twice::connect(&cluster, api.register("password").await?).await?;
    let change = json!({ "currentPassword": PASSWORD, "newPassword": "another correct horse" });
    api.post(&user.first, "auth/password", change).await?;
    user.ends(1).await?;

    let mut user = Twice::connect(&cluster, api.register("all").await?).await?;
    api.post(&user.second, "auth/logout-all", json!({})).await?;
    for connections in &mut user.connections {
        closed(connections).await?;
    }
    Ok(())
}

#[tokio::test]
async fn row_35_a_refresh_token_used_again_ends_its_session_on_every_node() -> anyhow::Result<()> {
    let cluster = two_nodes().await?;
    let api = cluster.api();
    let user = Twice::connect(&cluster, api.register("reuse").await?).await?;
    let body = json!({ "refreshToken": user.first.refresh_token });
    let refresh = async || api.call(Method::POST, "auth/refresh", None, Some(body.clone())).await;
    let (_, once) = refresh().await?;
    let (_, again) = refresh().await?;
    ensure!(once["refreshToken"].is_string() && once["refreshToken"] == again["refreshToken"], "one successor");
    // The grace is the thing itself.
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    let (status, problem) = refresh().await?;
    ensure!(status == 401 && problem["code"] == "TOKEN_REVOKED", "{status}: {problem}");
    user.ends(0).await
}

async fn messenger(arguments: &[String]) -> anyhow::Result<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_messenger"));
    let output = command.env_clear().args(arguments).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

fn store(cluster: &Cluster) -> String {
    match cluster.database_url() {
        Some(url) => format!("--database-url={url}"),
        None => format!("--data-dir={}", cluster.folder().display()),
    }
}

/// Each gateway gets the keys of another system in its own time.
async fn let_in(edge: SocketAddr, user: &User) -> anyhow::Result<TestClient> {
    let began = Instant::now();
    loop {
        match TestClient::connect(edge, Wire::Plain, user).await {
            Err(error) if error.to_string().contains("UNAUTHENTICATED") && began.elapsed() < LET_IN_WITHIN => {}
            outcome => return outcome,
        }
    }
}

#[tokio::test]
async fn row_34_an_operator_keeps_users_out() -> anyhow::Result<()> {
    let key = IdentityKey::eddsa("k1")?;
    let system = IdentitySystem::start(&[&key]).await?;
    let size = Size { gateway: 2, ..Size::each(1) };
    for shape in [Shape::StandaloneSqlite, Shape::Many(size, Bus::Redis)] {
        let cluster = start(shape, &system, Vec::new()).await?;
        let ann = cluster.api().register("ann").await?;
        let (bob, _) = known(&cluster, key.token(&system.claims("bob")?)).await?;
        for user in [&ann, &bob] {
            let mut connections = Vec::new();
            for edge in cluster.edges() {
                connections.push(let_in(*edge, user).await?);
            }
            let command = |what: &str| ["users".into(), what.into(), user.id.clone(), store(&cluster)];
            messenger(&command("deactivate")).await?;
            closed(&mut connections).await?;
            let mut later = system.claims("bob")?;
            later["iat"] = json!(later["iat"].as_u64().context("a time")? + 5);
            let newer = if user.id == bob.id { key.token(&later) } else { ann.token.clone() };
            let newer = User { token: newer, ..user.clone() };
            let refused = TestClient::connect(cluster.edge(), Wire::Plain, &newer).await.err().context("let in")?;
            ensure!(refused.to_string().contains("TOKEN_REVOKED"), "{refused}");
            messenger(&command("reactivate")).await?;
        }
        login(&cluster.api(), &ann).await?;
        let mut later = system.claims("bob")?;
        later["iat"] = json!(later["iat"].as_u64().context("a time")? + 30);
        known(&cluster, key.token(&later)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn signing_keys_take_turns_without_a_restart() -> anyhow::Result<()> {
    for shape in [Shape::StandaloneSqlite, Shape::SplitPostgres] {
        let cluster = Cluster::start(shape).await?;
        let api = cluster.api();
        let ann = api.register("ann").await?;
        let keys = |more: &[&str]| {
            let mut arguments = vec!["keys".to_owned()];
            arguments.extend(more.iter().map(|text| (*text).to_owned()));
            arguments.push(store(&cluster));
            arguments
        };
        messenger(&keys(&["rotate"])).await?;
        let published = async || {
            let answer = reqwest::get(format!("{}/.well-known/jwks.json", api.url())).await?;
            let set: Value = serde_json::from_str(&answer.text().await?)?;
            anyhow::Ok(set["keys"].as_array().map_or(0, Vec::len))
        };
        until(async || Ok(published().await? == 2)).await?;
        ensure!(messenger(&keys(&["list"])).await?.lines().count() == 2);
        api.get(&ann, "users/me").await?;
        // One leaked: what it signed is refused, a minute later at most in every process, and refreshing goes on.
        messenger(&keys(&["rotate", "--now"])).await?;
        until(async || {
            let (status, _) = api.call(Method::GET, "users/me", Some(&ann.token), None).await?;
            Ok(status == 401)
        })
        .await?;
        let body = json!({ "refreshToken": ann.refresh_token });
        let (status, answer) = api.call(Method::POST, "auth/refresh", None, Some(body)).await?;
        ensure!(status == 200, "{status}: {answer}");
        let renewed = tokens(&ann, &answer)?;
        known(&cluster, renewed.token.clone()).await?;
        TestClient::connect(cluster.edge(), Wire::Plain, &renewed).await?;
    }
    Ok(())
}

async fn until(is_so: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !is_so().await? {
        ensure!(began.elapsed() < Duration::from_secs(90), "not in 90 s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test]
async fn keys_at_rest_need_their_secret() -> anyhow::Result<()> {
    const SECRET: &str = "2f1b6a93c4d7e80f5a6b7c8d9e0f112233445566778899aabbccddeeff001e3d";
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n"))?;
    let settings = Settings {
        environment: vec![("MESSENGER_KEY_ENCRYPTION_SECRET_FILE", file.display().to_string())],
        ..Settings::default()
    };
    let mut cluster = Cluster::start_with(Shape::StandaloneSqlite, settings).await?;
    let ann = cluster.api().register("ann").await?;
    cluster.kill(cluster.edge_part()).await?;
    cluster.restart(cluster.edge_part()).await?;
    cluster.api().get(&ann, "users/me").await?;
    let other = SECRET.replacen('2', "3", 1);
    for (secret, says) in [
        (None, "the keys in the store are encrypted"),
        (Some(other.as_str()), "encrypted with another secret"),
        (Some("correct horse battery staple correct horse"), "at least 32 random bytes"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_messenger"));
        command.env_clear().args(["--listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0", &store(&cluster)]);
        command.args(secret.map(|secret| format!("--key-encryption-secret={secret}")));
        let output = command.kill_on_drop(true).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2) && said.contains(says), "{said}");
        ensure!(!said.contains(&SECRET[..16]), "a secret is shown: {said}");
    }
    Ok(())
}
