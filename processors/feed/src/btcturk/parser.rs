//! `[type,{…}]` frames: greeting, answers, tickers, trades, books.

use serde::Deserialize;
use serde_json::value::RawValue;
use spark_bus_schema::market::{Quote, Side, Trade};
use spark_bus_schema::{Fixed, Timestamp};

use super::book::{Change, Level};
use crate::frame::{FRAME_BYTES_MAX, FrameError, SymbolIndex, millis, not_negative, positive};

/// 1970-01-01 in .NET ticks: 100 ns since year 1.
const EPOCH_TICKS: u64 = 621_355_968_000_000_000;
/// An id or a time this far ahead of our clock is garbage: it would make every later trade look old.
const AHEAD_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
/// Entries of one frame.
const ITEMS_MAX: usize = 10_000;

/// What a frame is.
#[derive(Debug)]
pub enum Frame {
    /// 991: the server's greeting.
    Greeting,
    /// 100: the answer to a subscription.
    Answer {
        /// Whether it was accepted; a second join of the same channel is not.
        ok: bool,
        /// `join|trade:BTCTRY`
        message: String,
    },
    /// 402 and 401: best bids and asks; entries of other pairs are left out.
    Quotes(Vec<(SymbolIndex, Quote)>),
    /// 421 and 422: trades, ids rising.
    Trades(SymbolIndex, Vec<Trade>),
    /// 431: the full book.
    Book {
        /// The pair.
        symbol: SymbolIndex,
        /// `obdiff` or `orderbook`.
        channel: String,
        /// CS: number of the change that it contains.
        change_set: u64,
        /// Bids.
        bids: Vec<Level>,
        /// Asks.
        asks: Vec<Level>,
    },
    /// 432: changes of the book.
    Changes {
        /// The pair.
        symbol: SymbolIndex,
        /// CS: one more than the change before.
        change_set: u64,
        /// Of bids.
        bids: Vec<Change>,
        /// Of asks.
        asks: Vec<Change>,
    },
    /// A type that is not needed, or not known: new ones may appear.
    Other(u32),
}

#[derive(Deserialize)]
struct RawAnswer<'a> {
    ok: bool,
    #[serde(default, borrow)]
    message: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawTicker<'a> {
    #[serde(rename = "PS")]
    pair: &'a str,
    #[serde(rename = "B")]
    bid: &'a str,
    #[serde(rename = "BA")]
    bid_amount: &'a str,
    #[serde(rename = "A")]
    ask: &'a str,
    #[serde(rename = "AA")]
    ask_amount: &'a str,
}

#[derive(Deserialize)]
struct RawTickers<'a> {
    #[serde(borrow)]
    items: Vec<RawTicker<'a>>,
}

#[derive(Deserialize)]
struct RawTrade<'a> {
    #[serde(rename = "D", borrow)]
    date: &'a RawValue,
    #[serde(rename = "I", borrow)]
    id: &'a RawValue,
    #[serde(rename = "A")]
    amount: &'a str,
    #[serde(rename = "P")]
    price: &'a str,
    #[serde(rename = "S")]
    side: u8,
    #[serde(rename = "PS")]
    pair: Option<&'a str>,
}

#[derive(Deserialize)]
struct RawTrades<'a> {
    symbol: &'a str,
    #[serde(borrow)]
    items: Vec<RawTrade<'a>>,
}

#[derive(Deserialize)]
struct RawLevel<'a> {
    #[serde(rename = "P")]
    price: &'a str,
    #[serde(rename = "A")]
    amount: &'a str,
    #[serde(rename = "CP")]
    change: Option<u8>,
}

#[derive(Deserialize)]
struct RawBook<'a> {
    #[serde(rename = "CS")]
    change_set: u64,
    #[serde(rename = "PS")]
    pair: &'a str,
    channel: Option<&'a str>,
    #[serde(rename = "BO", borrow)]
    bids: Vec<RawLevel<'a>>,
    #[serde(rename = "AO", borrow)]
    asks: Vec<RawLevel<'a>>,
}

/// Reads frames of the pairs it was made with.
pub struct Parser {
    pairs: Vec<String>,
}

impl Parser {
    /// A parser for these pairs (`BTCTRY` …); indices follow their order.
    pub fn new<S: AsRef<str>>(pairs: &[S]) -> Self {
        Self { pairs: pairs.iter().map(|pair| pair.as_ref().to_owned()).collect() }
    }

    /// The pairs, in order.
    pub fn pairs(&self) -> &[String] {
        &self.pairs
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// [`FrameError`]; nothing panics on any bytes. A list with one wrong entry is refused as a whole.
    pub fn parse(&self, frame: &[u8], received_at: Timestamp) -> Result<Frame, FrameError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes: frame.len() });
        }
        let (kind, body): (u32, &RawValue) = serde_json::from_slice(frame).map_err(FrameError::Malformed)?;
        match kind {
            991 => Ok(Frame::Greeting),
            100 => {
                let raw: RawAnswer<'_> = read(body)?;
                Ok(Frame::Answer { ok: raw.ok, message: crate::frame::cut(&raw.message) })
            }
            402 => {
                let raw: RawTicker<'_> = read(body)?;
                Ok(Frame::Quotes(vec![(self.pair(raw.pair)?, quote(&raw, received_at)?)]))
            }
            401 => self.tickers(&read(body)?, received_at),
            421 => self.trades(&read(body)?, received_at),
            422 => {
                let raw: RawTrade<'_> = read(body)?;
                let pair = raw.pair.ok_or_else(|| FrameError::value("PS", "", "missing"))?;
                Ok(Frame::Trades(self.pair(pair)?, vec![trade(&raw, received_at)?]))
            }
            431 => {
                let raw: RawBook<'_> = read(body)?;
                let channel = raw.channel.unwrap_or_default().to_owned();
                let (bids, asks) = (levels(&raw.bids)?, levels(&raw.asks)?);
                Ok(Frame::Book { symbol: self.pair(raw.pair)?, channel, change_set: raw.change_set, bids, asks })
            }
            432 => {
                let raw: RawBook<'_> = read(body)?;
                let (bids, asks) = (changes(&raw.bids)?, changes(&raw.asks)?);
                Ok(Frame::Changes { symbol: self.pair(raw.pair)?, change_set: raw.change_set, bids, asks })
            }
            other => Ok(Frame::Other(other)),
        }
    }

    fn pair(&self, pair: &str) -> Result<SymbolIndex, FrameError> {
        let found = self.pairs.iter().position(|known| known == pair);
        found.ok_or_else(|| FrameError::wrong_symbol("a subscribed pair", pair))
    }

    fn tickers(&self, raw: &RawTickers<'_>, received_at: Timestamp) -> Result<Frame, FrameError> {
        let known = raw.items.iter().filter_map(|item| Some((self.pair(item.pair).ok()?, item)));
        let quotes = known.map(|(index, item)| Ok((index, quote(item, received_at)?))).collect::<Result<_, FrameError>>()?;
        Ok(Frame::Quotes(quotes))
    }

    fn trades(&self, raw: &RawTrades<'_>, received_at: Timestamp) -> Result<Frame, FrameError> {
        let symbol = self.pair(raw.symbol)?;
        if raw.items.len() > ITEMS_MAX {
            return Err(FrameError::value("items", raw.items.len(), "too many trades in one frame"));
        }
        let mut trades = Vec::with_capacity(raw.items.len());
        for item in &raw.items {
            if let Some(pair) = item.pair.filter(|&pair| pair != raw.symbol) {
                return Err(FrameError::wrong_symbol(raw.symbol, pair));
            }
            trades.push(trade(item, received_at)?);
        }
        // Whether the newest comes first is not documented.
        trades.sort_by_key(|trade| trade.trade_id);
        trades.dedup_by_key(|trade| trade.trade_id);
        Ok(Frame::Trades(symbol, trades))
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a RawValue) -> Result<T, FrameError> {
    serde_json::from_str(body.get()).map_err(FrameError::Malformed)
}

fn quote(raw: &RawTicker<'_>, received_at: Timestamp) -> Result<Quote, FrameError> {
    Ok(Quote {
        update_id: 0,
        received_at,
        bid_price: positive("B", raw.bid)?,
        bid_quantity: not_negative("BA", raw.bid_amount)?,
        ask_price: positive("A", raw.ask)?,
        ask_quantity: not_negative("AA", raw.ask_amount)?,
    })
}

fn trade(raw: &RawTrade<'_>, received_at: Timestamp) -> Result<Trade, FrameError> {
    let id: u64 = integer("I", raw.id)?;
    let occurred_at = millis("D", integer("D", raw.date)?)?;
    let latest = received_at + AHEAD_MAX;
    // Ids are .NET ticks; smaller ones would be another scheme, which cannot be judged.
    let id_is_ahead =
        id > EPOCH_TICKS && i64::try_from(id - EPOCH_TICKS).map_or(true, |ticks| ticks / 10_000 > latest.as_millis());
    if id == 0 || id_is_ahead {
        return Err(FrameError::value("I", id, "not a trade id of today or earlier"));
    }
    if occurred_at > latest {
        return Err(FrameError::value("D", occurred_at, "lies more than a day ahead"));
    }
    Ok(Trade {
        trade_id: id,
        occurred_at,
        received_at,
        price: positive("P", raw.price)?,
        quantity: positive("A", raw.amount)?,
        side: match raw.side {
            0 => Side::Buy,
            1 => Side::Sell,
            other => return Err(FrameError::value("S", other, "neither 0 (buy) nor 1 (sell)")),
        },
    })
}

/// An integer that comes as a string because it does not fit a float, or as a number all the same.
fn integer<T: std::str::FromStr>(field: &'static str, raw: &RawValue) -> Result<T, FrameError> {
    let text = raw.get();
    let digits = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).ok_or_else(|| FrameError::value(field, text, "not a whole number"))
}

fn levels(raw: &[RawLevel<'_>]) -> Result<Vec<Level>, FrameError> {
    raw.iter().map(level).collect()
}

fn level(raw: &RawLevel<'_>) -> Result<(Fixed, Fixed), FrameError> {
    Ok((positive("P", raw.price)?, not_negative("A", raw.amount)?))
}

fn changes(raw: &[RawLevel<'_>]) -> Result<Vec<Change>, FrameError> {
    raw.iter()
        .map(|raw| match raw.change {
            Some(0 | 1) => Ok(Change::Set(level(raw)?)),
            Some(3) => Ok(Change::Delete(level(raw)?.0)),
            Some(other) => Err(FrameError::value("CP", other, "none of 0, 1 and 3")),
            None => Err(FrameError::value("CP", "", "missing")),
        })
        .collect()
}
