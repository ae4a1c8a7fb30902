//! The one stream of drafts from this gateway to the message service, and the way of each answer back.
//!
//! Drafts gather while a batch is on its way. What is undecided when a stream breaks is sent again first, in order;
//! the gateway chose the message ids, so nothing is stored twice. Whoever waits too long is told so.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use messenger_core::{ConversationId, Error, ErrorKind, MessageId};
use messenger_proto::{
    event::v1::ConversationType,
    message::v1::{
        Draft, SendMessagesRequest, SendMessagesResponse, StoredMessage, TaggedDraft, draft::Target,
        draft_outcome::Outcome, message_service_client::MessageServiceClient,
    },
};
use messenger_rpc::{RpcChannel, SendLimits, TraceParent};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{feed::Backoff, reply::Request};

/// Drafts in one batch.
const BATCH_DRAFTS_MAX: usize = 512;
/// Bytes of content and metadata in one batch: well below the 4 MiB a service takes.
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Batches on their way into the stream.
const BATCHES_MAX: usize = 4;
/// Drafts that may be undecided in all; beyond, sends are refused.
const UNDECIDED_MAX: usize = 16_384;
/// Bytes of content and metadata that may be undecided in all.
const UNDECIDED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a draft may be undecided.
const DECIDED_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked for those that waited too long.
const EXPIRE_EVERY: Duration = Duration::from_millis(250);

/// A draft on its way, with what is needed to answer it.
#[derive(Debug)]
pub struct Undecided {
    tagged: TaggedDraft,
    request: Request,
    /// Hears what becomes of it.
    sends: Arc<SendLimits>,
    /// In what its connection may have undecided.
    weight: usize,
    deadline: Instant,
}

impl Undecided {
    /// A draft of the connection that asks, counted by these limits.
    pub fn new(draft: Draft, message_id: MessageId, request: Request, weight: usize, sends: Arc<SendLimits>) -> Self {
        let (connection, span) = (request.connection(), request.span());
        if let Some(Target::GroupId(id) | Target::ConversationId(id)) = &draft.target {
            span.record("conversation.id", id.as_str());
        }
        let tagged = TaggedDraft {
            tag: 0,
            sender_id: connection.user_id.to_string(),
            draft: Some(draft),
            message_id: message_id.to_string(),
            resent: false,
            origin: connection.origin,
            traceparent: TraceParent::of(span).to_text(),
        };
        Self { tagged, request, sends, weight, deadline: Instant::now() + DECIDED_WITHIN }
    }

    fn bytes(&self) -> usize {
        let draft = self.tagged.draft.as_ref();
        draft.map_or(0, |draft| draft.content.len() + draft.metadata.as_ref().map_or(0, String::len))
    }

    fn decide(&self, outcome: Option<&Outcome>) {
        match outcome {
            Some(Outcome::Stored(StoredMessage { message: Some(message), conversation_type, .. })) => {
                let is_p2p = *conversation_type == i32::from(ConversationType::P2p);
                // An earlier send with the same client message id has another message id.
                let is_new = message.id == self.tagged.message_id;
                self.tell_limits(Ok(is_new));
                self.request.stored(message, is_p2p && is_new);
            }
            Some(Outcome::Error(error)) => {
                let error = messenger_rpc::from_rpc_status(error);
                self.tell_limits(Err(error.kind()));
                self.request.fail(&error);
            }
            Some(Outcome::Stored(_)) | None => self.request.fail(&Error::internal("an outcome says nothing")),
        }
        self.request.connection().settle(self.weight);
    }

    fn tell_limits(&self, is_stored: Result<bool, ErrorKind>) {
        let target = self.tagged.draft.as_ref().and_then(|draft| draft.target.as_ref());
        if let Some(Target::GroupId(id) | Target::ConversationId(id)) = target
            && let Ok(conversation) = ConversationId::parse("conversationId", id)
        {
            self.sends.answered(self.request.connection().user_id, conversation, is_stored);
        }
    }

    fn fail(&self, kind: ErrorKind, message: &'static str) {
        self.request.fail(&Error::new(kind, message));
        self.request.connection().settle(self.weight);
    }
}

/// Takes drafts and sees to it that each is answered.
#[derive(Debug, Default)]
pub struct Pipe {
    drafts: Mutex<Drafts>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Drafts {
    /// By tag: in the order they came.
    undecided: BTreeMap<u64, Undecided>,
    bytes: usize,
    last_tag: u64,
    /// Up to here they are on the present stream.
    sent: u64,
    /// Up to here they were on an earlier stream.
    sent_before: u64,
    is_connected: bool,
    is_closed: bool,
}

impl Pipe {
    /// Takes a draft; its request is answered later. Never waits.
    ///
    /// # Errors
    /// DRAINING; UNAVAILABLE when too many are undecided.
    pub fn send(&self, mut draft: Undecided) -> Result<(), Error> {
        let mut drafts = self.lock();
        if drafts.is_closed {
            return Err(Error::draining());
        }
        if drafts.undecided.len() >= UNDECIDED_MAX || drafts.bytes + draft.bytes() > UNDECIDED_BYTES_MAX {
            let error = Error::unavailable("too many sends are undecided");
            return Err(error.with_retry_after(Duration::from_secs(1)));
        }
        draft.request.connection().add_undecided(draft.weight);
        drafts.last_tag += 1;
        draft.tagged.tag = drafts.last_tag;
        drafts.bytes += draft.bytes();
        let tag = drafts.last_tag;
        drafts.undecided.insert(tag, draft);
        drop(drafts);
        self.came.notify_one();
        Ok(())
    }

    /// Takes no more drafts; those taken are still answered.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Keeps a stream open and answers what comes back, until `stopped`; what is undecided then is told so.
    pub(super) async fn run(&self, service: MessageServiceClient<RpcChannel>, stopped: CancellationToken) {
        tokio::select! {
            () = self.keep_open(service) => {}
            () = self.expire() => {}
            () = stopped.cancelled() => {}
        }
        self.take_expired(None);
    }

    async fn keep_open(&self, mut service: MessageServiceClient<RpcChannel>) {
        let mut backoff = Backoff::default();
        loop {
            let opened = Instant::now();
            let ended = self.stream(&mut service).await;
            self.lock().is_connected = false;
            let status = ended.err().unwrap_or_else(|| Status::unavailable("the stream ended"));
            tracing::warn!(rpc.status = ?status.code(), status.message = status.message(), "the pipe of drafts broke");
            backoff.wait(opened.elapsed()).await;
        }
    }

    async fn stream(&self, service: &mut MessageServiceClient<RpcChannel>) -> Result<(), Status> {
        let (batches, receiver) = mpsc::channel(BATCHES_MAX);
        let mut answers = service.send_messages(ReceiverStream::new(receiver)).await?.into_inner();
        self.rewind();
        let mut hand_over = pin!(self.hand_over(&batches));
        loop {
            tokio::select! {
                answer = answers.message() => match answer? {
                    Some(answer) => self.settle(&answer),
                    None => return Ok(()),
                },
                () = &mut hand_over => return Ok(()),
            }
        }
    }

    /// A stream begins: everything undecided goes again.
    fn rewind(&self) {
        let mut drafts = self.lock();
        drafts.sent_before = drafts.sent_before.max(drafts.sent);
        drafts.sent = 0;
        drafts.is_connected = true;
        drop(drafts);
        self.came.notify_one();
    }

    /// Moves batches into the stream as it takes them; ends when the stream does.
    async fn hand_over(&self, batches: &mpsc::Sender<SendMessagesRequest>) {
        while let Ok(permit) = batches.reserve().await {
            let drafts = loop {
                let drafts = self.lock().next_batch();
                if !drafts.is_empty() {
                    break drafts;
                }
                self.came.notified().await;
            };
            metrics::histogram!("messenger_pipe_batch_drafts").record(drafts.len() as f64);
            permit.send(SendMessagesRequest { drafts });
        }
    }

    fn settle(&self, answer: &SendMessagesResponse) {
        let mut decided = Vec::with_capacity(answer.outcomes.len());
        let mut drafts = self.lock();
        for answered in &answer.outcomes {
            if let Some(draft) = drafts.remove(answered.tag) {
                decided.push((draft, answered.outcome.as_ref()));
            }
        }
        drop(drafts);
        for (draft, outcome) in decided {
            draft.decide(outcome);
        }
    }

    async fn expire(&self) {
        let mut ticks = tokio::time::interval(EXPIRE_EVERY);
        loop {
            ticks.tick().await;
            self.take_expired(Some(Instant::now()));
        }
    }

    /// Answers those whose deadline is before `now`; all when there is no time left at all.
    fn take_expired(&self, now: Option<Instant>) {
        let mut drafts = self.lock();
        let mut expired = Vec::new();
        while let Some((&tag, oldest)) = drafts.undecided.first_key_value()
            && now.is_none_or(|now| oldest.deadline <= now)
        {
            expired.extend(drafts.remove(tag));
        }
        let is_connected = drafts.is_connected;
        drop(drafts);
        for draft in expired {
            if is_connected {
                draft.fail(ErrorKind::DeadlineExceeded, "not known whether it was stored, send it again");
            } else {
                draft.fail(ErrorKind::Unavailable, "temporarily unavailable, send it again");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Drafts> {
        self.drafts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drafts {
    fn remove(&mut self, tag: u64) -> Option<Undecided> {
        let draft = self.undecided.remove(&tag)?;
        self.bytes -= draft.bytes();
        Some(draft)
    }

    fn next_batch(&mut self) -> Vec<TaggedDraft> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        for (tag, draft) in self.undecided.range(self.sent + 1..).take(BATCH_DRAFTS_MAX) {
            bytes += draft.bytes();
            if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                break;
            }
            batch.push(TaggedDraft { resent: *tag <= self.sent_before, ..draft.tagged.clone() });
            self.sent = *tag;
        }
        batch
    }
}
