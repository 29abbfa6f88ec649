//! Sums, counts and percentiles of a window.

use std::collections::BTreeMap;

use spark_bus_schema::notify::DeliveryOutcome;
use spark_bus_schema::telemetry::REFRESH;

use super::{ActionLine, Api, Calls, Deliveries, LINES_MAX, Orders, Refresh, ScoreSeries, Scores, Smokes, Staleness, Value};
use crate::history::{Error, History, Window};

/// The guardrail's metric whose value is the age of an exchange's balances, s.
pub(crate) const STALENESS_METRIC: &str = "portfolio_updates";

/// The q-th percentile of sorted values by nearest rank: the `⌈q·n/100⌉`-th smallest; none of nothing.
#[must_use]
pub fn percentile<T: Copy>(sorted: &[T], q: usize) -> Option<T> {
    let rank = (sorted.len() * q).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Exact ms of µs.
#[expect(clippy::cast_precision_loss, reason = "latencies fit into 53 bits")]
fn ms(us: Option<u64>) -> f64 {
    us.unwrap_or(0) as f64 / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts fit into 53 bits")]
fn float(count: u64) -> f64 {
    count as f64
}

#[derive(Default)]
struct Collected {
    latencies_us: Vec<u64>,
    failed: u64,
    by_error: BTreeMap<String, u64>,
}

/// Polls and calls by exchange. At most as many latencies are in memory as the history keeps calls.
pub(super) fn calls(history: &History, window: Window, observed_s: f64) -> Result<(Vec<Refresh>, Vec<Calls>), Error> {
    let mut found: BTreeMap<(bool, String), Collected> = BTreeMap::new();
    history.each_call(window, |call| {
        let collected = found.entry((call.operation == REFRESH, call.exchange)).or_default();
        collected.latencies_us.push(call.latency_us);
        if !call.ok {
            collected.failed += 1;
            *collected.by_error.entry(call.error_type.unwrap_or_else(|| "unknown".to_owned())).or_default() += 1;
        }
    })?;
    let (mut refreshes, mut calls) = (Vec::new(), Vec::new());
    for ((is_refresh, exchange), mut collected) in found {
        collected.latencies_us.sort_unstable();
        let at = |q| ms(percentile(&collected.latencies_us, q));
        let (count, failed) = (collected.latencies_us.len() as u64, collected.failed);
        if is_refresh {
            let (p50_ms, p95_ms, p99_ms, max_ms) = (at(50), at(95), at(99), at(100));
            refreshes.push(Refresh { exchange, count, failed, p50_ms, p95_ms, p99_ms, max_ms });
        } else {
            calls.push(Calls {
                exchange,
                count,
                failed,
                errors_per_s: float(failed) / observed_s,
                error_ratio: float(failed) / float(count),
                p95_ms: at(95),
                by_error: collected.by_error,
            });
        }
    }
    Ok((refreshes, calls))
}

/// Ages of balances by exchange. Where several rules look at the age of one exchange, they see the same: the first is taken.
pub(super) fn staleness(history: &History, window: Window) -> Result<Vec<Staleness>, Error> {
    let mut found: BTreeMap<String, Staleness> = BTreeMap::new();
    for series in history.series()? {
        let Some(exchange) = series.scope.get("exchange").filter(|_| series.metric == STALENESS_METRIC) else { continue };
        let minutes = history.minutes(series.id, window)?;
        if minutes.is_empty() || found.contains_key(exchange) {
            continue;
        }
        let boundaries: u64 = minutes.iter().map(|minute| minute.boundaries).sum();
        let total: f64 = minutes.iter().map(|minute| minute.total).sum();
        let row = Staleness {
            exchange: exchange.clone(),
            last_s: minutes.iter().rev().find_map(|minute| minute.last),
            mean_s: (boundaries > 0).then(|| total / float(boundaries)),
            max_s: minutes.iter().filter_map(|minute| minute.high).reduce(f64::max),
        };
        found.insert(exchange.clone(), row);
    }
    Ok(found.into_values().collect())
}

/// Steps of episodes, the newest.
pub(super) fn actions(history: &History, window: Window) -> Result<Vec<ActionLine>, Error> {
    let steps = history.actions(window)?;
    let skipped = steps.len().saturating_sub(LINES_MAX);
    let line = |fact: crate::history::Fact<spark_bus_schema::actions::Action>| ActionLine {
        at: fact.at,
        episode: fact.message.episode,
        stage: word(&fact.message.stage),
        dry_run: fact.message.dry_run,
        service: fact.message.service,
        summary: fact.message.summary,
    };
    Ok(steps.into_iter().skip(skipped).map(line).collect())
}

/// An enum's word on the wire.
pub(super) fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn orders(history: &History, window: Window) -> Result<Orders, Error> {
    let mut orders = Orders::default();
    for row in history.verdicts(window)? {
        match row.guard {
            None => orders.approved += row.count,
            Some(guard) => {
                orders.refused += row.count;
                *orders.by_guard.entry(guard).or_default() += row.count;
            }
        }
    }
    for row in history.order_states(window)? {
        *orders.states.entry(row.state).or_default() += row.count;
    }
    Ok(orders)
}

pub(super) fn scores(history: &History, window: Window) -> Result<Scores, Error> {
    let name = |venue: &str, symbol: &str, timeframe: &str| format!("{venue}.{symbol} {timeframe}");
    let mut found: BTreeMap<String, ScoreSeries> = BTreeMap::new();
    for row in history.scores(window)? {
        let series = found.entry(name(&row.venue, &row.symbol, &row.timeframe)).or_default();
        series.count += row.count;
        match row.bucket {
            None => series.failed += row.count,
            Some(bucket) => *series.by_bucket.entry(bucket).or_default() += row.count,
        }
    }
    if found.is_empty() {
        let said = "No scores recorded: no signal is running, so there is nothing to calibrate.".to_owned();
        return Ok(Scores { said, ..Scores::default() });
    }
    for last in history.calibrations(window)? {
        let series = found.entry(name(last.venue.as_str(), &last.symbol, last.timeframe.as_str())).or_default();
        (series.samples, series.brier, series.drift_psi) = (last.samples, last.brier, last.drift_psi);
        series.hits = last.reliability.iter().map(|bucket| bucket.hits).sum();
    }
    let series: Vec<ScoreSeries> =
        found.into_iter().map(|(series, row)| ScoreSeries { series, ..row }).filter(|row| row.count > 0).collect();
    let of = |value: fn(&ScoreSeries) -> u64| series.iter().map(value).sum::<u64>();
    let (count, failed, samples, hits) = (of(|row| row.count), of(|row| row.failed), of(|row| row.samples), of(|row| row.hits));
    let calibrated = match samples {
        0 => "no outcome is known yet, so nothing can be said about calibration".to_owned(),
        _ => format!("the price followed {hits} of {samples} whose outcome is known"),
    };
    let said = format!("{count} scores of {} series, {failed} without a value; {calibrated}.", series.len());
    Ok(Scores { cardinality: series.len() as u64, series, said })
}

pub(super) fn deliveries(history: &History, window: Window) -> Result<BTreeMap<String, Deliveries>, Error> {
    let mut receivers: BTreeMap<String, Deliveries> = BTreeMap::new();
    for fact in history.deliveries(window)? {
        let row = receivers.entry(fact.message.receiver).or_default();
        match fact.message.outcome {
            DeliveryOutcome::Delivered => {
                row.delivered += 1;
                row.slowest_ms = row.slowest_ms.max(fact.message.took_ms);
            }
            DeliveryOutcome::Retrying => row.retrying += 1,
            DeliveryOutcome::Parked => row.parked += 1,
        }
    }
    Ok(receivers)
}

pub(super) fn smokes(history: &History, window: Window) -> Result<Smokes, Error> {
    let found = history.smokes(window)?;
    let mut smokes = Smokes {
        runs: found.len() as u64,
        passed: found.iter().filter(|fact| fact.message.pass).count() as u64,
        ..Smokes::default()
    };
    if let Some(last) = found.last() {
        smokes.last_at = Some(last.at);
        smokes.last_pass = Some(last.message.pass);
        let bad = last.message.checks.iter().filter(|check| !check.ok);
        smokes.last_bad = bad.map(|check| format!("{}: {}", check.name, check.detail)).collect();
    }
    Ok(smokes)
}

pub(super) fn values(history: &History, window: Window) -> Result<Vec<Value>, Error> {
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    for row in history.totals(window)? {
        let total = row.total_usd;
        let value = found.entry(row.exchange.clone()).or_insert_with(|| Value {
            exchange: row.exchange,
            first_usd: total,
            last_usd: total,
            low_usd: total,
            high_usd: total,
            polls: 0,
            failed: 0,
        });
        value.last_usd = total;
        value.low_usd = value.low_usd.min(total);
        value.high_usd = value.high_usd.max(total);
        value.polls += row.polls;
        value.failed += row.failed;
    }
    Ok(found.into_values().collect())
}

pub(super) fn parked(history: &History, window: Window) -> Result<BTreeMap<String, u64>, Error> {
    let mut processes = BTreeMap::new();
    for fact in history.parked(window)? {
        *processes.entry(fact.message.process).or_default() += 1;
    }
    Ok(processes)
}

pub(super) fn api(history: &History, window: Window) -> Result<Api, Error> {
    let summary = history.api(window)?;
    let requests: u64 = summary.statuses.values().sum();
    let bad: u64 = summary.statuses.iter().filter(|(status, _)| **status >= 500).map(|(_, count)| count).sum();
    let measured: u64 = summary.latencies_us.values().sum();
    let mut rank = (measured * 95).div_ceil(100).max(1);
    let p95 = summary.latencies_us.iter().find_map(|(value, count)| {
        let is_it = rank <= *count;
        rank = rank.saturating_sub(*count);
        is_it.then_some(*value)
    });
    Ok(Api {
        requests,
        p95_ms: p95.map(|us| f64::from(us) / 1_000.0),
        ratio_5xx: (requests > 0).then(|| float(bad) / float(requests)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let check = |values: &[u32], q, want| assert_eq!(percentile(values, q), want, "{values:?} {q}");
        check(&[], 95, None);
        check(&[7], 50, Some(7));
        check(&[1, 2, 3, 4], 50, Some(2));
        check(&[1, 2, 3, 4], 95, Some(4));
        check(&(1..=100).collect::<Vec<_>>(), 95, Some(95));
        check(&(1..=101).collect::<Vec<_>>(), 99, Some(100));
        check(&(1..=101).collect::<Vec<_>>(), 100, Some(101));
    }
}
