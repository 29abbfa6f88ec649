//! Makes prices that decisions can be held to out of market data: candles, what was traded in one interval, and marks, the
//! top of a book at a moment, with what one unit of its quote currency is worth in USD.
//!
//! What is decided ([`bars`], [`interest`], [`marks`]) refuses to know the broker, the clock and threads: time is a
//! parameter. Read in this order: [`bars`] (candles out of trades), [`machine`] (their place on the bus), `backfill` (the
//! exchanges' own candles), [`interest`] (which symbols somebody needs a mark of), [`marks`] (what a mark follows from, and
//! when one is due), [`wiring`] (the process).

pub mod bars;
pub mod config;
pub mod interest;
pub mod machine;
pub mod marks;
pub mod wiring;

pub use config::Config;
pub use wiring::{Error, run};

use spark_bus_schema::Venue;

/// A symbol at a venue.
pub type Symbol = (Venue, String);
