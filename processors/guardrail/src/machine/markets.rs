//! What is remembered of each symbol: which trades were counted, and when data came last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spark_bus_schema::market::TickBatch;
use spark_bus_schema::{Timestamp, Venue};

use crate::window::StalenessWindow;

/// Symbols that are remembered, over all venues. Data of more than that is refused and counted.
pub const MARKETS_MAX: usize = 1_024;

/// One symbol at one venue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Market {
    /// Highest trade id counted. The broker may lose its tail and the feed publish it again: what is not above this was
    /// counted before.
    pub trade_id_max: Option<u64>,
    /// Trades counted, each id once.
    pub trades: u64,
    /// Trades that came again.
    pub duplicates: u64,
    /// When data came last.
    pub staleness: StalenessWindow,
}

impl Market {
    /// Counts a batch; returns the row from which on trades are new.
    pub fn count(&mut self, batch: &TickBatch) -> usize {
        let first_new = match self.trade_id_max {
            Some(highest) => batch.trade_id.partition_point(|id| *id <= highest),
            None => 0,
        };
        self.duplicates += first_new as u64;
        self.trades += (batch.trade_id.len() - first_new) as u64;
        self.trade_id_max = self.trade_id_max.max(batch.trade_id.last().copied());
        first_new
    }
}

/// All symbols.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Markets(BTreeMap<Venue, BTreeMap<String, Market>>);

impl Markets {
    /// The symbol's entry; none when there is no room for another.
    pub fn entry(&mut self, venue: Venue, symbol: &str) -> Option<&mut Market> {
        let known = self.0.get(&venue).is_some_and(|symbols| symbols.contains_key(symbol));
        if !known {
            if self.0.values().map(BTreeMap::len).sum::<usize>() >= MARKETS_MAX {
                return None;
            }
            self.0.entry(venue).or_default().insert(symbol.to_owned(), Market::default());
        }
        self.0.get_mut(&venue)?.get_mut(symbol)
    }

    /// Everything, by venue and symbol.
    pub fn iter(&self) -> impl Iterator<Item = (Venue, &str, &Market)> {
        self.0.iter().flat_map(|(venue, symbols)| symbols.iter().map(|(symbol, market)| (*venue, symbol.as_str(), market)))
    }

    /// No longer subscribed: staleness means nothing any more, the count stays.
    pub fn silence(&mut self, venue: Venue, gone: impl Fn(&str) -> bool) {
        for (symbol, market) in self.0.get_mut(&venue).into_iter().flatten() {
            if gone(symbol) {
                market.staleness = StalenessWindow::default();
            }
        }
    }

    /// Seconds without data, where there was some or some is expected.
    pub fn staleness(&self, at: Timestamp) -> impl Iterator<Item = (Venue, &str, f64)> {
        self.iter().filter_map(move |(venue, symbol, market)| Some((venue, symbol, market.staleness.age(at)?.as_secs_f64())))
    }
}
