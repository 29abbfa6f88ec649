//! The charts of a window.

use std::collections::BTreeMap;

use super::figures::STALENESS_METRIC;
use super::judge::{ERROR_RATE_S, ERROR_RATE_S_CRITICAL, P95_MS, P95_MS_CRITICAL, STALENESS_S, STALENESS_S_CRITICAL};
use super::page::scope;
use crate::chart::{Chart, LINES_MAX, Line, Threshold};
use crate::history::{Error, History, Minute, Series, Window};

/// Two minutes without a row between them break a line.
const GAP_MS: i64 = 2 * 60_000;

/// The largest value of each minute of every series of a metric, and the total of each exchange.
pub(super) fn of(history: &History, window: Window) -> Result<Vec<Chart>, Error> {
    let series = history.series()?;
    let metrics = [
        ("latency", "Refresh latency p95", "refresh_latency_ms", P95_MS, P95_MS_CRITICAL),
        ("staleness", "Age of balances", STALENESS_METRIC, STALENESS_S, STALENESS_S_CRITICAL),
        ("errors", "Failed calls", "call_errors", ERROR_RATE_S, ERROR_RATE_S_CRITICAL),
        ("call-latency", "Call latency p95", "call_latency_ms", 1_000.0, 2_500.0),
    ];
    let mut charts = Vec::new();
    for (id, title, metric, warning, critical) in metrics {
        let chosen: Vec<&Series> = series.iter().filter(|series| series.metric == metric).collect();
        charts.push(measured(history, window, (id, title), &chosen, (warning, critical))?);
    }
    charts.insert(2, totals(history, window)?);
    charts.push(orders(history, window)?);
    Ok(charts)
}

fn empty(id: &str, title: &str, unit: &str, window: Window) -> Chart {
    Chart {
        id: id.to_owned(),
        title: title.to_owned(),
        unit: unit.to_owned(),
        from_ms: window.from.as_millis(),
        to_ms: window.to.as_millis(),
        from_zero: true,
        lines: Vec::new(),
        thresholds: Vec::new(),
    }
}

fn measured(
    history: &History,
    window: Window,
    (id, title): (&str, &str),
    series: &[&Series],
    (warning, critical): (f64, f64),
) -> Result<Chart, Error> {
    let unit = series.first().map_or("", |series| &series.unit);
    let mut chart = empty(id, title, unit, window);
    let mut levels = (Some(warning), Some(critical));
    // Several rules may look at one metric in one scope: one line is enough.
    let mut drawn: Vec<&BTreeMap<String, String>> = Vec::new();
    for series in series.iter().filter(|series| series.unit == unit) {
        if chart.lines.len() >= LINES_MAX || drawn.contains(&&series.scope) {
            continue;
        }
        let minutes = history.minutes(series.id, window)?;
        let Some(last) = minutes.last() else { continue };
        levels = (last.warning, last.critical);
        drawn.push(&series.scope);
        let name = if series.scope.len() == 1 { series.scope.values().cloned().collect() } else { scope(&series.scope) };
        chart.lines.push(Line { name, points: points(&minutes) }.thinned());
    }
    for (name, value) in [("warning", levels.0), ("critical", levels.1)] {
        chart.thresholds.extend(value.map(|value| Threshold { name: name.to_owned(), value }));
    }
    Ok(chart)
}

fn points(minutes: &[Minute]) -> Vec<(i64, Option<f64>)> {
    with_gaps(minutes.iter().map(|minute| (minute.at.as_millis(), minute.high)))
}

fn with_gaps(rows: impl Iterator<Item = (i64, Option<f64>)>) -> Vec<(i64, Option<f64>)> {
    let mut points: Vec<(i64, Option<f64>)> = Vec::new();
    for (at, value) in rows {
        if let Some(&(before, _)) = points.last()
            && at - before > GAP_MS
        {
            points.push((before + GAP_MS / 2, None));
        }
        points.push((at, value));
    }
    points
}

fn totals(history: &History, window: Window) -> Result<Chart, Error> {
    let mut chart = Chart { from_zero: false, ..empty("value", "Total value", "USD", window) };
    let mut lines: BTreeMap<String, Vec<(i64, Option<f64>)>> = BTreeMap::new();
    for row in history.totals(window)? {
        // A drawing: floats are exact enough.
        let value = row.total_usd.to_string().parse::<f64>().ok();
        lines.entry(row.exchange).or_default().push((row.minute.as_millis(), value));
    }
    chart.lines = lines.into_iter().map(|(name, rows)| Line { name, points: with_gaps(rows.into_iter()) }.thinned()).collect();
    Ok(chart)
}

#[expect(clippy::cast_precision_loss, reason = "a drawing")]
fn orders(history: &History, window: Window) -> Result<Chart, Error> {
    let mut chart = empty("orders", "Verdicts", "per minute", window);
    let mut lines: BTreeMap<&str, BTreeMap<i64, u64>> = BTreeMap::new();
    for row in history.verdicts(window)? {
        let name = if row.guard.is_none() { "approved" } else { "refused" };
        *lines.entry(name).or_default().entry(row.minute.as_millis()).or_default() += row.count;
    }
    for (name, minutes) in lines {
        let points = with_gaps(minutes.into_iter().map(|(at, count)| (at, Some(count as f64))));
        chart.lines.push(Line { name: name.to_owned(), points }.thinned());
    }
    Ok(chart)
}
