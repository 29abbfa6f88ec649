//! Turns candles into scores: RSI, MACD and trend, fused by weights; tracks what the price did next. It refuses to know
//! how a stage is earned (the rollout says it) and whether an order may be placed (risk says it).
//!
//! Read in this order: [`indicators`], [`model`] (the file), [`fusion`] (from candles to a score), [`assignment`] (whose
//! symbols a rollout gives away), then [`wiring`]. The first four are pure and are what a backtest runs too.

pub mod assignment;
pub mod config;
pub mod fusion;
pub mod indicators;
pub mod model;
pub mod wiring;

pub use config::Config;
pub use wiring::{Error, run};
