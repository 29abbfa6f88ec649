//! The last trade and the best bid and ask of every symbol, with their age.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::market::{QuoteBatch, Side, TickBatch, Trade};
use spark_bus_schema::{Fixed, Timestamp, Venue};

use crate::number::Number;

/// Symbols held over all venues.
pub const SYMBOLS_MAX: usize = 512;

/// A symbol at a venue.
pub type Key = (Venue, String);

/// Prices by venue and symbol.
#[derive(Default)]
pub struct Prices {
    rows: BTreeMap<Key, Price>,
    changed: BTreeSet<Key>,
}

#[derive(Default)]
struct Price {
    last: Option<Last>,
    bid: Option<Level>,
    ask: Option<Level>,
    /// When the broker stored the newest word about the symbol. Ages count from here: a replay's own times lie in the past.
    stored_at: Timestamp,
}

struct Last {
    price: Fixed,
    quantity: Fixed,
    side: Side,
    trade_id: u64,
    occurred_at: Timestamp,
}

struct Level {
    price: Fixed,
    quantity: Fixed,
}

impl Prices {
    /// Takes in trades; false when there is no room for another symbol.
    pub fn trades(&mut self, at: Timestamp, batch: &TickBatch) -> bool {
        let Some(trade) = last_trade(batch) else { return true };
        self.update(at, batch.venue, &batch.symbol, |row| {
            // Trades fetched to fill a gap are older than the newest one; they do not turn the price back.
            if row.last.as_ref().is_none_or(|last| trade.trade_id >= last.trade_id || trade.occurred_at > last.occurred_at) {
                row.last = Some(Last {
                    price: trade.price,
                    quantity: trade.quantity,
                    side: trade.side,
                    trade_id: trade.trade_id,
                    occurred_at: trade.occurred_at,
                });
            }
        })
    }

    /// Takes in best bids and asks; false when there is no room for another symbol.
    pub fn quotes(&mut self, at: Timestamp, batch: &QuoteBatch) -> bool {
        let Some(quote) = batch.last() else { return true };
        self.update(at, batch.venue, &batch.symbol, |row| {
            row.bid = Some(Level { price: quote.bid_price, quantity: quote.bid_quantity });
            row.ask = Some(Level { price: quote.ask_price, quantity: quote.ask_quantity });
        })
    }

    fn update(&mut self, at: Timestamp, venue: Venue, symbol: &str, change: impl FnOnce(&mut Price)) -> bool {
        let key = (venue, symbol.to_owned());
        if self.rows.len() >= SYMBOLS_MAX && !self.rows.contains_key(&key) {
            return false;
        }
        let row = self.rows.entry(key.clone()).or_default();
        row.stored_at = row.stored_at.max(at);
        change(row);
        self.changed.insert(key);
        true
    }

    /// All rows, by venue and symbol.
    #[must_use]
    pub fn rows(&self, now: Timestamp) -> Vec<PriceRow> {
        self.rows.iter().map(|(key, price)| row(key, price, now)).collect()
    }

    /// The rows that changed since the last call, each once however often it changed.
    pub fn take_changed(&mut self, now: Timestamp) -> Vec<PriceRow> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().filter_map(|key| Some(row(key, self.rows.get(key)?, now))).collect()
    }

    /// Age of the newest price of a venue, ms; none when it never had one.
    #[must_use]
    pub fn venue_age_ms(&self, venue: Venue, now: Timestamp) -> Option<i64> {
        let newest = self.rows.iter().filter(|(key, _)| key.0 == venue).map(|(_, price)| price.stored_at).max()?;
        Some(now.since_ms(newest).max(0))
    }

    /// Symbols of a venue.
    pub fn symbols(&self, venue: Venue) -> impl Iterator<Item = &str> {
        self.rows.keys().filter(move |key| key.0 == venue).map(|key| key.1.as_str())
    }

    /// Age of each symbol, ms.
    pub fn ages_ms(&self, now: Timestamp) -> impl Iterator<Item = (&Key, i64)> {
        self.rows.iter().map(move |(key, price)| (key, now.since_ms(price.stored_at).max(0)))
    }
}

/// The newest row of a batch that passed validation.
fn last_trade(batch: &TickBatch) -> Option<Trade> {
    let row = batch.len().checked_sub(1)?;
    Some(Trade {
        trade_id: *batch.trade_id.get(row)?,
        occurred_at: *batch.occurred_at.get(row)?,
        received_at: *batch.received_at.get(row)?,
        price: batch.price.get(row)?,
        quantity: batch.quantity.get(row)?,
        side: if batch.side.ends_with('B') { Side::Buy } else { Side::Sell },
    })
}

fn row(key: &Key, price: &Price, now: Timestamp) -> PriceRow {
    let number = |value: Fixed| Number(value.to_decimal());
    PriceRow {
        venue: key.0,
        symbol: key.1.clone(),
        last: price.last.as_ref().map(|last| number(last.price)),
        last_quantity: price.last.as_ref().map(|last| number(last.quantity)),
        side: price.last.as_ref().map(|last| last.side),
        trade_id: price.last.as_ref().map(|last| last.trade_id),
        occurred_at: price.last.as_ref().map(|last| last.occurred_at.to_string()),
        bid: price.bid.as_ref().map(|level| number(level.price)),
        bid_quantity: price.bid.as_ref().map(|level| number(level.quantity)),
        ask: price.ask.as_ref().map(|level| number(level.price)),
        ask_quantity: price.ask.as_ref().map(|level| number(level.quantity)),
        stored_at_ms: price.stored_at.as_millis(),
        age_ms: now.since_ms(price.stored_at).max(0),
    }
}

/// One symbol's prices; null where unknown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PriceRow {
    /// The venue.
    pub venue: Venue,
    /// The symbol.
    pub symbol: String,
    /// Price of the last trade.
    pub last: Option<Number>,
    /// Quantity of the last trade.
    pub last_quantity: Option<Number>,
    /// The last trade's aggressor.
    pub side: Option<Side>,
    /// The venue's id of the last trade.
    pub trade_id: Option<u64>,
    /// When the venue says the last trade happened, RFC 3339.
    pub occurred_at: Option<String>,
    /// Best bid.
    pub bid: Option<Number>,
    /// Quantity there.
    pub bid_quantity: Option<Number>,
    /// Best ask.
    pub ask: Option<Number>,
    /// Quantity there.
    pub ask_quantity: Option<Number>,
    /// When the broker stored the newest word about it, ms since the epoch.
    pub stored_at_ms: i64,
    /// How long ago that is, ms.
    pub age_ms: i64,
}
