//! The product as it is deployed: one process, four, or several of each, on either store.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use tempfile::TempDir;

use crate::{
    Api, Bus, Instance, Part, Settings, Shape, Size, database,
    plan::Plan,
    process::{Launch, Process},
};

/// Running processes that form one messenger.
pub struct Cluster {
    processes: BTreeMap<Instance, (Launch, Option<Process>)>,
    edges: Vec<SocketAddr>,
    grpc: BTreeMap<&'static str, Vec<SocketAddr>>,
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

    /// Starts a messenger with more arguments, all its processes at the same time.
    ///
    /// # Errors
    /// When a process does not become ready.
    pub async fn start_with(shape: Shape, settings: Settings) -> anyhow::Result<Self> {
        let database_url = match shape {
            Shape::StandaloneSqlite => None,
            Shape::StandalonePostgres | Shape::SplitPostgres | Shape::Many(..) => Some(database::create().await?),
        };
        let (folder, url) = (tempfile::tempdir()?, database_url.as_deref());
        let plan = match shape {
            Shape::StandaloneSqlite | Shape::StandalonePostgres => Plan::standalone(url, folder.path(), settings)?,
            Shape::SplitPostgres => Plan::split(url.context("made above")?, Size::each(1), Bus::Postgres, settings)?,
            Shape::Many(size, bus) => Plan::split(url.context("made above")?, size, bus, settings)?,
        };
        let processes = plan.launches.into_iter().map(|(instance, launch)| async move {
            let process = Process::start(&launch).await?;
            anyhow::Ok((instance, (launch, Some(process))))
        });
        let processes = try_join_all(processes).await?.into_iter().collect();
        Ok(Self { processes, edges: plan.edges, grpc: plan.grpc, database_url, folder })
    }

    /// The REST interface of the (first) edge.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api_at(0)
    }

    /// The REST interface of one of several edges.
    #[must_use]
    pub fn api_at(&self, number: usize) -> Api {
        Api::new(format!("http://{}", self.edges[number]))
    }

    /// Where the (first) edge listens.
    #[must_use]
    pub fn edge(&self) -> SocketAddr {
        self.edges[0]
    }

    /// Where each edge listens.
    #[must_use]
    pub fn edges(&self) -> &[SocketAddr] {
        &self.edges
    }

    /// Where the (first) process of a service (`auth`, `conversation`, `message`) listens for gRPC.
    #[must_use]
    pub fn grpc(&self, service: &str) -> SocketAddr {
        self.grpc[service][0]
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

    /// Which processes there are, running or not.
    #[must_use]
    pub fn parts(&self) -> Vec<Instance> {
        self.processes.keys().copied().collect()
    }

    /// The kind of process that clients are connected to.
    #[must_use]
    pub fn edge_part(&self) -> Part {
        if self.processes.contains_key(&Part::Gateway.nth(0)) { Part::Gateway } else { Part::Standalone }
    }

    /// A running process.
    #[must_use]
    pub fn process(&self, which: impl Into<Instance>) -> Option<&Process> {
        self.processes.get(&which.into())?.1.as_ref()
    }

    /// Ends one process with `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self, which: impl Into<Instance>) -> anyhow::Result<()> {
        self.take(which.into())?.kill().await
    }

    /// Ends one process with SIGTERM; gives its exit code.
    ///
    /// # Errors
    /// When it does not run or does not end within 15 s.
    pub async fn terminate(&mut self, which: impl Into<Instance>) -> anyhow::Result<Option<i32>> {
        Ok(self.take(which.into())?.terminate().await?.code())
    }

    /// Waits until one process has ended by itself: its exit code, and all it has printed.
    ///
    /// # Errors
    /// When it does not run or does not end within 30 s.
    pub async fn ended(&mut self, which: impl Into<Instance>) -> anyhow::Result<(Option<i32>, String)> {
        self.take(which.into())?.ended().await
    }

    fn take(&mut self, which: Instance) -> anyhow::Result<Process> {
        self.processes.get_mut(&which).and_then(|(_, process)| process.take()).context("not running")
    }

    /// Starts one process (again) on its address and store.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self, which: impl Into<Instance>) -> anyhow::Result<()> {
        let (launch, process) = self.processes.get_mut(&which.into()).context("no such part in this shape")?;
        *process = Some(Process::start(launch).await?);
        Ok(())
    }
}
