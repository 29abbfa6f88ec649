//! Ticks: trades and best bid/ask, in columns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::decimal::{ColumnFull, DecimalColumn, Fixed};
use crate::instrument::Venue;
use crate::time::Timestamp;

/// Rows a batch may hold: 16 384 rows of trades stay far below the broker's payload limit.
pub const BATCH_ROWS_MAX: usize = 16_384;

/// The side of the aggressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The aggressor bought.
    Buy,
    /// The aggressor sold (Binance: `isBuyerMaker` is true).
    Sell,
}

/// One trade, as it comes off a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// The venue's trade id; rises by one a trade at Binance, a tick count at `BtcTurk`.
    pub trade_id: u64,
    /// When the venue says it happened.
    pub occurred_at: Timestamp,
    /// When the frame reached this machine.
    pub received_at: Timestamp,
    /// Quote currency per base.
    pub price: Fixed,
    /// In base currency.
    pub quantity: Fixed,
    /// The aggressor.
    pub side: Side,
}

/// Trades of one symbol at one venue, in the venue's order. Row `i` is the `i`-th entry of each column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TickBatch {
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling, e.g. `BTCUSDT`.
    pub symbol: String,
    /// The venue's trade ids, strictly rising.
    pub trade_id: Vec<u64>,
    /// When the venue says it happened, ns.
    pub occurred_at: Vec<Timestamp>,
    /// When the frame reached the feed, ns.
    pub received_at: Vec<Timestamp>,
    /// Quote currency per base.
    pub price: DecimalColumn,
    /// Base currency.
    pub quantity: DecimalColumn,
    /// One character a row: `B` the aggressor bought, `S` it sold.
    pub side: String,
}

impl TickBatch {
    /// An empty batch.
    #[must_use]
    pub fn new(venue: Venue, symbol: &str) -> Self {
        Self {
            venue,
            symbol: symbol.to_owned(),
            trade_id: Vec::new(),
            occurred_at: Vec::new(),
            received_at: Vec::new(),
            price: DecimalColumn::default(),
            quantity: DecimalColumn::default(),
            side: String::new(),
        }
    }

    /// Appends a trade.
    ///
    /// # Errors
    /// [`ColumnFull`] when the batch is at [`BATCH_ROWS_MAX`] or a column cannot hold the value exactly; the batch is
    /// unchanged: publish it and put the trade into a new one.
    pub fn push(&mut self, trade: &Trade) -> Result<(), ColumnFull> {
        if self.len() >= BATCH_ROWS_MAX || !self.quantity.fits(trade.quantity) {
            return Err(ColumnFull);
        }
        self.price.push(trade.price)?;
        self.quantity.push(trade.quantity)?;
        self.trade_id.push(trade.trade_id);
        self.occurred_at.push(trade.occurred_at);
        self.received_at.push(trade.received_at);
        self.side.push(match trade.side {
            Side::Buy => 'B',
            Side::Sell => 'S',
        });
        Ok(())
    }

    /// Number of trades.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trade_id.len()
    }

    /// Whether there is no trade.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trade_id.is_empty()
    }

    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.trade_id.clear();
        self.occurred_at.clear();
        self.received_at.clear();
        self.price.clear();
        self.quantity.clear();
        self.side.clear();
    }

    /// The rows, in order. Only meaningful on a batch that passed [`Message::validate`].
    pub fn rows(&self) -> impl Iterator<Item = Trade> + '_ {
        self.side.bytes().enumerate().filter_map(|(row, side)| {
            Some(Trade {
                trade_id: *self.trade_id.get(row)?,
                occurred_at: *self.occurred_at.get(row)?,
                received_at: *self.received_at.get(row)?,
                price: self.price.get(row)?,
                quantity: self.quantity.get(row)?,
                side: if side == b'B' { Side::Buy } else { Side::Sell },
            })
        })
    }
}

impl Message for TickBatch {
    const KIND: Kind = Kind { name: "tick_batch", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        let rows = self.trade_id.len();
        check_symbol(&self.symbol)?;
        check_rows(rows)?;
        check_len("occurred_at", self.occurred_at.len(), rows)?;
        check_len("received_at", self.received_at.len(), rows)?;
        check_len("side", self.side.len(), rows)?;
        self.price.check("price", rows, false)?;
        self.quantity.check("quantity", rows, false)?;
        if let Some(side) = self.side.chars().find(|side| !matches!(side, 'B' | 'S')) {
            return Err(format!("side: {side:?} is neither B nor S"));
        }
        match self.trade_id.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(pair) => Err(format!("trade_id: {} is followed by {}", pair[0], pair[1])),
            None => Ok(()),
        }
    }
}

/// One change of the best bid and ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The venue's update id, 0 where it has none.
    pub update_id: u64,
    /// When the frame reached this machine (Binance stamps no quote).
    pub received_at: Timestamp,
    /// Best bid.
    pub bid_price: Fixed,
    /// Quantity at the best bid.
    pub bid_quantity: Fixed,
    /// Best ask.
    pub ask_price: Fixed,
    /// Quantity at the best ask.
    pub ask_quantity: Fixed,
}

/// Best bid and ask of one symbol at one venue, in order of arrival.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuoteBatch {
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// The venue's update ids, never falling; 0 where it has none.
    pub update_id: Vec<u64>,
    /// When the frame reached the feed, ns.
    pub received_at: Vec<Timestamp>,
    /// Best bids.
    pub bid_price: DecimalColumn,
    /// Quantities at the best bids.
    pub bid_quantity: DecimalColumn,
    /// Best asks.
    pub ask_price: DecimalColumn,
    /// Quantities at the best asks.
    pub ask_quantity: DecimalColumn,
}

impl QuoteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new(venue: Venue, symbol: &str) -> Self {
        Self {
            venue,
            symbol: symbol.to_owned(),
            update_id: Vec::new(),
            received_at: Vec::new(),
            bid_price: DecimalColumn::default(),
            bid_quantity: DecimalColumn::default(),
            ask_price: DecimalColumn::default(),
            ask_quantity: DecimalColumn::default(),
        }
    }

    /// Appends a quote.
    ///
    /// # Errors
    /// As [`TickBatch::push`].
    pub fn push(&mut self, quote: &Quote) -> Result<(), ColumnFull> {
        let fits = self.len() < BATCH_ROWS_MAX
            && self.bid_price.fits(quote.bid_price)
            && self.bid_quantity.fits(quote.bid_quantity)
            && self.ask_price.fits(quote.ask_price)
            && self.ask_quantity.fits(quote.ask_quantity);
        if !fits {
            return Err(ColumnFull);
        }
        self.bid_price.push(quote.bid_price)?;
        self.bid_quantity.push(quote.bid_quantity)?;
        self.ask_price.push(quote.ask_price)?;
        self.ask_quantity.push(quote.ask_quantity)?;
        self.update_id.push(quote.update_id);
        self.received_at.push(quote.received_at);
        Ok(())
    }

    /// Number of quotes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.update_id.len()
    }

    /// Whether there is no quote.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.update_id.is_empty()
    }

    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.update_id.clear();
        self.received_at.clear();
        for column in [&mut self.bid_price, &mut self.bid_quantity, &mut self.ask_price, &mut self.ask_quantity] {
            column.clear();
        }
    }

    /// The newest row.
    #[must_use]
    pub fn last(&self) -> Option<Quote> {
        let row = self.len().checked_sub(1)?;
        Some(Quote {
            update_id: *self.update_id.get(row)?,
            received_at: *self.received_at.get(row)?,
            bid_price: self.bid_price.get(row)?,
            bid_quantity: self.bid_quantity.get(row)?,
            ask_price: self.ask_price.get(row)?,
            ask_quantity: self.ask_quantity.get(row)?,
        })
    }
}

impl Message for QuoteBatch {
    const KIND: Kind = Kind { name: "quote_batch", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        let rows = self.update_id.len();
        check_symbol(&self.symbol)?;
        check_rows(rows)?;
        check_len("received_at", self.received_at.len(), rows)?;
        self.bid_price.check("bid_price", rows, false)?;
        self.ask_price.check("ask_price", rows, false)?;
        self.bid_quantity.check("bid_quantity", rows, true)?;
        self.ask_quantity.check("ask_quantity", rows, true)
    }
}

pub(crate) fn check_symbol(symbol: &str) -> Result<(), String> {
    let plain = !symbol.is_empty() && symbol.len() <= 32 && symbol.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if plain { Ok(()) } else { Err(format!("symbol: {symbol:?} is not made of A-Z and 0-9")) }
}

fn check_rows(rows: usize) -> Result<(), String> {
    match rows {
        0 => Err("no rows".to_owned()),
        1..=BATCH_ROWS_MAX => Ok(()),
        _ => Err(format!("{rows} rows, above the limit of {BATCH_ROWS_MAX}")),
    }
}

fn check_len(column: &str, got: usize, rows: usize) -> Result<(), String> {
    if got == rows { Ok(()) } else { Err(format!("{column}: {got} values for {rows} rows")) }
}
