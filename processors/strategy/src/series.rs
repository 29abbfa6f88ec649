//! Candles of one symbol to what a rule wants, whatever comes first: history, candles, or candles again after a restart.
//!
//! What is known is the unbroken run of bars that ends with the newest one. A candle that does not follow on it (a hole: this
//! machine was asleep, FEED lost messages) begins a new run; history may close the hole again. Candles win over history. Of each
//! candle the first word counts (revision 1), and a bar is decided on once. Borsa Istanbul's bars follow each other over the
//! night, so there every later bar follows on.

use std::collections::{BTreeMap, VecDeque};

use rust_decimal::Decimal;
use spark_bus_schema::candles::{Candle, CandleHistory, TimeFrame};
use spark_bus_schema::{Fixed, Timestamp, Venue};

use crate::rule::{Bar, SmaCross, Want};

/// A closed bar asks for a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Of the bar.
    pub open_time: Timestamp,
    /// When it was over here: the time of the decision.
    pub closed_at: Timestamp,
    /// Its last price.
    pub close: Decimal,
    /// What the rule wants.
    pub want: Want,
}

/// The bars of one strategy.
#[derive(Clone, Debug)]
pub struct Series {
    rule: SmaCross,
    venue: Venue,
    timeframe: TimeFrame,
    bars: VecDeque<Bar>,
    /// The newest candle, as opposed to history.
    newest: Option<Timestamp>,
}

impl Series {
    /// No bars yet.
    #[must_use]
    pub fn new(rule: SmaCross, venue: Venue, timeframe: TimeFrame) -> Self {
        Self { rule, venue, timeframe, bars: VecDeque::new(), newest: None }
    }

    /// Whether the rule has all the bars it needs.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.rule.is_warm()
    }

    /// Of its bars.
    #[must_use]
    pub fn timeframe(&self) -> TimeFrame {
        self.timeframe
    }

    fn follows(&self, before: Timestamp, after: Timestamp) -> bool {
        self.venue == Venue::Bist || after == before + self.timeframe.duration()
    }

    /// Takes in a candle; a decision when it is the next one and the rule is warm.
    pub fn candle(&mut self, candle: &Candle) -> Option<Decision> {
        if candle.revision != 1 || self.newest.is_some_and(|newest| candle.open_time <= newest) {
            return None;
        }
        self.newest = Some(candle.open_time);
        let bar = bar(candle)?;
        let mut is_next = true;
        while self.bars.back().is_some_and(|last| last.open_time >= bar.open_time) {
            // History was ahead; the candle's own figures win.
            self.bars.pop_back();
            is_next = false;
        }
        if self.bars.back().is_some_and(|last| !self.follows(last.open_time, bar.open_time)) {
            self.bars.clear();
            is_next = false;
        }
        self.bars.push_back(bar);
        while self.bars.len() > self.rule.warm_after() {
            self.bars.pop_front();
        }
        let want = if is_next { self.rule.on_bar(&bar) } else { self.again() }?;
        Some(Decision { open_time: candle.open_time, closed_at: candle.closed_at, close: candle.close, want })
    }

    /// Takes in history; there is nothing to decide in it.
    pub fn history(&mut self, history: &CandleHistory) {
        let known: BTreeMap<Timestamp, Bar> = self.bars.iter().map(|bar| (bar.open_time, *bar)).collect();
        let mut all: BTreeMap<Timestamp, Bar> = rows(history).map(|bar| (bar.open_time, bar)).collect();
        // What was not over yet when the exchange told it is no bar.
        all.retain(|open_time, _| *open_time + self.timeframe.duration() <= history.fetched_at);
        all.extend(known);
        let mut run: VecDeque<Bar> = VecDeque::new();
        for bar in all.into_values().rev() {
            if run.len() == self.rule.warm_after()
                || run.front().is_some_and(|after| !self.follows(bar.open_time, after.open_time))
            {
                break;
            }
            run.push_front(bar);
        }
        self.bars = run;
        self.again();
    }

    /// Shows the rule all bars, as if it had seen no others.
    fn again(&mut self) -> Option<Want> {
        self.rule.reset();
        let mut want = None;
        for bar in &self.bars {
            want = self.rule.on_bar(bar);
        }
        want
    }
}

/// None: a figure has more digits than a bar can hold.
fn bar(candle: &Candle) -> Option<Bar> {
    let fixed = |value: Decimal| Fixed::try_from(value).ok();
    Some(Bar {
        open_time: candle.open_time,
        open: fixed(candle.open)?,
        high: fixed(candle.high)?,
        low: fixed(candle.low)?,
        close: fixed(candle.close)?,
        volume: fixed(candle.volume)?,
    })
}

fn rows(history: &CandleHistory) -> impl Iterator<Item = Bar> + '_ {
    history.open_time.iter().enumerate().filter_map(|(row, open_time)| {
        Some(Bar {
            open_time: *open_time,
            open: history.open.get(row)?,
            high: history.high.get(row)?,
            low: history.low.get(row)?,
            close: history.close.get(row)?,
            volume: history.volume.get(row)?,
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use spark_bus_schema::DecimalColumn;
    use spark_bus_schema::candles::CandleSource;

    use super::*;

    pub fn minute(number: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_040_000 + number * 60_000)
    }

    pub fn candle(number: i64, close: i64) -> Candle {
        let price = Decimal::from(close);
        Candle {
            venue: Venue::Binance,
            symbol: "BTCUSDT".into(),
            timeframe: TimeFrame::M1,
            open_time: minute(number),
            close_time: minute(number + 1),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: Decimal::ONE,
            quote_volume: price,
            trades: 1,
            revision: 1,
            source: CandleSource::Ticks,
            gap: false,
            complete: true,
            closed_at: minute(number + 1),
        }
    }

    /// Minutes from `from` on with these closes, told at the end of minute `told`.
    fn history(from: i64, closes: &[i64], told: i64) -> CandleHistory {
        let prices = || {
            let mut column = DecimalColumn::default();
            closes.iter().for_each(|close| column.push(Fixed { mantissa: *close, scale: 0 }).unwrap());
            column
        };
        CandleHistory {
            venue: Venue::Binance,
            symbol: "BTCUSDT".into(),
            timeframe: TimeFrame::M1,
            open_time: (0..closes.len()).map(|row| minute(from + i64::try_from(row).unwrap())).collect(),
            open: prices(),
            high: prices(),
            low: prices(),
            close: prices(),
            volume: prices(),
            fetched_at: minute(told + 1),
        }
    }

    /// Mean of one above the mean of three.
    fn series() -> Series {
        Series::new(SmaCross::new(1, 3).unwrap(), Venue::Binance, TimeFrame::M1)
    }

    fn wants(series: &mut Series, candles: &[(i64, i64)]) -> Vec<Option<Want>> {
        candles.iter().map(|(number, close)| series.candle(&candle(*number, *close)).map(|decision| decision.want)).collect()
    }

    use Want::{Flat, Long};

    #[test]
    fn history_makes_it_warm_whichever_comes_first() {
        let mut early = series();
        early.history(&history(0, &[3, 2], 1));
        assert_eq!(wants(&mut early, &[(2, 5), (3, 1)]), [Some(Long), Some(Flat)]);
        let mut late = series();
        assert_eq!(wants(&mut late, &[(2, 5)]), [None]);
        late.history(&history(0, &[3, 2, 9], 1));
        assert_eq!(wants(&mut late, &[(3, 1)]), [Some(Flat)]);
        assert_eq!((early.bars, late.bars), (series_of(&[(1, 2), (2, 5), (3, 1)]), series_of(&[(1, 2), (2, 5), (3, 1)])));
    }

    fn series_of(candles: &[(i64, i64)]) -> VecDeque<Bar> {
        candles
            .iter()
            .map(|(number, close)| {
                let of_history = |bar: Bar| bar;
                let bar = bar(&candle(*number, *close)).map(of_history).unwrap();
                // History's volumes are its closes here.
                if *number == 1 { Bar { volume: bar.close, ..bar } } else { bar }
            })
            .collect()
    }

    #[test]
    fn a_bar_is_decided_on_once_by_its_first_word_and_in_order() {
        let mut series = series();
        assert_eq!(wants(&mut series, &[(0, 1), (1, 2), (2, 3)]), [None, None, Some(Long)]);
        assert_eq!(wants(&mut series, &[(2, 1), (1, 1), (0, 9)]), [None, None, None]);
        assert_eq!(series.candle(&Candle { revision: 2, ..candle(3, 9) }), None);
        assert_eq!(wants(&mut series, &[(3, 1)]), [Some(Flat)]);
    }

    #[test]
    fn a_hole_begins_anew_and_history_closes_it() {
        let mut open = series();
        assert_eq!(
            wants(&mut open, &[(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7)]),
            [None, None, Some(Long), None, None, Some(Long)]
        );
        let mut closed = series();
        wants(&mut closed, &[(0, 1), (1, 2), (2, 3), (4, 5)]);
        closed.history(&history(2, &[8, 4], 3));
        assert_eq!(wants(&mut closed, &[(5, 1)]), [Some(Flat)]);
    }

    #[test]
    fn history_that_is_ahead_or_not_over_does_not_hide_a_candle() {
        let mut series = series();
        // Minute 2 was going on when it was told, minute 1 is told by a candle as well.
        series.history(&history(0, &[1, 2, 9], 1));
        assert_eq!(wants(&mut series, &[(1, 2)]), [None]);
        assert_eq!(wants(&mut series, &[(2, 3)]), [Some(Long)]);
        // Older history tells nothing new.
        series.history(&history(0, &[50, 50, 50], 2));
        assert_eq!(wants(&mut series, &[(3, 1)]), [Some(Flat)]);
    }

    #[test]
    fn shares_go_on_after_the_night() {
        let mut bist = Series::new(SmaCross::new(1, 2).unwrap(), Venue::Bist, TimeFrame::M1);
        assert_eq!(wants(&mut bist, &[(0, 1), (900, 2)]), [None, Some(Long)]);
    }
}
