//! A pool of PostgreSQL sessions, for statements and transactions.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use messenger_core::Error;
use sqlx::{
    ConnectOptions as _, Connection as _, FromRow, PgConnection, Postgres,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::{Query, QueryAs},
    raw_sql,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

use crate::error;

/// How long a session is waited for that others use.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// While the server restarts.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Idle sessions older than this are pinged before use: the server may be another one meanwhile.
const PING_AFTER: Duration = Duration::from_secs(1);
const PING_LIMIT: Duration = Duration::from_secs(1);
/// For what `statement_timeout` (5 s) cannot see: a server that is gone without a word.
const STATEMENT_LIMIT: Duration = Duration::from_secs(7);

/// A pool of sessions. Nothing is asked of the database when one is given back: a pool of sqlx asks twice, for more than a
/// page of history costs, and waits for the answers for ever.
///
/// A session is kept only when all that was asked of it succeeded, and outside of a transaction. It is closed when something
/// failed or was not answered within 7 s, or its caller was dropped meanwhile. Clones are the same pool.
#[derive(Clone)]
pub struct PostgresPool(Arc<Sessions>);

struct Sessions {
    options: PgConnectOptions,
    /// The one used last is taken first: its plans and pages are in the caches.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
    permits: Arc<Semaphore>,
}

impl PostgresPool {
    /// At most `sessions_max`, each opened when it is needed.
    #[must_use]
    pub fn new(options: PgConnectOptions, sessions_max: u32) -> Self {
        let permits = Arc::new(Semaphore::new(sessions_max as usize));
        Self(Arc::new(Sessions { options, idle: Mutex::default(), permits }))
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`error()`] has them; UNAVAILABLE also when no session is free within 2 s, or there is no answer within 7 s.
    pub async fn fetch_all<O>(&self, query: QueryAs<'_, Postgres, O, PgArguments>) -> Result<Vec<O>, Error>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let mut session = self.session().await?;
        let outcome = answered(query.fetch_all(&mut session.connection)).await;
        session.end(outcome)
    }

    /// The row, if there is one.
    ///
    /// # Errors
    /// As [`PostgresPool::fetch_all`].
    pub async fn fetch_optional<O>(&self, query: QueryAs<'_, Postgres, O, PgArguments>) -> Result<Option<O>, Error>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let mut session = self.session().await?;
        let outcome = answered(query.fetch_optional(&mut session.connection)).await;
        session.end(outcome)
    }

    /// The row there is.
    ///
    /// # Errors
    /// As [`PostgresPool::fetch_all`]; INTERNAL when there is none.
    pub async fn fetch_one<O>(&self, query: QueryAs<'_, Postgres, O, PgArguments>) -> Result<O, Error>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        self.fetch_optional(query).await?.ok_or_else(|| error(sqlx::Error::RowNotFound))
    }

    /// For what it does.
    ///
    /// # Errors
    /// As [`PostgresPool::fetch_all`].
    pub async fn execute(&self, query: Query<'_, Postgres, PgArguments>) -> Result<(), Error> {
        let mut session = self.session().await?;
        let outcome = answered(query.execute(&mut session.connection)).await;
        session.end(outcome).map(|_| ())
    }

    pub(crate) async fn begin(&self) -> Result<PostgresTransaction, Error> {
        let mut session = self.session().await?;
        let outcome = answered(raw_sql("BEGIN").execute(&mut session.connection)).await;
        let (session, _) = session.after(outcome)?;
        Ok(PostgresTransaction { session: Some(session) })
    }

    async fn session(&self) -> Result<Session, Error> {
        let permit = timeout(ACQUIRE_TIMEOUT, Arc::clone(&self.0.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| error(sqlx::Error::PoolTimedOut))?.expect("never closed");
        let connection = timeout(CONNECT_TIMEOUT, self.0.connection()).await;
        let connection = connection.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(error)?;
        Ok(Session { sessions: Arc::clone(&self.0), connection, permit })
    }
}

impl Sessions {
    async fn connection(&self) -> Result<PgConnection, sqlx::Error> {
        let idle = self.idle().pop();
        if let Some((mut connection, since)) = idle {
            if since.elapsed() < PING_AFTER || matches!(timeout(PING_LIMIT, connection.ping()).await, Ok(Ok(()))) {
                return Ok(connection);
            }
            self.idle().clear();
        }
        loop {
            match self.options.connect().await {
                Err(failure) if is_restarting(&failure) => sleep(AGAIN_AFTER).await,
                outcome => return outcome,
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The options may hold a password.
impl fmt::Debug for PostgresPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPool").finish_non_exhaustive()
    }
}

/// Taken from the pool. Whoever asks something of it owns it meanwhile, so that it is closed when the answer is not waited for.
pub(crate) struct Session {
    sessions: Arc<Sessions>,
    pub(crate) connection: PgConnection,
    permit: OwnedSemaphorePermit,
}

impl Session {
    /// Still there when what was asked of it succeeded.
    fn after<T>(self, outcome: Result<T, sqlx::Error>) -> Result<(Self, T), Error> {
        match outcome {
            Ok(answer) => Ok((self, answer)),
            Err(failure) => {
                // Where one was cut off, so were the others, most likely.
                if is_lost(&failure) {
                    self.sessions.idle().clear();
                }
                Err(error(failure))
            }
        }
    }

    /// Given back when the last of what was asked of it succeeded.
    fn end<T>(self, outcome: Result<T, sqlx::Error>) -> Result<T, Error> {
        let (Self { sessions, connection, permit }, answer) = self.after(outcome)?;
        sessions.idle().push((connection, Instant::now()));
        drop(permit);
        Ok(answer)
    }

    async fn roll_back(mut self) -> Result<(), Error> {
        let outcome = answered(raw_sql("ROLLBACK").execute(&mut self.connection)).await;
        self.end(outcome).map(|_| ())
    }
}

/// A transaction on PostgreSQL. Undone when it is dropped.
pub struct PostgresTransaction {
    /// None while something is asked of it, and after that failed: no session, no transaction.
    session: Option<Session>,
}

impl PostgresTransaction {
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        let mut session = self.session()?;
        let outcome = answered(raw_sql("COMMIT").execute(&mut session.connection)).await;
        session.end(outcome).map(|_| ())
    }

    pub(crate) async fn rollback(mut self) -> Result<(), Error> {
        self.session()?.roll_back().await
    }

    fn session(&mut self) -> Result<Session, Error> {
        self.session.take().ok_or_else(|| Error::unavailable("the transaction ended with a step that failed"))
    }
}

impl fmt::Debug for PostgresTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTransaction").finish_non_exhaustive()
    }
}

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            tokio::spawn(session.roll_back());
        }
    }
}

/// What a statement is run on.
pub(crate) enum OnPostgres<'c> {
    Pool(&'c PostgresPool),
    Transaction(&'c mut PostgresTransaction),
}

impl OnPostgres<'_> {
    pub(crate) async fn session(&mut self) -> Result<Session, Error> {
        match self {
            Self::Pool(pool) => pool.session().await,
            Self::Transaction(tx) => tx.session(),
        }
    }

    /// To be called with what came of the statement.
    pub(crate) fn end<T>(self, session: Session, outcome: Result<T, sqlx::Error>) -> Result<T, Error> {
        match self {
            Self::Pool(_) => session.end(outcome),
            Self::Transaction(tx) => {
                let (session, answer) = session.after(outcome)?;
                tx.session = Some(session);
                Ok(answer)
            }
        }
    }
}

/// The answer, if it comes in time.
pub(crate) async fn answered<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(STATEMENT_LIMIT, answer).await.unwrap_or_else(|elapsed| Err(sqlx::Error::Io(elapsed.into())))
}

/// Nobody listens, or it starts, or has no session left: all of it passes.
fn is_restarting(failure: &sqlx::Error) -> bool {
    match failure {
        sqlx::Error::Io(failure) => failure.kind() == io::ErrorKind::ConnectionRefused,
        _ => has_code(failure, &["53300", "57P03"]),
    }
}

/// The connection is gone, or silent, or its backend was ended.
fn is_lost(failure: &sqlx::Error) -> bool {
    matches!(failure, sqlx::Error::Io(_)) || has_code(failure, &["57P01", "57P02"])
}

fn has_code(failure: &sqlx::Error, codes: &[&str]) -> bool {
    let code = failure.as_database_error().and_then(|failure| failure.code());
    code.is_some_and(|code| codes.contains(&&*code))
}
