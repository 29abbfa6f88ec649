//! The history: one SQLite file, written by the process `reporter` alone and read by whoever may read it.
//!
//! Reading: [`History::open_read_only`] works while the reporter writes (WAL) and while nothing runs. Every query takes a
//! [`Window`] (`from` in, `to` out) and returns its rows in order of time. Writing is in `record`.

mod error;
mod read;
mod rows;
pub(crate) mod schema;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use error::Error;
pub use rows::{
    ApiSummary, CallRow, Fact, FeedRow, Minute, OrderCount, ParkedRow, Presence, Run, ScoreCount, Series, Total, VerdictCount,
    Window,
};
use schema::{LAYOUT, TABLES};

/// File name in the reporter's folder: `<data>/reporter/history.sqlite`.
pub const DATABASE: &str = "history.sqlite";
/// How long one of two waits for the other.
const BUSY_LIMIT: Duration = Duration::from_secs(5);
/// Pages in memory, KiB: a report reads much more than it needs again.
const CACHE_KIB: i64 = 8 * 1024;

/// The open file.
pub struct History {
    pub(crate) path: PathBuf,
    pub(crate) database: Connection,
}

/// Where the history of a data folder (`--data`) is.
#[must_use]
pub fn path_in(data: &Path) -> PathBuf {
    data.join("reporter").join(DATABASE)
}

impl History {
    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// [`Error::NotThere`]; it cannot be opened, or another build wrote it.
    pub fn open_read_only(path: &Path) -> Result<Self, Error> {
        if !path.is_file() {
            return Err(Error::NotThere { path: path.to_owned() });
        }
        let history = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        history.check_layout(&[LAYOUT])?;
        Ok(history)
    }

    /// Opens or makes the file for writing.
    ///
    /// # Errors
    /// It cannot be opened, or another build wrote it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let history = Self::connect(path, flags)?;
        history.check_layout(&[0, LAYOUT])?;
        let prepare = |database: &Connection| {
            // What is deleted gives its pages back a few at a time, see `record::retention`; must come before the first table.
            database.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            database.pragma_update(None, "journal_mode", "WAL")?;
            // Survives kill -9; after a power failure the last transactions may be missing, cursors with them.
            database.pragma_update(None, "synchronous", "NORMAL")?;
            database.execute_batch(TABLES)?;
            database.pragma_update(None, "user_version", LAYOUT)
        };
        prepare(&history.database).map_err(|source| history.wrap("prepare", source))?;
        Ok(history)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, Error> {
        let wrap = |source| Error::Database { action: "open", path: path.to_owned(), source };
        let database = Connection::open_with_flags(path, flags).map_err(wrap)?;
        database.busy_timeout(BUSY_LIMIT).map_err(wrap)?;
        database.pragma_update(None, "cache_size", -CACHE_KIB).map_err(wrap)?;
        Ok(Self { path: path.to_owned(), database })
    }

    fn check_layout(&self, expected: &[i64]) -> Result<(), Error> {
        let found = self.database.pragma_query_value(None, "user_version", |row| row.get(0));
        let found: i64 = found.map_err(|source| self.wrap("open", source))?;
        if expected.contains(&found) {
            return Ok(());
        }
        Err(Error::Layout { path: self.path.clone(), found, expected: LAYOUT })
    }

    pub(crate) fn wrap(&self, action: &'static str, source: rusqlite::Error) -> Error {
        Error::Database { action, path: self.path.clone(), source }
    }

    pub(crate) fn row(&self, table: &'static str, what: impl ToString) -> Error {
        Error::Row { path: self.path.clone(), table, what: what.to_string() }
    }
}
