//! The one Follow stream of this gateway: whom it is for goes up, what happens to them comes down into the hub.
//!
//! When it breaks another begins, at any message process: the hub then lets every connection read what it missed.

use std::{pin::pin, sync::Arc, time::Duration};

use messenger_core::{Error, JournalId, Position, UserId};
use messenger_proto::{
    event::v1::Entry,
    message::v1::{
        FollowRequest, FollowResponse, FollowUsers, UserFollowed, follow_request::Command, follow_response::Event,
        message_service_client::MessageServiceClient,
    },
};
use messenger_rpc::{RpcChannel, from_status};
use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::hub::{Hub, Interest};

/// Users in one addition or removal.
const USERS_PER_COMMAND_MAX: usize = 500;
/// Commands on their way into the stream.
const COMMANDS_MAX: usize = 8;
/// A stream that says nothing for so long is broken: a heartbeat comes at least every second.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Keeps the hub fed until `stopped`.
pub(super) async fn run(hub: Arc<Hub>, mut service: MessageServiceClient<RpcChannel>, stopped: CancellationToken) {
    let mut backoff = Backoff::default();
    let keep_open = async {
        loop {
            let opened = Instant::now();
            if let Err(error) = stream(&hub, &mut service).await {
                tracing::warn!(error = ?error, "the feed broke");
            }
            hub.interrupt();
            backoff.wait(opened.elapsed()).await;
        }
    };
    stopped.run_until_cancelled(keep_open).await;
}

async fn stream(hub: &Hub, service: &mut MessageServiceClient<RpcChannel>) -> Result<(), Error> {
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    let mut events =
        service.follow(ReceiverStream::new(receiver)).await.map_err(|status| from_status(&status))?.into_inner();
    welcome(hub, next(&mut events).await?)?;
    let mut tell = pin!(tell(hub, &commands));
    loop {
        tokio::select! {
            event = next(&mut events) => hear(hub, event?)?,
            () = &mut tell => return Ok(()),
        }
    }
}

async fn next(events: &mut Streaming<FollowResponse>) -> Result<FollowResponse, Error> {
    let event = timeout(SILENCE_MAX, events.message()).await.map_err(|_| Error::unavailable("the feed is silent"))?;
    event.map_err(|status| from_status(&status))?.ok_or_else(|| Error::unavailable("the feed ended"))
}

/// The first event of a stream: from now on the hub is fed by it.
pub(super) fn welcome(hub: &Hub, event: FollowResponse) -> Result<(), Error> {
    let Some(Event::Welcome(welcome)) = event.event else {
        return Err(Error::internal("the feed did not begin with a welcome"));
    };
    let journal = welcome.journal_id.parse().map_err(|_| Error::internal("the journal's identity is not a UUID"))?;
    hub.restart(JournalId(journal), Position(welcome.position));
    tracing::info!(journal.position = welcome.position, "the feed is connected");
    Ok(())
}

/// Any other event.
pub(super) fn hear(hub: &Hub, event: FollowResponse) -> Result<(), Error> {
    match event.event {
        Some(Event::Entries(entries)) => {
            let position = Position(entries.position);
            let entries: Result<Vec<_>, _> = entries.entries.into_iter().map(Entry::decode).collect();
            hub.apply(&entries.map_err(Error::internal)?, position);
        }
        Some(Event::Signal(signal)) => hub.signal(&signal),
        Some(Event::Heartbeat(heartbeat)) => hub.advance(Position(heartbeat.position)),
        Some(Event::UserFollowed(followed)) => follow(hub, &followed)?,
        Some(Event::Welcome(_)) => return Err(Error::internal("the feed welcomes twice")),
        None => {}
    }
    Ok(())
}

fn follow(hub: &Hub, followed: &UserFollowed) -> Result<(), Error> {
    let unreadable = |_| Error::internal("the feed named a user or conversation by something else than a UUID");
    let user_id: UserId = followed.user_id.parse().map_err(unreadable)?;
    let conversations = followed.conversation_ids.iter().map(|id| id.parse()).collect::<Result<_, _>>();
    hub.follow(user_id, Position(followed.position), conversations.map_err(unreadable)?);
    Ok(())
}

/// Tells the stream who came and who went; ends when the stream does.
async fn tell(hub: &Hub, commands: &mpsc::Sender<FollowRequest>) {
    loop {
        for request in requests(&hub.take_interest()) {
            if commands.send(request).await.is_err() {
                return;
            }
        }
        hub.interest_changed().await;
    }
}

/// What the stream is asked.
pub(super) fn requests(interest: &Interest) -> impl Iterator<Item = FollowRequest> {
    let removals = interest.remove.chunks(USERS_PER_COMMAND_MAX).map(|users| Command::Remove(named(users)));
    let additions = interest.add.chunks(USERS_PER_COMMAND_MAX).map(|users| Command::Add(named(users)));
    removals.chain(additions).map(|command| FollowRequest { command: Some(command) })
}

fn named(users: &[UserId]) -> FollowUsers {
    FollowUsers { user_ids: users.iter().map(UserId::to_string).collect() }
}

/// The pause before a stream is opened again: doubles up to a second while streams do not last.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(1);

    /// Waits, the shorter the longer the last stream lasted.
    pub(super) async fn wait(&mut self, lasted: Duration) {
        self.failures = if lasted > 2 * Self::LONGEST { 0 } else { self.failures + 1 };
        tokio::time::sleep(Self::FIRST.saturating_mul(1 << self.failures.min(6)).min(Self::LONGEST)).await;
    }
}
