//! Turns candles into scores: RSI, MACD and trend, fused by weights; tracks what the price did next.

pub mod config;
pub mod wiring;

pub use config::Config;
pub use wiring::{Error, run};
