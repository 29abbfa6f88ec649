//! From the history to proposals, and what they would have meant on the recorded days.

use std::collections::BTreeMap;

use serde::Serialize;
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::{AlertState, Severity};
use spark_guardrail::Rules;
use spark_guardrail::alert::{self, Limits, Observation};
use spark_guardrail::machine::thresholds::{Scope, Thresholds as Changed};
use spark_guardrail::rule::{Rule, impossible, reversed};
use spark_guardrail::window::Aggregation;
use spark_reporter::history::Minute;
use spark_reporter::tune::{self, Outcome, Subject, Thresholds};
use spark_reporter::{History, Window};

/// How long after a minute's beginning its last value is taken to have come.
const MINUTE_END_MS: i64 = 59_000;

/// Alerts that thresholds raise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Raised {
    /// Times that a warning began.
    pub warning: u64,
    /// Times that a critical began, also where a warning was there before.
    pub critical: u64,
}

impl Raised {
    fn add(&mut self, other: Self) {
        self.warning += other.warning;
        self.critical += other.critical;
    }
}

/// One rule in one scope, or in all of them together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The scope; empty: all together.
    pub scope: Scope,
    /// Thresholds in force.
    pub in_force: Thresholds,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Why a proposal cannot be used, where it cannot.
    pub refused: Option<String>,
    /// Alerts on the recorded days under the thresholds in force.
    pub before: Raised,
    /// The same under the proposal (in a scope: its own, else the one for all).
    pub after: Raised,
}

impl Row {
    /// The proposal that can be used.
    #[must_use]
    pub fn usable(&self) -> Option<Thresholds> {
        match (&self.outcome, &self.refused) {
            (Outcome::Proposed { thresholds, .. }, None) => Some(*thresholds),
            _ => None,
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Studied {
    /// Its id.
    pub rule: String,
    /// `ms`, `s`, `1/s` …
    pub unit: &'static str,
    /// `above` or `below`: the bad side.
    pub direction: &'static str,
    /// All scopes together.
    pub all: Row,
    /// Each scope; with a proposal of its own only where it was asked for.
    pub scopes: Vec<Row>,
}

/// What is asked for.
pub struct Question<'a> {
    /// The rules in force.
    pub rules: &'a Rules,
    /// What was changed at run time.
    pub changed: &'a Changed,
    /// The recorded days.
    pub window: Window,
    /// A proposal for each scope too.
    pub per_scope: bool,
    /// Only these rules; empty: all.
    pub only: &'a [String],
    /// Criticals may become looser than specified.
    pub allow_looser: bool,
}

/// Whether a rule has thresholds that percentiles can say something about: states (gauges) and error budgets have none.
#[must_use]
pub fn is_tunable(rule: &Rule) -> bool {
    rule.limits.decide() && !matches!(rule.aggregation, Aggregation::Gauge | Aggregation::BurnRate(_))
}

/// Every tunable rule that has a history.
///
/// # Errors
/// The history cannot be read.
pub fn study(history: &History, question: &Question<'_>) -> Result<Vec<Studied>, spark_reporter::history::Error> {
    let mut by_rule: BTreeMap<&str, BTreeMap<Scope, Vec<Minute>>> = BTreeMap::new();
    let wanted = |rule: &&Rule| is_tunable(rule) && (question.only.is_empty() || question.only.contains(&rule.id));
    let rules: BTreeMap<&str, &Rule> = question.rules.iter().filter(wanted).map(|rule| (rule.id.as_str(), rule)).collect();
    for series in history.series()? {
        // Of a rule that once had another unit the old series is another thing.
        let Some(rule) = rules.get(series.rule.as_str()).filter(|rule| rule.unit == series.unit) else { continue };
        let minutes = history.minutes(series.id, question.window)?;
        by_rule.entry(&rule.id).or_default().entry(series.scope).or_default().extend(minutes);
    }
    let builtin = Rules::builtin();
    let studied = rules.into_iter().map(|(id, rule)| {
        let scopes = by_rule.remove(id).unwrap_or_default();
        one(rule, specified(rule, &builtin), &scopes, question)
    });
    Ok(studied.collect())
}

fn of(limits: &Limits) -> Thresholds {
    Thresholds { warning: limits.warning.map(|limit| limit.threshold), critical: limits.critical.map(|limit| limit.threshold) }
}

/// The specification's thresholds for what a rule looks at: those of the built-in rule with its id, or with the same measure (a
/// rule for one scope, as an earlier tuning wrote it). A rule of one's own is its own specification.
fn specified(rule: &Rule, builtin: &Rules) -> Thresholds {
    let same = |other: &&Rule| {
        (other.metric, &other.scope, other.aggregation, other.window) == (rule.metric, &rule.scope, rule.aggregation, rule.window)
    };
    let by_id = builtin.iter().find(|other| other.id == rule.id);
    let own = of(&rule.limits);
    let told = by_id.or_else(|| builtin.iter().find(same)).map_or(own, |other| of(&other.limits));
    // Only what the rule itself has can be changed.
    let both = |own: Option<f64>, told: Option<f64>| own.map(|own| told.unwrap_or(own));
    Thresholds { warning: both(own.warning, told.warning), critical: both(own.critical, told.critical) }
}

fn one(rule: &Rule, specified: Thresholds, scopes: &BTreeMap<Scope, Vec<Minute>>, question: &Question<'_>) -> Studied {
    let above = rule.direction() == "above";
    let values = |minutes: &[Minute]| -> Vec<f64> { minutes.iter().filter_map(|minute| tune::worst(minute, above)).collect() };
    let row = |scope: &Scope, values: Vec<f64>| {
        let in_force = of(&question.changed.in_force(rule, scope));
        let subject = Subject { above, counts: rule.unit == "count", specified, allow_looser: question.allow_looser };
        let outcome = tune::propose(&subject, values);
        let refused = match &outcome {
            Outcome::Proposed { thresholds, .. } => refused(rule, *thresholds),
            Outcome::TooFew { .. } => None,
        };
        Row { scope: scope.clone(), in_force, outcome, refused, before: Raised::default(), after: Raised::default() }
    };
    let mut all = row(&Scope::new(), scopes.values().flat_map(|minutes| values(minutes)).collect());
    let mut rows = Vec::new();
    for (scope, minutes) in scopes {
        let mut one = row(scope, values(minutes));
        let own = if question.per_scope && !scope.is_empty() { one.usable() } else { None };
        let before = question.changed.in_force(rule, scope);
        let after = own.or_else(|| all.usable()).map_or(before, |thresholds| with(before, thresholds));
        (one.before, one.after) = (simulate(&before, minutes), simulate(&after, minutes));
        all.before.add(one.before);
        all.after.add(one.after);
        if !scope.is_empty() {
            rows.push(one);
        }
    }
    Studied { rule: rule.id.clone(), unit: rule.unit, direction: rule.direction(), all, scopes: rows }
}

/// Limits with other thresholds; delays stay.
#[must_use]
pub fn with(mut limits: Limits, thresholds: Thresholds) -> Limits {
    for (limit, threshold) in [(&mut limits.warning, thresholds.warning), (&mut limits.critical, thresholds.critical)] {
        if let (Some(limit), Some(threshold)) = (limit.as_mut(), threshold) {
            limit.threshold = threshold;
        }
    }
    limits
}

/// Why the guardrail would not take these.
fn refused(rule: &Rule, thresholds: Thresholds) -> Option<String> {
    let limits = with(rule.limits, thresholds);
    let cannot = |threshold: f64| impossible(threshold, &rule.metric, rule.aggregation, limits.direction);
    let found = [thresholds.warning, thresholds.critical].into_iter().flatten().find_map(cannot);
    found.or_else(|| reversed(&limits)).map(|(what, _)| what)
}

/// The alerts that the guardrail's own state machine raises on recorded minutes. Of a minute its worst value is taken to
/// have come at its beginning and its last value at its end: `for` and keep-firing are true to a minute.
#[must_use]
pub fn simulate(limits: &Limits, minutes: &[Minute]) -> Raised {
    let above = limits.direction == alert::Direction::Above;
    let (mut status, mut raised) = (alert::Status::default(), Raised::default());
    let mut see = |at: Timestamp, seen: Observation| {
        let (next, transition) = alert::next(status, limits, at, seen);
        status = next;
        let Some(transition) = transition.filter(|transition| transition.to == AlertState::Firing) else { return };
        match (transition.severity, transition.from) {
            (Some(Severity::Critical), _) => raised.critical += 1,
            // A critical that becomes a warning again is on its way out, and nobody is called for it.
            (Some(Severity::Warning), from) if from != AlertState::Firing => raised.warning += 1,
            _ => {}
        }
    };
    for minute in minutes {
        match (tune::worst(minute, above), minute.last) {
            (Some(worst), last) => {
                see(minute.at, Observation::Value(worst));
                let end = Timestamp::from_millis(minute.at.as_millis() + MINUTE_END_MS);
                see(end, Observation::Value(last.filter(|last| last.is_finite()).unwrap_or(worst)));
            }
            (None, _) => see(minute.at, Observation::NoData),
        }
    }
    raised
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spark_guardrail::alert::{Direction, Limit, NoData};

    use super::*;

    #[test]
    fn a_minute_that_is_bad_to_its_end_outlasts_a_delay_and_a_moment_in_it_does_not() {
        let limit = |threshold, seconds| Some(Limit { threshold, hold: Duration::from_secs(seconds) });
        let limits = Limits {
            direction: Direction::Above,
            warning: limit(10.0, 30),
            critical: limit(20.0, 90),
            keep_firing: Duration::ZERO,
            no_data: NoData::Ok,
        };
        let minute = |index: i64, high: f64, last: f64| Minute {
            at: Timestamp::from_millis(index * 60_000),
            last: Some(last),
            low: Some(0.0),
            high: Some(high),
            total: 0.0,
            boundaries: 60,
            empty: 0,
            samples: 1,
            warning: None,
            critical: None,
            pending: 0,
            firing: 0,
        };
        let check = |minutes: &[(f64, f64)], warning: u64, critical: u64| {
            let minutes: Vec<Minute> = (0..).zip(minutes).map(|(index, (high, last))| minute(index, *high, *last)).collect();
            assert_eq!(simulate(&limits, &minutes), Raised { warning, critical }, "{minutes:?}");
        };
        check(&[(15.0, 0.0), (15.0, 0.0)], 0, 0);
        check(&[(15.0, 15.0)], 1, 0);
        check(&[(15.0, 15.0), (0.0, 0.0), (15.0, 15.0)], 2, 0);
        check(&[(25.0, 25.0), (25.0, 25.0), (0.0, 0.0)], 1, 1);
        check(&[(25.0, 25.0), (0.0, 0.0)], 1, 0);
    }
}
