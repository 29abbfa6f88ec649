//! End-to-end tests: a real broker, real processes, real sockets. This crate holds what they share.

pub mod bench;
pub mod browser;
pub mod checker;
pub mod crowd;
pub mod documents;
pub mod history;
pub mod orders;
pub mod recording;
pub mod rules;
pub mod stored;
pub mod system;
pub mod wait;
