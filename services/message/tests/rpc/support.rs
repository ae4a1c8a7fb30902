//! Message processes of one journal, and what clients do with them.

use std::{
    env,
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use messenger_core::{Clock, ConversationId, Id, MessageId, SystemClock, UserId};
use messenger_db::{Location, StoreArgs};
use messenger_identity::{TokenRules, Verifier};
use messenger_message::{BusLocation, Messages, Peers, build, open_bus, open_store};
use messenger_proto::{
    conversation::v1::conversation_service_client::ConversationServiceClient,
    event::v1::{
        Conversation, ConversationChanged, ConversationCreated, ConversationType, Entry, Message, Participant,
        ParticipantRemoved, ParticipantsAdded, Role, conversation_changed::Change, entry::Fact,
    },
    message::v1::{
        AppendChangesRequest, Draft, Entries, FollowRequest, FollowResponse, FollowUsers, SendMessageRequest,
        TaggedDraft, UserFollowed, draft::Target, follow_request::Command, follow_response::Event,
        message_service_client::MessageServiceClient,
    },
};
use messenger_rpc::{HealthReporter, RpcChannel, ServerAuth, Service, ServiceCredential, request_as};
use messenger_telemetry::Shutdown;
use messenger_testkit::database;
use prost::Message as _;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, body::Body, service::Routes};
use uuid::Uuid;

pub type Client = MessageServiceClient<Callers>;

/// Changes come from conversation, everything else from a gateway.
#[derive(Clone)]
pub struct Callers(RpcChannel);

impl tower::Service<http::Request<Body>> for Callers {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let is_change = request.uri().path().ends_with("/AppendChanges");
        let caller = if is_change { Service::Conversation } else { Service::Gateway };
        self.0.shown_by(caller).call(request)
    }
}

pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} must be set to run these tests"))
}

/// Where one journal is kept. Processes are in process on SQLite, behind TCP on PostgreSQL.
pub struct World {
    store: TestStore,
    pub credential: ServiceCredential,
}

enum TestStore {
    Sqlite(TempDir),
    Postgres(String),
}

/// One message process.
pub struct Process {
    pub client: Client,
    pub shutdown: Shutdown,
    /// Where it listens, if it does.
    pub url: Option<String>,
}

impl World {
    pub fn sqlite() -> Self {
        Self::on(TestStore::Sqlite(TempDir::new().expect("a folder")))
    }

    pub async fn postgres() -> Self {
        Self::on(TestStore::Postgres(database::create().await.expect("a database")))
    }

    fn on(store: TestStore) -> Self {
        Self { store, credential: ServiceCredential::random(Service::Gateway).expect("random") }
    }

    pub fn database_url(&self) -> String {
        match &self.store {
            TestStore::Postgres(url) => url.clone(),
            TestStore::Sqlite(_) => panic!("no database"),
        }
    }

    pub fn location(&self) -> Location {
        match &self.store {
            TestStore::Sqlite(folder) => Location::Sqlite(folder.path().to_owned()),
            TestStore::Postgres(url) => Location::Postgres(url.clone()),
        }
    }

    pub fn store_args(&self) -> StoreArgs {
        match self.location() {
            Location::Sqlite(data_dir) => StoreArgs { database_url: None, data_dir },
            Location::Postgres(url) => StoreArgs { database_url: Some(url), data_dir: PathBuf::new() },
        }
    }

    /// A process without a conversation service.
    pub async fn process(&self) -> Process {
        self.process_on(BusLocation::Local).await
    }

    pub async fn process_on(&self, bus: BusLocation) -> Process {
        self.process_at(bus, Arc::new(SystemClock)).await
    }

    pub async fn process_at(&self, bus: BusLocation, clock: Arc<dyn Clock>) -> Process {
        let (conversation, _) = RpcChannel::in_process(Service::Message);
        let shutdown = Shutdown::new();
        let messages = self.messages_at(bus, conversation, clock, &shutdown).await;
        let verifier = Arc::new(Verifier::new(TokenRules::default(), Arc::new(SystemClock)));
        let routes = messages.routes(ServerAuth { verifier, trust: self.credential.trust() }, None);
        self.serve(routes, shutdown).await
    }

    pub async fn messages(&self, bus: BusLocation, conversation: RpcChannel, shutdown: &Shutdown) -> Messages {
        self.messages_at(bus, conversation, Arc::new(SystemClock), shutdown).await
    }

    async fn messages_at(
        &self,
        bus: BusLocation,
        conversation: RpcChannel,
        clock: Arc<dyn Clock>,
        shutdown: &Shutdown,
    ) -> Messages {
        let store = open_store(&self.location()).await.expect("a store");
        let bus = open_bus(&bus, &*store).await.expect("a bus");
        let peers = Peers { conversation: ConversationServiceClient::new(conversation) };
        build(store, bus, peers, clock, shutdown).await.expect("the service")
    }

    pub async fn serve(&self, routes: Routes, shutdown: Shutdown) -> Process {
        match &self.store {
            TestStore::Sqlite(_) => {
                let (channel, slot) = RpcChannel::in_process(Service::Gateway);
                slot.fill(routes);
                Process { client: MessageServiceClient::new(Callers(channel)), shutdown, url: None }
            }
            TestStore::Postgres(_) => {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let url = format!("http://{}", listener.local_addr().expect("bound"));
                let health = HealthReporter::new(&[]).await;
                shutdown.spawn(messenger_rpc::serve(listener.into(), routes, shutdown.token.clone(), health));
                let channel = RpcChannel::remote(Service::Message, &url, self.credential.clone()).expect("a URL");
                Process { client: MessageServiceClient::new(Callers(channel)), shutdown, url: Some(url) }
            }
        }
    }

    pub async fn end(self) {
        if let TestStore::Postgres(url) = self.store {
            database::drop(&url).await.expect("dropped");
        }
    }
}

pub fn new_id<K>() -> Id<K> {
    Id::new(SystemClock.now())
}

/// A group of the test's own making, as conversation would send it.
pub struct Group {
    pub id: ConversationId,
    pub members: Vec<UserId>,
    pub is_restricted: bool,
    version: i64,
}

impl Group {
    /// The first of its `members` is ADMIN.
    pub async fn create(client: &mut Client, members: &[UserId]) -> Self {
        let mut group = Self { id: new_id(), members: members.to_vec(), is_restricted: false, version: 0 };
        let participants = members.iter().enumerate().map(|(n, user)| group.participant(*user, n == 0)).collect();
        group.change(client, Change::Created(ConversationCreated { participants })).await;
        group
    }

    /// One made before, to send to.
    pub fn known(id: ConversationId, members: Vec<UserId>) -> Self {
        Self { id, members, is_restricted: false, version: 0 }
    }

    pub async fn add(&mut self, client: &mut Client, user: UserId) {
        self.members.push(user);
        let participants = vec![self.participant(user, false)];
        self.change(client, Change::ParticipantsAdded(ParticipantsAdded { participants })).await;
    }

    pub async fn remove(&mut self, client: &mut Client, user: UserId) {
        self.members.retain(|member| *member != user);
        let removed = ParticipantRemoved { user_id: user.to_string(), removed_by: user.to_string() };
        self.change(client, Change::ParticipantRemoved(removed)).await;
    }

    fn participant(&self, user: UserId, is_admin: bool) -> Participant {
        let role = if is_admin { Role::Admin } else { Role::Member };
        Participant {
            id: Uuid::new_v4().to_string(),
            user_id: user.to_string(),
            conversation_id: self.id.to_string(),
            role: role.into(),
            joined_at: Some(messenger_rpc::timestamp(SystemClock.now())),
        }
    }

    async fn change(&mut self, client: &mut Client, change: Change) {
        self.version += 1;
        let conversation = Conversation {
            id: self.id.to_string(),
            r#type: ConversationType::Group.into(),
            name: "a group".to_owned(),
            is_restricted: self.is_restricted,
            created_at: Some(messenger_rpc::timestamp(SystemClock.now())),
            participant_count: self.members.len() as i64,
            version: self.version,
        };
        let changed = ConversationChanged { conversation: Some(conversation), change: Some(change) };
        let answer = client.append_changes(AppendChangesRequest { changes: vec![changed] }).await.expect("appended");
        assert_eq!(answer.into_inner().version, self.version);
    }

    pub fn draft(&self, content: &str) -> Draft {
        Draft {
            target: Some(Target::ConversationId(self.id.to_string())),
            content: content.to_owned(),
            ..Draft::default()
        }
    }

    pub async fn send(&self, client: &mut Client, sender: UserId, content: &str) -> Message {
        let request = request_as(sender, SendMessageRequest { draft: Some(self.draft(content)) });
        client.send_message(request).await.expect("sent").into_inner().message.expect("a message")
    }
}

pub fn tagged(tag: u64, sender: UserId, draft: Draft) -> TaggedDraft {
    let message_id: MessageId = new_id();
    TaggedDraft {
        tag,
        sender_id: sender.to_string(),
        draft: Some(draft),
        message_id: message_id.to_string(),
        resent: false,
        origin: 0,
        traceparent: None,
    }
}

/// One who follows, as a gateway does.
pub struct Listener {
    pub requests: mpsc::Sender<FollowRequest>,
    pub responses: Streaming<FollowResponse>,
    pub journal: String,
    pub position: i64,
    /// Entries that came before they were asked for.
    early: std::collections::VecDeque<Entry>,
}

impl Listener {
    pub async fn open(client: &mut Client) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let responses = client.follow(ReceiverStream::new(receiver)).await.expect("followed").into_inner();
        let mut listener = Self { requests, responses, journal: String::new(), position: 0, early: Default::default() };
        let Event::Welcome(welcome) = listener.event().await else { panic!("first a welcome") };
        (listener.journal, listener.position) = (welcome.journal_id, welcome.position);
        listener
    }

    pub async fn of(client: &mut Client, users: &[UserId]) -> Self {
        let mut listener = Self::open(client).await;
        for user in users {
            listener.follow(*user).await;
        }
        listener
    }

    pub async fn event(&mut self) -> Event {
        let response = timeout(PATIENCE, self.responses.message()).await.expect("in time").expect("no error");
        response.expect("not the end").event.expect("an event")
    }

    pub async fn ask(&self, command: fn(FollowUsers) -> Command, user_ids: Vec<String>) {
        let command = Some(command(FollowUsers { user_ids }));
        self.requests.send(FollowRequest { command }).await.expect("the stream is open");
    }

    pub async fn follow(&mut self, user: UserId) -> UserFollowed {
        self.ask(Command::Add, vec![user.to_string()]).await;
        loop {
            match self.event().await {
                Event::UserFollowed(followed) => return followed,
                Event::Entries(entries) => self.keep(entries),
                _ => {}
            }
        }
    }

    fn keep(&mut self, Entries { entries, position }: Entries) {
        for encoded in entries {
            let entry = Entry::decode(encoded).expect("an entry");
            assert!(entry.position > self.position, "positions rise");
            self.position = entry.position;
            self.early.push_back(entry);
        }
        assert!(position >= self.position);
    }

    pub async fn entry(&mut self) -> Entry {
        loop {
            if let Some(entry) = self.early.pop_front() {
                return entry;
            }
            if let Event::Entries(entries) = self.event().await {
                self.keep(entries);
            }
        }
    }

    pub async fn message(&mut self) -> Message {
        message_of(self.entry().await).expect("a message")
    }

    /// Everything up to a position was heard.
    pub async fn rest_up_to(&mut self, position: i64) -> Vec<Entry> {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = self.position.max(0);
        while heard < position {
            assert!(Instant::now() < deadline, "the feed gets to {position}");
            match self.event().await {
                Event::Entries(entries) => {
                    heard = entries.position;
                    self.keep(entries);
                }
                Event::Heartbeat(heartbeat) => heard = heartbeat.position,
                _ => {}
            }
        }
        self.early.drain(..).collect()
    }
}

pub fn message_of(entry: Entry) -> Option<Message> {
    match entry.fact? {
        Fact::MessageSent(sent) => sent.message,
        Fact::ConversationChanged(_) => None,
    }
}
