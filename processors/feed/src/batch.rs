//! Columns of what arrived while the last publish was in flight.

use bytes::Bytes;
use spark_bus_schema::market::{Quote, QuoteBatch, TickBatch, Trade};
use spark_bus_schema::{Venue, encode_into};

/// Rows of one message. The widest row, a quote, takes at most 54 bytes, so that a message stays below 512 KiB.
pub const ROWS_MAX: usize = 9_000;

/// A message ready for the broker.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// MessagePack bytes, below 512 KiB.
    pub payload: Bytes,
    /// `Nats-Msg-Id`.
    pub msg_id: String,
    /// Rows in it.
    pub rows: usize,
}

/// Collects trades of one symbol.
pub struct TickBatcher {
    batch: TickBatch,
    buffer: Vec<u8>,
}

impl TickBatcher {
    /// An empty one.
    #[must_use]
    pub fn new(venue: Venue, symbol: &str) -> Self {
        Self { batch: TickBatch::new(venue, symbol), buffer: Vec::new() }
    }

    /// Appends a trade; false when the batch must be encoded first (it is at [`ROWS_MAX`], or a column cannot hold the
    /// value exactly). A trade always fits into an empty batch.
    pub fn push(&mut self, trade: &Trade) -> bool {
        self.batch.len() < ROWS_MAX && self.batch.push(trade).is_ok()
    }

    /// Number of trades.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Encodes and empties the batch; none when there is nothing. `run` tells apart the ids of a venue that began to count
    /// anew; it is empty otherwise.
    pub fn encode(&mut self, run: &str) -> Option<Encoded> {
        let (first, last) = (self.batch.trade_id.first()?, self.batch.trade_id.last()?);
        let msg_id = format!("feed:{}:{}:{first}-{last}{run}", self.batch.venue, self.batch.symbol);
        let rows = self.batch.len();
        self.buffer.clear();
        encode_into(&mut self.buffer, &self.batch);
        self.batch.clear();
        Some(Encoded { payload: Bytes::copy_from_slice(&self.buffer), msg_id, rows })
    }
}

/// Collects best bids and asks of one symbol.
pub struct QuoteBatcher {
    batch: QuoteBatch,
    buffer: Vec<u8>,
}

impl QuoteBatcher {
    /// An empty one.
    #[must_use]
    pub fn new(venue: Venue, symbol: &str) -> Self {
        Self { batch: QuoteBatch::new(venue, symbol), buffer: Vec::new() }
    }

    /// As [`TickBatcher::push`].
    pub fn push(&mut self, quote: &Quote) -> bool {
        self.batch.len() < ROWS_MAX && self.batch.push(quote).is_ok()
    }

    /// Encodes and empties the batch; none when there is nothing.
    pub fn encode(&mut self) -> Option<Encoded> {
        let last = self.batch.last()?;
        let received = last.received_at.as_nanos();
        let msg_id = format!("feed:{}:{}:q:{}:{received}", self.batch.venue, self.batch.symbol, last.update_id);
        let rows = self.batch.len();
        self.buffer.clear();
        encode_into(&mut self.buffer, &self.batch);
        self.batch.clear();
        Some(Encoded { payload: Bytes::copy_from_slice(&self.buffer), msg_id, rows })
    }
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::market::Side;
    use spark_bus_schema::{Fixed, Message as _, Timestamp, decode};

    use super::*;

    fn widest(id: u64) -> Trade {
        Trade {
            trade_id: u64::MAX - 100_000 + id,
            occurred_at: Timestamp::from_nanos(i64::MAX),
            received_at: Timestamp::from_nanos(i64::MAX),
            price: Fixed { mantissa: i64::MAX, scale: 8 },
            quantity: Fixed { mantissa: i64::MAX, scale: 8 },
            side: Side::Buy,
        }
    }

    #[test]
    fn the_widest_rows_stay_below_512_kib_and_come_back_as_they_were() {
        let mut batcher = TickBatcher::new(Venue::Binance, "BTCUSDT");
        let mut rows = 0;
        while batcher.push(&widest(rows)) {
            rows += 1;
        }
        assert_eq!(rows, 9_000);
        let encoded = batcher.encode("").unwrap();
        assert!(encoded.payload.len() < 512 * 1024, "{} bytes", encoded.payload.len());
        let back: TickBatch = decode(Some(&TickBatch::KIND.to_string()), &encoded.payload).unwrap();
        assert!(back.rows().eq((0..rows).map(widest)));
        assert!(batcher.is_empty() && batcher.encode("").is_none());

        let fixed = Fixed { mantissa: i64::MAX, scale: 8 };
        let mut quotes = QuoteBatcher::new(Venue::Binance, "BTCUSDT");
        let quote = Quote {
            update_id: u64::MAX,
            received_at: Timestamp::from_nanos(i64::MAX),
            bid_price: fixed,
            bid_quantity: fixed,
            ask_price: fixed,
            ask_quantity: fixed,
        };
        while quotes.push(&quote) {}
        let encoded = quotes.encode().unwrap();
        assert!(encoded.payload.len() < 512 * 1024, "{} bytes", encoded.payload.len());
    }

    #[test]
    fn a_value_that_does_not_fit_its_column_starts_another_batch() {
        let trade = |quantity: &str, trade_id: u64| Trade { trade_id, quantity: Fixed::parse(quantity).unwrap(), ..widest(0) };
        let mut batcher = TickBatcher::new(Venue::Binance, "BTCUSDT");
        assert!(batcher.push(&trade("1000000000000", 1)));
        assert!(!batcher.push(&trade("0.00000001", 2)));
        assert_eq!(batcher.encode(":r7").unwrap().msg_id, "feed:binance:BTCUSDT:1-1:r7");
        assert!(batcher.push(&trade("0.00000001", 2)));
    }
}
