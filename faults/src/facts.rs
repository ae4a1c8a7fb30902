//! What the database holds after a run: the truth that every client's log is compared with.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use messenger_proto::event::v1::{ConversationChanged, Role, conversation_changed::Change};
use prost::Message as _;
use sqlx::{Connection as _, PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::content;

/// A stored message.
#[derive(Clone, Debug)]
pub struct Stored {
    pub conversation: Uuid,
    pub position: i64,
    pub seq: i64,
    pub id: Uuid,
    pub sender: Uuid,
    pub created_at: i64,
    /// Which client wrote it and its number there, as the content says.
    pub written: Option<(usize, u64)>,
}

/// From where to where a user took part: above the first position, up to the second.
pub type Stay = (i64, i64);

/// Everything that was stored.
pub struct Facts {
    /// In the order of the journal.
    pub messages: Vec<Stored>,
    /// When who took part where.
    pub stays: HashMap<(Uuid, Uuid), Vec<Stay>>,
    /// Messages whose sender might not post where they stand in the journal.
    pub forbidden: Vec<Uuid>,
}

/// Rights in one conversation, as of some position.
#[derive(Default)]
struct Rights {
    is_restricted: bool,
    roles: HashMap<Uuid, Role>,
}

/// Up to which position the journal goes now.
pub async fn last_position(database: &str) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(database).await?;
    Ok(sqlx::query("SELECT last_position FROM message.journal").fetch_one(&mut connection).await?.get(0))
}

/// The newest entry that concerns each user, of those who take part in anything.
pub async fn newest(database: &str) -> anyhow::Result<HashMap<Uuid, i64>> {
    let mut connection = PgConnection::connect(database).await?;
    let query = "SELECT user_id, max(last_position) FROM message.membership JOIN message.head USING (conversation_id) \
                 GROUP BY user_id";
    let rows = sqlx::query(query).fetch_all(&mut connection).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

impl Facts {
    /// Reads all of it.
    pub async fn read(database: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(database).await?;
        let query = "SELECT conversation_id, position, seq, id, sender_id, created_at, content FROM message.message \
                     ORDER BY position";
        let stored = |row: PgRow| Stored {
            conversation: row.get(0),
            position: row.get(1),
            seq: row.get(2),
            id: row.get(3),
            sender: row.get(4),
            created_at: row.get(5),
            written: content::read(row.get(6)),
        };
        // Row by row: all contents together are large.
        let messages: Vec<Stored> = sqlx::query(query).fetch(&mut connection).map_ok(stored).try_collect().await?;
        let query = "SELECT conversation_id, position, body FROM message.change ORDER BY position, version";
        let rows = sqlx::query(query).fetch_all(&mut connection).await?;
        let mut changes = BTreeMap::new();
        for row in &rows {
            let changed = ConversationChanged::decode(row.get::<&[u8], _>(2))?;
            changes.insert(row.get::<i64, _>(1), (row.get::<Uuid, _>(0), changed));
        }
        let (stays, forbidden) = judge(&messages, &changes)?;
        Ok(Self { messages, stays, forbidden })
    }
}

type Judged = (HashMap<(Uuid, Uuid), Vec<Stay>>, Vec<Uuid>);

/// Walks through the journal once: who took part when, and which messages were not allowed at their place.
fn judge(messages: &[Stored], changes: &BTreeMap<i64, (Uuid, ConversationChanged)>) -> anyhow::Result<Judged> {
    let (mut rights, mut stays, mut forbidden) = (HashMap::<Uuid, Rights>::new(), HashMap::new(), Vec::new());
    let mut changes = changes.iter().peekable();
    for message in messages {
        while let Some((position, (id, changed))) = changes.next_if(|(position, _)| **position < message.position) {
            apply(*position, *id, changed, (rights.entry(*id).or_default(), &mut stays))?;
        }
        let now = rights.entry(message.conversation).or_default();
        let role = now.roles.get(&message.sender);
        if role.is_none() || (now.is_restricted && role != Some(&Role::Admin)) {
            forbidden.push(message.id);
        }
    }
    for (position, (id, changed)) in changes {
        apply(*position, *id, changed, (rights.entry(*id).or_default(), &mut stays))?;
    }
    Ok((stays, forbidden))
}

type State<'a> = (&'a mut Rights, &'a mut HashMap<(Uuid, Uuid), Vec<Stay>>);

fn apply(position: i64, id: Uuid, changed: &ConversationChanged, (now, stays): State<'_>) -> anyhow::Result<()> {
    now.is_restricted = changed.conversation.as_ref().context("a change has its conversation")?.is_restricted;
    let joined = match changed.change.as_ref().context("a change says what changed")? {
        Change::Created(created) => &created.participants[..],
        Change::ParticipantsAdded(added) => &added.participants[..],
        Change::ParticipantUpdated(updated) => {
            let participant = updated.participant.as_ref().context("a participant")?;
            now.roles.insert(participant.user_id.parse()?, participant.role());
            &[]
        }
        Change::ParticipantRemoved(removed) => {
            let user = removed.user_id.parse()?;
            now.roles.remove(&user);
            let stay = stays.get_mut(&(id, user)).and_then(|stays: &mut Vec<Stay>| stays.last_mut());
            stay.context("only participants are removed")?.1 = position;
            &[]
        }
        Change::Updated(_) => &[],
    };
    for participant in joined {
        let user = participant.user_id.parse()?;
        now.roles.insert(user, participant.role());
        stays.entry((id, user)).or_default().push((position, i64::MAX));
    }
    Ok(())
}
