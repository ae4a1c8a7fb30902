//! Where the stores of a process are.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;
use messenger_core::{Error, ErrorKind};

use crate::sqlite;

/// Where the stores of a process are: one PostgreSQL database, or a folder with one SQLite file per context.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A connection URL.
    Postgres(String),
    /// The folder.
    Sqlite(PathBuf),
}

impl Location {
    /// The database when a URL is given, else the folder.
    ///
    /// # Errors
    /// VALIDATION_FAILED for a URL of another kind than `postgres://` or `postgresql://`.
    pub fn new(database_url: Option<&str>, data_dir: &Path) -> Result<Self, Error> {
        match database_url {
            None | Some("") => Ok(Self::Sqlite(data_dir.to_owned())),
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Ok(Self::Postgres(url.to_owned()))
            }
            Some(_) => {
                let line = "--database-url (DATABASE_URL) must begin with postgres:// (unset it for SQLite)";
                Err(Error::new(ErrorKind::ValidationFailed, line))
            }
        }
    }

    /// To be called at the end of a process that leaves no writer behind: SQLite files are whole by themselves then, and
    /// the next start is short.
    pub async fn settle(&self) {
        if let Self::Sqlite(folder) = self {
            sqlite::settle(folder).await;
        }
    }

    /// The SQLite file of a context in the folder `data_dir`.
    #[must_use]
    pub fn sqlite_file(data_dir: &Path, context: &str) -> PathBuf {
        data_dir.join(context).with_extension("db")
    }
}

/// The settings of every process that has stores.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// PostgreSQL URL; without one, SQLite in the data folder (then this must be the only process of its kind).
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Folder of the SQLite files, one per context.
    #[arg(long, env = "MESSENGER_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
}

impl StoreArgs {
    /// Where the stores are.
    ///
    /// # Errors
    /// VALIDATION_FAILED for a URL of another kind.
    pub fn location(&self) -> Result<Location, Error> {
        Location::new(self.database_url.as_deref(), &self.data_dir)
    }
}

/// One `flag = value` a line, the password hidden.
impl fmt::Display for StoreArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.location() {
            Ok(location) => writeln!(f, "database-url = {location:?}")?,
            Err(error) => writeln!(f, "database-url = {}", error.message())?,
        }
        writeln!(f, "data-dir = {}", self.data_dir.display())
    }
}

/// A URL may hold a password, so only the part behind it is shown.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(url) => write!(f, "postgres://{}", url.rsplit_once('@').map_or("…", |(_, rest)| rest)),
            Self::Sqlite(folder) => write!(f, "sqlite in {}", folder.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_url_or_folder() {
        let folder = Path::new("data");
        assert_eq!(Location::new(None, folder).expect("folder"), Location::Sqlite("data".into()));
        assert_eq!(Location::new(Some(""), folder).expect("folder"), Location::Sqlite("data".into()));
        assert!(Location::new(Some("mysql://x"), folder).is_err());
        assert_eq!(Location::sqlite_file(folder, "auth"), Path::new("data/auth.db"));
    }

    #[test]
    fn passwords_are_not_shown() {
        let location = Location::new(Some("postgres://me:hunter2@db:5432/chat"), Path::new("data")).expect("a URL");
        assert_eq!(format!("{location:?}"), "postgres://db:5432/chat");
    }
}
