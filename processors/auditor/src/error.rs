//! What can go wrong here.

use std::path::PathBuf;

/// A failure of the auditor. Damage of the LEDGER is none: it is a finding.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no audit database.
    #[error("no audit database at {}; it is made by the process `auditor` (`spark up` starts it); name its folder with --data DIR", path.display())]
    NotThere {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The audit database cannot be opened, read or written.
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
    /// The file is no audit database of this version.
    #[error("{} has layout {found}, this build reads {expected}; use the build that wrote it", path.display())]
    Layout {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: i64,
        /// What would be right.
        expected: i64,
    },
    /// The audit database contradicts itself.
    #[error("{} contradicts itself: {what}; see docs/runbooks/ledger-damage.md", path.display())]
    Inconsistent {
        /// Which file.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// The broker refused.
    #[error("audit the LEDGER")]
    Bus(#[from] spark_nats::Error),
    /// A message could not be stored in the LEDGER.
    #[error("publish on {subject}")]
    Publish {
        /// Where to.
        subject: &'static str,
        /// Why not.
        #[source]
        source: spark_nats::PublishError,
    },
    /// The stream could not be read to its end.
    #[error("read the LEDGER: {0}")]
    Unreadable(String),
    /// There is no open finding.
    #[error("{} has no open finding: there is nothing to accept (`spark audit verify` looks for one)", path.display())]
    NothingToAccept {
        /// Which file.
        path: PathBuf,
    },
    /// An acceptance without a reason or an actor.
    #[error("{0} is empty; it is kept with the acceptance for ever")]
    Empty(&'static str),
}
