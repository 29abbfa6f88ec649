//! The loop over the bars.

use std::ops::Range;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::backtests::{BacktestMetrics, FillAt};
use spark_bus_schema::strategies::StrategyKind;
use spark_bus_schema::{Fixed, Timestamp, Venue};
use spark_strategy::rule::SmaCross;

use super::floor::Floor;
use super::rules::{Ask, Reverting, Rule, Scored};
use super::{Error, PROGRESS_BARS, Progress, Settings, Trade, trades_hash};
use crate::data::Bars;
use crate::metrics::{self, Curve};

/// Points of [`Outcome::equity`], at most.
pub const EQUITY_POINTS_MAX: usize = 2_000;

/// Equity at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// End of the bar.
    pub at: Timestamp,
    /// Cash and what is held at the bar's close, quote currency.
    pub equity: f64,
    /// The close, quote per base: what holding would have done.
    pub close: f64,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figures.
    pub metrics: BacktestMetrics,
    /// Equity over time, down-sampled to every n-th bar and the last one: at most [`EQUITY_POINTS_MAX`] points. The figures
    /// are taken of every bar, so the deepest fall may lie between two points.
    pub equity: Vec<Point>,
    /// Every fill in order.
    pub trades: Vec<Trade>,
    /// [`trades_hash`] of them.
    pub trades_hash: String,
    /// [`Bars::hash`].
    pub data_hash: String,
    /// Orders that risk let pass and the desk did not fill: nobody quoted, or the cash did not suffice.
    pub rejected: u64,
    /// First moment of the first bar and end of the last one; none without bars.
    pub range: Option<(Timestamp, Timestamp)>,
}

/// Runs one strategy over all bars. No bars, or fewer than the strategy needs, is no error: nothing is traded.
///
/// # Errors
/// [`Error::Job`] for parameters that are wrong, [`Error::Cancelled`].
pub fn run(settings: &Settings, bars: &Bars, progress: &dyn Progress) -> Result<Outcome, Error> {
    let total = bars.len() as u64;
    let mut done = 0;
    let mut advance = |bars: u64| {
        done += bars;
        progress.report(done, total).is_continue()
    };
    let figures = measure(settings, bars, 0..bars.len(), Keep::Everything, &mut advance)?;
    let range = bars.open_times().first().map(|first| (Timestamp::from_nanos(*first), bars.closed_at(bars.len() - 1)));
    Ok(Outcome {
        trades_hash: trades_hash(&settings.instrument.symbol, &figures.trades),
        metrics: figures.metrics,
        equity: figures.equity,
        trades: figures.trades,
        data_hash: bars.hash().to_owned(),
        rejected: figures.rejected,
        range,
    })
}

/// What is kept of a run beside its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Trades and the curve of equity.
    Everything,
    /// Nothing: a sweep.
    Figures,
}

/// [`Outcome`] of a part of the bars.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub metrics: BacktestMetrics,
    pub equity: Vec<Point>,
    pub trades: Vec<Trade>,
    pub rejected: u64,
}

/// Tells that so many bars more are done; false ends the run.
pub(crate) type Advance<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Runs over the bars of `range`. The rule sees as many bars before it as it needs to be warm, and trades in none of them.
pub(crate) fn measure(
    settings: &Settings,
    bars: &Bars,
    range: Range<usize>,
    keep: Keep,
    advance: Advance<'_>,
) -> Result<Figures, Error> {
    let (params, sizing) = settings.rule_params()?;
    match settings.kind {
        StrategyKind::SmaCross => {
            let rule = SmaCross::from_params(&params).map_err(Error::Job)?;
            drive(rule, settings, bars, sizing, range, keep, advance)
        }
        StrategyKind::MeanReversion => {
            let rule = Reverting::from_params(&params, sizing).map_err(Error::Job)?;
            drive(rule, settings, bars, sizing, range, keep, advance)
        }
        StrategyKind::MlFusion => {
            if let Some(unknown) = params.keys().next() {
                return Err(Error::Job(format!("{unknown:.64}: ml_fusion has no such parameter; it has quantity, and its model")));
            }
            drive(Scored::new(&settings.model), settings, bars, sizing, range, keep, advance)
        }
        StrategyKind::External => Err(Error::Job(
            "kind = external: it decides in a process of its own and cannot be run here; known are mean_reversion, sma_cross, ml_fusion"
                .to_owned(),
        )),
    }
}

fn drive<R: Rule>(
    mut rule: R,
    settings: &Settings,
    bars: &Bars,
    sizing: Option<Decimal>,
    range: Range<usize>,
    keep: Keep,
    advance: Advance<'_>,
) -> Result<Figures, Error> {
    for row in range.start.saturating_sub(rule.warm_after())..range.start {
        rule.on_bar(&bars.bar(row), Decimal::ZERO);
    }
    let mut pass = Pass::new(settings, bars, sizing, &range, keep);
    let mut from = range.start;
    while from < range.end {
        let until = range.end.min(from.saturating_add(PROGRESS_BARS as usize));
        pass.bars(&mut rule, from..until);
        if !advance((until - from) as u64) {
            return Err(Error::Cancelled);
        }
        from = until;
    }
    Ok(pass.end(&range))
}

/// One pass over a part of the bars.
struct Pass<'a> {
    bars: &'a Bars,
    floor: Floor<'a>,
    curve: Curve,
    next_open: bool,
    /// Recorded candles follow on each other, or the rule begins anew, as live.
    unbroken: bool,
    pending: Option<Ask>,
    /// Quote currency per unit of a mantissa.
    unit: f64,
    equity: Vec<Point>,
    /// Bars between two points.
    stride: usize,
    next_point: usize,
}

impl<'a> Pass<'a> {
    fn new(settings: &'a Settings, bars: &'a Bars, sizing: Option<Decimal>, range: &Range<usize>, keep: Keep) -> Self {
        let keeps = keep == Keep::Everything;
        let floor = Floor::new(settings, bars, sizing, range.start, keeps);
        let stride = range.len().div_ceil(EQUITY_POINTS_MAX - 1).max(1);
        Self {
            curve: Curve::new(floor.cash_f64),
            floor,
            bars,
            // Recorded quotes need no price of a bar.
            next_open: settings.fill_at == FillAt::NextOpen && !bars.is_recorded(),
            unbroken: bars.is_recorded() && settings.instrument.venue != Venue::Bist,
            pending: None,
            unit: 0.1_f64.powi(i32::from(bars.price_scale())),
            equity: Vec::new(),
            stride,
            next_point: if keeps { range.start } else { usize::MAX },
        }
    }

    fn bars<R: Rule>(&mut self, rule: &mut R, rows: Range<usize>) {
        let closes = self.bars.closes();
        for row in rows {
            let held = self.floor.held_f64;
            if let Some(ask) = self.pending.take() {
                self.floor.at_open(ask, row);
            }
            if self.unbroken && self.bars.is_hole_before(row) {
                rule.reset();
            }
            if let Some(ask) = rule.on_bar(&self.bars.bar(row), self.floor.held())
                && self.floor.differs(ask)
                && !(R::IS_CAUTIOUS && self.bars.is_in_doubt(row))
            {
                if self.next_open {
                    self.pending = Some(ask);
                } else {
                    self.floor.at_close(ask, row);
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "statistics")]
            let price = closes[row] as f64 * self.unit;
            if held != 0.0 || self.floor.held_f64 != 0.0 {
                self.curve.see(self.floor.held_f64.mul_add(price, self.floor.cash_f64));
            } else {
                self.curve.still();
            }
            if row == self.next_point {
                self.point(row, price);
            }
        }
    }

    #[cold]
    fn point(&mut self, row: usize, price: f64) {
        self.next_point = row.saturating_add(self.stride);
        let equity = self.floor.held_f64.mul_add(price, self.floor.cash_f64);
        self.equity.push(Point { at: self.bars.closed_at(row), equity, close: price });
    }

    fn end(mut self, range: &Range<usize>) -> Figures {
        let close = range.end.checked_sub(1).and_then(|row| self.bars.closes().get(row));
        let last = close.map(|&mantissa| Fixed { mantissa, scale: self.bars.price_scale() }.to_decimal());
        let final_equity = self.floor.equity(last.unwrap_or_default()).normalize();
        if !range.is_empty() && self.next_point != usize::MAX {
            let row = range.end - 1;
            if self.equity.last().is_none_or(|point| point.at != self.bars.closed_at(row)) {
                self.point(row, Fixed { mantissa: self.bars.closes()[row], scale: self.bars.price_scale() }.to_f64());
            }
        }
        let floor = &mut self.floor;
        let metrics = BacktestMetrics {
            total_return_pct: metrics::total_return_pct(floor.start(), final_equity),
            sharpe: self.curve.sharpe(metrics::bars_per_year(floor.venue(), self.bars.span_ns())),
            max_drawdown_pct: self.curve.max_drawdown_pct(),
            win_rate_pct: metrics::win_rate_pct(floor.won, floor.closed),
            profit_factor: metrics::profit_factor(floor.profit, floor.loss),
            trades: floor.fills,
            refused: floor.refused,
            bars: range.len() as u64,
            final_equity,
        };
        Figures { metrics, equity: self.equity, trades: floor.trades.take().unwrap_or_default(), rejected: floor.rejected }
    }
}
