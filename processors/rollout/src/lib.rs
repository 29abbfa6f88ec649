//! Takes a model live in stages, and back: one pure step from status and observation to status and actions.

pub mod config;
pub mod wiring;

pub use config::Config;
pub use wiring::{Error, run};
