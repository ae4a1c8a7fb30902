//! PostgreSQL.

use messenger_core::{Error, ErrorKind};
use messenger_db::{Database, Migration, PostgresPool, migrate_postgres};
use messenger_testkit::database;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::{FIRST, INSERT, SECOND, assert_clear};

pub async fn opened(
    url: &str,
    context: &'static str,
    migrations: &[Migration],
    sessions_max: u32,
) -> Result<Database, Error> {
    let options = migrate_postgres(url, context, migrations).await?;
    Ok(Database::Postgres(PostgresPool::new(options, sessions_max)))
}

pub async fn insert(database: &Database, id: i64, email: &str) -> Result<(), Error> {
    let email = email.to_owned();
    database.write(INSERT).bind(id).bind(&email).bind(&email).execute().await.map(|_| ())
}

#[tokio::test]
async fn migrations_run_once_also_when_started_twice_at_once() {
    database::with(|url| async move {
        let (one, other) = tokio::join!(opened(&url, "auth", &[FIRST], 2), opened(&url, "auth", &[FIRST], 2));
        let (one, _other) = (one.expect("first"), other.expect("second"));
        insert(&one, 1, "a").await.expect("migrated");
        let upgraded = opened(&url, "auth", &[FIRST, SECOND], 2).await.expect("upgraded");
        let row: (i64, String) =
            upgraded.read("SELECT age, current_schema()::text FROM account").fetch_one().await.expect("kept");
        assert_eq!(row, (7, "auth".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn contexts_do_not_share_tables() {
    database::with(|url| async move {
        let auth = opened(&url, "auth", &[FIRST], 2).await.expect("auth");
        let message = opened(&url, "message", &[FIRST, SECOND], 2).await.expect("message");
        insert(&auth, 1, "a").await.expect("stored");
        let count: (i64,) = message.read("SELECT count(*) FROM account").fetch_one().await.expect("counted");
        assert_eq!(count, (0,));
    })
    .await;
}

#[tokio::test]
async fn a_newer_or_another_schema_is_refused() {
    database::with(|url| async move {
        opened(&url, "auth", &[FIRST, SECOND], 2).await.expect("the newer release");
        let error = opened(&url, "auth", &[FIRST], 2).await.expect_err("newer");
        assert_eq!(error.kind(), ErrorKind::ValidationFailed);
        assert_clear(&error, &["auth", "version 2", "newer release"]);
        let changed = Migration { sql: "SELECT 1", ..FIRST };
        let error = opened(&url, "auth", &[changed, SECOND], 2).await.expect_err("another text");
        assert_clear(&error, &["auth", "migration 1"]);
        // The lock was given back by both.
        opened(&url, "auth", &[FIRST, SECOND], 2).await.expect("the newer release again");
    })
    .await;
}

#[tokio::test]
async fn a_role_without_rights_on_the_database_uses_its_own_schema() {
    database::with(|url| async move {
        let (_, role) = url.rsplit_once('/').expect("a database, named as nobody else is");
        let mut owner = PgConnection::connect(&url).await.expect("superuser");
        let sql = format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA auth AUTHORIZATION {role};");
        owner.execute(AssertSqlSafe(sql)).await.expect("role");
        let (_, server) = url.rsplit_once('@').expect("user@host");
        let own = migrate_postgres(&format!("postgres://{role}@{server}"), "auth", &[FIRST]).await;
        let refused = migrate_postgres(&format!("postgres://{role}@{server}"), "message", &[FIRST]).await;
        let sql = format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role};");
        owner.execute(AssertSqlSafe(sql)).await.expect("cleaned");
        own.expect("its own schema");
        assert_clear(&refused.expect_err("none of its own"), &["message", "permission denied"]);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_is_said_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let url = format!("postgres://me:hunter2@127.0.0.1:{port}/chat");
    let error = migrate_postgres(&url, "auth", &[FIRST]).await.expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_clear(&error, &["PostgreSQL", &format!("127.0.0.1:{port}"), "DATABASE_URL"]);
    assert!(!format!("{error:?}").contains("hunter2"));
    let error = migrate_postgres("postgres://[", "auth", &[FIRST]).await.expect_err("no URL");
    assert_clear(&error, &["DATABASE_URL"]);
}

#[tokio::test]
async fn errors_are_told_apart() {
    database::with(|url| async move {
        let database = opened(&url, "auth", &[FIRST], 1).await.expect("opened");
        insert(&database, 1, "a").await.expect("stored");
        assert_eq!(insert(&database, 1, "b").await.expect_err("the id is taken").kind(), ErrorKind::Internal);
        let kind = async |sql: &'static str| database.write(sql).execute().await.expect_err(sql).kind();
        assert_eq!(kind("SELEC 1").await, ErrorKind::Internal);
        let held = database.begin().await.expect("the only session");
        assert_eq!(kind("SELECT 1").await, ErrorKind::Unavailable);
        held.rollback().await.expect("given back");
        assert_eq!(kind("SELECT pg_terminate_backend(pg_backend_pid())").await, ErrorKind::Unavailable);
        insert(&database, 3, "c").await.expect("recovers by itself");
    })
    .await;
}

#[tokio::test]
async fn row_83_sessions_have_time_outs() {
    database::with(|url| async move {
        let database = opened(&url, "auth", &[FIRST], 1).await.expect("opened");
        let setting = async |name: &'static str| -> String {
            let (value,) = database.read("SELECT current_setting($1)").bind(name).fetch_one().await.expect("a setting");
            value
        };
        assert_eq!(setting("statement_timeout").await, "5s");
        assert_eq!(setting("lock_timeout").await, "2s");
        assert_eq!(setting("idle_in_transaction_session_timeout").await, "5s");
        assert_eq!(setting("application_name").await, "messenger-auth");
        assert_eq!(setting("search_path").await, "auth");
        let mut tx = database.begin().await.expect("begun");
        tx.statement("SET statement_timeout = '20ms'").execute().await.expect("set");
        let slow = tx.statement("SELECT pg_sleep(5)").execute().await.expect_err("cancelled");
        assert_eq!(slow.kind(), ErrorKind::Unavailable);
    })
    .await;
}
