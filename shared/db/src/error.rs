//! Driver errors: which of them pass by themselves.

use messenger_core::Error;
use sqlx::postgres::PgDatabaseError;

/// Trouble with the connection or the server, or something that passes by itself, is UNAVAILABLE; the rest INTERNAL.
#[must_use]
pub fn error(error: sqlx::Error) -> Error {
    let kind = match error {
        sqlx::Error::PoolTimedOut => "pool exhausted",
        _ if is_passing(&error) => "passing",
        _ => "other",
    };
    metrics::counter!("messenger_db_errors_total", "kind" => kind).increment(1);
    if kind == "other" { Error::internal(error) } else { Error::unavailable(error) }
}

/// For operators: what the database says, without the place in its own source.
pub(crate) fn said(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => is_passing_in_postgres(error.code()),
            None => error.code().is_some_and(|code| is_passing_in_sqlite(&code)),
        },
        _ => false,
    }
}

/// By SQLSTATE: connections, resources (disk, memory, sessions), shutdown, read-only, lost races, time-outs, I/O.
fn is_passing_in_postgres(code: &str) -> bool {
    match code {
        "25006" | "25P02" | "25P03" | "25P04" | "55P03" => true,
        _ => ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)),
    }
}

/// By primary result code: NOMEM, BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
fn is_passing_in_sqlite(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5..=8 | 10 | 13 | 14))
}

#[cfg(test)]
mod tests {
    use messenger_core::ErrorKind;

    use super::*;

    #[test]
    fn drivers_errors() {
        let kind = |driver| error(driver).kind();
        assert_eq!(kind(sqlx::Error::PoolTimedOut), ErrorKind::Unavailable);
        assert_eq!(kind(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())), ErrorKind::Unavailable);
        assert_eq!(kind(sqlx::Error::RowNotFound), ErrorKind::Internal);
        assert_eq!(kind(sqlx::Error::Decode("x".into())), ErrorKind::Internal);
    }

    #[test]
    fn sqlstates() {
        let passing = ["08006", "40P01", "53100", "53300", "57014", "57P01", "57P03", "25006", "55P03", "58030"];
        assert!(passing.into_iter().all(is_passing_in_postgres));
        assert!(!["22021", "23505", "42601", "XX000"].into_iter().any(is_passing_in_postgres));
    }

    #[test]
    fn sqlite_codes() {
        assert!(["5", "261", "517", "6", "8", "10", "778", "13", "14"].into_iter().all(is_passing_in_sqlite));
        assert!(!["1", "11", "19", "2067", "x"].into_iter().any(is_passing_in_sqlite));
    }
}
