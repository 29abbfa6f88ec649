//! The best bid and ask of each symbol as FEED had them: now, and at every moment of the recent past.
//!
//! An order that was decided at a moment is filled against the book of that moment ([`Market::at`]), however late it comes.
//! What was taken of a price stays taken while the market says the same, seen from then and from now.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::Timestamp;
use spark_bus_schema::market::{Quote, QuoteBatch, Side};

/// How far back the book is remembered.
pub const RECORD_AGE_MAX: Duration = Duration::from_secs(60);
/// Messages of one symbol that are remembered, at most; with more in [`RECORD_AGE_MAX`] the oldest go.
pub const RECORD_QUOTES_MAX: usize = 16_384;

/// One side of the book. `level` names it while price and size stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Half {
    price: Decimal,
    size: Decimal,
    level: u64,
}

/// The book after one message.
#[derive(Clone, Copy, Debug)]
struct Entry {
    stored_at: Timestamp,
    received_at: Timestamp,
    bid: Half,
    ask: Half,
}

impl Entry {
    /// What an order of `side` meets.
    fn half(&self, side: Side) -> Half {
        match side {
            Side::Buy => self.ask,
            Side::Sell => self.bid,
        }
    }
}

/// What the record says about a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// FEED has not been read past it.
    NotRead,
    /// The record begins after it, here; none: the symbol has no record.
    NotKept(Option<Timestamp>),
    /// Nobody quoted: the last quote was older than allowed, or of this side there is none.
    NoQuote,
    /// An order of the side met this.
    Offer(Offer),
}

/// What an order meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Quote per base.
    pub price: Decimal,
    /// Of it, base currency, less what was taken.
    pub left: Decimal,
    level: u64,
}

/// One symbol.
#[derive(Clone, Debug, Default)]
struct Book {
    now: Option<Entry>,
    levels: u64,
    record: VecDeque<Entry>,
    /// What is known was looked up ahead of FEED, which may bring older quotes yet.
    is_ahead: bool,
    /// Taken of bids, by level.
    sold: BTreeMap<u64, Decimal>,
    /// Taken of asks, by level.
    bought: BTreeMap<u64, Decimal>,
    /// Taken in an earlier life, at this time: of the level that was there then, which may not have been read yet.
    earlier: Vec<(Timestamp, Side, Decimal)>,
}

impl Book {
    fn half(&mut self, before: Option<Half>, price: Decimal, size: Decimal) -> Half {
        match before {
            Some(half) if (half.price, half.size) == (price, size) => half,
            _ => {
                self.levels += 1;
                Half { price, size, level: self.levels }
            }
        }
    }

    /// One row of a message.
    fn row(&mut self, quote: &Quote, stored_at: Timestamp) {
        self.settle(|at| at < stored_at);
        let before = self.now;
        let bid = self.half(before.map(|now| now.bid), quote.bid_price.to_decimal(), quote.bid_quantity.to_decimal());
        let ask = self.half(before.map(|now| now.ask), quote.ask_price.to_decimal(), quote.ask_quantity.to_decimal());
        self.now = Some(Entry { stored_at, received_at: quote.received_at, bid, ask });
    }

    /// The rows of a message have all been taken in: the last one is what FEED had from then on.
    fn message(&mut self) {
        let Some(now) = self.now else { return };
        match self.record.back_mut().filter(|last| last.stored_at == now.stored_at) {
            Some(last) => *last = now,
            None => self.record.push_back(now),
        }
        let is_old = |entry: &Entry| entry.stored_at + RECORD_AGE_MAX < now.stored_at;
        // One that is older stays: it holds until the next one.
        while self.record.len() > RECORD_QUOTES_MAX || self.record.get(1).is_some_and(is_old) {
            self.record.pop_front();
        }
        let Some(oldest) = self.record.front().copied() else { return };
        for (taken, level) in [(&mut self.sold, oldest.bid.level), (&mut self.bought, oldest.ask.level)] {
            if taken.first_key_value().is_some_and(|(first, _)| *first < level) {
                *taken = taken.split_off(&level);
            }
        }
    }

    /// Counts what was taken earlier, where it is known of which level.
    fn settle(&mut self, is_due: impl Fn(Timestamp) -> bool) {
        // Before the first quote it is not known of which level it was.
        if self.earlier.is_empty() || self.now.is_none() {
            return;
        }
        let earlier = std::mem::take(&mut self.earlier);
        let (due, rest) = earlier.into_iter().partition(|(at, ..)| is_due(*at));
        self.earlier = rest;
        for (at, side, quantity) in due {
            // The newest row may not be in the record yet.
            if let Some(entry) = self.now.filter(|now| now.stored_at <= at).or_else(|| self.entry(at)) {
                self.take(side, entry.half(side).level, quantity);
            }
        }
    }

    /// The last message stored at or before a moment.
    fn entry(&self, moment: Timestamp) -> Option<Entry> {
        let after = self.record.partition_point(|entry| entry.stored_at <= moment);
        after.checked_sub(1).and_then(|at| self.record.get(at)).copied()
    }

    fn take(&mut self, side: Side, level: u64, quantity: Decimal) {
        let taken = match side {
            Side::Buy => self.bought.entry(level).or_default(),
            Side::Sell => self.sold.entry(level).or_default(),
        };
        *taken = taken.checked_add(quantity).unwrap_or(Decimal::MAX);
    }

    fn offer(&self, side: Side, entry: &Entry) -> Option<Offer> {
        let half = entry.half(side);
        let of = if side == Side::Buy { &self.bought } else { &self.sold };
        let taken = of.get(&half.level).copied().unwrap_or_default();
        let left = half.size.checked_sub(taken).unwrap_or_default().max(Decimal::ZERO);
        (half.price > Decimal::ZERO).then_some(Offer { price: half.price, left, level: half.level })
    }
}

/// The books of one venue.
#[derive(Clone, Debug, Default)]
pub struct Market {
    books: HashMap<String, Book>,
    read_to: Timestamp,
}

impl Market {
    /// Takes in one row of a message that FEED stored then. False: it is older than what is known, and nothing has changed.
    /// After the last row comes [`message`](Self::message).
    pub fn row(&mut self, symbol: &str, quote: &Quote, stored_at: Timestamp) -> bool {
        let book = match self.books.get_mut(symbol) {
            Some(book) => book,
            None => self.books.entry(symbol.to_owned()).or_default(),
        };
        if book.now.is_some_and(|now| stored_at < now.stored_at) {
            if !book.is_ahead {
                return false;
            }
            // FEED brings what led up to it, and then the same quote again.
            *book = Book { earlier: std::mem::take(&mut book.earlier), ..Book::default() };
        }
        book.is_ahead = false;
        book.row(quote, stored_at);
        true
    }

    /// A whole message, where nothing rests that it could fill.
    pub fn batch(&mut self, batch: &QuoteBatch, stored_at: Timestamp) {
        for row in 0..batch.len() {
            if let Some(quote) = super::quote_of(batch, row) {
                self.row(&batch.symbol, &quote, stored_at);
            }
        }
        self.message(&batch.symbol);
        self.read_to(stored_at);
    }

    /// The newest message about a symbol, looked up before FEED was read up to it: better than none until then. Nothing else is
    /// known of the time before.
    pub fn ahead(&mut self, batch: &QuoteBatch, stored_at: Timestamp) {
        let read_to = self.read_to;
        self.batch(batch, stored_at);
        self.read_to = read_to;
        if let Some(book) = self.books.get_mut(&batch.symbol) {
            book.is_ahead = true;
        }
    }

    /// All rows of a message have been taken in.
    pub fn message(&mut self, symbol: &str) {
        if let Some(book) = self.books.get_mut(symbol) {
            book.message();
        }
    }

    /// FEED has been read up to and with what was stored then.
    pub fn read_to(&mut self, stored_at: Timestamp) {
        self.read_to = self.read_to.max(stored_at);
    }

    /// Whether everything stored up to and with this moment has been read.
    #[must_use]
    pub fn has_read(&self, moment: Timestamp) -> bool {
        self.read_to > moment
    }

    /// Whether a quote of the symbol has been seen.
    #[must_use]
    pub fn has_quote(&self, symbol: &str) -> bool {
        self.books.get(symbol).is_some_and(|book| book.now.is_some())
    }

    /// Taken at this time in an earlier life.
    pub fn taken_earlier(&mut self, symbol: &str, side: Side, at: Timestamp, quantity: Decimal) {
        self.books.entry(symbol.to_owned()).or_default().earlier.push((at, side, quantity));
    }

    /// What an order of `side` meets now; none when nobody quotes.
    #[must_use]
    pub fn now(&mut self, symbol: &str, side: Side) -> Option<Offer> {
        let book = self.books.get_mut(symbol)?;
        book.settle(|_| true);
        let now = book.now?;
        book.offer(side, &now)
    }

    /// As [`now`](Self::now), unless the quote is older than `age_max` at `at`.
    #[must_use]
    pub fn fresh(&mut self, symbol: &str, side: Side, at: Timestamp, age_max: Duration) -> Option<Offer> {
        let received_at = self.books.get(symbol)?.now?.received_at;
        if at.saturating_since(received_at) > age_max { None } else { self.now(symbol, side) }
    }

    /// What an order of `side` met at a moment: the last row of the last message that FEED stored at or before it.
    #[must_use]
    pub fn at(&mut self, symbol: &str, side: Side, moment: Timestamp, age_max: Duration) -> Moment {
        if !self.has_read(moment) {
            return Moment::NotRead;
        }
        let Some(book) = self.books.get_mut(symbol) else { return Moment::NotKept(None) };
        book.settle(|_| true);
        let Some(entry) = book.entry(moment) else {
            return Moment::NotKept(book.record.front().map(|entry| entry.stored_at));
        };
        if moment.saturating_since(entry.received_at) > age_max {
            return Moment::NoQuote;
        }
        book.offer(side, &entry).map_or(Moment::NoQuote, Moment::Offer)
    }

    /// Takes from what an order of `side` met.
    pub fn take(&mut self, symbol: &str, side: Side, offer: Offer, quantity: Decimal) {
        if let Some(book) = self.books.get_mut(symbol) {
            book.take(side, offer.level, quantity);
        }
    }
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::Fixed;

    use super::*;

    const AGE: Duration = Duration::from_secs(10);

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + ms)
    }

    fn quote(bid: &str, ask: &str, size: &str, ms: i64) -> Quote {
        let fixed = |text| Fixed::parse(text).unwrap();
        Quote {
            update_id: 0,
            received_at: at(ms),
            bid_price: fixed(bid),
            bid_quantity: fixed(size),
            ask_price: fixed(ask),
            ask_quantity: fixed(size),
        }
    }

    fn message(market: &mut Market, ms: i64, rows: &[(&str, &str, &str)]) {
        for (bid, ask, size) in rows {
            assert!(market.row("X", &quote(bid, ask, size, ms), at(ms)));
        }
        market.message("X");
        market.read_to(at(ms));
    }

    fn buy(market: &mut Market, ms: i64) -> Moment {
        market.at("X", Side::Buy, at(ms), AGE)
    }

    fn price(moment: Moment) -> Option<(String, String)> {
        match moment {
            Moment::Offer(offer) => Some((offer.price.to_string(), offer.left.to_string())),
            _ => None,
        }
    }

    #[test]
    fn a_quote_looked_up_ahead_hides_none_that_feed_brings_later() {
        let mut market = Market::default();
        let mut newest = QuoteBatch::new(spark_bus_schema::Venue::Binance, "X");
        newest.push(&quote("19", "20", "1", 200)).unwrap();
        market.ahead(&newest, at(200));
        assert_eq!(market.now("X", Side::Buy).map(|offer| offer.price.to_string()), Some("20".into()), "better than none");
        assert_eq!(buy(&mut market, 100), Moment::NotRead, "FEED has not been read");
        message(&mut market, 100, &[("9", "10", "1")]);
        message(&mut market, 200, &[("19", "20", "1")]);
        market.read_to(at(300));
        assert_eq!(price(buy(&mut market, 150)), Some(("10".into(), "1".into())));
        assert_eq!(price(buy(&mut market, 200)), Some(("20".into(), "1".into())));
        assert!(!market.row("X", &quote("9", "10", "1", 100), at(100)), "afterwards nothing older counts");
    }

    #[test]
    fn a_moment_has_the_last_row_of_the_last_message_stored_at_or_before_it() {
        let mut market = Market::default();
        message(&mut market, 100, &[("9", "10", "1"), ("10", "11", "1")]);
        message(&mut market, 200, &[("11", "12", "1")]);
        assert_eq!(buy(&mut market, 99), Moment::NotKept(Some(at(100))));
        let check =
            |market: &mut Market, ms, want: &str| assert_eq!(price(buy(market, ms)), Some((want.into(), "1".into())), "{ms}");
        check(&mut market, 100, "11");
        check(&mut market, 199, "11");
        // At 200 itself something may still be stored.
        assert_eq!(buy(&mut market, 200), Moment::NotRead);
        market.read_to(at(201));
        check(&mut market, 200, "12");
        assert_eq!(market.at("X", Side::Sell, at(150), AGE), {
            let Moment::Offer(offer) = market.at("X", Side::Sell, at(150), AGE) else { panic!("no offer") };
            assert_eq!(offer.price.to_string(), "10");
            Moment::Offer(offer)
        });
        market.read_to(at(60_000));
        assert_eq!(buy(&mut market, 20_000), Moment::NoQuote);
        assert_eq!(market.at("Y", Side::Buy, at(100), AGE), Moment::NotKept(None));
    }

    #[test]
    fn what_was_taken_then_is_taken_now_while_the_market_says_the_same() {
        let mut market = Market::default();
        message(&mut market, 100, &[("9", "10", "5")]);
        message(&mut market, 200, &[("8", "10", "5")]);
        message(&mut market, 300, &[("8", "10", "6")]);
        let Moment::Offer(offer) = buy(&mut market, 150) else { panic!("no offer") };
        market.take("X", Side::Buy, offer, Decimal::from(2));
        assert_eq!(price(buy(&mut market, 250)), Some(("10".into(), "3".into())));
        assert_eq!(market.now("X", Side::Buy).unwrap().left, Decimal::from(6));
        // Within one message the size may have been another in between: it is offered again.
        message(&mut market, 400, &[("8", "10", "7"), ("8", "10", "6")]);
        let now = market.now("X", Side::Buy).unwrap();
        market.take("X", Side::Buy, now, Decimal::ONE);
        assert_eq!(market.now("X", Side::Buy).unwrap().left, Decimal::from(5));
    }

    #[test]
    fn what_an_earlier_life_took_is_taken_of_the_level_that_was_there_then() {
        let mut market = Market::default();
        for (ms, quantity) in [(50, 1), (150, 2), (350, 3)] {
            market.taken_earlier("X", Side::Buy, at(ms), Decimal::from(quantity));
        }
        message(&mut market, 100, &[("9", "10", "5")]);
        message(&mut market, 200, &[("9", "11", "5")]);
        message(&mut market, 300, &[("9", "12", "5")]);
        market.read_to(at(301));
        assert_eq!(price(buy(&mut market, 150)), Some(("10".into(), "3".into())));
        assert_eq!(price(buy(&mut market, 250)), Some(("11".into(), "5".into())));
        assert_eq!(price(buy(&mut market, 300)), Some(("12".into(), "2".into())));
    }

    #[test]
    fn the_record_is_bounded_in_time_and_number_and_goes_only_forward() {
        let mut market = Market::default();
        for step in 0..100 {
            message(&mut market, step * 1_000, &[("9", "10", "5")]);
        }
        market.read_to(at(200_000));
        assert_eq!(buy(&mut market, 37_999), Moment::NotKept(Some(at(38_000))));
        assert!(price(buy(&mut market, 38_500)).is_some());
        assert!(!market.row("X", &quote("1", "2", "1", 0), at(0)), "older than what is known");
        for step in 0..2 * RECORD_QUOTES_MAX {
            message(&mut market, 100_000 + i64::try_from(step).unwrap(), &[("9", if step % 2 == 0 { "10" } else { "11" }, "5")]);
        }
        let book = &market.books["X"];
        assert_eq!(book.record.len(), RECORD_QUOTES_MAX);
        let offer = market.now("X", Side::Buy).unwrap();
        market.take("X", Side::Buy, offer, Decimal::ONE);
        message(&mut market, 900_000, &[("9", "10", "1")]);
        message(&mut market, 990_000, &[("9", "11", "2")]);
        message(&mut market, 999_000, &[("8", "11", "2")]);
        assert!(market.books["X"].bought.is_empty(), "what is out of the record is forgotten");
    }
}
