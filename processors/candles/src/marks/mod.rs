//! What a mark follows from, and when one is due.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::market::QuoteBatch;
use spark_bus_schema::marks::Mark;
use spark_bus_schema::{InstrumentTable, Message, Timestamp, Venue};

use crate::Symbol;
use crate::config::Config;
use crate::interest::Interest;

#[cfg(test)]
mod tests;

/// Decimals of [`Mark::quote_usd`].
const QUOTE_USD_SCALE: u32 = 12;
/// A quote this far in the future is not believed: clocks of one machine do not differ.
const AHEAD_MAX: Duration = Duration::from_secs(1);
/// Symbols that are kept; more than the venues have together.
const SYMBOLS_MAX: usize = 20_000;

/// The newest quote of a symbol.
#[derive(Clone, Copy, Debug)]
struct Top {
    bid: Decimal,
    ask: Decimal,
    received_at: Timestamp,
    feed_sequence: u64,
}

impl Top {
    /// Half of bid + ask. Exact: both come from 63-bit mantissas, and a half adds one digit.
    fn mid(&self) -> Option<Decimal> {
        self.bid.checked_add(self.ask)?.checked_mul(Decimal::new(5, 1)).map(|mid| mid.normalize())
    }
}

/// The last mark of a symbol.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Timestamp,
    feed_sequence: u64,
}

/// Why a wanted symbol has no mark now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withheld {
    /// The newest quote is too old, or from the future.
    Stale,
    /// Nothing says what the quote currency is worth, or only something stale does.
    NoRate,
    /// Bid above ask, or digits that do not fit.
    Impossible,
    /// The symbol is in no table, so its quote currency is not known.
    Unlisted,
}

impl Withheld {
    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::NoRate => "no_rate",
            Self::Impossible => "impossible",
            Self::Unlisted => "unlisted",
        }
    }
}

/// Newest quotes, and the marks made of them.
#[derive(Clone, Debug)]
pub struct Marks {
    interval: Duration,
    age_max: Duration,
    usd_like: Vec<String>,
    /// Quote currency by symbol.
    quote_of: HashMap<Symbol, String>,
    /// Pairs `<USD-like>/<currency>` by currency: what it is worth.
    rates: HashMap<String, Vec<Symbol>>,
    /// At most [`SYMBOLS_MAX`].
    tops: BTreeMap<Symbol, Top>,
    told: HashMap<Symbol, Told>,
}

impl Marks {
    /// Knows no quote yet.
    #[must_use]
    pub fn new(config: &Config, instruments: &InstrumentTable) -> Self {
        let mut quote_of = HashMap::new();
        let mut rates: HashMap<String, Vec<Symbol>> = HashMap::new();
        for row in [Venue::Binance, Venue::Btcturk, Venue::Bist].into_iter().flat_map(|venue| instruments.at(venue)) {
            let symbol = (row.venue, row.symbol.clone());
            if config.usd_like.contains(&row.base) {
                rates.entry(row.quote.clone()).or_default().push(symbol.clone());
            }
            quote_of.insert(symbol, row.quote.clone());
        }
        Self {
            interval: config.mark_interval(),
            age_max: config.quote_age_max(),
            usd_like: config.usd_like.clone(),
            quote_of,
            rates,
            tops: BTreeMap::new(),
            told: HashMap::new(),
        }
    }

    /// Takes in quotes as they are stored; the newest one of the batch counts.
    pub fn quotes(&mut self, batch: &QuoteBatch, feed_sequence: u64) {
        let Some(quote) = batch.last() else { return };
        let symbol = (batch.venue, batch.symbol.clone());
        if self.tops.len() >= SYMBOLS_MAX && !self.tops.contains_key(&symbol) {
            return;
        }
        let (bid, ask) = (quote.bid_price.to_decimal(), quote.ask_price.to_decimal());
        self.tops.insert(symbol, Top { bid, ask, received_at: quote.received_at, feed_sequence });
    }

    /// Every mark that is due.
    pub fn due(&mut self, now: Timestamp, interest: &Interest) -> Vec<Result<Mark, (Symbol, Withheld)>> {
        let symbols: Vec<Symbol> = self.tops.keys().filter(|symbol| interest.is_wanted(symbol)).cloned().collect();
        symbols.iter().filter_map(|symbol| self.due_of(symbol, now, interest)).collect()
    }

    /// The mark of one symbol, when it is wanted and due: the last one is old enough, and there is a newer quote or
    /// somebody waits. It counts as told from now on.
    pub fn due_of(&mut self, symbol: &Symbol, now: Timestamp, interest: &Interest) -> Option<Result<Mark, (Symbol, Withheld)>> {
        let top = *self.tops.get(symbol)?;
        if !interest.is_wanted(symbol) {
            return None;
        }
        if let Some(told) = self.told.get(symbol) {
            let is_news = top.feed_sequence != told.feed_sequence || interest.is_asked(symbol);
            // A clock that was set back must not silence a symbol.
            if !is_news || (now >= told.at && now < told.at + self.interval) {
                return None;
            }
        }
        let mark = self.mark(symbol, &top, now);
        if mark.is_ok() {
            self.told.insert(symbol.clone(), Told { at: now, feed_sequence: top.feed_sequence });
        }
        Some(mark.map_err(|why| (symbol.clone(), why)))
    }

    fn mark(&self, symbol: &Symbol, top: &Top, now: Timestamp) -> Result<Mark, Withheld> {
        if !self.is_fresh(top, now) {
            return Err(Withheld::Stale);
        }
        let quote = self.quote_of.get(symbol).ok_or(Withheld::Unlisted)?;
        let mark = Mark {
            venue: symbol.0,
            symbol: symbol.1.clone(),
            bid: top.bid,
            ask: top.ask,
            price: top.mid().ok_or(Withheld::Impossible)?,
            quote_usd: self.usd(symbol.0, quote, now).ok_or(Withheld::NoRate)?,
            received_at: top.received_at,
            feed_sequence: top.feed_sequence,
        };
        mark.validate().map_err(|_| Withheld::Impossible)?;
        Ok(mark)
    }

    /// USD for one unit of a currency: by the same venue's rate, else by any other venue's.
    fn usd(&self, venue: Venue, currency: &str, now: Timestamp) -> Option<Decimal> {
        if self.usd_like.iter().any(|like| like == currency) {
            return Some(Decimal::ONE);
        }
        let rate = |symbol: &Symbol| {
            let top = self.tops.get(symbol).filter(|top| self.is_fresh(top, now) && top.bid <= top.ask)?;
            Decimal::ONE.checked_div(top.mid()?).map(|usd| usd.round_dp(QUOTE_USD_SCALE)).filter(|usd| !usd.is_zero())
        };
        let rates = self.rates.get(currency)?;
        let (here, elsewhere): (Vec<&Symbol>, Vec<&Symbol>) = rates.iter().partition(|symbol| symbol.0 == venue);
        here.into_iter().chain(elsewhere).find_map(rate)
    }

    fn is_fresh(&self, top: &Top, now: Timestamp) -> bool {
        top.received_at <= now + AHEAD_MAX && now.saturating_since(top.received_at) <= self.age_max
    }
}
