//! Candles out of trades. Pure: the same messages, in the order of FEED, give the same candles.
//!
//! **Intervals** begin at multiples of their length since 1970-01-01 00:00 UTC, by the venue's clock, Borsa Istanbul's at its
//! session (see [`interval`]). All lengths follow from the trades themselves; merging the candles of a shorter length gives the same
//! (by test).
//!
//! **Closing.** A candle closes with the first trade at or after its end, or by the timer a grace after its end, whichever
//! comes first. The timer's clock is the venue's as far as it can be told here: the newest trade's time plus the stored time
//! that has passed since it was stored. Neither a skewed exchange clock nor a recording of another year disturbs it.
//!
//! **Late trades.** A trade that comes for a closed candle makes a higher revision of it, told once a message however many
//! trades it corrects; flat candles behind it move with its close. The last [`KEPT`] intervals of each length are open for
//! correction; trades for older ones are counted and dropped there, and still count in longer candles that are open. Within
//! a candle trades are ordered by time, then by id: the order of arrival is of no matter.
//!
//! **Twice.** A trade id counts once. Ids below the newest one are new only when they were never seen; a venue that begins
//! to count anew (a lower id with a later time) is followed. A trade more than [`AHEAD_MAX`] ahead of its stored time is
//! dropped and counted.
//!
//! **Gaps.** An interval without a trade is a flat candle with `gap: true`, at most [`FLATS_MAX`] in a row: after that
//! nothing is told of the symbol until it trades again, and the silence is not told later. There is none before the first
//! trade. Out of a session nothing is told.
//!
//! **Complete** is a candle unless Spark began to listen within it, a trade id is missing that may belong to it (Binance
//! numbers by one), or the connection was cut within it (venues whose ids jump). When the missing trades come, a higher
//! revision says so; else the exchange's own candle replaces it ([`Bars::history`]).

mod frame;
mod ids;
pub mod interval;
mod piece;
mod series;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::{Candle, CandleHistory, TimeFrame};
use spark_bus_schema::decimal::SCALE_MAX;
use spark_bus_schema::market::TickBatch;
use spark_bus_schema::session::Calendar;
use spark_bus_schema::{Timestamp, Venue};

pub use frame::{FLATS_MAX, KEPT};
pub use series::AHEAD_MAX;

use series::{Call, Series};

#[cfg(test)]
mod tests;

/// Call [`Bars::tick`] at multiples of this in stored time.
pub const STEP: Duration = Duration::from_millis(250);
/// Symbols that candles are made of; trades of others are dropped and counted.
pub const SYMBOLS_MAX: usize = 5_000;

/// What candles are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BarsConfig {
    /// Lengths.
    pub timeframes: Vec<TimeFrame>,
    /// After its end a candle waits this long for trades that are on their way, unless a later trade closes it.
    pub grace: Duration,
}

impl Default for BarsConfig {
    /// All lengths but 1s; 1 s.
    fn default() -> Self {
        let timeframes = TimeFrame::ALL.into_iter().filter(|frame| *frame != TimeFrame::S1).collect();
        Self { timeframes, grace: Duration::from_secs(1) }
    }
}

/// What happened to trades, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Came after a candle of theirs was closed.
    pub late: u64,
    /// Of those, too late for one of their candles.
    pub dropped: u64,
    /// Were there before.
    pub duplicates: u64,
    /// Dropped: their time lies too far in the future.
    pub ahead: u64,
    /// Dropped: too many symbols.
    pub beyond: u64,
}

/// Candles of every symbol. See the module for the rules.
#[derive(Clone, Debug)]
pub struct Bars {
    timeframes: Vec<TimeFrame>,
    grace: Duration,
    calendar: Calendar,
    kept: Kept,
}

/// What is saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    series: BTreeMap<Venue, BTreeMap<String, Series>>,
    counts: Counts,
}

impl Bars {
    /// Knows no trade yet.
    #[must_use]
    pub fn new(config: &BarsConfig) -> Self {
        let mut timeframes = config.timeframes.clone();
        timeframes.sort_unstable();
        timeframes.dedup();
        Self { timeframes, grace: config.grace, calendar: Calendar::default(), kept: Kept::default() }
    }

    /// With Borsa Istanbul's days as configured; without it they are the table's.
    #[must_use]
    pub fn with_calendar(self, calendar: Calendar) -> Self {
        Self { calendar, ..self }
    }

    /// Takes in a batch stored at `at` (never falling) and appends the candles that it closed or corrected.
    pub fn apply(&mut self, at: Timestamp, batch: &TickBatch, closed: &mut Vec<Candle>) {
        if batch.price.scale > SCALE_MAX || batch.quantity.scale > SCALE_MAX {
            return;
        }
        let venue = batch.venue;
        let symbols = self.kept.series.entry(venue).or_default();
        if !symbols.contains_key(&batch.symbol) {
            if symbols.len() >= SYMBOLS_MAX {
                self.kept.counts.beyond += batch.len() as u64;
                return;
            }
            symbols.insert(batch.symbol.clone(), Series::new(venue, &self.timeframes));
        }
        let (counts, calendar) = (&mut self.kept.counts, &self.calendar);
        if let Some(series) = symbols.get_mut(&batch.symbol) {
            series.apply(batch, &mut Call { at, venue, symbol: &batch.symbol, calendar, counts, told: closed });
        }
    }

    /// Closes what is over. Call at every multiple of [`STEP`].
    pub fn tick(&mut self, at: Timestamp, closed: &mut Vec<Candle>) {
        let grace = self.grace;
        self.each(|series, call| series.tick(grace, call), None, at, closed);
    }

    /// The connection to a venue broke, or is being made anew.
    pub fn cut(&mut self, at: Timestamp, venue: Venue, closed: &mut Vec<Candle>) {
        self.each(Series::cut, Some(venue), at, closed);
    }

    /// Candles of the exchange replace incomplete ones that are still open for correction. Of those, `quote_volume` and
    /// `trades` are not told by the exchange: what is known here stays, and missing volume counts at the close.
    pub fn history(&mut self, at: Timestamp, history: &CandleHistory, closed: &mut Vec<Candle>) {
        let columns = [&history.open, &history.high, &history.low, &history.close, &history.volume];
        if columns.iter().any(|column| column.scale > SCALE_MAX) {
            return;
        }
        let venue = history.venue;
        let (counts, calendar) = (&mut self.kept.counts, &self.calendar);
        if let Some(series) = self.kept.series.get_mut(&venue).and_then(|symbols| symbols.get_mut(&history.symbol)) {
            series.replace(history, &mut Call { at, venue, symbol: &history.symbol, calendar, counts, told: closed });
        }
    }

    fn each(
        &mut self,
        mut act: impl FnMut(&mut Series, &mut Call<'_>),
        only: Option<Venue>,
        at: Timestamp,
        told: &mut Vec<Candle>,
    ) {
        let (counts, calendar) = (&mut self.kept.counts, &self.calendar);
        for (&venue, symbols) in self.kept.series.iter_mut().filter(|(venue, _)| only.is_none_or(|only| only == **venue)) {
            for (symbol, series) in symbols {
                act(series, &mut Call { at, venue, symbol, calendar, counts: &mut *counts, told: &mut *told });
            }
        }
    }

    /// What happened to trades, in all.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.kept.counts
    }

    /// The state, to be continued later.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        rmp_serde::to_vec(&self.kept).expect("plain values can always be written")
    }

    /// Continues a saved state. Lengths that are not made any more are dropped, new ones begin with the next trade.
    ///
    /// # Errors
    /// What makes the state unusable.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.kept = spark_bus_schema::codec::from_saved(bytes).map_err(|error| error.to_string())?;
        for series in self.kept.series.values_mut().flat_map(BTreeMap::values_mut) {
            series.set_lengths(&self.timeframes);
        }
        Ok(())
    }
}
