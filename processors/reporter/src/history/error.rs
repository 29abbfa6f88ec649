//! What can go wrong with the history.

use std::path::PathBuf;

/// A failure of the history.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no history.
    #[error("no history at {}; it is made by the process `reporter` (`spark up` starts it); name its folder with --data DIR", path.display())]
    NotThere {
        /// Where it was looked for.
        path: PathBuf,
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
    /// The file is no history of this version.
    #[error("{} has layout {found}, this build reads {expected}; use the build that wrote it", path.display())]
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
