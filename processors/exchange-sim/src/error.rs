//! What can go wrong when a simulator starts or runs.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the simulator cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot be used.
    #[error("`{field}`: {reason}")]
    Config {
        /// The key in the configuration.
        field: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// An address that cannot be listened on.
    #[error("listen on {address} for `{what}`: choose a free port, or 0 for any")]
    Listen {
        /// `binance`, `btcturk` or `admin`.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A recording that cannot be read.
    #[error("read the recording {}", path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A line of a recording that is not one.
    #[error("{} line {line}: {reason}", path.display())]
    RecordingLine {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A part of the simulator ended by itself.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

impl Error {
    pub(crate) fn config(field: &str, reason: impl Into<String>) -> Self {
        Self::Config { field: field.to_owned(), reason: reason.into() }
    }
}
