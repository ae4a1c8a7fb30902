//! PostgreSQL sessions for single statements, held rather than pooled.

use std::{
    fmt,
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
    time::{Instant, timeout},
};

use crate::error;

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle sessions older than this are pinged before use: the server may have been restarted meanwhile.
const PING_AFTER: Duration = Duration::from_secs(1);

/// Sessions that run single statements. No transaction is ever open on one between two of them, so that nothing has to be
/// asked of the database in between: a pool of sqlx asks twice, for more than a page of history costs.
///
/// A session is kept only when its statement succeeded. It is closed when that failed, or its caller was dropped.
pub struct Sessions {
    options: PgConnectOptions,
    /// The one used last is taken first: its plans and pages are in the caches.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
    places: Semaphore,
}

impl Sessions {
    /// At most `sessions_max`, each opened when it is needed.
    #[must_use]
    pub fn new(options: PgConnectOptions, sessions_max: u32) -> Self {
        Self { options, idle: Mutex::default(), places: Semaphore::new(sessions_max as usize) }
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`error`] has them; UNAVAILABLE also when no session is free within 2 s.
    pub async fn fetch_all<O>(&self, query: QueryAs<'_, Postgres, O, PgArguments>) -> Result<Vec<O>, Error>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let mut session = self.session().await?;
        let rows = query.fetch_all(&mut session.connection).await.map_err(error)?;
        session.keep();
        Ok(rows)
    }

    /// The row, if there is one.
    ///
    /// # Errors
    /// As [`Sessions::fetch_all`].
    pub async fn fetch_optional<O>(&self, query: QueryAs<'_, Postgres, O, PgArguments>) -> Result<Option<O>, Error>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let mut session = self.session().await?;
        let row = query.fetch_optional(&mut session.connection).await.map_err(error)?;
        session.keep();
        Ok(row)
    }

    /// The row there is.
    ///
    /// # Errors
    /// As [`Sessions::fetch_all`]; INTERNAL when there is none.
    pub async fn fetch_one<O>(&self, query: QueryAs<'_, Postgres, O, PgArguments>) -> Result<O, Error>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        self.fetch_optional(query).await?.ok_or_else(|| error(sqlx::Error::RowNotFound))
    }

    /// For what it does.
    ///
    /// # Errors
    /// As [`Sessions::fetch_all`].
    pub async fn execute(&self, query: Query<'_, Postgres, PgArguments>) -> Result<(), Error> {
        let mut session = self.session().await?;
        query.execute(&mut session.connection).await.map_err(error)?;
        session.keep();
        Ok(())
    }

    async fn session(&self) -> Result<Session<'_>, Error> {
        match timeout(ACQUIRE_TIMEOUT, self.acquire()).await {
            Ok(session) => session.map_err(error),
            Err(_) => Err(error(sqlx::Error::PoolTimedOut)),
        }
    }

    async fn acquire(&self) -> Result<Session<'_>, sqlx::Error> {
        let place = self.places.acquire().await.expect("never closed");
        loop {
            let idle = self.idle().pop();
            let (mut connection, since) = match idle {
                Some(idle) => idle,
                None => (self.options.connect().await?, Instant::now()),
            };
            if since.elapsed() < PING_AFTER || connection.ping().await.is_ok() {
                return Ok(Session { sessions: self, connection, _place: place });
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The options may hold a password.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

struct Session<'a> {
    sessions: &'a Sessions,
    connection: PgConnection,
    _place: SemaphorePermit<'a>,
}

impl Session<'_> {
    fn keep(self) {
        let Self { sessions, connection, _place } = self;
        sessions.idle().push((connection, Instant::now()));
    }
}
