//! Marks: the price that decisions about money use, at most one a second and symbol.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::instrument::Venue;
use crate::orders::{amount, symbol};
use crate::time::Timestamp;

/// The top of one symbol's book at a moment. Subject `marks.price.<venue>.<symbol>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Best bid, quote per base.
    #[schemars(with = "String")]
    pub bid: Decimal,
    /// Best ask, quote per base.
    #[schemars(with = "String")]
    pub ask: Decimal,
    /// The mark itself: half of bid + ask, exact.
    #[schemars(with = "String")]
    pub price: Decimal,
    /// USD for one unit of the quote currency, 12 decimals at most; 1 for USDT.
    #[schemars(with = "String")]
    pub quote_usd: Decimal,
    /// When the newest of the two prices reached this machine.
    pub received_at: Timestamp,
    /// FEED sequence of the quote that this follows from.
    pub feed_sequence: u64,
}

impl Message for Mark {
    const KIND: Kind = Kind { name: "mark", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        symbol(&self.symbol)?;
        for (field, value) in [("bid", self.bid), ("ask", self.ask), ("price", self.price), ("quote_usd", self.quote_usd)] {
            amount(field, value)?;
        }
        if self.bid > self.ask || self.price < self.bid || self.price > self.ask {
            return Err(format!("price: bid {} ≤ price {} ≤ ask {} does not hold", self.bid, self.price, self.ask));
        }
        Ok(())
    }
}
