//! Conversations that are old and large: a page at their far end reads as little as the first.

use std::path::Path;

use anyhow::{Context as _, ensure};
use messenger_testkit::{Api, Beside, Cluster, Part, Shape, Tolerates, User};
use reqwest::Method;
use sqlx::{Connection as _, PgConnection, types::Uuid};
use tokio::process::Command;

const MESSAGES: i64 = 200_000;
/// As many as a group may have.
const PARTICIPANTS: i64 = 100_000;
/// Of its 100 rows, those that are not found in the index alone.
const ROWS_READ_FOR_A_PAGE_MIN: i64 = 20;
/// Its rows, how far each participant has read, who asks; a statement that read what lies before would read 10,000s.
const ROWS_READ_FOR_A_PAGE_MAX: i64 = 500;

#[tokio::test]
async fn row_83_pages_far_down_and_a_group_of_100_000() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::StandalonePostgres).await?;
    let (api, url) = (cluster.api(), cluster.database_url().context("PostgreSQL")?.to_owned());
    let ann = api.register("ann").await?;
    let group = api.group(&ann, true, &[]).await?;
    let mut filler = PgConnection::connect(&url).await?;
    fill(&mut filler, &url, &group, &ann).await?;
    let samples = samples(&mut filler, &group).await?;
    let mut database = PgConnection::connect(&url).await?;
    ended(filler, &mut database).await?;
    sqlx::query("SELECT pg_stat_reset()").execute(&mut database).await?;

    let beside = Beside::start(cluster.edge(), Tolerates::Nothing).await?;
    let pages = read_history(&api, &ann, &group, &samples).await? + walk_participants(&api, &ann, &group).await?;
    beside.unharmed().await?;

    // A session tells at the latest when it ends what it has read.
    cluster.terminate(Part::Standalone).await?;
    let read: i64 = sqlx::query_scalar(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables
         WHERE schemaname IN ('message', 'conversation')",
    )
    .fetch_one(&mut database)
    .await?;
    ensure!(read >= pages * ROWS_READ_FOR_A_PAGE_MIN, "the pages were not counted: {read} rows");
    ensure!(read <= pages * ROWS_READ_FOR_A_PAGE_MAX, "{read} rows were read for {pages} pages");
    Ok(())
}

/// As if all this had been said, and they had been added, before.
async fn fill(database: &mut PgConnection, url: &str, group: &str, ann: &User) -> anyhow::Result<()> {
    for participants in [
        "INSERT INTO conversation.participant (id, conversation_id, user_id, role, joined_at)
         SELECT gen_random_uuid(), $1, gen_random_uuid(), 2, 0 FROM generate_series(2, $2)",
        "INSERT INTO message.membership (conversation_id, user_id, role, joined_position, joined_seq, read_seq)
         SELECT conversation_id, user_id, role, 0, 0, 0 FROM conversation.participant
         WHERE conversation_id = $1 AND joined_at = 0 LIMIT $2",
        "UPDATE conversation.conversation SET participant_count = $2 WHERE id = $1",
        "UPDATE message.head SET participant_count = $2 WHERE conversation_id = $1",
    ] {
        sqlx::query(participants).bind(group.parse::<Uuid>()?).bind(PARTICIPANTS).execute(&mut *database).await?;
    }
    let mut filling = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fill"));
    filling.env("DATABASE_URL", url).env("CONVERSATION_ID", group).env("SENDER_ID", &ann.id);
    let filled = filling.env("MESSAGES", MESSAGES.to_string()).output().await?;
    ensure!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    Ok(())
}

/// Closes a session, and waits until what it has read is counted.
async fn ended(mut session: PgConnection, other: &mut PgConnection) -> anyhow::Result<()> {
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut session).await?;
    session.close().await?;
    let is_there = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = $1)";
    while sqlx::query_scalar(is_there).bind(pid).fetch_one(&mut *other).await? {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Messages from the first to the last: their seqs and ids.
async fn samples(database: &mut PgConnection, group: &str) -> anyhow::Result<Vec<(i64, Uuid)>> {
    const SAMPLES: &str =
        "SELECT seq, id FROM message.message WHERE conversation_id = $1 AND seq % 10000 = 5000 ORDER BY seq";
    Ok(sqlx::query_as(SAMPLES).bind(group.parse::<Uuid>()?).fetch_all(database).await?)
}

/// Pages in every direction from each of them; how many.
async fn read_history(api: &Api, ann: &User, group: &str, samples: &[(i64, Uuid)]) -> anyhow::Result<i64> {
    let path = format!("conversations/{group}/messages?limit=100");
    let mut pages = 0;
    for (seq, id) in samples {
        for (direction, first) in [("before", seq - 1), ("after", seq + 1), ("around", seq + 50)] {
            let page = api.get(ann, &format!("{path}&{direction}={id}")).await?;
            let messages = page["messages"].as_array().context("messages")?;
            ensure!(messages.len() == 100 && messages[0]["seq"] == first, "{direction} {seq}: {}", messages[0]);
            pages += 1;
        }
    }
    let (status, problem) =
        api.call(Method::GET, &format!("{path}&before={}", Uuid::new_v4()), Some(&ann.token), None).await?;
    ensure!(status == 404 && problem["code"] == "NOT_FOUND", "{status} {problem}");
    Ok(pages)
}

/// Follows the list for some pages; how many.
async fn walk_participants(api: &Api, ann: &User, group: &str) -> anyhow::Result<i64> {
    const PAGES: i64 = 50;
    let path = format!("conversations/{group}/participants?limit=100");
    let mut query = String::new();
    for _ in 0..PAGES {
        let page = api.get(ann, &format!("{path}{query}")).await?;
        ensure!(page["participants"].as_array().is_some_and(|participants| participants.len() == 100), "{page}");
        query = format!("&cursor={}", page["nextCursor"].as_str().context("there are more")?);
    }
    Ok(PAGES)
}
