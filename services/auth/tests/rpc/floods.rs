//! Many logins, and what a login gives away.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use messenger_core::ErrorKind;
use messenger_proto::auth::v1::{GetUserRequest, LoginRequest, RegisterRequest};
use messenger_rpc::from_status;

use crate::server::{PASSWORD, Server, kind, registration};

#[tokio::test(flavor = "multi_thread")]
async fn row_9_an_unknown_account_and_a_wrong_password_look_the_same() {
    let server = Server::start().await;
    server.registered("Ann", "ann@example.org").await;
    // By turns, so that what else the machine does hits both; the fastest is the work itself.
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..15 {
        for (fastest, email) in fastest.iter_mut().zip(["ann@example.org", "nobody@example.org"]) {
            let start = Instant::now();
            let status = server.login(email, "wrong password").await.expect_err("refused");
            *fastest = start.elapsed().min(*fastest);
            assert_eq!(kind(&status), ErrorKind::InvalidCredentials);
            assert_eq!(status.message(), "unknown account or wrong password");
        }
    }
    let ratio = fastest[0].as_secs_f64() / fastest[1].as_secs_f64();
    assert!((0.5..2.0).contains(&ratio), "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_login_is_refused_without_hashing() {
    let server = Server::start().await;
    let ann = "ann@example.org";
    for (email, password) in [("' OR 1=1 --", PASSWORD), ("a\0@b.org", PASSWORD), ("", ""), (ann, &*"p".repeat(129))] {
        let status = server.login(email, password).await.expect_err("refused");
        assert_eq!(kind(&status), ErrorKind::ValidationFailed);
    }
    let status = server.login(ann, "{\"$ne\":null}").await.expect_err("refused");
    assert_eq!(kind(&status), ErrorKind::InvalidCredentials);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_12_a_flood_of_logins_is_turned_away_and_hurts_nobody() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let login =
        LoginRequest { email: "ann@example.org".to_owned(), password: PASSWORD.to_owned(), ..LoginRequest::default() };
    let logins = join_all((0..200).map(|_| {
        let (mut services, login) = (server.services(), login.clone());
        async move { services.login(login).await.map_err(|status| from_status(&status)) }
    }));
    let bystander = async {
        let request = ann.bearer(GetUserRequest { user_id: ann.user.id.clone() });
        server.end_users().await.get_user(request).await.expect("answered");
    };
    let (logins, ()) = tokio::join!(logins, bystander);
    let refused: Vec<_> = logins.iter().filter_map(|login| login.as_ref().err()).collect();
    assert!(!refused.is_empty() && refused.len() < 200, "{} of 200 refused", refused.len());
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::RateLimited && error.retry_after().is_some()));
    server.login("ann@example.org", PASSWORD).await.expect("the flood is over");
}

/// A thousand addresses would guess a thousand times as fast, if each were only counted for itself.
#[tokio::test(flavor = "multi_thread")]
async fn row_11_guessing_one_password_from_many_addresses() {
    let server = Server::start().await;
    let (email, home) = ("ann@example.org", "192.0.2.1");
    let registration = RegisterRequest { address: home.to_owned(), ..registration("Ann", email) };
    server.in_process().register(registration).await.expect("registered");
    let guesses_at = async |email: &str| {
        for number in 1..=100 {
            let address = format!("198.51.100.{number}");
            let refused = server.login_from(&address, email, "a guess").await.expect_err("wrong");
            match from_status(&refused) {
                error if error.kind() == ErrorKind::RateLimited => return (number, error.retry_after()),
                error => assert_eq!(error.kind(), ErrorKind::InvalidCredentials),
            }
        }
        panic!("a hundred guesses at {email}")
    };
    // One more for each 90 s the machine takes.
    let (guesses, wait) = guesses_at(email).await;
    assert!(
        (11..=13).contains(&guesses) && wait.is_some_and(|wait| wait <= Duration::from_secs(90)),
        "{guesses} {wait:?}"
    );
    let (guesses, _) = guesses_at("nobody@example.org").await;
    assert!((11..=13).contains(&guesses), "an unknown account looks the same: {guesses}");

    server.login_from(home, email, PASSWORD).await.expect("known there, whatever others do");
    let refused = server.login_from("203.0.113.9", email, PASSWORD).await.expect_err("a place nobody knows");
    assert_eq!(kind(&refused), ErrorKind::RateLimited);
    server.login(email, PASSWORD).await.expect("a gateway without limits says no address");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_11_a_known_place_takes_no_try_from_a_new_one() {
    let server = Server::start().await;
    let (email, home) = ("ann@example.org", "192.0.2.1");
    let registration = RegisterRequest { address: home.to_owned(), ..registration("Ann", email) };
    server.in_process().register(registration).await.expect("registered");
    for _ in 0..12 {
        server.login_from(home, email, PASSWORD).await.expect("known there");
    }
    server.login_from("203.0.113.9", email, PASSWORD).await.expect("the first from there");
}
