//! Proves that the LEDGER is what it was: a hash chain over every message, kept in SQLite **outside** the broker, compared
//! with the stream at every start and after every reconnect.
//!
//! It refuses to know what a message means beyond its name and its actor, and it never judges: it says where the record
//! and the stream differ, and waits for a person. Why it is built like this: `docs/adr/0006-audit-chain.md`.
//!
//! Read in this order: [`chain`] (the hash, byte by byte), [`entry`] (what is kept of a message), [`store`] (the
//! database), [`era`] (accepted damage), [`compare`] (stream against chain), [`reader`] (the stream), [`session`] (one
//! connection to the broker), [`wiring`] (the process), then [`verify`] and [`list`] (for people).

pub mod chain;
pub mod compare;
mod config;
pub mod entry;
pub mod era;
mod error;
pub mod list;
pub mod reader;
pub mod session;
pub mod shown;
pub mod store;
pub mod verify;
pub mod wiring;

pub use config::Config;
pub use era::{Accepted, accept};
pub use error::Error;
pub use list::{Item, ListFrom, Query, hashes, list};
pub use verify::{Verification, verify, verify_offline};
pub use wiring::run;

/// The audit database, in the auditor's own data folder (`<data>/auditor/audit.sqlite`).
pub const DATABASE: &str = "audit.sqlite";
