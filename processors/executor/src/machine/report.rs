//! What an exchange says about an order, whoever the exchange is and however it came: an answer, the user data stream, a
//! query, or the paper book.

use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::orders::Fill;

/// Where the exchange says the order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// In the book, with or without fills.
    Open,
    /// All of it traded. Also an exchange's word for "done", whatever was filled (BTCTurk `Closed`).
    Filled,
    /// Taken back; may hold fills.
    Cancelled,
    /// Refused.
    Rejected,
    /// Ended by the exchange; may hold fills.
    Expired,
}

/// One report. Whatever is not told is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The exchange's own id.
    pub exchange_order_id: Option<String>,
    /// Where it stands; none when only a trade was told.
    pub stand: Option<Stand>,
    /// Base quantity filled in all.
    pub executed: Option<Decimal>,
    /// Trades, any of them, in any order, told before or not.
    pub fills: Vec<Fill>,
    /// It says less than the exchange knows: ask.
    pub incomplete: bool,
    /// The exchange's words.
    pub reason: Option<String>,
}

impl Report {
    /// Refused by the exchange.
    #[must_use]
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self { stand: Some(Stand::Rejected), executed: Some(Decimal::ZERO), reason: Some(reason.into()), ..Self::default() }
    }
}

/// How a submit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The exchange answered: accepted or refused.
    Told(Report),
    /// It may have arrived.
    Unknown(String),
    /// It certainly did not leave.
    NotSent(String, Option<Duration>),
    /// The exchange has no such order (its time in force, market orders, the symbol); nothing was sent.
    Unsupported(String),
}

/// How a cancel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The exchange answered with the order's end.
    Told(Report),
    /// It was taken, its result comes later; or it was refused, or the answer was lost. Ask.
    Ask(String),
    /// It certainly did not leave.
    NotSent(String, Option<Duration>),
}

/// What the exchange knows of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This, its fills included.
    Found(Report),
    /// Nothing.
    NotFound,
    /// It could not be asked.
    Failed(String, Option<Duration>),
}
