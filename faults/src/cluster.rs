//! The messenger under test: two processes of every kind, a proxy before each gateway and each message process and
//! before Redis.

use std::{net::SocketAddr, path::Path};

use anyhow::Context as _;
use messenger_core::{Bug, bug::SEEDED_BUG};
use messenger_testkit::process::free_address;
use uuid::Uuid;

use crate::{
    process::{Launch, Process},
    proxy::Proxy,
    servers,
};

/// How many processes of each kind there are.
pub const NODES: usize = 2;

/// Everything that runs, and how to disturb it.
pub struct Cluster {
    pub postgres: Process,
    pub redis: Process,
    parts: Vec<Process>,
    /// Between clients and each gateway.
    pub edges: Vec<Proxy>,
    /// Between gateways and each message process.
    pub feeds: Vec<Proxy>,
    /// Between each conversation process and each message process.
    pub relays: Vec<Vec<Proxy>>,
    /// Between message processes and Redis.
    pub bus: Proxy,
    /// Where Redis itself listens.
    pub redis_address: SocketAddr,
    /// A superuser's URL.
    pub database_url: String,
}

/// What a cluster is started with.
pub struct Settings<'a> {
    /// Where the product's programs are.
    pub bin: &'a Path,
    /// Where everything of this run goes.
    pub folder: &'a Path,
    /// Whether the bus is Redis; else it is PostgreSQL.
    pub uses_redis: bool,
    /// The bug its processes have.
    pub bug: Option<Bug>,
}

impl Cluster {
    /// Starts everything.
    pub async fn start(settings: &Settings<'_>) -> anyhow::Result<Self> {
        let (postgres, database_url) = servers::postgres(settings.folder).await?;
        let (redis, redis_address) = servers::redis(settings.folder).await?;
        let bus = Proxy::before_redis(redis_address).await?;
        let addresses = || (0..NODES).map(|_| free_address()).collect::<anyhow::Result<Vec<SocketAddr>>>();
        let (auths, conversations, messages, gateways) = (addresses()?, addresses()?, addresses()?, addresses()?);
        let (feeds, edges) = (Proxy::before(&messages).await?, Proxy::before(&gateways).await?);

        let database = format!("--database-url={database_url}");
        let auth_url = format!("--auth-url={}", urls(auths.iter().copied()));
        let conversation_url = format!("--conversation-url={}", urls(conversations.iter().copied()));
        let message_url = format!("--message-url={}", urls(feeds.iter().map(Proxy::address)));
        let mut message = vec![database.clone(), auth_url.clone(), conversation_url.clone()];
        if settings.uses_redis {
            message.push(format!("--redis-url=redis://{}", bus.address()));
        }
        let mut relays = Vec::new();
        for _ in 0..NODES {
            relays.push(Proxy::before(&messages).await?);
        }
        let conversation = vec![database.clone(), auth_url.clone()];
        let gateway = vec![auth_url, conversation_url, message_url, "--no-rate-limits".to_owned()];
        let plan = [
            ("auth", auths, vec![database]),
            ("message", messages, message),
            ("conversation", conversations, conversation),
            ("gateway", gateways, gateway),
        ];
        let secret = format!("--service-secret={}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let mut parts = Vec::new();
        for (kind, addresses, arguments) in plan {
            for (node, address) in addresses.into_iter().enumerate() {
                let name = format!("{kind}-{node}");
                let program = settings.bin.join(format!("messenger-{kind}")).display().to_string();
                let mut own = vec![program, format!("--listen={address}"), secret.clone()];
                if kind == "conversation" {
                    own.push(format!("--message-url={}", urls(relays[node].iter().map(Proxy::address))));
                }
                let log = settings.folder.join(format!("{name}.log"));
                let command = [own, arguments.clone()].concat();
                let environment = settings.bug.map(|bug| (SEEDED_BUG, format!("{bug:?}"))).into_iter().collect();
                let launch = Launch { name, command, environment, ready: "is ready", log };
                parts.push(Process::start(launch).await?);
            }
        }
        Ok(Self { postgres, redis, parts, edges, feeds, relays, bus, redis_address, database_url })
    }

    /// Where clients connect.
    pub fn edges(&self) -> Vec<SocketAddr> {
        self.edges.iter().map(Proxy::address).collect()
    }

    /// Everything that calls this message process.
    pub fn callers(&self, node: usize) -> impl Iterator<Item = &Proxy> {
        std::iter::once(&self.feeds[node]).chain(self.relays.iter().map(move |relay| &relay[node]))
    }

    /// A process of this kind.
    pub fn part(&mut self, kind: &str, node: usize) -> anyhow::Result<&mut Process> {
        let name = format!("{kind}-{node}");
        self.parts.iter_mut().find(|part| part.name() == name).with_context(|| format!("no process {name}"))
    }
}

fn urls(of: impl Iterator<Item = SocketAddr>) -> String {
    of.map(|address| format!("http://{address}")).collect::<Vec<_>>().join(",")
}
