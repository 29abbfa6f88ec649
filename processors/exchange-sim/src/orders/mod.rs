//! The order side of an exchange, pure: no clock, no I/O, no words of a venue. A [`Desk`] is one account: its balances, its orders,
//! and what the exchange wrote down about them. Time and the market come in with each call; what happened comes out as
//! [`Execution`]s in the order in which a client must be told.
//!
//! Not modelled: two orders of the same account never meet each other, and fills do not appear in the public list of trades.

mod desk;
mod log;
mod matching;
mod terms;

pub use desk::{Desk, Opening};
pub use log::{CancelEntry, FillEntry, Log, Outcome, SubmitEntry};
pub use terms::{Fees, Terms};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::config::Holding;

/// Which way an order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Gets base, pays quote.
    Buy,
    /// Gets quote, pays base.
    Sell,
}

/// Kind of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// At its price or better.
    Limit,
    /// Only as a maker.
    LimitMaker,
    /// At whatever the market has.
    Market,
}

/// What happens to what is not filled at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeInForce {
    /// Rests.
    Gtc,
    /// Expires.
    Ioc,
    /// All is filled at once, or nothing is.
    Fok,
}

/// State of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Rests, nothing filled.
    New,
    /// Rests, something filled.
    PartiallyFilled,
    /// Done.
    Filled,
    /// Taken back; may hold fills.
    Canceled,
    /// Ended by the exchange; may hold fills.
    Expired,
    /// Refused after it was accepted.
    Rejected,
}

impl Status {
    /// Whether it can still be filled.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::New | Self::PartiallyFilled)
    }
}

/// Who placed an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A client with a key.
    Api,
    /// Somebody over the simulator's own interface: to the client an orphan.
    Outside,
}

/// How much is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So much of the base asset.
    Base(Decimal),
    /// As much as so much of the quote asset buys or must bring; market orders only.
    Quote(Decimal),
}

/// A new order, checked against the venue's filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// The client's id.
    pub client_id: String,
    /// Way.
    pub side: Side,
    /// Kind.
    pub kind: Kind,
    /// What happens to the rest; market orders never rest.
    pub time_in_force: TimeInForce,
    /// How much.
    pub amount: Amount,
    /// Limit; 0 for market orders.
    pub price: Decimal,
    /// Who.
    pub origin: Origin,
}

/// What a fault does to an order instead of what the market would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    #[default]
    Market,
    /// This share of it is filled, the rest expires.
    PartThenExpire(Decimal),
    /// It is accepted and then refused.
    RejectLate,
}

/// Why an order is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Not enough free balance.
    #[error("insufficient balance")]
    Insufficient,
    /// The client id belongs to an open order.
    #[error("duplicate client id")]
    Duplicate,
    /// A maker-only order would take.
    #[error("would take")]
    WouldTake,
}

/// Something offered: price and quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Price.
    pub price: Decimal,
    /// How much is there.
    pub quantity: Decimal,
}

/// An order as the exchange knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// The exchange's id.
    pub id: u64,
    /// The client's id.
    pub client_id: String,
    /// Market.
    pub symbol: std::sync::Arc<str>,
    /// Way.
    pub side: Side,
    /// Kind.
    pub kind: Kind,
    /// What happens to the rest.
    pub time_in_force: TimeInForce,
    /// Limit; 0 for market orders.
    pub price: Decimal,
    /// Base quantity wanted; for an order by quote amount what was bought or sold.
    pub quantity: Decimal,
    /// Quote amount wanted; 0 for an order by base quantity.
    pub quote_quantity: Decimal,
    /// Base quantity filled.
    pub filled: Decimal,
    /// Quote amount of the fills.
    pub quote_filled: Decimal,
    /// Price of the first fill, 0 without one.
    pub first_price: Decimal,
    /// State.
    pub status: Status,
    /// When it was accepted, ms since 1970.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
    /// Still locked for it: quote for buys, base for sells.
    pub locked: Decimal,
    /// Who placed it.
    pub origin: Origin,
    /// A cancel was accepted and has not taken effect.
    pub canceling: bool,
}

impl Order {
    /// Base quantity that can still be filled.
    #[must_use]
    pub fn left(&self) -> Decimal {
        self.quantity - self.filled
    }
}

/// One fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Unique per account; rises.
    pub trade_id: u64,
    /// Its order.
    pub order_id: u64,
    /// The client's id of it.
    pub client_id: String,
    /// Market.
    pub symbol: std::sync::Arc<str>,
    /// Way.
    pub side: Side,
    /// Price.
    pub price: Decimal,
    /// Base quantity.
    pub quantity: Decimal,
    /// Price × quantity.
    pub amount: Decimal,
    /// What the exchange took.
    pub commission: Decimal,
    /// Of which asset.
    pub commission_asset: String,
    /// The order rested.
    pub maker: bool,
    /// When, ms since 1970.
    pub at_ms: i64,
}

/// What happened to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was accepted.
    New,
    /// It was filled, at least in part.
    Trade,
    /// It was taken back.
    Canceled,
    /// The exchange ended it, for this reason.
    Expired(&'static str),
    /// It was refused after it was accepted.
    Rejected,
}

/// One step in an order's life, with everything as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Unique per account; rises.
    pub id: u64,
    /// What.
    pub event: Event,
    /// The order after it.
    pub order: Order,
    /// The fill of a [`Event::Trade`].
    pub fill: Option<Fill>,
    /// The cancel request's own id, of a [`Event::Canceled`] that a client asked for.
    pub cancel_id: Option<String>,
    /// Balances after it of the assets that it may have changed: base, quote.
    pub holdings: [(String, Holding); 2],
    /// When, ms since 1970.
    pub at_ms: i64,
}

#[cfg(test)]
mod tests;
