//! The past: files of bars, what the bus recorded, the exchange's own candles.

mod bars;
mod cache;
pub mod csv;
pub mod exchange;
pub mod feed;

pub use bars::{BARS_MAX, Bars, Offered, RecordedBar};
