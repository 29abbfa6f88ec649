//! BtcTurk: one subscription a pair for trades and one for the best bid/ask, which comes from the book's changes.

pub mod book;
mod parser;

use std::time::Duration;

use spark_bus_schema::Timestamp;
use spark_bus_schema::market::Quote;

pub use parser::{Frame, Parser};

use crate::config::QuoteSource;
use crate::frame::{FrameError, SymbolIndex, Update};
use crate::quotes::REPEAT_AFTER;
use crate::venue::{Channel, Protocol, Reaction, Sink};
use book::{Book, Gap};

/// Subscriptions are not counted against any limit; still, one socket buffer at a time.
const COMMAND_PAUSE: Duration = Duration::from_millis(5);
/// A book that does not fit together is subscribed again at most this often per connection; then the connection is renewed.
const GAPS_MAX: u32 = 20;
/// Changes without a full book are those of the subscription before, for this long; then the book is asked for again.
const BOOK_LIMIT: Duration = Duration::from_secs(5);

/// Speaks BtcTurk's feed protocol.
pub(crate) struct Feed {
    base: String,
    parser: Parser,
    source: QuoteSource,
    books: Vec<Book>,
    /// Since when changes have come without a full book.
    bookless_since: Vec<Option<Timestamp>>,
    last: Vec<Option<Quote>>,
    gaps: u32,
}

impl Feed {
    pub fn new(base: &str, pairs: &[String], source: QuoteSource) -> Self {
        Self {
            base: base.to_owned(),
            parser: Parser::new(pairs),
            source,
            books: pairs.iter().map(|_| Book::default()).collect(),
            bookless_since: vec![None; pairs.len()],
            last: vec![None; pairs.len()],
            gaps: 0,
        }
    }

    fn channel(&self, channel: Channel) -> &'static str {
        match (channel, self.source) {
            (Channel::Trades, _) => "trade",
            (Channel::Quotes, QuoteSource::Book) => "obdiff",
            (Channel::Quotes, QuoteSource::Ticker) => "ticker",
        }
    }

    fn command(&self, symbol: SymbolIndex, channel: Channel, join: bool) -> String {
        let (name, pair) = (self.channel(channel), &self.parser.pairs()[symbol]);
        format!(r#"[151,{{"type":151,"channel":"{name}","event":"{pair}","join":{join}}}]"#)
    }

    /// The book's best bid/ask, or a new subscription when it does not fit together.
    fn book(&mut self, symbol: SymbolIndex, applied: Result<(), Gap>, received_at: Timestamp, sink: &mut Sink) -> Reaction {
        sink.heard(symbol, Channel::Quotes);
        if let Err(gap) = applied {
            self.books[symbol].clear();
            self.gaps += 1;
            metrics::counter!("spark_feed_book_gaps_total", "exchange" => "btcturk").increment(1);
            tracing::warn!(pair = self.parser.pairs()[symbol], %gap, "the book is subscribed again");
            if self.gaps > GAPS_MAX {
                return Reaction::Reconnect;
            }
            return Reaction::Send(self.resubscribe(symbol, Channel::Quotes));
        }
        if let Some((bid, ask)) = self.books[symbol].best() {
            let quote =
                Quote { update_id: 0, received_at, bid_price: bid.0, bid_quantity: bid.1, ask_price: ask.0, ask_quantity: ask.1 };
            self.quote(symbol, quote, sink);
        }
        Reaction::None
    }

    /// Whether changes of this pair belong to an earlier subscription.
    fn awaits_book(&mut self, symbol: SymbolIndex, received_at: Timestamp) -> bool {
        if !self.books[symbol].is_empty() {
            self.bookless_since[symbol] = None;
            return false;
        }
        let since = *self.bookless_since[symbol].get_or_insert(received_at);
        received_at.saturating_since(since) < BOOK_LIMIT
    }

    /// Leaves out what says the same as the one before, for a while: a price that still holds is not an old price.
    fn quote(&mut self, symbol: SymbolIndex, quote: Quote, sink: &mut Sink) {
        let same = |last: &Quote| {
            Quote { received_at: quote.received_at, ..*last } == quote
                && quote.received_at.saturating_since(last.received_at) < REPEAT_AFTER
        };
        if self.last[symbol].as_ref().is_some_and(same) {
            sink.heard(symbol, Channel::Quotes);
        } else {
            self.last[symbol] = Some(quote);
            sink.push(symbol, Update::Quote(quote));
        }
    }
}

impl Protocol for Feed {
    fn url(&self) -> String {
        self.base.clone()
    }

    fn subscribe(&mut self) -> Vec<String> {
        self.gaps = 0;
        self.books.iter_mut().for_each(Book::clear);
        self.bookless_since.fill(None);
        self.last.fill(None);
        let pairs = 0..self.parser.pairs().len();
        pairs.flat_map(|pair| [Channel::Trades, Channel::Quotes].map(|channel| self.command(pair, channel, true))).collect()
    }

    fn resubscribe(&mut self, symbol: SymbolIndex, channel: Channel) -> Vec<String> {
        if channel == Channel::Quotes {
            self.books[symbol].clear();
            self.bookless_since[symbol] = None;
        }
        vec![self.command(symbol, channel, false), self.command(symbol, channel, true)]
    }

    fn command_pause(&self) -> Duration {
        COMMAND_PAUSE
    }

    fn frame(&mut self, frame: &[u8], received_at: Timestamp, sink: &mut Sink) -> Result<Reaction, FrameError> {
        match self.parser.parse(frame, received_at)? {
            Frame::Trades(symbol, trades) => {
                // An empty list on joining is an answer too.
                sink.heard(symbol, Channel::Trades);
                trades.into_iter().for_each(|trade| sink.push(symbol, Update::Trade(trade)));
            }
            Frame::Quotes(quotes) => {
                if self.source == QuoteSource::Ticker {
                    quotes.into_iter().for_each(|(symbol, quote)| self.quote(symbol, quote, sink));
                }
            }
            Frame::Book { symbol, channel, change_set, bids, asks } => {
                if self.source == QuoteSource::Book && channel != "orderbook" {
                    let applied = self.books[symbol].replace(change_set, &bids, &asks);
                    return Ok(self.book(symbol, applied, received_at, sink));
                }
            }
            Frame::Changes { symbol, change_set, bids, asks } => {
                if self.source == QuoteSource::Book && !self.awaits_book(symbol, received_at) {
                    let applied = self.books[symbol].apply(change_set, &bids, &asks);
                    return Ok(self.book(symbol, applied, received_at, sink));
                }
            }
            Frame::Answer { ok: false, message } => tracing::warn!(message, "BtcTurk refuses a subscription"),
            Frame::Answer { .. } | Frame::Greeting | Frame::Other(_) => {}
        }
        Ok(Reaction::None)
    }
}

#[cfg(test)]
mod tests;
