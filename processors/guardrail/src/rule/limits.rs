//! Thresholds of a rule, and which of them cannot be.

use std::time::Duration;

use super::metric::{Metric, MetricKind};
use super::reader::Reader;
use super::text::figure;
use crate::alert::{Direction, Limit, Limits, NoData};
use crate::window::Aggregation;
use crate::window::cells::VALUE_MAX;

pub(super) const YEAR: Duration = Duration::from_secs(366 * 86_400);

pub fn limits(read: &mut Reader<'_, '_, '_>, metric: &Metric, aggregation: Aggregation) -> Option<Limits> {
    let direction = if read.has("direction") { read.word("direction", &["above", "below"])? } else { "above" };
    let direction = if direction == "above" { Direction::Above } else { Direction::Below };
    let warning = limit(read, "warning", metric, aggregation, direction);
    let critical = limit(read, "critical", metric, aggregation, direction);
    let limits = Limits { direction, warning, critical, keep_firing: Duration::ZERO, no_data: NoData::Ok };
    if let Some((what, fix)) = reversed(&limits) {
        read.wrong("critical", what, fix);
    }
    delays(read, limits)
}

/// What a rule of any kind says about the time after a limit was crossed, and about having no data.
pub fn delays(read: &mut Reader<'_, '_, '_>, limits: Limits) -> Option<Limits> {
    let keep_firing = read.duration("keep_firing_for").unwrap_or_default();
    if keep_firing > YEAR {
        read.wrong("keep_firing_for", "longer than a year", "write for example \"5m\"");
    }
    let no_data = match if read.has("no_data") { read.word("no_data", &["ok", "alert", "keep"])? } else { "ok" } {
        "alert" => NoData::Alert,
        "keep" => NoData::Keep,
        _ => NoData::Ok,
    };
    Some(Limits { keep_firing, no_data, ..limits })
}

/// `1500`, or `{ threshold = 1500, for = "30s" }`.
fn limit(
    read: &mut Reader<'_, '_, '_>,
    key: &str,
    metric: &Metric,
    aggregation: Aggregation,
    direction: Direction,
) -> Option<Limit> {
    if !read.has(key) {
        return None;
    }
    let Some((table, span)) = read.table(key) else {
        let threshold = read.number(key)?;
        possible(read, key, threshold, metric, aggregation, direction)?;
        return Some(Limit { threshold, hold: Duration::ZERO });
    };
    let path = read.key(key);
    let mut inner = Reader::new(&mut *read.source, table, path, span);
    inner.reject_unknown(&["threshold", "for"]);
    if !inner.has("threshold") {
        inner.wrong("threshold", "missing", format!("write for example {key} = {{ threshold = 1500, for = \"30s\" }}"));
    }
    let hold = if inner.has("for") { inner.duration("for") } else { Some(Duration::ZERO) };
    if hold.is_some_and(|hold| hold > YEAR) {
        inner.wrong("for", "longer than a year: it would never fire", "write for example for = \"15m\"");
    }
    let threshold = inner.number("threshold")?;
    possible(&mut inner, "threshold", threshold, metric, aggregation, direction)?;
    Some(Limit { threshold, hold: hold? })
}

fn possible(
    read: &mut Reader<'_, '_, '_>,
    key: &str,
    threshold: f64,
    metric: &Metric,
    aggregation: Aggregation,
    direction: Direction,
) -> Option<()> {
    let Some((what, fix)) = impossible(threshold, metric, aggregation, direction) else { return Some(()) };
    read.wrong(key, what, fix);
    None
}

/// A threshold that can never be crossed, or always is, protects nobody: `(what is wrong, what would be right)`.
#[must_use]
pub fn impossible(threshold: f64, metric: &Metric, aggregation: Aggregation, direction: Direction) -> Option<(String, String)> {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let top = match (aggregation, metric.kind) {
        (Aggregation::Ratio, _) => Some((1.0, "a ratio is between 0 and 1: write 0.05 for 5 %".to_owned())),
        (Aggregation::Quantile(_), MetricKind::Shares) => Some((1.0, "a share is between 0 and 1: write 0.5".to_owned())),
        (Aggregation::Quantile(_), MetricKind::Values) => {
            let top = VALUE_MAX as f64 / metric.raw_per_unit();
            Some((top, format!("longer latencies than {} ms are not told apart", figure(top.floor()))))
        }
        (Aggregation::BurnRate(burn), _) => {
            let top = burn.fastest();
            Some((top, format!("when everything fails, an objective of {} burns {} times too fast", burn.objective, figure(top))))
        }
        _ => None,
    };
    if threshold < 0.0 {
        return Some(("impossible: nothing measured here is negative".to_owned(), "write a threshold from 0".to_owned()));
    }
    if let Some((top, fix)) = top
        && (threshold > top || (direction == Direction::Above && threshold >= top))
    {
        return Some(("impossible: it can never be crossed".to_owned(), fix));
    }
    if direction == Direction::Below && threshold == 0.0 {
        let fix = "write a threshold above 0, or direction = \"above\"".to_owned();
        return Some(("impossible: nothing is below 0".to_owned(), fix));
    }
    None
}

/// Whether the critical threshold is reached before the warning: `(what is wrong, what would be right)`.
#[must_use]
pub fn reversed(limits: &Limits) -> Option<(String, String)> {
    let (warning, critical) = (limits.warning?, limits.critical?);
    let (reversed, word) = match limits.direction {
        Direction::Above => (critical.threshold < warning.threshold, "at or above"),
        Direction::Below => (critical.threshold > warning.threshold, "at or below"),
    };
    reversed.then(|| {
        let warning = figure(warning.threshold);
        (format!("reached before the warning of {warning}"), format!("swap them, or set critical {word} {warning}"))
    })
}
