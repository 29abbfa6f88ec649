//! Hosts the built-in strategies: simple ones, so that orders flow in the demo and there is something to copy from. A
//! strategy is an ordinary client of the bus: it may ask for orders, and nothing else.
//!
//! What is decided ([`mean_reversion`], [`trader`]) refuses to know the broker, the clock and threads: time is a parameter.
//! Read in this order: [`config`], [`mean_reversion`] (prices to a side), [`trader`] (one strategy with its orders and its
//! position), [`wiring`] (the process).

pub mod config;
pub mod mean_reversion;
pub mod rule;
pub mod trader;
pub mod wiring;

pub use config::Config;
pub use wiring::{Error, run};
