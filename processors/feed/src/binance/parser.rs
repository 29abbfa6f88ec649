//! Combined-stream frames: `trade` and `bookTicker` become [`Update`]s; numbers stay exact, strings are borrowed.

use serde::Deserialize;
use serde_json::value::RawValue;
use spark_bus_schema::Timestamp;
use spark_bus_schema::market::{Quote, Side, Trade};

use super::scan;
use crate::frame::{FRAME_BYTES_MAX, FrameError, SymbolIndex, Update, millis, not_negative, positive};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A trade or a best bid/ask of the symbol at this index.
    Update(SymbolIndex, Update),
    /// The answer to a command: whether it was accepted.
    Answer {
        /// False for `{"code":…,"msg":…}`.
        ok: bool,
    },
    /// The server is about to close: connect anew at once.
    ServerShutdown,
    /// Something that was not asked for and does no harm: another stream, a snapshot.
    Other,
}

/// Which of a symbol's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Trade,
    BookTicker,
}

/// The strings and numbers of a `trade` frame, as they came.
#[derive(Debug, Deserialize)]
pub(super) struct RawTrade<'a> {
    #[serde(rename = "e")]
    pub event: &'a str,
    #[serde(rename = "s")]
    pub symbol: &'a str,
    #[serde(rename = "t")]
    pub id: u64,
    #[serde(rename = "p")]
    pub price: &'a str,
    #[serde(rename = "q")]
    pub quantity: &'a str,
    #[serde(rename = "T")]
    pub time: i64,
    #[serde(rename = "m")]
    pub buyer_is_maker: bool,
}

/// The strings and numbers of a `bookTicker` frame, as they came.
#[derive(Debug, Deserialize)]
pub(super) struct RawQuote<'a> {
    #[serde(rename = "u")]
    pub update_id: u64,
    #[serde(rename = "s")]
    pub symbol: &'a str,
    #[serde(rename = "b")]
    pub bid_price: &'a str,
    #[serde(rename = "B")]
    pub bid_quantity: &'a str,
    #[serde(rename = "a")]
    pub ask_price: &'a str,
    #[serde(rename = "A")]
    pub ask_quantity: &'a str,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    stream: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow, rename = "e")]
    event: Option<&'a RawValue>,
}

struct Names {
    symbol: String,
    trade: String,
    book_ticker: String,
}

/// Reads frames of the symbols it was made with.
pub struct Parser {
    symbols: Vec<Names>,
}

impl Parser {
    /// A parser for these symbols (`BTCUSDT` …); indices in [`Frame::Update`] follow their order.
    pub fn new<S: AsRef<str>>(symbols: &[S]) -> Self {
        let names = |symbol: &S| {
            let lower = symbol.as_ref().to_ascii_lowercase();
            Names {
                symbol: symbol.as_ref().to_owned(),
                trade: format!("{lower}@trade"),
                book_ticker: format!("{lower}@bookTicker"),
            }
        };
        Self { symbols: symbols.iter().map(names).collect() }
    }

    /// The streams to subscribe, in the order trade, bookTicker for each symbol.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.symbols.iter().flat_map(|names| [names.trade.as_str(), names.book_ticker.as_str()])
    }

    /// Reads one frame. The usual byte sequence is scanned directly, everything else goes through serde; both give the same.
    ///
    /// # Errors
    /// [`FrameError`]; nothing panics on any bytes.
    pub fn parse(&self, frame: &[u8], received_at: Timestamp) -> Result<Frame, FrameError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes: frame.len() });
        }
        match self.parse_usual(frame, received_at) {
            Some(result) => result,
            None => self.parse_any(frame, received_at),
        }
    }

    /// The scanner's path; `None` when the bytes are not laid out as Binance writes them.
    fn parse_usual(&self, frame: &[u8], received_at: Timestamp) -> Option<Result<Frame, FrameError>> {
        let (stream, data) = scan::envelope(frame)?;
        let (index, kind) = self.stream(stream)?;
        Some(match kind {
            Stream::Trade => self.trade(index, &scan::trade(data)?, received_at),
            Stream::BookTicker => self.quote(index, &scan::quote(data)?, received_at),
        })
    }

    /// The serde path, for any valid JSON.
    ///
    /// # Errors
    /// As [`Parser::parse`].
    pub fn parse_any(&self, frame: &[u8], received_at: Timestamp) -> Result<Frame, FrameError> {
        let envelope: Envelope<'_> = serde_json::from_slice(frame).map_err(FrameError::Malformed)?;
        let (Some(stream), Some(data)) = (envelope.stream, envelope.data) else {
            return Ok(match envelope {
                Envelope { event: Some(event), .. } if event.get() == "\"serverShutdown\"" => Frame::ServerShutdown,
                Envelope { code: Some(_), .. } => Frame::Answer { ok: false },
                Envelope { id: Some(_), .. } => Frame::Answer { ok: true },
                _ => Frame::Other,
            });
        };
        if stream == "!serverShutdown" {
            return Ok(Frame::ServerShutdown);
        }
        match self.stream(stream) {
            Some((index, Stream::Trade)) => {
                let raw = serde_json::from_str(data.get()).map_err(FrameError::Malformed)?;
                self.trade(index, &raw, received_at)
            }
            Some((index, Stream::BookTicker)) => {
                let raw = serde_json::from_str(data.get()).map_err(FrameError::Malformed)?;
                self.quote(index, &raw, received_at)
            }
            None if stream.ends_with("@trade") || stream.ends_with("@bookTicker") => {
                Err(FrameError::wrong_symbol("a subscribed stream", stream))
            }
            None => Ok(Frame::Other),
        }
    }

    fn stream(&self, stream: &str) -> Option<(SymbolIndex, Stream)> {
        self.symbols.iter().enumerate().find_map(|(index, names)| {
            if names.trade == stream {
                Some((index, Stream::Trade))
            } else if names.book_ticker == stream {
                Some((index, Stream::BookTicker))
            } else {
                None
            }
        })
    }

    fn check_symbol(&self, index: SymbolIndex, got: &str) -> Result<(), FrameError> {
        let want = &self.symbols[index].symbol;
        if want == got { Ok(()) } else { Err(FrameError::wrong_symbol(want, got)) }
    }

    fn trade(&self, index: SymbolIndex, raw: &RawTrade<'_>, received_at: Timestamp) -> Result<Frame, FrameError> {
        self.check_symbol(index, raw.symbol)?;
        if raw.event != "trade" {
            return Err(FrameError::value("e", raw.event, "not \"trade\" on a trade stream"));
        }
        if raw.id == 0 || raw.id == u64::MAX {
            return Err(FrameError::value("t", raw.id, "not a trade id"));
        }
        let trade = Trade {
            trade_id: raw.id,
            occurred_at: millis("T", raw.time)?,
            received_at,
            price: positive("p", raw.price)?,
            quantity: positive("q", raw.quantity)?,
            side: if raw.buyer_is_maker { Side::Sell } else { Side::Buy },
        };
        Ok(Frame::Update(index, Update::Trade(trade)))
    }

    fn quote(&self, index: SymbolIndex, raw: &RawQuote<'_>, received_at: Timestamp) -> Result<Frame, FrameError> {
        self.check_symbol(index, raw.symbol)?;
        let quote = Quote {
            update_id: raw.update_id,
            received_at,
            bid_price: positive("b", raw.bid_price)?,
            bid_quantity: not_negative("B", raw.bid_quantity)?,
            ask_price: positive("a", raw.ask_price)?,
            ask_quantity: not_negative("A", raw.ask_quantity)?,
        };
        Ok(Frame::Update(index, Update::Quote(quote)))
    }
}
