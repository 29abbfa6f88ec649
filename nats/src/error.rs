//! What can go wrong between a process and the broker.

use std::io;
use std::path::PathBuf;

/// A failure of this crate. Its text says what was attempted; the source says why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL, the name or the credentials cannot be used.
    #[error("connect to NATS at {url}: {reason}")]
    Connect {
        /// Where to.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The credentials cannot be used.
    #[error(
        "credentials {}: {reason}; SPARK_NKEY_SEED_FILE names a file with an nkey seed (`spark setup` writes them), \
         NATS_CREDS a .creds file",
        path.display()
    )]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without its content.
        reason: String,
    },
    /// The broker refused or did not answer a request.
    #[error("{action}: {reason}")]
    Broker {
        /// What was asked.
        action: String,
        /// What it said.
        reason: String,
    },
    /// A publish failed for good.
    #[error("publish on {subject}")]
    Publish {
        /// Where to.
        subject: String,
        /// Why.
        #[source]
        source: crate::bus::PublishError,
    },
    /// A file could not be read or written.
    #[error("{action} {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The checkpoint database failed.
    #[error("checkpoint {}", path.display())]
    Checkpoint {
        /// Which database.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A saved state cannot be used by this build.
    #[error("state of {process} in {}: {reason}; move the file away to start from the streams again", path.display())]
    State {
        /// Whose state.
        process: String,
        /// Where it lies.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// nats-server could not be found, fetched or started.
    #[error("nats-server: {0}")]
    Server(String),
    /// Another holder took over: this one must stop and become a standby.
    #[error("{process}: another process holds the lease now; this one stops")]
    Fenced {
        /// Whose lease.
        process: String,
    },
    /// A stream that never forgets has forgotten.
    #[error(
        "{stream} has lost its end: message {sequence} came after {known}; stopping, to decide anew from what is left. \
         `spark audit verify` says what is missing"
    )]
    RolledBack {
        /// The stream.
        stream: &'static str,
        /// What came.
        sequence: u64,
        /// What was known.
        known: u64,
    },
    /// A file of this crate's configuration (topology, permissions) contradicts itself.
    #[error("{0}")]
    Definition(String),
}

impl Error {
    pub(crate) fn broker(action: impl Into<String>, reason: impl ToString) -> Self {
        Self::Broker { action: action.into(), reason: reason.to_string() }
    }
}
