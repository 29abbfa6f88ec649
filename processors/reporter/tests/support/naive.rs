//! The same figures by other means: straight from the streams' messages, with sorted vectors, sets of seconds and exact sums.

use std::collections::{BTreeMap, BTreeSet};

use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::notify::{Delivery as Told, DeliveryOutcome};
use spark_bus_schema::orders::OrderEvent;
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::signals::{Calibration, Score};
use spark_bus_schema::telemetry::{ApiRequests, Call, Heartbeat, ProcessState, Windows};
use spark_bus_schema::{Decimal, Message, Timestamp};
use spark_nats::Delivery;
use spark_reporter::Window;

/// Every message of a kind.
pub fn all<T: Message>(stream: &[Delivery]) -> Vec<T> {
    let kind = format!("{}.v{}", T::KIND.name, T::KIND.version);
    let of_kind = stream.iter().filter(|delivery| delivery.kind.as_deref() == Some(kind.as_str()));
    of_kind.filter_map(|delivery| delivery.decode().ok()).collect()
}

/// The smallest value that at least q percent of all values do not exceed.
pub fn percentile(values: &[u64], q: usize) -> u64 {
    let enough = |candidate: u64| values.iter().filter(|value| **value <= candidate).count() * 100 >= values.len() * q;
    *values.iter().filter(|value| enough(**value)).min().unwrap()
}

/// Latencies, failures and failures by type of one exchange.
pub fn calls(stream: &[Delivery], window: Window, exchange: &str, refresh: bool) -> (Vec<u64>, u64, BTreeMap<String, u64>) {
    let mut found = (Vec::new(), 0, BTreeMap::new());
    for call in all::<Call>(stream) {
        let chosen = call.exchange.as_str() == exchange && (call.operation == "refresh") == refresh;
        if chosen && window.contains(call.started_at) {
            found.0.push(call.latency_us);
            if let Some(error) = call.error_type {
                found.1 += 1;
                *found.2.entry(error).or_insert(0) += 1;
            }
        }
    }
    found
}

/// Last, mean and largest age of balances; each boundary once.
pub fn staleness(stream: &[Delivery], window: Window, exchange: &str) -> (f64, f64, f64) {
    let mut boundaries = BTreeMap::new();
    for windows in all::<Windows>(stream).into_iter().filter(|windows| window.contains(windows.at)) {
        for value in windows.values {
            if value.scope["exchange"] == exchange
                && let Some(value) = value.value
            {
                boundaries.insert(windows.at, value);
            }
        }
    }
    let values: Vec<f64> = boundaries.values().copied().collect();
    (*values.last().unwrap(), values.iter().sum::<f64>() / values.len() as f64, values.iter().copied().fold(0.0, f64::max))
}

/// Seconds in which each process was there, and all of them at once; degraded seconds; of how many.
pub fn uptime(stream: &[Delivery], window: Window) -> (BTreeMap<String, (u64, u64)>, u64, u64) {
    let second = |at: Timestamp| at.as_nanos() / 1_000_000_000;
    let beats: Vec<Heartbeat> = all(stream).into_iter().filter(|beat: &Heartbeat| window.contains(beat.sent_at)).collect();
    let services: BTreeSet<String> = beats.iter().map(|beat| beat.service.clone()).collect();
    let first = beats.iter().map(|beat| second(beat.sent_at)).min().unwrap();
    let heard: BTreeSet<(String, i64)> = beats.iter().map(|beat| (beat.service.clone(), second(beat.sent_at))).collect();
    let degraded: BTreeSet<(String, i64)> = beats
        .iter()
        .filter(|beat| beat.state == ProcessState::Degraded)
        .map(|beat| (beat.service.clone(), second(beat.sent_at)))
        .collect();
    let mut up: BTreeMap<String, (u64, u64)> = services.iter().map(|service| (service.clone(), (0, 0))).collect();
    let mut together = 0;
    for now in first..second(window.to) {
        let there = |service: &String| (now - 5..=now).any(|at| heard.contains(&(service.clone(), at)));
        for service in services.iter().filter(|service| there(service)) {
            up.get_mut(service).unwrap().0 += 1;
        }
        for service in services.iter().filter(|service| degraded.contains(&((*service).clone(), now))) {
            up.get_mut(service).unwrap().1 += 1;
        }
        together += u64::from(services.iter().all(there));
    }
    (up, together, (second(window.to) - first) as u64)
}

/// Stretches of firing: alert, exchange, severity, first and last second, whether it fires at the end. By looking at every second.
pub fn breaches(stream: &[Delivery], window: Window) -> Vec<(String, String, Severity, i64, i64, bool)> {
    let mut changes: BTreeMap<(String, String), Vec<Alert>> = BTreeMap::new();
    for alert in all::<Alert>(stream) {
        changes.entry((alert.name.clone(), alert.scope["exchange"].clone())).or_default().push(alert);
    }
    let (from, to) = (window.from.as_millis() / 1_000, window.to.as_millis() / 1_000);
    let mut found = Vec::new();
    for ((name, exchange), changes) in changes {
        let state = |now: i64| {
            changes.iter().rfind(|alert| alert.at.as_millis() / 1_000 <= now).filter(|alert| alert.state == AlertState::Firing)
        };
        let mut current: Option<(i64, Severity)> = None;
        for now in from..to {
            current = match (state(now), current) {
                (Some(alert), Some((since, severity))) => Some((since, severity.max(alert.severity.unwrap()))),
                (Some(alert), None) => Some((now, alert.severity.unwrap())),
                (None, Some((since, severity))) => {
                    found.push((name.clone(), exchange.clone(), severity, since, now, false));
                    None
                }
                (None, None) => None,
            };
        }
        if let Some((since, severity)) = current {
            found.push((name, exchange, severity, since, to, true));
        }
    }
    found.sort_by_key(|breach| (std::cmp::Reverse(breach.2), std::cmp::Reverse(breach.4 - breach.3), breach.3));
    found
}

/// First, last, lowest and highest total; polls; failures. Of each minute the last poll counts.
pub fn value(stream: &[Delivery], window: Window, exchange: &str) -> (Decimal, Decimal, Decimal, Decimal, u64, u64) {
    let mut polls: Vec<Balances> = all(stream);
    polls.retain(|poll| poll.exchange.as_str() == exchange && window.contains(poll.polled_at));
    let minutes: BTreeMap<i64, Decimal> =
        polls.iter().map(|poll| (poll.polled_at.as_millis() / 60_000, poll.total_usd)).collect();
    let (first, last) = (*minutes.values().next().unwrap(), *minutes.values().last().unwrap());
    let failed = polls.iter().filter(|poll| poll.error.is_some()).count() as u64;
    (first, last, *minutes.values().min().unwrap(), *minutes.values().max().unwrap(), polls.len() as u64, failed)
}

/// Approvals, refusals by guard, transitions by state.
pub fn orders(stream: &[Delivery], window: Window) -> (u64, BTreeMap<String, u64>, BTreeMap<String, u64>) {
    let mut found = (0, BTreeMap::new(), BTreeMap::new());
    for verdict in all::<Verdict>(stream).into_iter().filter(|verdict| window.contains(verdict.decided_at)) {
        match verdict.guard {
            None => found.0 += 1,
            Some(guard) => *found.1.entry(guard.to_string()).or_insert(0) += 1,
        }
    }
    for event in all::<OrderEvent>(stream) {
        for step in event.steps.iter().filter(|step| window.contains(step.at)) {
            *found.2.entry(step.state.to_string()).or_insert(0) += 1;
        }
    }
    found
}

/// Scores, those without a value, and by bucket.
type Scored = (u64, u64, BTreeMap<String, u64>);

/// The scores of each series, and the last Brier score.
pub fn scores(stream: &[Delivery], window: Window) -> (BTreeMap<String, Scored>, Option<f64>) {
    let mut found = BTreeMap::new();
    for score in all::<Score>(stream).into_iter().filter(|score| window.contains(score.decided_at)) {
        let series = format!("{}.{} {}", score.venue, score.symbol, score.timeframe);
        let row: &mut Scored = found.entry(series).or_default();
        row.0 += 1;
        match (score.score, score.ml_bucket) {
            (None, _) => row.1 += 1,
            (Some(_), bucket) => *row.2.entry(bucket.unwrap_or_else(|| "below".to_owned())).or_insert(0) += 1,
        }
    }
    let last = all::<Calibration>(stream).into_iter().rfind(|calibration| window.contains(calibration.at));
    (found, last.and_then(|calibration| calibration.brier))
}

/// Delivered, retried, given up, slowest, by receiver.
pub fn deliveries(stream: &[Delivery], window: Window) -> BTreeMap<String, (u64, u64, u64, u64)> {
    let mut found = BTreeMap::new();
    for told in all::<Told>(stream).into_iter().filter(|told| window.contains(told.at)) {
        let row: &mut (u64, u64, u64, u64) = found.entry(told.receiver).or_default();
        match told.outcome {
            DeliveryOutcome::Delivered => (row.0, row.3) = (row.0 + 1, row.3.max(told.took_ms)),
            DeliveryOutcome::Retrying => row.1 += 1,
            DeliveryOutcome::Parked => row.2 += 1,
        }
    }
    found
}

/// Answers, latencies, answers with 5xx.
pub fn api(stream: &[Delivery], window: Window) -> (u64, Vec<u64>, u64) {
    let mut found = (0, Vec::new(), 0);
    for second in all::<ApiRequests>(stream).into_iter().filter(|second| window.contains(second.at)) {
        found.0 += second.statuses.values().sum::<u64>();
        found.1.extend(second.latencies_us.iter().map(|&us| u64::from(us)));
        found.2 += second.statuses.get(&503).copied().unwrap_or_default();
    }
    found
}
