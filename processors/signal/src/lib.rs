//! Turns candles into scores: RSI, MACD and trend, fused by weights; tracks what the price did next. It refuses to know
//! how a stage is earned (the rollout says it) and whether an order may be placed (risk says it).
//!
//! Read in this order: [`indicators`], [`model`] (the file), [`fusion`] (from candles to a score), [`assignment`] (whose
//! symbols a rollout gives away): these are pure and are what a backtest runs too. Then [`series`] (late history, holes,
//! outcomes), [`calibration`], [`standing`] (what the LEDGER allows), [`holdings`], [`machine`] (the decision), [`wiring`].

pub mod assignment;
pub mod calibration;
pub mod config;
pub mod event;
pub mod fusion;
pub mod holdings;
pub mod indicators;
pub mod machine;
pub mod model;
pub mod series;
pub mod standing;
mod telemetry;
pub mod wiring;
mod writers;

pub use config::Config;
pub use wiring::{Error, run};
