//! Runs strategies over the past with the code that runs live: signals, risk, paper fills.

pub mod config;
pub mod wiring;

pub use config::Config;
pub use wiring::{Error, run};
