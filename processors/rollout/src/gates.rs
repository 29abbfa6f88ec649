//! What the gates of a stage say about its samples. Floats: statistics, no money.
//!
//! A proportion or a mean *passes* on the good side of its threshold and is a *breach* only when it lies beyond it by more
//! than `significance_z` standard errors; in between nothing can be said. Every gate needs its minimum of samples first.

use spark_bus_schema::Timestamp;
use spark_bus_schema::rollout::{Gate, GateState, Stage};

use crate::config::{Config, Gates};
use crate::samples::{Part, Samples};

/// Every gate of a stage at `at`. `criticals` alerts fire. The samples are those of the window.
#[must_use]
pub fn measure(at: Timestamp, stage: Stage, samples: &Samples, criticals: u64, config: &Config) -> Vec<Gate> {
    let limits = &config.gates;
    let judged = &samples.judged;
    let mut gates = vec![
        error_ratio(judged, limits),
        latency(judged, limits),
        confidence(judged, limits),
        hit_rate(judged, limits),
        mean_move(judged, limits),
        staleness(at, judged, config),
        critical_alerts(criticals, limits),
    ];
    if limits.baseline && stage != Stage::Full {
        gates.push(hit_rate_beside(judged, &samples.baseline, limits));
        gates.push(mean_move_beside(judged, &samples.baseline, limits));
    }
    gates
}

fn error_ratio(part: &Part, limits: &Gates) -> Gate {
    let (errors, all) = (count(part.scores.iter().filter(|score| score.confid.is_none()).count()), count(part.scores.len()));
    let ratio = (all > 0.0).then(|| errors / all);
    let upper = limits.error_ratio_max;
    let state = ratio.map(|ratio| match () {
        () if ratio <= upper => GateState::Passed,
        () if wilson(ratio, all, limits.significance_z).0 > upper => GateState::Failed,
        () => GateState::Inconclusive,
    });
    gate("error_ratio", ratio, None, upper, part.scores.len(), limits.scores_min, state)
}

fn latency(part: &Part, limits: &Gates) -> Gate {
    let mut latencies: Vec<u64> = part.scores.iter().map(|score| score.latency_ms).collect();
    latencies.sort_unstable();
    // Nearest rank.
    let p95 = latencies.get((latencies.len() * 95).div_ceil(100).saturating_sub(1)).map(|&ms| float(ms));
    let state = p95.map(|p95| passed(p95 <= limits.latency_p95_ms_max));
    gate("latency_p95_ms", p95, None, limits.latency_p95_ms_max, latencies.len(), limits.scores_min, state)
}

fn confidence(part: &Part, limits: &Gates) -> Gate {
    let mut confids: Vec<f64> = part.scores.iter().filter_map(|score| score.confid).collect();
    confids.sort_unstable_by(f64::total_cmp);
    let median = confids.get(confids.len() / 2).copied();
    let state = median.map(|median| passed(median >= limits.confid_median_min));
    gate("confid_median", median, None, limits.confid_median_min, confids.len(), limits.scores_min, state)
}

fn hit_rate(part: &Part, limits: &Gates) -> Gate {
    let rate = hits(part);
    let floor = limits.hit_rate_min;
    let state = rate.map(|rate| match () {
        () if rate >= floor => GateState::Passed,
        () if wilson(rate, count(part.outcomes.len()), limits.significance_z).1 < floor => GateState::Failed,
        () => GateState::Inconclusive,
    });
    gate("hit_rate", rate, None, floor, part.outcomes.len(), limits.outcomes_min, state)
}

fn mean_move(part: &Part, limits: &Gates) -> Gate {
    let found = mean(part);
    let state = found.map(|(mean, error)| least(mean, limits.move_bps_min, limits.significance_z * error));
    let value = found.map(|(mean, _)| mean);
    gate("move_bps", value, None, limits.move_bps_min, part.outcomes.len(), limits.outcomes_min, state)
}

/// Since the last score: twice the time frame and the allowance are fine. Before the first one nothing can be said.
fn staleness(at: Timestamp, part: &Part, config: &Config) -> Gate {
    let limit = 2.0 * config.preview_timeframe.duration().as_secs_f64() + config.gates.staleness.duration().as_secs_f64();
    let age = part.last_score.map(|last| at.saturating_since(last).as_secs_f64());
    let state = age.map(|age| passed(age <= limit));
    let samples = usize::from(age.is_some());
    gate("staleness_s", age, None, limit, samples, 1, state)
}

fn critical_alerts(criticals: u64, limits: &Gates) -> Gate {
    let state = passed(criticals <= limits.critical_alerts_max);
    gate("critical_alerts", Some(float(criticals)), None, float(limits.critical_alerts_max), 1, 1, Some(state))
}

/// Two proportions, pooled: a breach only when the difference beyond the margin is significant.
fn hit_rate_beside(part: &Part, baseline: &Part, limits: &Gates) -> Gate {
    let (ours, theirs) = (hits(part), hits(baseline));
    let state = ours.zip(theirs).map(|(ours, theirs)| {
        let (n, m) = (count(part.outcomes.len()), count(baseline.outcomes.len()));
        let pooled = (ours * n + theirs * m) / (n + m);
        let error = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
        least(ours - theirs, -limits.hit_rate_margin, limits.significance_z * error)
    });
    beside("hit_rate_vs_baseline", ours, theirs, limits.hit_rate_margin, (part, baseline), limits, state)
}

/// Two means with their own variances (Welch).
fn mean_move_beside(part: &Part, baseline: &Part, limits: &Gates) -> Gate {
    let (ours, theirs) = (mean(part), mean(baseline));
    let state = ours
        .zip(theirs)
        .map(|((ours, a), (theirs, b))| least(ours - theirs, -limits.move_bps_margin, limits.significance_z * a.hypot(b)));
    let value = |found: Option<(f64, f64)>| found.map(|(mean, _)| mean);
    beside("move_bps_vs_baseline", value(ours), value(theirs), limits.move_bps_margin, (part, baseline), limits, state)
}

/// Not below a threshold: passed at it, a breach beyond `slack` below it.
fn least(value: f64, threshold: f64, slack: f64) -> GateState {
    match () {
        () if value >= threshold => GateState::Passed,
        () if value + slack < threshold => GateState::Failed,
        () => GateState::Inconclusive,
    }
}

fn passed(is_passed: bool) -> GateState {
    if is_passed { GateState::Passed } else { GateState::Failed }
}

fn gate(
    name: &str,
    value: Option<f64>,
    baseline: Option<f64>,
    threshold: f64,
    samples: usize,
    samples_min: u64,
    state: Option<GateState>,
) -> Gate {
    let samples = samples as u64;
    let state = state.filter(|_| samples >= samples_min).unwrap_or(GateState::Inconclusive);
    Gate { name: name.to_owned(), state, value, baseline, threshold, samples, samples_min }
}

/// As [`gate`]; the fewer outcomes of both sides are what counts.
fn beside(
    name: &str,
    value: Option<f64>,
    baseline: Option<f64>,
    threshold: f64,
    (ours, theirs): (&Part, &Part),
    limits: &Gates,
    state: Option<GateState>,
) -> Gate {
    let samples = ours.outcomes.len().min(theirs.outcomes.len());
    gate(name, value, baseline, threshold, samples, limits.outcomes_min, state)
}

/// Share of outcomes that came true; none without any.
fn hits(part: &Part) -> Option<f64> {
    let all = count(part.outcomes.len());
    (all > 0.0).then(|| count(part.outcomes.iter().filter(|outcome| outcome.hit).count()) / all)
}

/// Mean move to the scored side and its standard error, basis points; none with fewer than two.
fn mean(part: &Part) -> Option<(f64, f64)> {
    let n = count(part.outcomes.len());
    if n < 2.0 {
        return None;
    }
    let mean = part.outcomes.iter().map(|outcome| outcome.move_bps).sum::<f64>() / n;
    let squares = part.outcomes.iter().map(|outcome| (outcome.move_bps - mean).powi(2)).sum::<f64>();
    Some((mean, (squares / (n - 1.0) / n).sqrt()))
}

/// Wilson's score interval of a proportion seen in `n` samples.
fn wilson(p: f64, n: f64, z: f64) -> (f64, f64) {
    let z2 = z * z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    (centre - half, centre + half)
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand samples at most")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds and counts far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}
