//! Runs strategies over the past with the code that runs live: signals, risk, paper fills.

pub mod config;
pub mod data;
pub mod engine;
pub mod live;
pub mod metrics;
pub mod report;
pub mod store;
pub mod sweep;
pub mod walk;
pub mod wiring;
pub mod worker;

pub use config::Config;
pub use live::Live;
pub use wiring::{Error, run};
