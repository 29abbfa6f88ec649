//! Every combination of parameters over the same bars, on all cores.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use spark_bus_schema::backtests::{BacktestMetrics, COMBINATIONS_MAX};
use spark_bus_schema::strategies::Params;

use crate::data::Bars;
use crate::engine::{Error, Keep, Progress, Settings, measure};

/// Values to try, by parameter.
pub type Sweep = BTreeMap<String, Vec<String>>;

/// One combination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// All parameters, those that were not swept included.
    pub params: Params,
    /// Its figures; none when the rule refuses the parameters (e.g. `fast` not below `slow`), see `error`.
    pub metrics: Option<BacktestMetrics>,
    /// Why there are none.
    pub error: Option<String>,
}

/// All combinations in a fixed order: the last parameter by name changes fastest.
///
/// # Errors
/// [`Error::Job`]: a parameter without a value, or too many combinations.
pub fn combinations(params: &Params, sweep: &Sweep) -> Result<Vec<Params>, Error> {
    let count = sweep.values().try_fold(1_usize, |all, values| all.checked_mul(values.len()));
    if !count.is_some_and(|count| (1..=COMBINATIONS_MAX).contains(&count)) {
        return Err(Error::Job(format!(
            "sweep: every parameter needs a value, and at most {COMBINATIONS_MAX} combinations are run"
        )));
    }
    let mut all = vec![params.clone()];
    for (name, values) in sweep {
        all = all
            .iter()
            .flat_map(|params| {
                values.iter().map(move |value| {
                    let mut params = params.clone();
                    params.insert(name.clone(), value.clone());
                    params
                })
            })
            .collect();
    }
    Ok(all)
}

/// Runs every combination over the bars of `range` and ranks them: the highest Sharpe ratio first, then the highest return,
/// then the order of [`combinations`]; those without a Sharpe ratio come after those with one, refused ones last. The same
/// on any number of cores.
///
/// # Errors
/// [`Error::Job`], also when the rule refuses every combination, and [`Error::Cancelled`].
pub fn run(settings: &Settings, sweep: &Sweep, bars: &Bars, progress: &dyn Progress) -> Result<Vec<Tried>, Error> {
    run_part(settings, sweep, bars, 0..bars.len(), &|done, total| progress.report(done, total).is_continue())
}

/// [`run`] over a part of the bars. `report` gets bars done and to do, and says whether to go on.
pub(crate) fn run_part(
    settings: &Settings,
    sweep: &Sweep,
    bars: &Bars,
    range: Range<usize>,
    report: &(dyn Fn(u64, u64) -> bool + Sync),
) -> Result<Vec<Tried>, Error> {
    let all = combinations(&settings.params, sweep)?;
    let total = (all.len() as u64).saturating_mul(range.len() as u64);
    let (next, done, stop) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let results: Mutex<Vec<Option<Tried>>> = Mutex::new(vec![None; all.len()]);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(params) = all.get(index) else { return };
            let tried = one(settings, params, bars, range.clone(), &mut |bars| {
                let sum = done.fetch_add(bars, Ordering::Relaxed) + bars;
                let goes_on = report(sum, total);
                stop.fetch_or(!goes_on, Ordering::Relaxed);
                goes_on && !stop.load(Ordering::Relaxed)
            });
            match tried {
                Some(tried) => {
                    if let Ok(mut results) = results.lock() {
                        results[index] = Some(tried);
                    }
                }
                None => return,
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(all.len());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    if stop.into_inner() {
        return Err(Error::Cancelled);
    }
    let results = results.into_inner().unwrap_or_default();
    rank(results.into_iter().flatten().collect())
}

/// None when it was cancelled.
fn one(
    settings: &Settings,
    params: &Params,
    bars: &Bars,
    range: Range<usize>,
    advance: &mut dyn FnMut(u64) -> bool,
) -> Option<Tried> {
    let settings = Settings { params: params.clone(), ..settings.clone() };
    let (metrics, error) = match measure(&settings, bars, range, Keep::Figures, advance) {
        Ok(figures) => (Some(figures.metrics), None),
        Err(Error::Cancelled) => return None,
        Err(error) => (None, Some(error.to_string())),
    };
    Some(Tried { params: params.clone(), metrics, error })
}

fn rank(mut all: Vec<Tried>) -> Result<Vec<Tried>, Error> {
    if let Some(error) = all.iter().find_map(|tried| tried.error.clone())
        && all.iter().all(|tried| tried.metrics.is_none())
    {
        return Err(Error::Job(error));
    }
    let key = |tried: &Tried| {
        let metrics = tried.metrics.as_ref();
        let sharpe = metrics.and_then(|metrics| metrics.sharpe).unwrap_or(f64::NEG_INFINITY);
        (metrics.is_some(), sharpe, metrics.map_or(f64::NEG_INFINITY, |metrics| metrics.total_return_pct))
    };
    // Stable: equal ones stay in their order.
    all.sort_by(|left, right| {
        let (left, right) = (key(left), key(right));
        right.0.cmp(&left.0).then(right.1.total_cmp(&left.1)).then(right.2.total_cmp(&left.2))
    });
    Ok(all)
}
