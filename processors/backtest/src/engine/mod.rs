//! One run over the past: bars to decisions, decisions past risk, orders to the paper desk.
//!
//! It decides nothing by itself. A rule ([`spark_strategy::rule`], [`spark_strategy::mean_reversion`], [`spark_signal`]) says
//! what it wants, [`spark_strategy::rule::order`] how much that is, [`spark_risk::measure`] whether it may, and
//! [`spark_executor::paper::Desk`] what it gets: the code that runs live. What is here is the order in which they are asked.
//!
//! The engine refuses to know files, the bus, the clock and threads. Read in this order: [`Settings`] (a job with its gaps
//! filled), `rules` (what can decide), `floor` (an order from wish to fill), [`run`] (the loop), [`trades_hash`].

mod error;
mod floor;
mod rules;
mod run;
mod settings;
mod trades;

pub use error::Error;
pub use run::{EQUITY_POINTS_MAX, Outcome, Point, run};
pub(crate) use run::{Keep, measure};
pub use settings::{Settings, unbounded};
pub use trades::{Trade, line, trades_hash};

use std::ops::ControlFlow;

/// Bars between two reports of progress.
pub const PROGRESS_BARS: u64 = 65_536;

/// Whoever wants to know how far a run is, and may end it. Called about every [`PROGRESS_BARS`] bars, in a sweep from
/// several threads.
pub trait Progress: Sync {
    /// Bars (of all combinations) done and to do. `Break` ends the run with [`Error::Cancelled`].
    fn report(&self, done: u64, total: u64) -> ControlFlow<()>;
}

/// Nobody wants to know.
impl Progress for () {
    fn report(&self, _: u64, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: Fn(u64, u64) -> ControlFlow<()> + Sync> Progress for F {
    fn report(&self, done: u64, total: u64) -> ControlFlow<()> {
        self(done, total)
    }
}
