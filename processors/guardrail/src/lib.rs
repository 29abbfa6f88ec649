//! Watches everything that the other processes report, and raises alerts: windows over trades, calls and heartbeats, held
//! against thresholds from one TOML file. About criticals it acts: it asks for restarts, and for one rollback when those
//! do not help. It refuses to carry out anything itself.
//!
//! The decision code (everything but [`wiring`]) refuses to know the broker, the clock, threads and files: the same
//! messages give the same alerts, live, replayed and in tests. Read in this order: [`window`] (samples to a value),
//! [`rule`] (what is too much), [`alert`] (states), [`action`] (what is done about criticals), [`machine`] (events to
//! alerts and actions), [`wiring`] (the process).

pub mod action;
pub mod alert;
pub mod machine;
pub mod rule;
pub mod suite;
pub mod window;
pub mod wiring;

pub use action::Policy;
pub use machine::{Event, Guardrail};
pub use rule::{Problem, Rules};
pub use wiring::{Config, Error, run};
