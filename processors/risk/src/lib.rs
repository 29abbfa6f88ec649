//! Says yes or no to every order, once and for ever, and why.
//!
//! The decision code (everything but [`wiring`]) refuses to know the broker, the clock, threads, files, floats and its own
//! configuration: a verdict's bytes follow from the LEDGER alone, live, replayed, explained and in tests. Limits are
//! messages, time is the time at which a message was stored. Read in this order: [`event`] (bytes to facts), [`equity`]
//! and [`rate`] (what is measured over time), [`measure`] (what they are measured by, for the backtest as well), `guards` (the questions, in their order), [`machine`] (facts to verdicts),
//! [`replay`] (the same for `spark explain` and `spark whatif`), [`wiring`] (the process).

pub mod config;
pub mod equity;
pub mod event;
mod guards;
pub mod machine;
pub mod measure;
pub mod rate;
pub mod replay;
pub mod wiring;

pub use config::Config;
pub use event::{Event, Fact};
pub use machine::{APPROVAL_VALIDITY, Risk};
pub use replay::replay;
pub use wiring::{Error, run};
