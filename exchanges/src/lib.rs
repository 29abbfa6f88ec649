//! The thin REST edge to the exchanges: protocols, signing, limits, clock skew, and errors that say what happened.
//!
//! It refuses to know the bus, the portfolio, orders' meaning and every strategy: it turns one question into one signed
//! HTTP request, retried within bounds (an order: never), and the answer into exact typed values.
//!
//! Read in this order: [`config`], [`error`] (how failures are classified), [`decimal`] and [`signing`] (pure),
//! [`limiter`], [`breaker`], [`retry`], [`clock`] (pure, time passed in), `http` (one request), [`caller`] (the loop
//! around it that applies all of them), the clients [`binance`], [`btcturk`] and [`bist`], and [`orders`], their order side.

pub mod binance;
pub mod bist;
pub mod breaker;
pub mod btcturk;
pub mod caller;
pub mod clock;
pub mod config;
pub mod decimal;
pub mod error;
mod http;
pub mod limiter;
pub mod orders;
pub mod retry;
pub mod signing;

pub use binance::Binance;
pub use bist::Bist;
pub use breaker::{BreakerConfig, BreakerMode, BreakerState};
pub use btcturk::BtcTurk;
pub use caller::{CallReport, Observer, Outcome};
pub use config::ApiConfig;
pub use error::{Error, ErrorType};
pub use retry::RetryConfig;
pub use signing::ApiKey;
