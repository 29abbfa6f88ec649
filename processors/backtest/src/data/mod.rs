//! The past: files of bars, what the bus recorded, the exchange's own candles.

mod bars;

pub use bars::{BARS_MAX, Bars};
