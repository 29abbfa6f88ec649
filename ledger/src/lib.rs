//! What follows from the messages of the order path: which orders are open, what is reserved for them, what is held and
//! what it has earned. Used by everyone who decides about money or shows it.
//!
//! This crate refuses to know the broker, the clock, files, threads and exchanges: messages in, state out, and the same
//! messages always give the same state. Read in this order: [`money`] (exact arithmetic), [`position`] (average cost,
//! profit), [`order`] (one order), [`finished`] (orders remembered for ever), [`book`] (all of it together).

pub mod book;
pub mod finished;
mod illegal;
pub mod money;
pub mod order;
pub mod position;

pub use book::{Applied, Book, Known, Reserved};
pub use illegal::Illegal;
pub use money::Inexact;
pub use order::Order;
pub use position::Position;
