//! Why the gateway cannot start or go on.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A failure of the gateway.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work.
    #[error("[gateway] {}", .0.join("; "))]
    Config(Vec<String>),
    /// The address is taken or not ours.
    #[error("listen on {address}: is another program using the port? Choose another one with --port N")]
    Bind {
        /// Where to.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The token file cannot be read.
    #[error("read gateway.admin_token_file {}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The token can be guessed.
    #[error("the token from {origin} has fewer than {min} characters; `openssl rand -hex 32` makes a good one")]
    TokenShort {
        /// File or environment variable.
        origin: String,
        /// Characters it must have.
        min: usize,
    },
    /// Certificate or key cannot be used.
    #[error("gateway.tls_cert_file, gateway.tls_key_file: {}: {what}; a certificate chain and its key, both PEM, would be right", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}
