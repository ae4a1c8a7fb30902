//! Callers that leave in the middle of a call.

use std::{error::Error as _, net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};
use futures_util::future::{pending, try_join_all};
use messenger_proto::{
    conversation::v1::{CreateGroupRequest, conversation_service_client::ConversationServiceClient},
    message::v1::{Draft, SendMessageRequest, draft::Target, message_service_client::MessageServiceClient},
};
use messenger_testkit::{Beside, Cluster, Shape, Tolerates, User};
use sqlx::{Connection as _, PgConnection, types::Uuid};
use tokio::{
    task::yield_now,
    time::{sleep, timeout},
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};

const CALLERS: usize = 8;
const CALLS_OF_ONE: usize = 1_250;
/// How often a caller makes a group, which takes a transaction of its handler's own, instead of sending.
const GROUP_EVERY: usize = 7;

/// What a caller was told before it left: it must be there.
#[derive(Default)]
struct Told {
    messages: Vec<Uuid>,
    groups: Vec<Uuid>,
}

/// 10,000 calls, each dropped wherever it is by then, or answered just in time.
#[tokio::test(flavor = "multi_thread")]
async fn row_77_callers_that_leave_in_the_middle() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::StandalonePostgres).await?;
    let eve = cluster.api().register("eve").await?;
    let group = cluster.api().group(&eve, false, &[]).await?;
    // What those who left have begun goes on, and may for a moment leave no session to others.
    let beside = Beside::start(cluster.edge(), Tolerates::Unavailable).await?;
    let told = try_join_all((0..CALLERS).map(|_| leave_again_and_again(cluster.grpc("message"), &eve, &group))).await?;
    beside.unharmed().await?;

    let mut database = PgConnection::connect(cluster.database_url().context("PostgreSQL")?).await?;
    let messages: Vec<Uuid> = told.iter().flat_map(|told| told.messages.iter().copied()).collect();
    let groups: Vec<Uuid> = told.iter().flat_map(|told| told.groups.iter().copied()).collect();
    ensure!(!messages.is_empty() && !groups.is_empty(), "none was answered: it shows nothing");
    ensure!(messages.len() + groups.len() < CALLERS * CALLS_OF_ONE, "none left: it shows nothing");
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM message.message WHERE id = ANY($1)")
        .bind(&messages)
        .fetch_one(&mut database)
        .await?;
    let made: i64 = sqlx::query_scalar("SELECT count(*) FROM conversation.conversation WHERE id = ANY($1)")
        .bind(&groups)
        .fetch_one(&mut database)
        .await?;
    ensure!(
        (stored, made) == (messages.len() as i64, groups.len() as i64),
        "{stored}, {made} of what was acknowledged"
    );
    timeout(Duration::from_secs(30), no_open_transaction(&mut database))
        .await
        .context("a transaction is left open")??;
    Ok(())
}

/// Work that went on behind its caller has an end, too.
async fn no_open_transaction(database: &mut PgConnection) -> anyhow::Result<()> {
    const OPEN: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL";
    while sqlx::query_scalar::<_, i64>(OPEN).fetch_one(&mut *database).await? > 0 {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn leave_again_and_again(grpc: SocketAddr, eve: &User, group: &str) -> anyhow::Result<Told> {
    let channel = Endpoint::from_shared(format!("http://{grpc}"))?.connect().await?;
    let mut told = Told::default();
    for n in 0..CALLS_OF_ONE {
        if n % GROUP_EVERY == 0 {
            told.groups.extend(cut_short(n, make_group(channel.clone(), eve)).await?);
        } else {
            told.messages.extend(cut_short(n, send(channel.clone(), eve, group)).await?);
        }
    }
    Ok(told)
}

async fn send(channel: Channel, eve: &User, group: &str) -> Result<String, Status> {
    let target = Some(Target::ConversationId(group.to_owned()));
    let draft = Draft { target, content: "and gone".to_owned(), ..Draft::default() };
    let request = of(eve, SendMessageRequest { draft: Some(draft) });
    let answer = MessageServiceClient::new(channel).send_message(request).await?.into_inner();
    Ok(answer.message.map(|message| message.id).unwrap_or_default())
}

async fn make_group(channel: Channel, eve: &User) -> Result<String, Status> {
    let request = of(eve, CreateGroupRequest { name: "and gone".to_owned(), ..CreateGroupRequest::default() });
    let answer = ConversationServiceClient::new(channel).create_group(request).await?.into_inner();
    let conversation = answer.conversation.and_then(|view| view.conversation);
    Ok(conversation.map(|conversation| conversation.id).unwrap_or_default())
}

fn of<T>(user: &User, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {}", user.token).parse().expect("a token is ASCII");
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// The id a call was answered with, if its caller stayed as long.
async fn cut_short(n: usize, call: impl Future<Output = Result<String, Status>>) -> anyhow::Result<Option<Uuid>> {
    tokio::select! {
        biased;
        answer = call => match answer {
            Err(status) if is_kept_out(&status) => Ok(None),
            answer => Ok(Some(answer?.parse()?)),
        },
        () = patience(n) => Ok(None),
    }
}

/// The server ends connections on which too many leave, and those who left may leave no room for one more.
fn is_kept_out(status: &Status) -> bool {
    let is_cut_off = status.source().is_some_and(|cause| cause.is::<tonic::transport::Error>());
    is_cut_off || matches!(status.code(), Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded)
}

/// None, some turns of this process, some milliseconds, as long as it takes.
async fn patience(n: usize) {
    match n % 4 {
        0 => yield_now().await,
        1 => {
            for _ in 0..n % 64 {
                yield_now().await;
            }
        }
        2 => sleep(Duration::from_millis(n as u64 % 16)).await,
        _ => pending().await,
    }
}
