//! The candles of one symbol and time frame: indicators, late history, holes, and what became of earlier scores.
//!
//! Rules. A candle counts once, by its first moment; one that is not after the newest is ignored. A hole (a candle that
//! begins later than the one before it ends) makes the indicators begin anew on venues that never close, because nobody
//! knows what happened in it; Borsa Istanbul closes, so there its candles simply follow each other. History that fills the
//! hole, or that comes after the first live candles, is put in its place as long as the live candles since are kept
//! ([`RUN_MAX`]), so that history first and candle first lead to the same state. Rows of one history follow each other
//! without a hole: what is missing there, the exchange does not have either.

use std::collections::VecDeque;

use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::{Candle, CandleHistory, TimeFrame};
use spark_bus_schema::{Timestamp, Venue};

use crate::calibration::Windows;
use crate::fusion::{Blend, Fusion, Verdict};
use crate::model::{Model, Parts};

/// Live candles since the indicators began that are kept for history that comes late; with more of them it is ignored:
/// the indicators are warm by then.
pub const RUN_MAX: usize = 64;

/// One candle as the indicators see it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// First moment.
    pub open_time: Timestamp,
    /// `o h l c v`.
    pub values: [f64; 5],
}

impl Bar {
    /// Of a live candle.
    #[must_use]
    pub fn of(candle: &Candle) -> Self {
        let values = [candle.open, candle.high, candle.low, candle.close, candle.volume];
        // Every decimal has a nearest float; were it not so, NaN is refused by the fusion.
        Self { open_time: candle.open_time, values: values.map(|value| value.to_f64().unwrap_or(f64::NAN)) }
    }

    fn rows(history: &CandleHistory) -> impl Iterator<Item = Self> + '_ {
        let columns = [&history.open, &history.high, &history.low, &history.close, &history.volume];
        history.open_time.iter().enumerate().map(move |(row, open_time)| {
            let value = |column: usize| columns[column].get(row).map_or(f64::NAN, spark_bus_schema::Fixed::to_f64);
            Self { open_time: *open_time, values: std::array::from_fn(value) }
        })
    }

    const fn close(&self) -> f64 {
        self.values[3]
    }
}

/// The newest candle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Newest {
    bar: Bar,
    verdict: Verdict,
    /// A live candle of it has come, so its score is told.
    told: bool,
}

/// A score whose outcome is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    index: u64,
    close: f64,
    /// First moment of the scored candle.
    pub open_time: Timestamp,
    /// What was said.
    pub score: f64,
    /// How sure.
    pub confid: f64,
    /// What each part said.
    pub parts: Parts,
    /// Whether the rollout had given the symbol to the model.
    pub assigned: bool,
}

/// What the price did after a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The score.
    pub of: Pending,
    /// Basis points.
    pub move_bps: f64,
    /// It moved as scored; a price that stands still is no hit.
    pub hit: bool,
}

/// One symbol and time frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    venue: Venue,
    timeframe: TimeFrame,
    horizon: u32,
    fusion: Fusion,
    /// As it was before the newest candle: for those who ask about that one.
    before: Fusion,
    newest: Option<Newest>,
    /// Live candles since the indicators began; empty once there are more than [`RUN_MAX`], or history came first.
    run: VecDeque<Bar>,
    run_is_whole: bool,
    /// Candles so far.
    index: u64,
    pending: VecDeque<Pending>,
    /// Of its scores.
    pub windows: Windows,
}

impl Series {
    /// Has seen nothing.
    #[must_use]
    pub fn new(model: &Model, venue: Venue, timeframe: TimeFrame) -> Self {
        Self {
            venue,
            timeframe,
            horizon: model.horizon(),
            fusion: Fusion::new(model),
            before: Fusion::new(model),
            newest: None,
            run: VecDeque::new(),
            run_is_whole: true,
            index: 0,
            pending: VecDeque::new(),
            windows: Windows::default(),
        }
    }

    /// Takes in a live candle. None when it is no news; else what the model's own blend says about it, for it to be told.
    pub fn live(&mut self, model: &Model, bar: Bar, seen: &mut Vec<Seen>) -> Option<Verdict> {
        if let Some(newest) = self.newest.as_mut().filter(|newest| newest.bar.open_time >= bar.open_time) {
            let is_first_word = newest.bar.open_time == bar.open_time && !newest.told;
            newest.told |= is_first_word;
            return is_first_word.then_some(newest.verdict);
        }
        if self.is_hole(bar.open_time) {
            self.begin_anew(model);
        }
        if self.run_is_whole && self.run.len() < RUN_MAX {
            self.run.push_back(bar);
        } else {
            self.run.clear();
            self.run_is_whole = false;
        }
        Some(self.take(bar, true, seen))
    }

    /// Takes in what the exchange tells of the past.
    pub fn history(&mut self, model: &Model, history: &CandleHistory, seen: &mut Vec<Seen>) {
        let newest = self.newest.map(|newest| newest.bar.open_time);
        let (past, news): (Vec<Bar>, Vec<Bar>) = Bar::rows(history).partition(|row| newest.is_some_and(|at| row.open_time <= at));
        if self.run_is_whole && !self.run.is_empty() {
            self.put_before(model, &past);
        }
        let Some(first) = news.first() else { return };
        if self.is_hole(first.open_time) {
            self.begin_anew(model);
        }
        // From here on the past is history's own.
        self.run.clear();
        self.run_is_whole = false;
        for row in news {
            self.take(row, false, seen);
        }
    }

    /// The indicators as they are had the past come first.
    fn put_before(&mut self, model: &Model, past: &[Bar]) {
        let Some(first) = self.run.front().map(|bar| bar.open_time) else { return };
        let is_earlier = |row: &&Bar| row.open_time < first;
        let Some(last) = past.iter().rfind(is_earlier) else { return };
        let adds_up = self.venue_closes() || last.open_time + self.timeframe.duration() >= first;
        if !adds_up {
            return;
        }
        (self.fusion, self.before) = (Fusion::new(model), Fusion::new(model));
        let run = std::mem::take(&mut self.run);
        let mut verdict = None;
        for bar in past.iter().filter(is_earlier).chain(&run) {
            self.before.clone_from(&self.fusion);
            verdict = Some(on_bar(&mut self.fusion, bar));
        }
        if let (Some(newest), Some(verdict)) = (&mut self.newest, verdict) {
            newest.verdict = verdict;
        }
        self.run_is_whole = false;
    }

    fn take(&mut self, bar: Bar, told: bool, seen: &mut Vec<Seen>) -> Verdict {
        self.before.clone_from(&self.fusion);
        let verdict = on_bar(&mut self.fusion, &bar);
        self.newest = Some(Newest { bar, verdict, told });
        self.index += 1;
        let is_due = |pending: &Pending| pending.index + u64::from(self.horizon) <= self.index;
        while self.pending.front().is_some_and(is_due) {
            seen.extend(self.pending.pop_front().map(|of| outcome(of, bar.close())));
        }
        verdict
    }

    /// A score about the newest candle was told: its outcome will be looked at.
    pub fn told(&mut self, at: Timestamp, verdict: &Verdict, assigned: bool) {
        let (Some(score), Some(confid), Some(parts), Some(newest)) = (verdict.score, verdict.confid, verdict.parts, &self.newest)
        else {
            return;
        };
        self.windows.told(at, score, confid);
        let (index, close, open_time) = (self.index, newest.bar.close(), newest.bar.open_time);
        self.pending.push_back(Pending { index, close, open_time, score, confid, parts, assigned });
    }

    fn begin_anew(&mut self, model: &Model) {
        (self.fusion, self.before) = (Fusion::new(model), Fusion::new(model));
        self.run.clear();
        self.run_is_whole = true;
        // How many candles went by is not known, so neither is when their horizon is reached.
        self.pending.clear();
    }

    const fn venue_closes(&self) -> bool {
        matches!(self.venue, Venue::Bist)
    }

    fn is_hole(&self, open_time: Timestamp) -> bool {
        let expected = self.newest.map(|newest| newest.bar.open_time + self.timeframe.duration());
        !self.venue_closes() && expected.is_some_and(|expected| open_time > expected)
    }

    /// What would be said about a candle that follows the newest one, or takes its place. The state stays as it is.
    ///
    /// # Errors
    /// It is neither.
    pub fn ask(&self, bar: &Bar, blend: &Blend) -> Result<Verdict, String> {
        let begun = self.begin_of(bar.open_time);
        let mut fusion = match self.newest.map(|newest| newest.bar.open_time) {
            Some(newest) if begun < newest => {
                return Err(format!("ts: {} is before the newest candle, which began at {newest}", bar.open_time));
            }
            Some(newest) if begun == newest => self.before.clone(),
            Some(newest) if self.is_hole(begun) => {
                return Err(format!("ts: candles between {newest} and {} are not known", bar.open_time));
            }
            _ => self.fusion.clone(),
        };
        Ok(on_bar(&mut fusion, bar).blended(blend))
    }

    /// First moment of the candle that a moment belongs to. Where the session sets it, whoever asks has to know it.
    fn begin_of(&self, at: Timestamp) -> Timestamp {
        if self.venue_closes() {
            return at;
        }
        let length = i64::try_from(self.timeframe.duration().as_nanos()).unwrap_or(i64::MAX);
        Timestamp::from_nanos(at.as_nanos().div_euclid(length) * length)
    }

    /// Close of the newest candle.
    #[must_use]
    pub fn close(&self) -> Option<f64> {
        self.newest.map(|newest| newest.bar.close())
    }
}

fn on_bar(fusion: &mut Fusion, bar: &Bar) -> Verdict {
    let [open, high, low, close, volume] = bar.values;
    fusion.on_bar(open, high, low, close, volume)
}

fn outcome(of: Pending, close: f64) -> Seen {
    let move_bps = (close / of.close - 1.0) * 10_000.0;
    Seen { of, move_bps, hit: move_bps * of.score > 0.0 }
}

#[cfg(test)]
mod tests;
