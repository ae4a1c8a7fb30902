//! Numbered, forward-only changes of a context's schema.

use messenger_core::{Error, ErrorKind};
use sqlx::{
    SqlSafeStr as _,
    migrate::{MigrateError, MigrationType, Migrator},
};

use crate::error::said;

/// One step of a context's schema. Steps are run once, in the order of their versions, and never changed afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its place in the order, from 1.
    pub version: i64,
    /// For people.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

pub(crate) fn migrator(migrations: &[Migration]) -> Migrator {
    let step = |migration: &Migration| {
        let sql = migration.sql.into_sql_str();
        sqlx::migrate::Migration::new(migration.version, migration.name.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(migrations.iter().map(step).collect())
}

/// What an operator reads when the schema and this program do not fit.
pub(crate) fn failure(context: &str, migrations: &[Migration], error: MigrateError) -> Error {
    let known = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
    match error {
        MigrateError::VersionMissing(version) => invalid(format!(
            "the {context} store has schema version {version}, this program knows versions up to {known}: \
             start a newer release"
        )),
        MigrateError::VersionMismatch(version) => invalid(format!(
            "the {context} store was made with another text of migration {version}: start the release that made it"
        )),
        MigrateError::Execute(error) => unfinished(context, said(&error), crate::error(error).kind()),
        MigrateError::ExecuteMigration(error, version) => {
            let text = format!("migration {version}: {}", said(&error));
            unfinished(context, text, crate::error(error).kind())
        }
        other => unfinished(context, other.to_string(), ErrorKind::Internal),
    }
}

/// What is INTERNAL anywhere else is a store in a state an operator has to look at.
fn unfinished(context: &str, text: String, kind: ErrorKind) -> Error {
    let kind = if kind == ErrorKind::Internal { ErrorKind::ValidationFailed } else { kind };
    Error::new(kind, format!("the {context} store could not be migrated: {text}").replace('\n', " "))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::ValidationFailed, message)
}
