//! Who gets in, and for how long.

use anyhow::ensure;
use messenger_testkit::{Cluster, Settings, Shape, TestClient, User, Wire};
use reqwest::Method;
use serde_json::json;

use crate::{World, on_every_shape};

on_every_shape!(bad_tokens_are_refused, a_logout_ends_the_connection);

async fn bad_tokens_are_refused(world: World) -> anyhow::Result<()> {
    let [ann] = world.register(["ann"]).await?;
    let (header, rest) = ann.token.split_once('.').expect("a JWT has three parts");
    let (claims, signature) = rest.split_once('.').expect("a JWT has three parts");
    let foreign = Cluster::start(Shape::StandaloneSqlite).await?;
    let none = "eyJhbGciOiJub25lIn0";
    let tokens = [
        String::new(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{header}.{claims}.{}", signature.chars().rev().collect::<String>()),
        ".".repeat(100_000),
        ann.refresh_token.clone(),
        foreign.api().register("foreigner").await?.token,
    ];
    for token in tokens {
        let user = User { token: token.clone(), ..ann.clone() };
        // A header cannot hold an over-long or empty token everywhere: REST and Socket.IO both say no all the same.
        let refused = TestClient::connect(world.cluster.edge(), world.wire, &user).await;
        ensure!(refused.is_err(), "let in with {token:.40}");
        let (status, _) = world.cluster.api().call(Method::GET, "users/me", Some(&token), None).await?;
        ensure!(status == 401 || status == 431, "{status} with {token:.40}");
    }
    world.connect(&ann).await?;
    Ok(())
}

async fn a_logout_ends_the_connection(world: World) -> anyhow::Result<()> {
    let api = world.cluster.api();
    let [ann, bob] = world.register(["ann", "bob"]).await?;
    let (mut ending, mut staying) = (world.connect(&ann).await?, world.connect(&bob).await?);
    api.post(&ann, "auth/logout", json!({})).await?;
    ensure!([4403, 1005].contains(&ending.closed().await?));
    ensure!(world.connect(&ann).await.is_err(), "a revoked token is refused");
    staying.request("send_message", json!({ "receiverId": ann.id, "content": "still here" })).await?;
    Ok(())
}

#[tokio::test]
async fn a_connection_ends_with_its_token_and_can_be_prolonged() -> anyhow::Result<()> {
    let settings = Settings { auth: vec!["--access-token-ttl=10s"], ..Settings::default() };
    let cluster = Cluster::start_with(Shape::StandaloneSqlite, settings).await?;
    let ann = cluster.api().register("ann").await?;
    let mut ending = TestClient::connect(cluster.edge(), Wire::Plain, &ann).await?;
    let mut prolonged = TestClient::connect(cluster.edge(), Wire::Plain, &ann).await?;
    ending.expect("token_expiring").await?;

    // Half of its life is left: the other one goes on with a new token.
    let body = json!({ "refreshToken": ann.refresh_token });
    let (_, tokens) = cluster.api().call(Method::POST, "auth/refresh", None, Some(body)).await?;
    let answer = prolonged.request("refresh_token", json!({ "token": tokens["accessToken"] })).await?;
    ensure!(answer["expiresAt"].is_string(), "{answer}");

    let code = ending.closed().await?;
    ensure!(code == 4401, "{code}");
    let refused = TestClient::connect(cluster.edge(), Wire::Plain, &ann).await.err().map(|error| error.to_string());
    ensure!(refused.is_some_and(|error| error.contains("TOKEN_EXPIRED")));
    // Past the end of its first token the other one is still served.
    let unknown = prolonged.request("no_such_event", json!({})).await?;
    ensure!(unknown["error"]["code"] == "UNKNOWN_EVENT", "{unknown}");
    Ok(())
}
