//! The words Spark's processes use with each other: message kinds, subjects, envelope headers and their bytes.
//!
//! This crate refuses to know the broker, the clock, the network, files and threads: it turns values into bytes and back.
//! Read in this order: [`time`] and [`decimal`] (units), [`instrument`] (symbols), [`codec`] (bytes), the message
//! modules, [`subject`] (where a message travels) and [`catalogue`] (everything in one list, for tools).

pub mod actions;
pub mod alerts;
pub mod audit;
pub mod backtests;
pub mod candles;
pub mod catalogue;
pub mod codec;
pub mod control;
pub mod decimal;
pub mod header;
pub mod instrument;
pub mod market;
pub mod marks;
pub mod notify;
pub mod orders;
pub mod parked;
pub mod portfolio;
pub mod risk;
pub mod rollout;
pub mod schema;
pub mod session;
pub mod shares;
pub mod signals;
pub mod smoke;
pub mod strategies;
pub mod subject;
pub mod telemetry;
pub mod time;

pub use codec::{DecodeError, Kind, Message, decode, encode, encode_into};
pub use decimal::{DecimalColumn, Fixed};
pub use instrument::{Instrument, InstrumentTable, Venue};
pub use orders::OrderId;
pub use rust_decimal::Decimal;
pub use time::Timestamp;
