//! Walk-forward: parameters are chosen on one part of the past and tried on the part after it, window by window.

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::backtests::{BacktestMetrics, WalkForward};
use spark_bus_schema::strategies::Params;

use crate::data::Bars;
use crate::engine::{Error, Keep, Progress, Settings, measure};
use crate::sweep::{self, Sweep};

/// Windows of one walk, at most.
pub const WINDOWS_MAX: usize = 10_000;

/// One window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// First moment of the training part.
    pub train_from: Timestamp,
    /// First moment of the tested part, which is the end of the training part.
    pub test_from: Timestamp,
    /// End of the tested part.
    pub test_to: Timestamp,
    /// The best parameters of the training part, by Sharpe ratio ([`sweep::run`]'s order).
    pub params: Params,
    /// Their figures in the training part.
    pub train: BacktestMetrics,
    /// Their figures in the tested part, begun with the same cash, with a warm rule and nothing held.
    pub test: BacktestMetrics,
}

/// What a walk came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Walked {
    /// The windows, oldest first.
    pub windows: Vec<Window>,
    /// The tested parts' returns one after the other: `∏ (1 + return) - 1`, percent.
    pub total_return_pct: f64,
}

/// Splits the bars into windows of `train_bars` and the `test_bars` after them, each beginning `test_bars` after the one
/// before, so that every bar after the first training part is tested at most once; a rest shorter than `test_bars` is tested
/// as it is. Of each window the combination with the highest Sharpe ratio in the training part is tried.
///
/// # Errors
/// [`Error::Job`]: fewer bars than one training part and one bar more, or too many windows; [`Error::Cancelled`].
pub fn run(
    settings: &Settings,
    sweep: &Sweep,
    split: WalkForward,
    bars: &Bars,
    progress: &dyn Progress,
) -> Result<Walked, Error> {
    let size = |bars: u64| usize::try_from(bars).unwrap_or(usize::MAX).max(1);
    let (train, test) = (size(split.train_bars), size(split.test_bars));
    if bars.len() <= train {
        return Err(Error::Job(format!(
            "walk_forward.train_bars = {train}: there are {} bars; give fewer, so that some are left to try them on",
            bars.len()
        )));
    }
    let starts: Vec<usize> = (train..bars.len()).step_by(test).collect();
    if starts.len() > WINDOWS_MAX {
        return Err(Error::Job(format!("walk_forward.test_bars = {test}: more than {WINDOWS_MAX} windows; give more bars")));
    }
    let tries = sweep::combinations(&settings.params, sweep)?.len();
    let per_window = (tries as u64).saturating_mul(train as u64).saturating_add(test as u64);
    let total = per_window.saturating_mul(starts.len() as u64);
    let mut windows = Vec::with_capacity(starts.len());
    for (number, &start) in starts.iter().enumerate() {
        let before = per_window.saturating_mul(number as u64);
        let report = |done: u64, _: u64| progress.report(before + done, total).is_continue();
        let ranked = sweep::run_part(settings, sweep, bars, start - train..start, &report)?;
        let best = ranked.into_iter().next().and_then(|best| Some((best.params, best.metrics?)));
        let Some((params, trained)) = best else { return Err(Error::Job("sweep: nothing could be run".to_owned())) };
        let end = bars.len().min(start + test);
        let chosen = Settings { params: params.clone(), ..settings.clone() };
        let mut advance = |_| progress.report(before + per_window, total).is_continue();
        let figures = measure(&chosen, bars, start..end, Keep::Figures, &mut advance)?;
        windows.push(Window {
            train_from: Timestamp::from_nanos(bars.open_times()[start - train]),
            test_from: Timestamp::from_nanos(bars.open_times()[start]),
            test_to: bars.closed_at(end - 1),
            params,
            train: trained,
            test: figures.metrics,
        });
    }
    let factor = windows.iter().fold(1.0, |factor, window| factor * (1.0 + window.test.total_return_pct / 100.0));
    Ok(Walked { windows, total_return_pct: (factor - 1.0) * 100.0 })
}
