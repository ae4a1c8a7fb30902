//! Users of another identity system, from their token to their messages, on every shape.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use messenger_testkit::{Cluster, IdentityKey, IdentitySystem, Settings, Shape, TestClient, User, Wire};
use reqwest::Method;
use serde_json::{Value, json};

use crate::on_every_wire;

/// Whatever passes by itself passes within this: an unknown key may have to wait a minute to be looked for.
const SOON: Duration = Duration::from_secs(90);

pub async fn start(shape: Shape, system: &IdentitySystem, more: Vec<&'static str>) -> anyhow::Result<Cluster> {
    let settings = Settings { environment: system.settings(), auth: more, ..Settings::default() };
    Cluster::start_with(shape, settings).await
}

/// The user of a token, as the edge knows it. Waits until the edge has the key.
pub async fn known(cluster: &Cluster, token: String) -> anyhow::Result<(User, Value)> {
    let began = Instant::now();
    loop {
        let (status, me) = cluster.api().call(Method::GET, "users/me", Some(&token), None).await?;
        if status == 200 {
            let text = |name: &str| me[name].as_str().map(str::to_owned).context("missing in users/me");
            let (id, email) = (text("id")?, text("email")?);
            return Ok((User { id, email, token, refresh_token: String::new() }, me));
        }
        ensure!(began.elapsed() < SOON, "{status}: {me}");
    }
}

on_every_wire!(users_of_two_systems_chat, keys_rotate_under_connected_users);

async fn users_of_two_systems_chat(shape: Shape, wire: Wire) -> anyhow::Result<()> {
    let key = IdentityKey::es256("k1")?;
    let system = IdentitySystem::start(&[&key]).await?;
    let cluster = start(shape, &system, Vec::new()).await?;
    let ann = cluster.api().register("ann").await?;
    let mut claims = system.claims("bob")?;
    // The same address as a user of ours.
    claims["email"] = json!(ann.email);
    let (bob, me) = known(&cluster, key.token(&claims)).await?;
    ensure!(me["fullName"] == "bob of another system" && bob.id != ann.id && bob.email == ann.email, "{me}");
    let found = cluster.api().get(&ann, "users?search=bob%20of").await?;
    ensure!(found["users"][0]["id"] == bob.id.as_str(), "{found}");

    let mut from = TestClient::connect(cluster.edge(), wire, &ann).await?;
    let mut to = TestClient::connect(cluster.edge(), wire, &bob).await?;
    from.request("send_message", json!({ "receiverId": bob.id, "content": "hello" })).await?;
    ensure!(to.until("new_message").await?["content"] == "hello");
    to.request("send_message", json!({ "receiverId": ann.id, "content": "hello yourself" })).await?;
    ensure!(from.until("new_message").await?["content"] == "hello yourself");

    // A newer token of the same user prolongs the connection, no other does.
    claims["iat"] = json!(claims["iat"].as_u64().context("a time")? + 1);
    let answer = to.request("refresh_token", json!({ "token": key.token(&claims) })).await?;
    ensure!(answer["expiresAt"].is_string(), "{answer}");
    for other in [ann.token.clone(), key.token(&system.claims("carl")?)] {
        let answer = to.request("refresh_token", json!({ "token": other })).await?;
        ensure!(answer["error"]["code"] == "FORBIDDEN", "{answer}");
    }
    let answer = to.request("refresh_token", json!({ "token": format!("{}x", bob.token) })).await?;
    ensure!(answer["error"]["code"] == "UNAUTHENTICATED", "{answer}");
    to.request("send_message", json!({ "receiverId": ann.id, "content": "still here" })).await?;
    ensure!(from.until("new_message").await?["content"] == "still here");
    Ok(())
}

/// Meanwhile the client is there, as one is: it answers pings.
async fn reading<T>(client: &mut TestClient, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let reads = async {
        loop {
            client.next().await?;
        }
    };
    tokio::select! {
        done = work => done,
        ended = reads => ended,
    }
}

async fn keys_rotate_under_connected_users(shape: Shape, wire: Wire) -> anyhow::Result<()> {
    let keys = [IdentityKey::rs256("k1")?, IdentityKey::es256("k2")?];
    let system = IdentitySystem::start(&[&keys[0]]).await?;
    let cluster = start(shape, &system, Vec::new()).await?;
    let (bob, _) = known(&cluster, keys[0].token(&system.claims("bob")?)).await?;
    let mut connected = TestClient::connect(cluster.edge(), wire, &bob).await?;
    system.publish(&[&keys[0], &keys[1]]);
    let (same, _) = reading(&mut connected, known(&cluster, keys[1].token(&system.claims("bob")?))).await?;
    ensure!(same.id == bob.id);
    TestClient::connect(cluster.edge(), wire, &same).await?;
    // The system goes away: what is known stays good.
    system.set_away(true);
    let (carl, _) = reading(&mut connected, known(&cluster, keys[1].token(&system.claims("carl")?))).await?;
    TestClient::connect(cluster.edge(), wire, &carl).await?;
    let unknown = connected.request("no_such_event", json!({})).await?;
    ensure!(unknown["error"]["code"] == "UNKNOWN_EVENT", "{unknown}");
    Ok(())
}

#[tokio::test]
async fn row_33_a_connection_ends_with_a_token_of_another_system() -> anyhow::Result<()> {
    let key = IdentityKey::eddsa("k1")?;
    let system = IdentitySystem::start(&[&key]).await?;
    let cluster = start(Shape::StandaloneSqlite, &system, Vec::new()).await?;
    let mut claims = system.claims("bob")?;
    known(&cluster, key.token(&claims)).await?;
    let issued_at = system.claims("bob")?["iat"].as_u64().context("a time")?;
    (claims["iat"], claims["exp"]) = (json!(issued_at), json!(issued_at + 8));
    let (bob, _) = known(&cluster, key.token(&claims)).await?;
    let mut ending = TestClient::connect(cluster.edge(), Wire::Plain, &bob).await?;
    ending.expect("token_expiring").await?;
    let code = ending.closed().await?;
    ensure!(code == 4401, "{code}");
    let refused = TestClient::connect(cluster.edge(), Wire::Plain, &bob).await.err().map(|error| error.to_string());
    ensure!(refused.is_some_and(|error| error.contains("TOKEN_EXPIRED")));
    Ok(())
}

#[tokio::test]
async fn rows_25_to_31_forged_tokens_come_to_nothing() -> anyhow::Result<()> {
    let key = IdentityKey::rs256("k1")?;
    let system = IdentitySystem::start(&[&key]).await?;
    let cluster = start(Shape::StandaloneSqlite, &system, Vec::new()).await?;
    let claims = system.claims("bob")?;
    let good = key.token(&claims);
    let (bob, _) = known(&cluster, good.clone()).await?;
    let changed = |claim: &str, value: Value| {
        let mut claims = claims.clone();
        claims[claim] = value;
        key.token(&claims)
    };
    let other = IdentityKey::rs256("k1")?;
    let (message, _) = good.rsplit_once('.').context("a JWT")?;
    let (_, body) = message.split_once('.').context("a JWT")?;
    let none = "eyJhbGciOiJub25lIiwia2lkIjoiazEifQ";
    let forged = [
        other.token(&claims),
        format!("{none}.{body}."),
        format!("{message}."),
        key.token_with(&json!({ "alg": "HS256", "kid": "k1" }), &claims),
        key.token_with(&json!({ "alg": "RS256", "kid": "k1", "typ": "logout+jwt" }), &claims),
        changed("iss", json!("messenger")),
        changed("iss", json!("https://evil.example")),
        changed("aud", json!("messenger")),
        changed("sub", json!("")),
        changed("exp", json!("4102444800")),
        changed("iat", json!(4_102_444_800_u64)),
        changed("nbf", json!(4_102_444_800_u64)),
        changed("typ", json!("Refresh")),
    ];
    for (number, token) in forged.into_iter().enumerate() {
        let (status, _) = cluster.api().call(Method::GET, "users/me", Some(&token), None).await?;
        ensure!(status == 401, "{number}: {status}");
        for wire in [Wire::Plain, Wire::SocketIo] {
            let user = User { token: token.clone(), ..bob.clone() };
            ensure!(TestClient::connect(cluster.edge(), wire, &user).await.is_err(), "{number} was let in");
        }
    }
    TestClient::connect(cluster.edge(), Wire::Plain, &bob).await?;
    Ok(())
}

#[tokio::test]
async fn only_other_systems_know_users() -> anyhow::Result<()> {
    let key = IdentityKey::rs256("k1")?;
    let system = IdentitySystem::start(&[&key]).await?;
    let cluster = start(Shape::SplitPostgres, &system, vec!["--no-own-accounts"]).await?;
    let (bob, _) = known(&cluster, key.token(&system.claims("bob")?)).await?;
    TestClient::connect(cluster.edge(), Wire::SocketIo, &bob).await?;
    let register = json!({ "email": "ann@example.org", "password": "correct horse", "fullName": "Ann" });
    let login = json!({ "email": "ann@example.org", "password": "correct horse" });
    for (path, body) in
        [("auth/register", register), ("auth/login", login), ("auth/refresh", json!({ "refreshToken": "x" }))]
    {
        let (status, problem) = cluster.api().call(Method::POST, path, None, Some(body)).await?;
        ensure!(status == 403 && problem["code"] == "FORBIDDEN", "{path}: {status} {problem}");
    }
    Ok(())
}
