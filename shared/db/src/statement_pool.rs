//! A pool of PostgreSQL sessions for single statements.

use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use messenger_core::Error;
use sqlx::{
    ConnectOptions as _, Connection as _, FromRow, PgConnection, Postgres,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::{Query, QueryAs},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, error::Elapsed, sleep, timeout},
};

use crate::{
    error,
    postgres::{ACQUIRE_TIMEOUT, PING_AFTER},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// While the server restarts.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// For what `statement_timeout` (5 s) cannot see: a server that is gone without a word.
const STATEMENT_LIMIT: Duration = Duration::from_secs(7);

/// A pool for single statements. No transaction is ever open on a session between two of them, so that nothing has to be
/// asked of the database in between: a pool of sqlx asks twice, for more than a page of history costs.
///
/// A session is kept only when its statement succeeded. It is closed when that failed, or its caller was dropped.
pub struct StatementPool {
    options: PgConnectOptions,
    /// The one used last is taken first: its plans and pages are in the caches.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
    permits: Semaphore,
}

impl StatementPool {
    /// At most `sessions_max`, each opened when it is needed.
    #[must_use]
    pub fn new(options: PgConnectOptions, sessions_max: u32) -> Self {
        Self { options, idle: Mutex::default(), permits: Semaphore::new(sessions_max as usize) }
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
        let outcome = timeout(STATEMENT_LIMIT, query.fetch_all(&mut session.connection)).await;
        session.end(outcome)
    }

    /// The row, if there is one.
    ///
    /// # Errors
    /// As [`StatementPool::fetch_all`].
    pub async fn fetch_optional<O>(&self, query: QueryAs<'_, Postgres, O, PgArguments>) -> Result<Option<O>, Error>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let mut session = self.session().await?;
        let outcome = timeout(STATEMENT_LIMIT, query.fetch_optional(&mut session.connection)).await;
        session.end(outcome)
    }

    /// The row there is.
    ///
    /// # Errors
    /// As [`StatementPool::fetch_all`]; INTERNAL when there is none.
    pub async fn fetch_one<O>(&self, query: QueryAs<'_, Postgres, O, PgArguments>) -> Result<O, Error>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        self.fetch_optional(query).await?.ok_or_else(|| error(sqlx::Error::RowNotFound))
    }

    /// For what it does.
    ///
    /// # Errors
    /// As [`StatementPool::fetch_all`].
    pub async fn execute(&self, query: Query<'_, Postgres, PgArguments>) -> Result<(), Error> {
        let mut session = self.session().await?;
        let outcome = timeout(STATEMENT_LIMIT, query.execute(&mut session.connection)).await;
        session.end(outcome).map(|_| ())
    }

    async fn session(&self) -> Result<Session<'_>, Error> {
        let permit = timeout(ACQUIRE_TIMEOUT, self.permits.acquire()).await;
        let permit = permit.map_err(|_| error(sqlx::Error::PoolTimedOut))?.expect("never closed");
        let connection = timeout(CONNECT_TIMEOUT, self.connection()).await;
        let connection = connection.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(error)?;
        Ok(Session { pool: self, connection, _permit: permit })
    }

    async fn connection(&self) -> Result<PgConnection, sqlx::Error> {
        loop {
            let idle = self.idle().pop();
            if let Some((mut connection, since)) = idle {
                if since.elapsed() < PING_AFTER || connection.ping().await.is_ok() {
                    return Ok(connection);
                }
                continue;
            }
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
impl fmt::Debug for StatementPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementPool").finish_non_exhaustive()
    }
}

struct Session<'a> {
    pool: &'a StatementPool,
    connection: PgConnection,
    _permit: SemaphorePermit<'a>,
}

impl Session<'_> {
    /// Kept for the next statement when this one succeeded.
    fn end<T>(self, outcome: Result<Result<T, sqlx::Error>, Elapsed>) -> Result<T, Error> {
        let Self { pool, connection, _permit } = self;
        match outcome {
            Ok(Ok(answer)) => {
                pool.idle().push((connection, Instant::now()));
                Ok(answer)
            }
            Ok(Err(failure)) => {
                // Where one was cut off, so were the others, most likely.
                if is_lost(&failure) {
                    pool.idle().clear();
                }
                Err(error(failure))
            }
            Err(elapsed) => Err(Error::unavailable(elapsed)),
        }
    }
}

/// Nobody listens, or it starts, or has no session left: all of it passes.
fn is_restarting(failure: &sqlx::Error) -> bool {
    match failure {
        sqlx::Error::Io(failure) => failure.kind() == io::ErrorKind::ConnectionRefused,
        _ => has_code(failure, &["53300", "57P03"]),
    }
}

/// The connection is gone, or its backend was ended.
fn is_lost(failure: &sqlx::Error) -> bool {
    matches!(failure, sqlx::Error::Io(_)) || has_code(failure, &["57P01", "57P02"])
}

fn has_code(failure: &sqlx::Error, codes: &[&str]) -> bool {
    let code = failure.as_database_error().and_then(|failure| failure.code());
    code.is_some_and(|code| codes.contains(&&*code))
}
