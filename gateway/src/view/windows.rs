//! The guardrail's windows: the newest values and their history.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::Timestamp;
use spark_bus_schema::telemetry::{WindowValue, Windows};

use super::history::{Grid, History};

/// Series (a rule in a scope) with history; each takes about 100 kB.
pub const SERIES_MAX: usize = 96;
/// Symbols whose trade counts are shown.
pub const COUNTED_MAX: usize = 512;

/// Rule whose window is the refresh latency, p95, ms.
pub const P95_RULE: &str = "portfolio_refresh_p95";
/// Rule whose window is the age of the balances, s.
pub const STALENESS_RULE: &str = "portfolio_staleness";
/// Rule whose window is the rate of failed calls, 1/s.
pub const ERROR_RATE_RULE: &str = "exchange_error_rate";

type SeriesKey = (String, BTreeMap<String, String>);

/// Newest windows and history.
#[derive(Default)]
pub struct WindowView {
    latest: Option<Windows>,
    series: BTreeMap<SeriesKey, History>,
}

impl WindowView {
    /// Takes in one boundary; false when a new series had no room.
    pub fn apply(&mut self, mut windows: Windows) -> bool {
        let at_s = windows.at.as_millis().div_euclid(1_000);
        let mut fits = windows.values.len() <= SERIES_MAX && windows.trades_counted.len() <= COUNTED_MAX;
        windows.values.truncate(SERIES_MAX);
        while windows.trades_counted.len() > COUNTED_MAX {
            windows.trades_counted.pop_last();
        }
        for value in &windows.values {
            let Some(number) = value.value.filter(|number| number.is_finite()) else { continue };
            let key = (value.rule.clone(), value.scope.clone());
            if self.series.len() >= SERIES_MAX && !self.series.contains_key(&key) {
                fits = false;
                continue;
            }
            self.series.entry(key).or_default().record(at_s, number);
        }
        if self.latest.as_ref().is_none_or(|latest| windows.at >= latest.at) {
            self.latest = Some(windows);
        }
        fits
    }

    /// The newest boundary.
    #[must_use]
    pub fn latest(&self) -> Option<&Windows> {
        self.latest.as_ref()
    }

    /// The newest values of one rule.
    pub fn of_rule<'a>(&'a self, rule: &'a str) -> impl Iterator<Item = &'a WindowValue> {
        self.latest.iter().flat_map(|windows| &windows.values).filter(move |value| value.rule == rule)
    }

    /// The worst of a rule's newest values over all scopes, or of one exchange; none without data.
    #[must_use]
    pub fn worst(&self, rule: &str, exchange: Option<&str>) -> Option<f64> {
        self.of_rule(rule)
            .filter(|value| in_scope(&value.scope, exchange))
            .filter_map(|value| value.value)
            .filter(|value| value.is_finite())
            .reduce(f64::max)
    }

    /// Rows of `/api/tools/metrics/timeseries`; points without any value are left out.
    #[must_use]
    pub fn timeseries(&self, now: Timestamp, window_s: i64, exchange: Option<&str>) -> Vec<Point> {
        let grid = Grid::new(now.as_millis().div_euclid(1_000), window_s);
        let column = |rule: &str| self.worst_history(grid, rule, exchange);
        let (p95, staleness, errors) = (column(P95_RULE), column(STALENESS_RULE), column(ERROR_RATE_RULE));
        let at = |column: &[f64], index: usize| column.get(index).copied().filter(|value| value.is_finite());
        (0..grid.points)
            .zip(0..)
            .map(|(point, index)| Point {
                ts: (grid.first_s + point * grid.step_s) * 1_000,
                p95_ms: at(&p95, index),
                staleness_s: at(&staleness, index),
                error_rate: at(&errors, index),
            })
            .filter(|point| point.p95_ms.is_some() || point.staleness_s.is_some() || point.error_rate.is_some())
            .collect()
    }

    fn worst_history(&self, grid: Grid, rule: &str, exchange: Option<&str>) -> Vec<f64> {
        let mut worst = Vec::new();
        for ((_, scope), history) in self.series_of(rule) {
            if !in_scope(scope, exchange) {
                continue;
            }
            let values = history.query(grid);
            if worst.is_empty() {
                worst = values;
            } else {
                worst.iter_mut().zip(values).for_each(|(worst, value)| *worst = worst.max(value));
            }
        }
        worst
    }

    fn series_of<'a>(&'a self, rule: &'a str) -> impl Iterator<Item = (&'a SeriesKey, &'a History)> {
        let first = (rule.to_owned(), BTreeMap::new());
        self.series.range(first..).take_while(move |(key, _)| key.0 == rule)
    }

    /// The history of one rule, a series per scope; empty when the rule has none.
    #[must_use]
    pub fn chart(&self, now: Timestamp, window_s: i64, rule: &str) -> Chart {
        let grid = Grid::new(now.as_millis().div_euclid(1_000), window_s);
        let series = self.series_of(rule).map(|((_, scope), history)| Series {
            scope: scope.clone(),
            values: history.query(grid).into_iter().map(|value| Some(value).filter(|value| value.is_finite())).collect(),
        });
        let described = self.of_rule(rule).next();
        Chart {
            rule: rule.to_owned(),
            unit: described.map(|value| value.unit.clone()),
            warning: described.and_then(|value| value.warning),
            critical: described.and_then(|value| value.critical),
            first_ts: grid.first_s * 1_000,
            step_s: grid.step_s,
            series: series.collect(),
        }
    }
}

fn in_scope(scope: &BTreeMap<String, String>, exchange: Option<&str>) -> bool {
    exchange.is_none_or(|exchange| scope.get("exchange").is_some_and(|value| value == exchange))
}

/// One row of `/api/tools/metrics/timeseries`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Point {
    /// Start of the point, ms since the epoch.
    pub ts: i64,
    /// Refresh latency, p95, the worst exchange's.
    pub p95_ms: Option<f64>,
    /// Age of the balances, the worst exchange's.
    pub staleness_s: Option<f64>,
    /// Failed calls a second, the worst exchange's.
    pub error_rate: Option<f64>,
}

/// One rule over time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Chart {
    /// The rule.
    pub rule: String,
    /// Unit of the values; null while the guardrail does not report it.
    pub unit: Option<String>,
    /// Warning threshold.
    pub warning: Option<f64>,
    /// Critical threshold.
    pub critical: Option<f64>,
    /// Start of the first point, ms since the epoch.
    pub first_ts: i64,
    /// Length of a point, s.
    pub step_s: i64,
    /// A series per scope.
    pub series: Vec<Series>,
}

/// One scope of a rule over time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Series {
    /// The scope.
    pub scope: BTreeMap<String, String>,
    /// A value per point, null where there is none.
    pub values: Vec<Option<f64>>,
}
