//! One run: start everything, let clients write while things break, let it settle, compare.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context as _;
use messenger_core::Bug;
use messenger_testkit::Api;
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    Config,
    board::{Board, Phase},
    check::{Breach, Check, Verdict, Witness},
    client::Client,
    cluster::{Cluster, Settings},
    facts::{self, Facts},
    nemesis::Nemesis,
    people::{self, Crowd, People},
    random::Random,
    report::{figures, recovery},
    rest::RestClient,
    rights::Admin,
};

const GATHERED_WITHIN: Duration = Duration::from_secs(60);
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a run of processes with this bug comes to.
pub async fn run(config: &Config, bug: Option<Bug>) -> anyhow::Result<Verdict> {
    let seed = config.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().1 >> 20);
    let folder = Folder::new(config.folder.as_deref())?;
    println!(
        "seed {seed}, bus {}, {} faults, {} readers, files in {}",
        config.bus,
        config.faults,
        config.readers,
        folder.path().display()
    );
    let outcome = observe(config, seed, folder.path(), bug).await;
    let is_as_it_should_be = outcome.as_ref().is_ok_and(|verdict| bug.is_some() || verdict.is_clean());
    if !is_as_it_should_be {
        folder.keep();
    }
    outcome
}

async fn observe(config: &Config, seed: u64, folder: &Path, bug: Option<Bug>) -> anyhow::Result<Verdict> {
    let began = Instant::now();
    let bin = config.bin.clone().map_or_else(beside_this, Ok)?;
    let uses_redis = config.bus == "redis";
    let settings = Settings { bin: &bin, folder, uses_redis, bug };
    let mut cluster = Cluster::start(&settings).await?;
    let mut random = Random::new(seed);
    let api = Api::new(format!("http://{}", cluster.edges()[0]));
    let people = people::gather(&api, Crowd { readers: config.readers, restrained: config.restrained }).await?;
    let witnesses = witnesses(&people)?;
    let board = Arc::new(Board::new(people.roles.len(), people.probes));
    let mut tasks = JoinSet::new();
    let (admin, count) = start_admin(&people, &cluster, &mut random, (&board, folder, &mut tasks));
    for role in people.roles {
        let (edges, board) = (cluster.edges(), Arc::clone(&board));
        match role.wire {
            Some(wire) => tasks.spawn(Client::new((role, wire), edges, board, folder, random.fork())?.run()),
            None => tasks.spawn(RestClient::new(role, edges, board, folder)?.run(random.fork())),
        };
    }
    let connected = || board.reached.iter().all(|reached| reached.load(Ordering::Relaxed) >= 0);
    until(GATHERED_WITHIN, connected).await.context("not everybody could connect")?;
    let start = facts::last_position(&cluster.database_url).await?;
    println!("{count} clients connected after {:.1} s", began.elapsed().as_secs_f64());

    board.phase.send_replace(Phase::Writing);
    let enough = || board.acked.load(Ordering::Relaxed) >= config.acked;
    let mut nemesis = Nemesis { cluster: &mut cluster, board: &board, uses_redis, random, felt: Vec::new() };
    let harmed = nemesis.run(config.faults, &config.only, enough).await;
    let felt = std::mem::take(&mut nemesis.felt);
    harmed?;
    let is_settled = settle(&board, &cluster.database_url, &witnesses).await?;
    board.phase.send_replace(Phase::Leaving);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }

    let facts = Facts::read(&cluster.database_url).await?;
    let mut verdict = Check::new(&facts, start).run(folder, &witnesses, admin)?;
    if !is_settled {
        verdict.breach(Breach::Wrong, || "not everybody had everything within 60 s of the last fault".to_owned());
    }
    board.wrongs().into_iter().for_each(|what| verdict.breach(Breach::Wrong, || what));
    recovery(&felt, &mut verdict);
    figures(&board, &verdict, felt.len(), cluster.bus.lost());
    println!("seed {seed}, {:.0} s", began.elapsed().as_secs_f64());
    Ok(verdict)
}

fn witnesses(people: &People) -> anyhow::Result<Vec<Witness>> {
    let one = |role: &crate::client::Role| {
        let (client, is_restrained) = (role.number, role.habits.is_restrained);
        Ok(Witness { client, user: role.user.id.parse()?, is_restrained })
    };
    people.roles.iter().map(one).collect()
}

type Around<'a> = (&'a Arc<Board>, &'a Path, &'a mut JoinSet<anyhow::Result<()>>);

/// Starts the admin; gives the number of its log, and how many clients there are.
fn start_admin(people: &People, cluster: &Cluster, random: &mut Random, around: Around<'_>) -> (usize, usize) {
    let (board, folder, tasks) = around;
    let number = people.roles.len();
    let admin = Admin {
        user: people.admin.clone(),
        group: people.group.clone(),
        members: people.members.clone(),
        edges: cluster.edges(),
        random: random.fork(),
        version: 1,
    };
    let (board, folder) = (Arc::clone(board), folder.to_owned());
    tasks.spawn(async move { admin.run(board, &folder, number).await });
    (number, number)
}

/// Nothing new is written; everything is decided and delivered. Whether that came to an end.
async fn settle(board: &Board, database: &str, witnesses: &[Witness]) -> anyhow::Result<bool> {
    board.phase.send_replace(Phase::Settling);
    let decided = || board.undecided.iter().all(|undecided| undecided.load(Ordering::Relaxed) == 0);
    if until(SETTLED_WITHIN, decided).await.is_err() {
        return Ok(false);
    }
    let newest = facts::newest(database).await?;
    let complete = || {
        let concerned = witnesses.iter().filter(|witness| !witness.is_restrained);
        concerned.into_iter().all(|witness| {
            let reached = board.reached[witness.client].load(Ordering::Relaxed);
            newest.get(&witness.user).is_none_or(|position| reached >= *position)
        })
    };
    Ok(until(SETTLED_WITHIN, complete).await.is_ok())
}

async fn until(limit: Duration, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while !holds() {
        anyhow::ensure!(began.elapsed() < limit, "not within {} s", limit.as_secs());
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn beside_this() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.parent().context("a program is in a folder")?.to_owned())
}

/// Where the run's files go.
enum Folder {
    Given(PathBuf),
    Temporary(TempDir),
}

impl Folder {
    fn new(given: Option<&Path>) -> anyhow::Result<Self> {
        match given {
            Some(path) => {
                std::fs::create_dir_all(path)?;
                Ok(Self::Given(path.canonicalize()?))
            }
            None => Ok(Self::Temporary(tempfile::tempdir()?)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }

    fn keep(self) {
        if let Self::Temporary(folder) = self {
            println!("the run's files stay in {}", folder.keep().display());
        }
    }
}
