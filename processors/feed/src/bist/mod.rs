//! Borsa Istanbul by polling: a vendor is asked, each row is judged on its own, and what changed is told.
//!
//! Read [`config`], [`shares`] (what a row means, pure), `poll` (when a vendor is asked, and what becomes of the answer).
//!
//! | subject | when |
//! |---|---|
//! | `market.snapshots.bist.<symbol>` | what the vendor says changed, and every ten seconds of a session while it is confirmed |
//! | `market.ticks.bist.<symbol>` | the day's volume rose: the difference, at the last price. Not from a delayed vendor |
//! | `market.quotes.bist.<symbol>` | bid, ask and both sizes are told. Without sizes there is none: nobody fills against a quantity that is not known. Not from a delayed vendor |
//!
//! A delayed vendor is for looking at: trades and quotes of a quarter of an hour ago would be taken for those of now by whoever trades
//! on them.
//!
//! The connection's state names its symbols only in continuous trading: outside of it no data is promised, so nothing is stale.

pub mod config;
mod poll;
pub mod shares;

pub use config::BistConfig;
pub(crate) use poll::{Setup, run};
