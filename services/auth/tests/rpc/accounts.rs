//! Registration, login, profiles, search.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use messenger_core::{ErrorKind, UserId};
use messenger_proto::auth::v1::{
    BatchGetUsersRequest, ChangePasswordRequest, GetUserRequest, ListSessionsRequest, LogoutRequest, RegisterRequest,
    SearchUsersRequest, UpdateUserRequest, User,
};
use messenger_rpc::{from_status, request_as};
use tonic::Request;

use crate::{
    common::TestStore,
    server::{NOW, PASSWORD, Server, Services, bearer, in_session, kind, registration},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_from_registration_to_logout_in_process() {
    let server = Server::start().await;
    walk(&server, server.in_process()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_from_registration_to_logout_over_tcp() {
    let server = Server::start().await;
    walk(&server, server.services()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_from_registration_to_logout_on_postgresql() {
    let server = Server::on(TestStore::postgres().await).await;
    walk(&server, server.services()).await;
    assert!(server.shutdown.drain(Duration::from_secs(30)).await);
    server.test_store.remove().await;
}

async fn walk(server: &Server, mut services: Services) {
    let request = registration(" Ann Lee ", " Ann@Example.org ");
    let answer = services.register(request).await.expect("registered").into_inner();
    let (ann, tokens) = (answer.user.expect("given"), answer.tokens.expect("given"));
    assert_eq!((ann.full_name.as_str(), ann.email.as_str()), ("Ann Lee", "ann@example.org"));
    assert_eq!(tokens.expires_in, 900);
    let id: UserId = ann.id.parse().expect("a UUID");

    let second = server.login("ANN@example.org", PASSWORD).await.expect("logged in").tokens.expect("given");
    let request = request_as(id, ListSessionsRequest {});
    let sessions = services.list_sessions(request).await.expect("listed").into_inner().sessions;
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|session| session.user_agent == "test"));

    let update = UpdateUserRequest { full_name: None, designation: Some(String::new()) };
    let updated = services.update_user(request_as(id, update)).await.expect("updated").into_inner().user;
    assert_eq!(updated, Some(User { designation: String::new(), ..ann }));

    let logout = in_session(id, &second.access_token, LogoutRequest {});
    services.logout(logout).await.expect("logged out");
    server.until_revoked(&second.access_token).await;
    server.knock(&tokens.access_token).await.expect("the first session goes on");
    let mut end_users = server.end_users().await;
    end_users.logout(bearer(&tokens.access_token, LogoutRequest {})).await.expect("logged out");
    server.until_revoked(&tokens.access_token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_is_named_and_stores_nothing() {
    let server = Server::start().await;
    let mut services = server.in_process();
    let good = registration("Ann", "ann@example.org");
    let cases: [(&str, RegisterRequest); 9] = [
        ("email", RegisterRequest { email: "' OR 1=1 --".to_owned(), ..good.clone() }),
        ("email", RegisterRequest { email: "a\0@b.org".to_owned(), ..good.clone() }),
        ("email", RegisterRequest { email: format!("{}@b.org", "a".repeat(255)), ..good.clone() }),
        ("password", RegisterRequest { password: "1234567".to_owned(), ..good.clone() }),
        ("password", RegisterRequest { password: "p".repeat(129), ..good.clone() }),
        ("fullName", RegisterRequest { full_name: " ".to_owned(), ..good.clone() }),
        ("fullName", RegisterRequest { full_name: "n".repeat(100_000), ..good.clone() }),
        ("fullName", RegisterRequest { full_name: "a\0b".to_owned(), ..good.clone() }),
        ("designation", RegisterRequest { designation: "d".repeat(201), ..good.clone() }),
    ];
    for (field, request) in cases {
        let error = from_status(&services.register(request).await.expect_err(field));
        assert_eq!(error.kind(), ErrorKind::ValidationFailed);
        assert_eq!(error.fields().iter().map(|one| &*one.field).collect::<Vec<_>>(), [field]);
    }
    let everything = from_status(&services.register(RegisterRequest::default()).await.expect_err("empty"));
    assert_eq!(everything.fields().len(), 3);
    let large = RegisterRequest { password: "p".repeat(1 << 20), ..good.clone() };
    let error = services.register(large).await.expect_err("too large to read");
    assert!(matches!(kind(&error), ErrorKind::PayloadTooLarge | ErrorKind::ValidationFailed), "{error:?}");
    services.register(good).await.expect("nothing was stored before");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_one_account() {
    let server = Server::start().await;
    let attempts = (0..10).map(|n| {
        let (mut services, email) = (server.services(), ["ann@example.org", " ANN@Example.ORG\t"][n % 2]);
        async move { services.register(registration("Ann", email)).await.map_err(|status| kind(&status)) }
    });
    let results = join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.into_iter().filter_map(Result::err).all(|kind| kind == ErrorKind::EmailTaken));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_shown_to_its_user_only() {
    let server = Server::start().await;
    let (ann, bob) =
        tokio::join!(server.registered("Ann Lee", "ann@example.org"), server.registered("Bob Lee", "bob@example.org"));
    let get = |id: &str| GetUserRequest { user_id: id.to_owned() };
    let mut services = server.acting();
    let mut end_users = server.end_users().await;
    let own = end_users.get_user(ann.bearer(get(&ann.user.id))).await.expect("known").into_inner().user;
    assert_eq!(own.expect("given"), ann.user);
    let other = end_users.get_user(ann.bearer(get(&bob.user.id))).await.expect("known").into_inner().user;
    assert_eq!(other.expect("given"), User { email: String::new(), ..bob.user.clone() });
    let plain = services.get_user(get(&bob.user.id)).await.expect("known").into_inner().user;
    assert_eq!(plain.expect("given").email, "bob@example.org");

    let user_ids = vec![bob.user.id.clone(), UserId::new(NOW).to_string(), ann.user.id.clone(), ann.user.id.clone()];
    let batch = request_as(ann.id(), BatchGetUsersRequest { user_ids });
    let users = services.batch_get_users(batch).await.expect("answered").into_inner().users;
    let emails: BTreeSet<_> = users.iter().map(|user| user.email.as_str()).collect();
    assert_eq!((users.len(), emails), (2, BTreeSet::from(["", "ann@example.org"])));

    for user_id in ["", "x", "0191d3c8-8f7b-7f00-8000-00000000000", &"0".repeat(5_000)] {
        let error = services.get_user(get(user_id)).await.expect_err("no id");
        assert_eq!(kind(&error), ErrorKind::ValidationFailed);
    }
    let user_ids = vec![ann.user.id.clone(); 1_001];
    let error = services.batch_get_users(BatchGetUsersRequest { user_ids }).await.expect_err("too many");
    assert_eq!(kind(&error), ErrorKind::ValidationFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_goes_on_where_its_page_ended() {
    let server = Server::start().await;
    let mut services = server.acting();
    for n in 0..7 {
        server.registered(&format!("Ann Lee{n}"), &format!("lee{n}@example.org")).await;
    }
    let bob = server.registered("Bob", "bob@example.org").await;
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = SearchUsersRequest { query: "LEE".to_owned(), page_size: 3, page_token };
        let page = services.search_users(request_as(bob.id(), request)).await.expect("found").into_inner();
        assert!(page.users.len() <= 3 && page.users.iter().all(|user| user.email.is_empty()));
        seen.extend(page.users.into_iter().map(|user| user.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (7, 7));
    let of_bob = messenger_core::page::encode_token(&bob.user.id);
    for (query, page_size, page_token) in
        [("", 0, ""), (" ", 0, ""), ("a\0", 0, ""), (&"q".repeat(101), 0, ""), ("lee", -1, ""), ("lee", 101, "")]
            .into_iter()
            .chain([("lee", 0, "!"), ("lee", 0, "AAAA"), ("lee", 0, of_bob.as_str())])
    {
        let (query, page_token) = (query.to_owned(), page_token.to_owned());
        let error = services.search_users(SearchUsersRequest { query, page_size, page_token }).await;
        assert_eq!(kind(&error.expect_err("refused")), ErrorKind::ValidationFailed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_found_only_whole() {
    let server = Server::start().await;
    let ann = server.registered("Ann Lee", "zed.quill@example.org").await;
    let mut services = server.in_process();
    let found = async |services: &mut Services, query: &str| {
        let request = SearchUsersRequest { query: query.to_owned(), ..SearchUsersRequest::default() };
        let page = services.search_users(request_as(UserId::new(NOW), request)).await.expect("answered").into_inner();
        page.users.into_iter().map(|user| (user.id, user.email)).collect::<Vec<_>>()
    };
    for query in ["zed.quill@example.org", " Zed.Quill@EXAMPLE.org "] {
        assert_eq!(found(&mut services, query).await, [(ann.user.id.clone(), String::new())], "{query}");
    }
    let whole = "zed.quill@example.org";
    for query in (1..whole.len()).map(|length| &whole[..length]).chain(["quill", "example.org", "ed.quill@example.org"])
    {
        assert!(found(&mut services, query).await.is_empty(), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sessions() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let other = server.login("ann@example.org", PASSWORD).await.expect("logged in").tokens.expect("given");
    let change = |current: &str, new: &str| ChangePasswordRequest {
        current_password: current.to_owned(),
        new_password: new.to_owned(),
    };
    let in_session = |change| in_session(ann.id(), &ann.tokens.access_token, change);
    let mut services = server.services();
    let error = services.change_password(in_session(change("wrong password", "battery staple"))).await;
    assert_eq!(kind(&error.expect_err("wrong")), ErrorKind::InvalidCredentials);
    let error = services.change_password(in_session(change(PASSWORD, "short"))).await;
    assert_eq!(kind(&error.expect_err("too short")), ErrorKind::ValidationFailed);
    server.knock(&other.access_token).await.expect("nothing has changed");

    services.change_password(in_session(change(PASSWORD, "battery staple"))).await.expect("changed");
    server.until_revoked(&other.access_token).await;
    server.knock(&ann.tokens.access_token).await.expect("this session goes on");
    let error = server.login("ann@example.org", PASSWORD).await.expect_err("the old one");
    assert_eq!(kind(&error), ErrorKind::InvalidCredentials);
    server.advance(1);
    let again = server.login("ann@example.org", "battery staple").await.expect("the new one").tokens.expect("given");
    server.knock(&again.access_token).await.expect("a session that began later");
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_keep_what_is_not_given() {
    let server = Server::start().await;
    let ann = server.registered("Ann Lee", "ann@example.org").await;
    let mut end_users = server.end_users().await;
    let update = UpdateUserRequest { full_name: Some("Ann Smith".to_owned()), designation: None };
    let user = end_users.update_user(ann.bearer(update)).await.expect("updated").into_inner().user.expect("given");
    assert_eq!((user.full_name.as_str(), user.designation.as_str()), ("Ann Smith", "Engineer"));
    let bad = UpdateUserRequest { full_name: Some(String::new()), designation: None };
    let error = end_users.update_user(ann.bearer(bad)).await.expect_err("empty");
    assert_eq!(kind(&error), ErrorKind::ValidationFailed);
    let nobody = request_as(UserId::new(NOW), UpdateUserRequest::default());
    let error = server.in_process().update_user(nobody).await.expect_err("nobody");
    assert_eq!(kind(&error), ErrorKind::NotFound);
    let found = SearchUsersRequest { query: "smith".to_owned(), ..SearchUsersRequest::default() };
    let found = server.acting().search_users(Request::new(found)).await.expect("found").into_inner();
    assert_eq!(found.users.len(), 1);
}
