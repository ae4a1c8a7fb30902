//! Does harm, in an order that the seed repeats, and measures how long the others feel it.

use std::{fmt, pin::pin, sync::atomic::Ordering, time::Duration};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    aim,
    board::Board,
    cluster::{Cluster, NODES},
    flood,
    process::Process,
    proxy::Mode,
    random::Random,
};

/// A kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9`, and started again.
    Kill(&'static str),
    /// SIGTERM, and started again; it has to end with 0.
    Terminate(&'static str),
    /// SIGSTOP for some seconds.
    Freeze(&'static str),
    /// SIGSTOP of a message process that holds the journal's lock.
    FreezeInTransaction,
    /// SIGSTOP of a conversation process that has committed a change and not brought it into the journal.
    FreezeInChange,
    /// Every backend of PostgreSQL is terminated.
    Backends,
    /// Immediate stop of PostgreSQL, and started again.
    Database,
    /// `kill -9` of Redis, and started again after a while.
    KillRedis,
    /// Redis ends by itself and is started at once.
    RestartRedis,
    /// SIGSTOP of Redis.
    FreezeRedis,
    /// Publications are lost between Redis and the message processes.
    LosePublications,
    /// 100,000 publications that nobody of the messenger made.
    FloodBus,
    /// Connections of clients to a gateway are cut, new ones refused for a while.
    CutClients,
    /// Everything between clients and a gateway comes late.
    DelayClients,
    /// Connections to a message process are cut, new ones refused for a while.
    CutFeed,
    /// Connections of the message processes to Redis are cut.
    CutBus,
}

/// One of each kind: all of them happen before one happens again.
const DECK: [Fault; 24] = [
    Fault::Kill("gateway"),
    Fault::Kill("message"),
    Fault::Kill("conversation"),
    Fault::Kill("auth"),
    Fault::Terminate("gateway"),
    Fault::Terminate("message"),
    Fault::Terminate("conversation"),
    Fault::Terminate("auth"),
    Fault::Freeze("gateway"),
    Fault::Freeze("message"),
    Fault::Freeze("conversation"),
    Fault::FreezeInTransaction,
    Fault::FreezeInChange,
    Fault::Backends,
    Fault::Database,
    Fault::KillRedis,
    Fault::RestartRedis,
    Fault::FreezeRedis,
    Fault::LosePublications,
    Fault::FloodBus,
    Fault::CutClients,
    Fault::DelayClients,
    Fault::CutFeed,
    Fault::CutBus,
];

/// What a fault did to the clients.
#[derive(Clone, Copy, Debug)]
pub struct Felt {
    pub fault: Fault,
    /// From its beginning until something sent after that was acknowledged; of PostgreSQL from when it is back.
    pub first_ack: Duration,
    /// From its beginning to its end.
    pub lasted: Duration,
    /// Changes of rights that were answered meanwhile.
    pub changes: u64,
    /// From its end until every probing client had something sent after that acknowledged.
    pub everybody: Duration,
}

/// The one who does harm.
pub struct Nemesis<'a> {
    pub cluster: &'a mut Cluster,
    pub board: &'a Board,
    /// Whether the bus is Redis.
    pub uses_redis: bool,
    pub random: Random,
    pub felt: Vec<Felt>,
}

/// A run in which nobody gets an answer for so long has failed.
const PROGRESS_WITHIN: Duration = Duration::from_secs(30);
/// Everybody is back by then, as after the last fault.
const EVERYBODY_WITHIN: Duration = Duration::from_secs(60);
/// A gateway is frozen this long.
const FROZEN: Duration = Duration::from_secs(8);

impl Fault {
    /// How long it may take until the first answer.
    pub const fn bound(self) -> Duration {
        Duration::from_secs(match self {
            Self::KillRedis
            | Self::RestartRedis
            | Self::FreezeRedis
            | Self::LosePublications
            | Self::FloodBus
            | Self::CutBus => 2,
            Self::Backends | Self::Database => 5,
            _ => 3,
        })
    }

    /// When faults of this kind have lasted so long together, rights were changed meanwhile; never without PostgreSQL.
    pub fn lets_change_within(self) -> Option<Duration> {
        match self {
            Self::Database => None,
            // The process that is asked may be the frozen one, again and again.
            Self::FreezeInChange | Self::Freeze("conversation") => Some(Duration::from_secs(20)),
            _ => Some(Duration::from_secs(8)),
        }
    }
}

impl Nemesis<'_> {
    /// So many faults of those whose name contains `only`, one after the other; then waits until `acked` holds. Ends early
    /// when it is interrupted.
    pub async fn run(&mut self, faults: usize, only: &str, acked: impl Fn() -> bool) -> anyhow::Result<()> {
        let mut deck: Vec<Fault> = Vec::new();
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        for number in 1..=faults {
            if interrupted.as_mut().now_or_never().is_some() {
                println!("interrupted: what was done so far is compared");
                return Ok(());
            }
            if deck.is_empty() {
                deck = DECK.into_iter().filter(|fault| fault.to_string().contains(only)).collect();
                self.random.shuffle(&mut deck);
            }
            let fault = deck.pop().with_context(|| format!("no fault is called {only}"))?;
            let node = self.random.below(NODES as u64) as usize;
            self.harm(number, fault, node).await.with_context(|| format!("fault {number}, {fault} {node}"))?;
        }
        while !acked() {
            let progress = timeout(PROGRESS_WITHIN, self.board.first_ack(Instant::now())).await;
            progress.context("nothing was acknowledged for 30 s")?;
        }
        Ok(())
    }

    async fn harm(&mut self, number: usize, fault: Fault, node: usize) -> anyhow::Result<()> {
        let board = self.board;
        let (began, changes) = (Instant::now(), board.changes.load(Ordering::Relaxed));
        let inflict = async {
            self.inflict(fault, node).await?;
            anyhow::Ok(began.elapsed())
        };
        let (healed, first) = tokio::join!(inflict, timeout(PROGRESS_WITHIN, board.first_ack(began)));
        let lasted = healed?;
        let first_ack = first.context("nothing was acknowledged for 30 s")?;
        // Its own recovery is PostgreSQL's.
        let first_ack = if fault == Fault::Database { first_ack.saturating_sub(lasted) } else { first_ack };
        let changes = board.changes.load(Ordering::Relaxed) - changes;
        let everybody = timeout(EVERYBODY_WITHIN, board.everybody(Instant::now())).await;
        let everybody = everybody.context("not everybody had an answer for 60 s")?;
        println!(
            "fault {number:>3}  {:<28} first ack {:>6.2} s, healed at {:>5.2} s, everybody {:>6.2} s after that",
            format!("{fault} {node}"),
            first_ack.as_secs_f64(),
            lasted.as_secs_f64(),
            everybody.as_secs_f64()
        );
        self.felt.push(Felt { fault, first_ack, lasted, changes, everybody });
        sleep(self.some(100, 800)).await;
        Ok(())
    }

    fn some(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.random.below(to_ms - from_ms))
    }

    /// Does it and undoes it.
    async fn inflict(&mut self, fault: Fault, node: usize) -> anyhow::Result<()> {
        let (soon, while_down, frozen) = (self.some(0, 200), self.some(100, 2_000), self.some(1_000, 5_000));
        match fault {
            Fault::Kill(part) => {
                let process = self.cluster.part(part, node)?;
                process.kill().await?;
                sleep(soon).await;
                process.restart().await
            }
            Fault::Terminate(part) => {
                let process = self.cluster.part(part, node)?;
                let code = process.end("TERM").await?;
                anyhow::ensure!(code == Some(0), "{part} ended with {code:?} after SIGTERM");
                sleep(soon).await;
                process.restart().await
            }
            Fault::Freeze("gateway") => freeze(self.cluster.part("gateway", node)?, FROZEN).await,
            Fault::Freeze(part) => freeze(self.cluster.part(part, node)?, frozen).await,
            Fault::FreezeInTransaction => caught(fault, aim::in_transaction(self.cluster, node, frozen).await?),
            Fault::FreezeInChange => caught(fault, aim::in_change(self.cluster, node, frozen).await?),
            Fault::Backends => self.terminate_backends().await,
            Fault::Database => {
                self.cluster.postgres.end("QUIT").await?;
                sleep(while_down).await;
                self.cluster.postgres.restart().await
            }
            Fault::KillRedis => {
                self.cluster.redis.kill().await?;
                sleep(while_down).await;
                self.cluster.redis.restart().await
            }
            Fault::RestartRedis => {
                self.cluster.redis.end("TERM").await?;
                self.cluster.redis.restart().await
            }
            Fault::FreezeRedis => freeze(&mut self.cluster.redis, frozen).await,
            Fault::LosePublications => {
                let every = self.random.pick(&[1, 2, 10, 1_000]);
                self.for_a_while(Mode::LoseEvery(every), frozen, |cluster| &cluster.bus).await
            }
            Fault::FloodBus if self.uses_redis => {
                flood::redis(self.cluster.redis_address, &self.cluster.database_url, &mut self.random).await
            }
            Fault::FloodBus => flood::postgres(&self.cluster.database_url).await,
            Fault::CutBus => self.for_a_while(Mode::Refuse, while_down, |cluster| &cluster.bus).await,
            Fault::CutClients => self.for_a_while(Mode::Refuse, while_down, |cluster| &cluster.edges[node]).await,
            Fault::CutFeed => {
                self.cluster.callers(node).for_each(|proxy| proxy.set(Mode::Refuse));
                sleep(while_down).await;
                self.cluster.callers(node).for_each(|proxy| proxy.set(Mode::Pass));
                Ok(())
            }
            Fault::DelayClients => {
                let late = self.some(20, 300);
                self.for_a_while(Mode::Delay(late), frozen, |cluster| &cluster.edges[node]).await
            }
        }
    }

    async fn for_a_while(
        &self,
        mode: Mode,
        time: Duration,
        proxy: impl Fn(&Cluster) -> &crate::proxy::Proxy,
    ) -> anyhow::Result<()> {
        proxy(self.cluster).set(mode);
        sleep(time).await;
        proxy(self.cluster).set(Mode::Pass);
        Ok(())
    }

    async fn terminate_backends(&self) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.cluster.database_url).await?;
        let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE application_name LIKE 'messenger-%' AND pid <> pg_backend_pid()";
        sqlx::query(query).fetch_all(&mut connection).await?;
        Ok(())
    }
}

/// An aimed fault that missed its moment is none, and said so.
fn caught(fault: Fault, is_caught: bool) -> anyhow::Result<()> {
    if !is_caught {
        println!("           {fault}: no attempt found it there");
    }
    Ok(())
}

async fn freeze(process: &mut Process, time: Duration) -> anyhow::Result<()> {
    process.signal("STOP").await?;
    sleep(time).await;
    process.signal("CONT").await
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(part) => write!(f, "kill -9 {part}"),
            Self::Terminate(part) => write!(f, "SIGTERM {part}"),
            Self::Freeze(part) => write!(f, "freeze {part}"),
            Self::FreezeInTransaction => f.write_str("freeze message in commit"),
            Self::FreezeInChange => f.write_str("freeze conversation in change"),
            Self::Backends => f.write_str("terminate backends"),
            Self::Database => f.write_str("stop PostgreSQL"),
            Self::KillRedis => f.write_str("kill -9 Redis"),
            Self::RestartRedis => f.write_str("restart Redis"),
            Self::FreezeRedis => f.write_str("freeze Redis"),
            Self::LosePublications => f.write_str("lose publications"),
            Self::FloodBus => f.write_str("flood bus"),
            Self::CutClients => f.write_str("cut clients of gateway"),
            Self::DelayClients => f.write_str("delay clients of gateway"),
            Self::CutFeed => f.write_str("cut callers of message"),
            Self::CutBus => f.write_str("cut bus"),
        }
    }
}
