//! Hosts the built-in strategies: simple ones, so that orders flow in the demo and there is something to copy from. A
//! strategy is an ordinary client of the bus: it may ask for orders, and nothing else.
//!
//! What is decided ([`rule`], [`series`], [`mean_reversion`], [`trader`], [`roster`]) refuses to know the broker, the clock and
//! threads: time is a parameter. Read in this order: [`config`] and [`plan`] (what a strategy is to do), [`rule`] (bars to an
//! order) and [`series`] (candles and history to bars), [`mean_reversion`] (prices to a side), [`kept`] and [`holding`] (what
//! the LEDGER says about a strategy), [`trader`] (one strategy), [`roster`] (all of them, configured and registered),
//! [`wiring`] (the process).

pub mod config;
pub mod holding;
pub mod kept;
pub mod mean_reversion;
pub mod plan;
pub mod roster;
pub mod rule;
pub mod series;
pub mod trader;
pub mod wiring;

pub use config::Config;
pub use wiring::{Error, run, run_with};
