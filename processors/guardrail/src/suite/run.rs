//! Runs a test through the guardrail's own decision.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::telemetry::WindowValue;
use spark_nats::{Effects, Machine};

use super::notation::Step;
use super::{Expect, Series, Test, When};
use crate::machine::Guardrail;
use crate::rule::text::{figure, span};
use crate::rule::{MetricKind, Rules};
use crate::window::Sample;

/// Moment 0 of every test.
const ZERO: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// How near a value must be, as a share of what is expected.
const NEAR: f64 = 0.01;

/// An expectation that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its line in the file.
    pub line: usize,
    /// The test's name.
    pub test: String,
    /// What was expected, when and where.
    pub expected: String,
    /// What was the case, with the value and the thresholds in force.
    pub got: String,
    /// Every change of the alert in this scope.
    pub changes: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    expected {}\n    got      {}\n    changes  {}", self.test, self.expected, self.got, self.changes)
    }
}

/// A change of an alert.
struct Change {
    at: Duration,
    state: AlertState,
    severity: Option<Severity>,
}

/// What happened in a test.
#[derive(Default)]
struct Story {
    changes: BTreeMap<(String, BTreeMap<String, String>), Vec<Change>>,
    /// The windows at each moment that an expectation looks at.
    windows: BTreeMap<Duration, Vec<WindowValue>>,
}

/// Every expectation of a test that does not hold.
#[must_use]
pub fn run(test: &Test, rules: &Rules) -> Vec<Failure> {
    // Only what is looked at: a day in steps of 100 ms through every rule would take its time.
    let rules = rules.only(|rule| test.expects.iter().any(|expect| expect.alert == rule.alert));
    let story = story(test, &rules);
    test.expects.iter().filter_map(|expect| judge(test, expect, &rules, &story)).collect()
}

fn story(test: &Test, rules: &Rules) -> Story {
    let mut guardrail = Guardrail::new(rules);
    let (mut out, mut story) = (Effects::default(), Story::default());
    let mut samples: Vec<(Duration, &Series, Sample)> = test.inputs.iter().flat_map(samples).collect();
    samples.sort_by_key(|(at, ..)| *at);
    let mut looks: Vec<Duration> = test.expects.iter().map(|expect| expect.when.end()).collect();
    // What comes after the last expectation is played as well: a failure shows what happened too late.
    looks.extend(samples.last().map(|(at, ..)| *at));
    looks.sort_unstable();
    looks.dedup();
    let mut samples = samples.into_iter().peekable();
    guardrail.hear(ZERO, &mut out);
    let mut boundary = Duration::ZERO;
    for look in looks {
        loop {
            let next = samples.peek().map(|(at, ..)| *at).filter(|at| *at <= look);
            // As in the run loop: every boundary up to a sample fires before it.
            let upto = next.unwrap_or(look);
            while boundary + test.step <= upto {
                boundary += test.step;
                guardrail.hear(ZERO + boundary, &mut out);
                guardrail.tick(ZERO + boundary, &mut out);
                story.note(&mut out);
            }
            let Some((at, series, sample)) = next.and_then(|_| samples.next()) else { break };
            let labels: Vec<(&'static str, &str)> = series.labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
            guardrail.observe(ZERO + at, series.metric, &labels, sample, &mut out);
            story.note(&mut out);
        }
        story.windows.insert(look, guardrail.windows(ZERO + look).values);
    }
    story
}

impl Story {
    fn note(&mut self, out: &mut Effects) {
        for effect in out.drain().filter(|effect| effect.subject.starts_with("alerts.changed.")) {
            let Ok(alert) = decode_payload::<Alert>(&effect.payload) else { continue };
            let at = alert.at.saturating_since(ZERO);
            let change = Change { at, state: alert.state, severity: alert.severity };
            self.changes.entry((alert.name, alert.scope)).or_default().push(change);
        }
    }
}

fn samples(series: &Series) -> impl Iterator<Item = (Duration, &Series, Sample)> {
    let mut at = series.from;
    series.steps.iter().filter_map(move |step| {
        let now = at;
        at += series.every;
        Some((now, series, sample(series.metric.kind, *step)?))
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the file's reader takes only what fits")]
fn sample(kind: MetricKind, step: Step) -> Option<Sample> {
    Some(match (kind, step) {
        (_, Step::Nothing) => return None,
        (_, Step::Failed(failed, all)) => Sample::Outcomes { all, failed },
        // Thresholds are in ms, samples in µs; shares are kept in thousandths.
        (MetricKind::Values | MetricKind::Shares, Step::Value(value)) => Sample::Value((value * 1_000.0) as i64),
        (MetricKind::Level | MetricKind::Age, Step::Value(value)) => Sample::Level(value),
        (MetricKind::Outcomes, Step::Value(value)) => Sample::Outcomes { all: value as u64, failed: 0 },
        (MetricKind::Signs, Step::Value(0.0)) => Sample::Expected,
        (MetricKind::Signs | MetricKind::Events, Step::Value(value)) => Sample::Events(value as u64),
    })
}

fn judge(test: &Test, expect: &Expect, rules: &Rules, story: &Story) -> Option<Failure> {
    let none = Vec::new();
    let changes = story.changes.get(&(expect.alert.clone(), expect.scope.clone())).unwrap_or(&none);
    let at = |moment: Duration| {
        let last = changes.iter().rev().find(|change| change.at <= moment);
        last.map_or((AlertState::Inactive, None), |change| (change.state, change.severity))
    };
    let is = |(state, severity): (AlertState, Option<Severity>)| {
        state == expect.state && (expect.severity.is_none() || severity == expect.severity)
    };
    let held = match expect.when {
        When::At(moment) => is(at(moment)),
        When::Between(from, to) => changes.iter().any(|c| c.at >= from && c.at <= to && is((c.state, c.severity))),
        When::During(from, to) => {
            is(at(from)) && changes.iter().filter(|c| c.at > from && c.at <= to).all(|c| is((c.state, c.severity)))
        }
    };
    let windows = story.windows.get(&expect.when.end());
    let rule = rules.iter().find(|rule| rule.alert == expect.alert && expect.scope.keys().eq(rule.scope.iter()));
    let window = windows.into_iter().flatten().find(|w| rule.is_some_and(|rule| rule.id == w.rule) && w.scope == expect.scope);
    let value = window.and_then(|window| window.value);
    let near = expect.value.is_none_or(|want| value.is_some_and(|value| (value - want).abs() <= want.abs() * NEAR + 1e-9));
    if held && near {
        return None;
    }
    let told = changes.iter().map(|c| format!("{} {}", span(c.at), word(c.state, c.severity))).collect::<Vec<_>>().join(", ");
    Some(Failure {
        line: expect.line,
        test: test.name.clone(),
        expected: expected(expect),
        got: got(at(expect.when.end()), expect.when.end(), window),
        changes: if told.is_empty() { "none".to_owned() } else { told },
    })
}

fn expected(expect: &Expect) -> String {
    let state = word(expect.state, expect.severity);
    let when = match expect.when {
        When::At(at) => format!("{state} at {}", span(at)),
        When::Between(from, to) => format!("to become {state} between {} and {}", span(from), span(to)),
        When::During(from, to) => format!("{state} from {} to {} without a break", span(from), span(to)),
    };
    let scope: Vec<String> = expect.scope.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    let value = expect.value.map_or_else(String::new, |value| format!(", value {}", figure(value)));
    format!("{}{{{}}} {when}{value}", expect.alert, scope.join(", "))
}

fn got((state, severity): (AlertState, Option<Severity>), at: Duration, window: Option<&WindowValue>) -> String {
    let state = format!("{} at {}", word(state, severity), span(at));
    let Some(window) = window else { return format!("{state}; nothing was seen in this scope") };
    let number = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), figure);
    format!(
        "{state}; value {} {}, {} samples, warning {}, critical {}",
        number(window.value),
        window.unit,
        window.samples,
        number(window.warning),
        number(window.critical)
    )
}

fn word(state: AlertState, severity: Option<Severity>) -> String {
    let state = match state {
        AlertState::Inactive => "inactive",
        AlertState::Pending => "pending",
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
        AlertState::NoData => "no_data",
    };
    match severity {
        Some(Severity::Warning) => format!("{state} (warning)"),
        Some(Severity::Critical) => format!("{state} (critical)"),
        None => state.to_owned(),
    }
}
