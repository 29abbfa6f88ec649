//! Results: one SQLite file, written by workers and by `spark backtest run`, read by whoever may read it.
//!
//! Reading: [`Store::open_read_only`] works while workers write (WAL) and while nothing runs. Several workers of one machine share
//! the file; each result is one transaction.

mod error;
mod read;
mod rows;
mod schema;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use error::Error;
pub use rows::{
    Detail, EQUITY_POINTS_MAX, EquityPoint, Listing, PAGE_MAX, Page, Result, SWEEP_ROWS_MAX, Summary, SweepRow, TRADES_MAX,
    TradeRow, WINDOWS_MAX, WindowRow,
};
use schema::{LAYOUT, TABLES};

/// File name in the process's folder: `<data>/backtest/results.sqlite`.
pub const DATABASE: &str = "results.sqlite";
/// Folder of the HTML reports, beside the file.
pub const REPORTS: &str = "reports";
/// How long one of two waits for the other.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// The open file.
pub struct Store {
    path: PathBuf,
    database: Connection,
}

/// Where the results of a data folder (`--data`) are.
#[must_use]
pub fn path_in(data: &Path) -> PathBuf {
    data.join("backtest").join(DATABASE)
}

impl Store {
    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// [`Error::NotThere`]; it cannot be opened, or another build wrote it.
    pub fn open_read_only(path: &Path) -> std::result::Result<Self, Error> {
        if !path.is_file() {
            return Err(Error::NotThere { path: path.to_owned() });
        }
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        store.check_layout(&[LAYOUT])?;
        Ok(store)
    }

    /// Opens or makes the file, and its folder, for writing.
    ///
    /// # Errors
    /// It cannot be opened, or another build wrote it.
    pub fn open(path: &Path) -> std::result::Result<Self, Error> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|source| Error::Folder { path: folder.to_owned(), source })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Self::connect(path, flags)?;
        store.check_layout(&[0, LAYOUT])?;
        let prepare = |database: &Connection| {
            // What is deleted gives its pages back; must come before the first table.
            database.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            database.pragma_update(None, "journal_mode", "WAL")?;
            // Survives kill -9. After a power failure the last result may be missing: its job was not taken off the queue either,
            // or its figures are in the LEDGER.
            database.pragma_update(None, "synchronous", "NORMAL")?;
            database.execute_batch(TABLES)?;
            database.pragma_update(None, "user_version", LAYOUT)
        };
        prepare(&store.database).map_err(|source| store.wrap("prepare", source))?;
        Ok(store)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the report of a job is, or would be: `<folder of the file>/reports/<id>.html`.
    #[must_use]
    pub fn report_path(&self, id: &str) -> PathBuf {
        report_path(&self.path, id)
    }

    fn connect(path: &Path, flags: OpenFlags) -> std::result::Result<Self, Error> {
        let wrap = |source| Error::Database { action: "open", path: path.to_owned(), source };
        let database = Connection::open_with_flags(path, flags).map_err(wrap)?;
        database.busy_timeout(BUSY_LIMIT).map_err(wrap)?;
        database.pragma_update(None, "foreign_keys", true).map_err(wrap)?;
        Ok(Self { path: path.to_owned(), database })
    }

    fn check_layout(&self, expected: &[i64]) -> std::result::Result<(), Error> {
        let found = self.database.pragma_query_value(None, "user_version", |row| row.get(0));
        let found: i64 = found.map_err(|source| self.wrap("open", source))?;
        if expected.contains(&found) {
            return Ok(());
        }
        Err(Error::Layout { path: self.path.clone(), found, expected: LAYOUT })
    }

    fn wrap(&self, action: &'static str, source: rusqlite::Error) -> Error {
        Error::Database { action, path: self.path.clone(), source }
    }

    fn row(&self, table: &'static str, what: &impl ToString) -> Error {
        Error::Row { path: self.path.clone(), table, what: what.to_string() }
    }
}

/// Where the report of a job is, or would be, beside the database at `path`. The id becomes one plain file name.
#[must_use]
pub fn report_path(path: &Path, id: &str) -> PathBuf {
    path.with_file_name(REPORTS).join(format!("{}.html", spark_bus_schema::subject::token(id)))
}

#[cfg(test)]
mod tests;
