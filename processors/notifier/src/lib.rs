//! Tells people and tools about alerts: who, grouped how, how often, and until it has arrived.

pub mod config;
pub mod wiring;

pub use config::Config;
pub use wiring::{Error, run};
