//! Databases of a test's own, and short words for what is appended.

use std::{future::Future, sync::Arc};

use messenger_core::{
    ClientMessageId, Content, ConversationId, ConversationType, ErrorKind, Id, MessageId, Role, Timestamp, UserId,
    page::PageSize,
};
use messenger_db::Location;
use messenger_message::{
    model::{Appended, Batch, Change, ChangeSet, Draft, DraftOutcome, Effect, Entry, Fact, ResolvedDraft},
    open_store,
    store::Store,
};
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use uuid::Uuid;

/// One more process's view of the store.
pub async fn open(location: &Location) -> Arc<dyn Store> {
    open_store(location).await.expect("opens")
}

/// A connection beside the store's, in its schema.
pub async fn postgres(location: &Location) -> PgConnection {
    let Location::Postgres(url) = location else { panic!("only for PostgreSQL") };
    let mut connection = PgConnection::connect(url).await.expect("connects");
    sqlx::query("SET search_path = message").execute(&mut connection).await.expect("set");
    connection
}

pub async fn execute(location: &Location, on_postgres: &'static str, on_sqlite: &'static str) {
    match location {
        Location::Postgres(_) => {
            sqlx::query(on_postgres).execute(&mut postgres(location).await).await.expect("runs");
        }
        Location::Sqlite(folder) => {
            let file = Location::sqlite_file(folder, "message");
            let mut connection =
                SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.expect("connects");
            sqlx::query(on_sqlite).execute(&mut connection).await.expect("runs");
        }
    }
}

pub async fn on_sqlite<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Location) -> F) {
    let folder = tempfile::tempdir().expect("a folder");
    test(Location::Sqlite(folder.path().to_owned())).await;
}

pub async fn on_postgres<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Location) -> F) {
    messenger_testkit::database::with(|url| test(Location::Postgres(url))).await;
}

pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub fn new_id<K>() -> Id<K> {
    Id::from_uuid(Uuid::new_v4())
}

pub fn users<const N: usize>() -> [UserId; N] {
    std::array::from_fn(|_| new_id())
}

pub fn rows(rows: i32) -> PageSize {
    PageSize::new(rows).expect("a size")
}

/// A conversation as the conversation context keeps it.
#[derive(Clone)]
pub struct Talk {
    pub id: ConversationId,
    pub conversation_type: ConversationType,
    pub is_restricted: bool,
    pub version: i64,
    pub participants: i64,
}

impl Talk {
    pub fn group() -> Self {
        let conversation_type = ConversationType::Group;
        Self { id: new_id(), conversation_type, is_restricted: false, version: 0, participants: 0 }
    }

    pub fn p2p() -> Self {
        Self { conversation_type: ConversationType::P2p, ..Self::group() }
    }

    /// The first user is ADMIN.
    pub fn create(&mut self, users: &[UserId]) -> ChangeSet {
        let role = |index| if index == 0 { Role::Admin } else { Role::Member };
        let joining = users.iter().enumerate().map(|(index, &user)| (user, role(index))).collect();
        self.change(Effect::Join(joining))
    }

    pub fn join(&mut self, user: UserId) -> ChangeSet {
        self.change(Effect::Join(vec![(user, Role::Member)]))
    }

    pub fn leave(&mut self, user: UserId) -> ChangeSet {
        self.change(Effect::Leave(user))
    }

    pub fn role(&mut self, user: UserId, role: Role) -> ChangeSet {
        self.change(Effect::Role(user, role))
    }

    pub fn restrict(&mut self, is_restricted: bool) -> ChangeSet {
        self.is_restricted = is_restricted;
        self.change(Effect::None)
    }

    fn change(&mut self, effect: Effect) -> ChangeSet {
        self.version += 1;
        self.participants += match &effect {
            Effect::Join(users) => users.len() as i64,
            Effect::Leave(_) => -1,
            Effect::Role(..) | Effect::None => 0,
        };
        ChangeSet(vec![Change {
            conversation_id: self.id,
            conversation_type: self.conversation_type,
            is_restricted: self.is_restricted,
            participant_count: self.participants,
            version: self.version,
            effect,
            body: format!("{} version {}", self.id, self.version).into(),
        }])
    }

    pub fn draft(&self, sender: UserId, content: &str) -> ResolvedDraft {
        let draft = Draft {
            sender_id: sender,
            message_id: new_id(),
            content: Content::new(content).expect("content"),
            client_message_id: None,
            reply_to_id: None,
            metadata: None,
            resent: false,
            origin: 0,
            trace: messenger_rpc::TraceParent::default(),
        };
        ResolvedDraft { conversation_id: self.id, group_only: false, draft }
    }

    pub fn keyed(&self, sender: UserId, content: &str, key: &str) -> ResolvedDraft {
        let key = ClientMessageId::new(key).expect("a key");
        but(self.draft(sender, content), |draft| draft.client_message_id = Some(key))
    }
}

/// Another draft than this one in what is changed.
pub fn but(mut of: ResolvedDraft, change: impl FnOnce(&mut Draft)) -> ResolvedDraft {
    change(&mut of.draft);
    of
}

/// The same draft, sent again.
pub fn resent(draft: ResolvedDraft) -> ResolvedDraft {
    but(draft, |draft| draft.resent = true)
}

/// Appends a batch that is expected to be committed.
pub async fn append(store: &Arc<dyn Store>, changes: Vec<ChangeSet>, drafts: Vec<ResolvedDraft>) -> Appended {
    store.append(Batch { changes, drafts }, at(1_000)).await.expect("committed")
}

/// A new group of these users; the first is ADMIN.
pub async fn group(store: &Arc<dyn Store>, users: &[UserId]) -> Talk {
    let mut talk = Talk::group();
    append(store, vec![talk.create(users)], vec![]).await;
    talk
}

/// Sends one message.
pub async fn send(store: &Arc<dyn Store>, draft: ResolvedDraft) -> DraftOutcome {
    append(store, vec![], vec![draft]).await.drafts.remove(0)
}

pub fn seqs(outcomes: &[DraftOutcome]) -> Vec<Result<i64, ErrorKind>> {
    let seq = |outcome: &DraftOutcome| match outcome {
        Ok(stored) => Ok(stored.message.seq),
        Err(error) => Err(error.kind()),
    };
    outcomes.iter().map(seq).collect()
}

/// The whole journal.
pub async fn journal(store: &Arc<dyn Store>) -> Vec<Entry> {
    let (mut entries, mut after) = (Vec::new(), Default::default());
    loop {
        let page = store.read_journal(after, 7).await.expect("reads");
        entries.extend(page.entries);
        after = page.complete_to;
        if !page.has_more {
            return entries;
        }
    }
}

pub fn message_id(entry: &Entry) -> Option<MessageId> {
    match &entry.fact {
        Fact::MessageSent { message, .. } => Some(message.id),
        Fact::ConversationChanged(_) => None,
    }
}
