//! Which processes form a messenger, and how each is started.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use uuid::Uuid;

use crate::process::{Launch, free_address};

/// The variable that names a Redis: its URL.
pub const REDIS_URL: &str = "MESSENGER_TEST_REDIS_URL";

/// A shape of deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One process, SQLite.
    StandaloneSqlite,
    /// One process, PostgreSQL.
    StandalonePostgres,
    /// Four processes, PostgreSQL.
    SplitPostgres,
    /// Several of each on one PostgreSQL.
    Many(Size, Bus),
}

/// How many processes of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Of the auth service.
    pub auth: usize,
    /// Of the conversation service.
    pub conversation: usize,
    /// Of the message service.
    pub message: usize,
    /// Of the edge.
    pub gateway: usize,
}

impl Size {
    /// As many of each.
    #[must_use]
    pub const fn each(count: usize) -> Self {
        Self { auth: count, conversation: count, message: count, gateway: count }
    }
}

/// What the message processes hear of each other by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// LISTEN and NOTIFY.
    Postgres,
    /// The Redis of the test run.
    Redis,
}

/// A kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All in one.
    Standalone,
    /// Identity.
    Auth,
    /// Messages and the journal.
    Message,
    /// Conversations and participants.
    Conversation,
    /// The edge.
    Gateway,
}

impl Part {
    /// One of several of this kind, counted from 0; the part alone means the first.
    #[must_use]
    pub const fn nth(self, number: usize) -> Instance {
        Instance { part: self, number }
    }

    const fn binary(self) -> &'static str {
        match self {
            Self::Standalone => "messenger",
            Self::Auth => "messenger-auth",
            Self::Message => "messenger-message",
            Self::Conversation => "messenger-conversation",
            Self::Gateway => "messenger-gateway",
        }
    }
}

/// A process of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Its kind.
    pub part: Part,
    /// Which of its kind.
    pub number: usize,
}

impl From<Part> for Instance {
    fn from(part: Part) -> Self {
        part.nth(0)
    }
}

/// More arguments than those a cluster needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the processes at the edge.
    pub edge: Vec<&'static str>,
    /// For those that hold auth.
    pub auth: Vec<&'static str>,
    /// Variables, for all.
    pub environment: Vec<(&'static str, String)>,
    /// Folder with a certificate for each service, as `messenger certs` makes them; separate processes use them.
    pub certificates: Option<PathBuf>,
}

/// Without rate limits, so that a test goes as fast as it can.
impl Default for Settings {
    fn default() -> Self {
        Self { edge: vec!["--no-rate-limits"], auth: Vec::new(), environment: Vec::new(), certificates: None }
    }
}

/// All processes of a messenger and their addresses.
pub(crate) struct Plan {
    pub launches: BTreeMap<Instance, Launch>,
    pub edges: Vec<SocketAddr>,
    pub grpc: BTreeMap<&'static str, Vec<SocketAddr>>,
}

impl Plan {
    pub(crate) fn standalone(database_url: Option<&str>, folder: &Path, settings: Settings) -> anyhow::Result<Self> {
        let (edge, grpc) = (free_address()?, free_address()?);
        let mut arguments = vec![
            format!("--listen={edge}"),
            format!("--grpc-listen={grpc}"),
            format!("--data-dir={}", folder.display()),
        ];
        arguments.extend(database_url.map(|url| format!("--database-url={url}")));
        arguments.extend(settings.edge.into_iter().chain(settings.auth).map(str::to_owned));
        let environment = settings.environment;
        let launch = Launch { binary: Part::Standalone.binary(), arguments, environment };
        Ok(Self {
            launches: [(Part::Standalone.nth(0), launch)].into(),
            edges: vec![edge],
            grpc: ["auth", "conversation", "message"].map(|service| (service, vec![grpc])).into(),
        })
    }

    pub(crate) fn split(database_url: &str, size: Size, bus: Bus, settings: Settings) -> anyhow::Result<Self> {
        let (auth, conversation, message) =
            (addresses(size.auth)?, addresses(size.conversation)?, addresses(size.message)?);
        let edges = addresses(size.gateway)?;
        let scheme = if settings.certificates.is_some() { "https" } else { "http" };
        let secret = format!("--service-secret={}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let database = format!("--database-url={database_url}");
        let (auth_url, conversation_url, message_url) = (
            urls("auth", &auth, scheme),
            urls("conversation", &conversation, scheme),
            urls("message", &message, scheme),
        );
        let mut journal = vec![database.clone(), auth_url.clone(), conversation_url.clone()];
        journal.extend(match bus {
            Bus::Postgres => None,
            Bus::Redis => Some(format!("--redis-url={}", redis_url()?)),
        });
        let more = |arguments: Vec<&'static str>| arguments.into_iter().map(str::to_owned);
        let identity = [database.clone()].into_iter().chain(more(settings.auth)).collect();
        let edge = [auth_url.clone(), conversation_url, message_url.clone()].into_iter().chain(more(settings.edge));
        let mut launches = BTreeMap::new();
        for (part, addresses, arguments) in [
            (Part::Auth, &auth, identity),
            (Part::Message, &message, journal),
            (Part::Conversation, &conversation, vec![database, auth_url, message_url]),
            (Part::Gateway, &edges, edge.collect()),
        ] {
            for (number, address) in addresses.iter().enumerate() {
                let mut arguments: Vec<String> = Vec::clone(&arguments);
                arguments.extend([format!("--listen={address}"), secret.clone()]);
                if let Some(folder) = &settings.certificates {
                    let name = part.binary().trim_start_matches("messenger-");
                    arguments.push(format!("--certificates={}", folder.join(name).display()));
                }
                let environment = settings.environment.clone();
                launches.insert(part.nth(number), Launch { binary: part.binary(), arguments, environment });
            }
        }
        let grpc = [("auth", auth), ("conversation", conversation), ("message", message)].into();
        Ok(Self { launches, edges, grpc })
    }
}

fn addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    (0..count).map(|_| free_address()).collect()
}

fn urls(service: &str, addresses: &[SocketAddr], scheme: &str) -> String {
    let urls: Vec<String> = addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
    format!("--{service}-url={}", urls.join(","))
}

fn redis_url() -> anyhow::Result<String> {
    std::env::var(REDIS_URL).with_context(|| format!("{REDIS_URL} is not set: run scripts/test"))
}
