//! `sync`: the feed by long poll, for clients without sockets.

use std::{sync::Arc, time::Duration};

use axum::{Extension, extract::State};
use http::StatusCode;
use messenger_core::{Cursor, Error, ErrorKind, Position, UserId};
use messenger_proto::message::v1::{self as proto, subscribe_response::Event};
use messenger_rpc::{request_as, with_deadline};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::{Caller, Query, count},
    hold::Hold,
    json,
};
use crate::{
    objects::{EventObject, LimitedObject},
    problem::{Answer, Problem, ProblemBody},
    session::Gateway,
};

/// Longest wait for an event, milliseconds.
const WAIT_MILLIS_MAX: i32 = 30_000;
/// When a user may try to wait again who does so too often.
const WAIT_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Of what is not waiting: this resource is not under the deadline of the others.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

pub(super) fn routes() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::new().routes(routes!(sync))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Sync {
    /// Everything after it. Left out: no events, only where the feed is now.
    cursor: Option<String>,
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// How long to wait when there is nothing yet.
    #[param(value_type = Option<u32>, maximum = 30_000)]
    wait_ms: Option<String>,
}

/// A durable event as sockets have it.
#[derive(Serialize, ToSchema)]
struct CursorEvent<'a> {
    event: &'static str,
    data: EventObject<'a>,
    cursor: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Synced<'a> {
    events: Vec<CursorEvent<'a>>,
    /// For the next call.
    cursor: &'a str,
    /// Whether the next call has events at once.
    has_more: bool,
    limited: Vec<LimitedObject<'a>>,
}

/// What happened after a cursor. Without one it says where the feed is now.
#[utoipa::path(get, path = "/sync", tag = "sync", params(Sync), responses(
    (status = 200, body = Synced),
    (status = 410, description = "RESYNC_REQUIRED: fetch anew, then sync without a cursor", body = ProblemBody, content_type = "application/problem+json"),
))]
async fn sync(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Extension(hold): Extension<Hold>,
    Query(query): Query<Sync>,
) -> Answer {
    let page_size = count("limit", query.limit.as_deref(), 100)?;
    let wait = wait(query.wait_ms.as_deref())?;
    let user_id = caller.user_id();
    let Some(cursor) = query.cursor else {
        let cursor = head(&gateway, user_id).await?;
        return Ok(json(StatusCode::OK, &Synced { events: vec![], cursor: &cursor, has_more: false, limited: vec![] }));
    };
    Cursor::decode(&cursor)?;
    let deadline = Instant::now() + wait;
    let mut page = replay(&gateway, user_id, cursor, page_size).await?;
    if page.entries.is_empty() && page.limited.is_empty() {
        hold.give_back();
        if arrives(&gateway, user_id, &page.cursor, deadline).await? {
            // The wait may be longer than the rest of the token's life.
            gateway.verifier.in_force(caller.0)?;
            hold.take(&gateway, user_id).await?;
            page = replay(&gateway, user_id, page.cursor, page_size).await?;
        }
    }
    let journal = Cursor::decode(&page.cursor).map_err(|error| Error::internal(error.to_string()))?.journal;
    let events = page.entries.iter().filter_map(|entry| {
        let data = EventObject::of(entry)?;
        let cursor = Cursor { journal, position: Position(entry.position) }.encode();
        Some(CursorEvent { event: data.name(), data, cursor })
    });
    let (events, limited) = (events.collect(), page.limited.iter().map(Into::into).collect());
    Ok(json(StatusCode::OK, &Synced { events, cursor: &page.cursor, has_more: page.has_more, limited }))
}

fn wait(text: Option<&str>) -> Result<Duration, Error> {
    let millis = text.map_or(Ok(0), str::parse).ok().filter(|millis| (0..=WAIT_MILLIS_MAX).contains(millis));
    let millis = millis.ok_or_else(|| Error::invalid("waitMs", format!("must be 0 to {WAIT_MILLIS_MAX}")))?;
    Ok(Duration::from_millis(millis.unsigned_abs().into()))
}

async fn replay(
    gateway: &Gateway,
    user_id: UserId,
    cursor: String,
    page_size: i32,
) -> Result<proto::ReplayResponse, Problem> {
    // Every page is a first one: whoever polls keeps nothing between two calls that could name the excluded.
    let request = proto::ReplayRequest { cursor, page_size, first_page: true, excluded_conversation_ids: vec![] };
    let mut request = request_as(user_id, request);
    with_deadline(&mut request, CALL_DEADLINE);
    Ok(gateway.services.message.clone().replay(request).await?.into_inner())
}

/// Where the feed is now.
async fn head(gateway: &Gateway, user_id: UserId) -> Result<String, Problem> {
    let mut request = request_as(user_id, proto::SubscribeRequest::default());
    with_deadline(&mut request, CALL_DEADLINE);
    let mut feed = gateway.services.message.clone().subscribe(request).await?.into_inner();
    while let Some(event) = feed.message().await? {
        if let Some(Event::CaughtUp(caught_up)) = event.event {
            return Ok(caught_up.cursor);
        }
    }
    Err(Error::unavailable("the feed ended before it began").into())
}

/// Waits until something durable happens after the cursor; false when the deadline or a shutdown comes first.
///
/// # Errors
/// RATE_LIMITED when as many calls of the user wait as it may have connections.
async fn arrives(gateway: &Gateway, user_id: UserId, cursor: &str, deadline: Instant) -> Result<bool, Problem> {
    if deadline <= Instant::now() {
        return Ok(false);
    }
    let permit = gateway.waits.try_acquire(user_id, gateway.config.connections_per_user);
    let _permit = permit.ok_or_else(|| {
        let error = Error::new(ErrorKind::RateLimited, "too many calls of this user wait already");
        error.with_retry_after(WAIT_AGAIN_AFTER)
    })?;
    let request = request_as(user_id, proto::SubscribeRequest { cursor: cursor.to_owned() });
    let entry = async {
        let mut feed = gateway.services.message.clone().subscribe(request).await?.into_inner();
        while let Some(event) = feed.message().await? {
            if let Some(Event::Entry(_)) = event.event {
                return Ok(true);
            }
        }
        Ok(false)
    };
    tokio::select! {
        arrived = timeout_at(deadline, entry) => arrived.unwrap_or(Ok(false)),
        () = gateway.shutdown.token.cancelled() => Ok(false),
    }
}
