//! The product as it is deployed: one process or four, on either store.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Context as _;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    Api, database,
    process::{Launch, Process, free_address},
};

/// A shape of deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One process, SQLite.
    StandaloneSqlite,
    /// One process, PostgreSQL.
    StandalonePostgres,
    /// Four processes, PostgreSQL.
    SplitPostgres,
}

/// A process of a cluster.
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

/// More arguments than those a cluster needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the process at the edge.
    pub edge: Vec<&'static str>,
    /// For the one that holds auth.
    pub auth: Vec<&'static str>,
}

/// Without rate limits, so that a test goes as fast as it can.
impl Default for Settings {
    fn default() -> Self {
        Self { edge: vec!["--no-rate-limits"], auth: Vec::new() }
    }
}

/// Running processes that form one messenger.
pub struct Cluster {
    parts: BTreeMap<Part, (Launch, Option<Process>)>,
    edge: SocketAddr,
    grpc: BTreeMap<&'static str, SocketAddr>,
    database_url: Option<String>,
    folder: TempDir,
}

impl Cluster {
    /// Starts a messenger without rate limits.
    ///
    /// # Errors
    /// When a process does not become ready.
    pub async fn start(shape: Shape) -> anyhow::Result<Self> {
        Self::start_with(shape, Settings::default()).await
    }

    /// Starts a messenger with more arguments.
    ///
    /// # Errors
    /// When a process does not become ready.
    pub async fn start_with(shape: Shape, settings: Settings) -> anyhow::Result<Self> {
        let database_url = match shape {
            Shape::StandaloneSqlite => None,
            Shape::StandalonePostgres | Shape::SplitPostgres => Some(database::create().await?),
        };
        let (folder, edge) = (tempfile::tempdir()?, free_address()?);
        let mut cluster = Self { parts: BTreeMap::new(), edge, grpc: BTreeMap::new(), database_url, folder };
        match shape {
            Shape::StandaloneSqlite | Shape::StandalonePostgres => cluster.plan_standalone(settings)?,
            Shape::SplitPostgres => cluster.plan_split(settings)?,
        }
        let parts: Vec<Part> = cluster.parts.keys().copied().collect();
        for part in parts {
            cluster.restart(part).await?;
        }
        Ok(cluster)
    }

    fn plan_standalone(&mut self, settings: Settings) -> anyhow::Result<()> {
        let grpc = free_address()?;
        self.grpc = ["auth", "conversation", "message"].map(|service| (service, grpc)).into();
        let mut arguments = vec![
            format!("--listen={}", self.edge),
            format!("--grpc-listen={grpc}"),
            format!("--data-dir={}", self.folder.path().display()),
        ];
        arguments.extend(self.database_url.iter().map(|url| format!("--database-url={url}")));
        arguments.extend(settings.edge.into_iter().chain(settings.auth).map(str::to_owned));
        self.parts.insert(Part::Standalone, (Launch { binary: "messenger", arguments }, None));
        Ok(())
    }

    fn plan_split(&mut self, settings: Settings) -> anyhow::Result<()> {
        let secret = format!("--service-secret={}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let database = format!("--database-url={}", self.database_url.as_deref().context("split has one")?);
        let (auth, conversation, message) = (free_address()?, free_address()?, free_address()?);
        self.grpc = [("auth", auth), ("conversation", conversation), ("message", message)].into();
        let auth_url = format!("--auth-url=http://{auth}");
        let conversation_url = format!("--conversation-url=http://{conversation}");
        let message_url = format!("--message-url=http://{message}");
        let listen = |address: SocketAddr| format!("--listen={address}");
        let mut edge = vec![listen(self.edge), auth_url.clone(), conversation_url.clone(), message_url.clone()];
        edge.extend(settings.edge.into_iter().map(str::to_owned));
        let mut identity = vec![listen(auth), database.clone()];
        identity.extend(settings.auth.into_iter().map(str::to_owned));
        let plan = [
            (Part::Auth, "messenger-auth", identity),
            (
                Part::Message,
                "messenger-message",
                vec![listen(message), database.clone(), auth_url.clone(), conversation_url],
            ),
            (Part::Conversation, "messenger-conversation", vec![listen(conversation), database, auth_url, message_url]),
            (Part::Gateway, "messenger-gateway", edge),
        ];
        for (part, binary, mut arguments) in plan {
            arguments.push(secret.clone());
            self.parts.insert(part, (Launch { binary, arguments }, None));
        }
        Ok(())
    }

    /// The edge's REST, Socket.IO and WebSocket.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(format!("http://{}", self.edge))
    }

    /// Where the edge listens.
    #[must_use]
    pub fn edge(&self) -> SocketAddr {
        self.edge
    }

    /// Where a service (`auth`, `conversation`, `message`) listens for gRPC.
    #[must_use]
    pub fn grpc(&self, service: &str) -> SocketAddr {
        self.grpc[service]
    }

    /// The database, when it is PostgreSQL.
    #[must_use]
    pub fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref()
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Which processes there are.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        self.parts.keys().copied().collect()
    }

    /// The process that clients are connected to.
    #[must_use]
    pub fn edge_part(&self) -> Part {
        if self.parts.contains_key(&Part::Gateway) { Part::Gateway } else { Part::Standalone }
    }

    /// A running process.
    #[must_use]
    pub fn process(&self, part: Part) -> Option<&Process> {
        self.parts.get(&part)?.1.as_ref()
    }

    /// Ends one process with `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self, part: Part) -> anyhow::Result<()> {
        self.take(part)?.kill().await
    }

    /// Ends one process with SIGTERM; gives its exit code.
    ///
    /// # Errors
    /// When it does not run or does not end within 15 s.
    pub async fn terminate(&mut self, part: Part) -> anyhow::Result<Option<i32>> {
        Ok(self.take(part)?.terminate().await?.code())
    }

    fn take(&mut self, part: Part) -> anyhow::Result<Process> {
        self.parts.get_mut(&part).and_then(|(_, process)| process.take()).context("not running")
    }

    /// Starts one process (again) on its address and store.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self, part: Part) -> anyhow::Result<()> {
        let (launch, process) = self.parts.get_mut(&part).context("no such part in this shape")?;
        *process = Some(Process::start(launch).await?);
        Ok(())
    }
}
