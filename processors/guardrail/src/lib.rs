//! Watches everything that the other processes report, and raises alerts: windows over trades, calls and heartbeats, held
//! against thresholds from one TOML file.
//!
//! The decision code (everything but [`wiring`]) refuses to know the broker, the clock, threads and files: the same
//! messages give the same alerts, live, replayed and in tests. Read in this order: [`window`] (samples to a value),
//! [`rule`] (what is too much), [`alert`] (states), [`machine`] (events to alerts), [`wiring`] (the process).

pub mod alert;
pub mod machine;
pub mod rule;
pub mod window;
pub mod wiring;

pub use machine::{Event, Guardrail};
pub use rule::{Problem, Rules};
pub use wiring::{Config, Error, run};
