//! What can go wrong with the results.

use std::path::PathBuf;

/// A failure of the results.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are none.
    #[error("no results at {}; `spark backtest run` makes some; name the folder with --data DIR", path.display())]
    NotThere {
        /// Where they were looked for.
        path: PathBuf,
    },
    /// The folder cannot be made.
    #[error("create folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be opened, read or written.
    #[error("{action} {}", path.display())]
    Database {
        /// What was attempted.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: rusqlite::Error,
    },
    /// The file is none of this version.
    #[error("{} has layout {found}, this build reads {expected}; use the build that wrote it, or move the file away", path.display())]
    Layout {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: i64,
        /// What would be right.
        expected: i64,
    },
    /// A row is not what this build writes.
    #[error("{} holds what this build did not write, in table {table}: {what}", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// Which table.
        table: &'static str,
        /// How it is wrong.
        what: String,
    },
}
