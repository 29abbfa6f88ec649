//! What was said: the last revision of every alert subject, and the alerts that are still open.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::{Timestamp, subject};
use spark_nats::Effects;

use super::tracker::millis;
use crate::alert::{Limits, Transition};
use crate::rule::text::{figure, render, span};
use crate::rule::{Rule, Text};
use crate::window::Reading;

/// Alert subjects that a revision is remembered for. A forgotten revision would begin again at 1, and the broker
/// would take the new alert for one that it has; so beyond this, new subjects are refused and counted instead.
const SUBJECTS_MAX: usize = 10_000;

/// Survives changes of rules: a subject's revisions go on whatever rule raises it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    revisions: BTreeMap<String, u64>,
    /// Last alert of each subject that is pending, firing or without data.
    open: BTreeMap<String, Alert>,
    /// Alerts that found no room.
    pub refused: u64,
    /// Last alert of each subject that the broker held when this run began, until it is clear that the book agrees.
    #[serde(skip)]
    stored: BTreeMap<String, Alert>,
    /// Alerts told in this run.
    #[serde(skip)]
    pub told: u64,
}

/// What was decided up to a moment has been decided again when stored time is this far past it.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

impl Book {
    /// Goes on after alerts that are stored already, when the state that raised them is lost.
    pub fn seed(&mut self, alerts: impl IntoIterator<Item = Alert>) {
        for alert in alerts {
            let subject = subject::alert(&alert.name, &alert.scope);
            self.revisions.insert(subject.clone(), alert.revision);
            self.keep(subject, alert);
        }
    }

    /// Remembers what the broker holds, to be compared with what is decided again after a crash. While nothing arrives,
    /// time comes from the wall clock, so a late message may be on the other side of a boundary the second time.
    pub fn compare_with(&mut self, alerts: impl IntoIterator<Item = Alert>) {
        self.stored = alerts.into_iter().map(|alert| (subject::alert(&alert.name, &alert.scope), alert)).collect();
    }

    /// Takes over a saved book, and keeps what it is to be compared with.
    pub fn replace(&mut self, saved: Self) {
        let stored = std::mem::take(&mut self.stored);
        *self = Self { stored, told: self.told, ..saved };
    }

    /// Revision of the last alert of a rule in a scope; 0 before the first.
    pub fn revision(&self, name: &str, scope: &BTreeMap<String, String>) -> u64 {
        self.revisions.get(&subject::alert(name, scope)).copied().unwrap_or(0)
    }

    /// Corrects alerts that were stored before a crash and were not decided again after it.
    pub fn settle(
        &mut self,
        at: Timestamp,
        current: impl Fn(&Alert) -> Option<(AlertState, Option<Severity>)>,
        out: &mut Effects,
    ) {
        let due = |alert: &Alert| at >= alert.at + SETTLED_AFTER;
        let subjects: Vec<String> =
            self.stored.iter().filter(|(_, alert)| due(alert)).map(|(subject, _)| subject.clone()).collect();
        for subject in subjects {
            let Some(mut alert) = self.stored.remove(&subject) else { continue };
            if self.revisions.get(&subject).is_some_and(|known| *known >= alert.revision) {
                continue;
            }
            self.revisions.insert(subject.clone(), alert.revision);
            self.keep(subject.clone(), alert.clone());
            let over = |state| matches!(state, AlertState::Inactive | AlertState::Resolved);
            let (state, severity) = current(&alert).unwrap_or((AlertState::Resolved, None));
            if same(&alert, state, severity) || (over(alert.state) && over(state)) {
                continue;
            }
            (alert.state, alert.severity, alert.at) = (state, severity, at);
            (alert.value, alert.since, alert.samples) = (None, None, 0);
            alert.summary = format!("{}: decided anew after a restart", word(state));
            self.publish(subject, alert, out);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what one sentence is made of")]
    pub fn say(
        &mut self,
        rule: &Rule,
        limits: &Limits,
        scope: &BTreeMap<String, String>,
        at: Timestamp,
        transition: &Transition,
        reading: Reading,
        out: &mut Effects,
    ) {
        let severity = transition.severity.unwrap_or(limits.lowest());
        let window = rule.window_of(severity);
        let threshold = limits.of(severity).map(|limit| limit.threshold);
        let text = sentences(rule, scope, transition, (threshold, window), reading);
        let alert = Alert {
            name: rule.alert.clone(),
            rule: rule.id.clone(),
            revision: 0,
            scope: scope.clone(),
            state: transition.to,
            severity: transition.severity,
            value: reading.value,
            threshold,
            direction: rule.direction().to_owned(),
            unit: rule.unit.to_owned(),
            window_ms: millis(window),
            samples: reading.samples,
            at,
            since: transition.since,
            summary: text.summary,
            cause: text.cause,
            first_action: text.first_action,
            permanent_fix: text.permanent_fix,
            runbook: text.runbook,
        };
        self.publish(subject::alert(&rule.alert, scope), alert, out);
    }

    /// Ends an open alert whose rule or scope is gone.
    pub fn close(&mut self, name: &str, scope: &BTreeMap<String, String>, at: Timestamp, why: &str, out: &mut Effects) {
        let subject = subject::alert(name, scope);
        let Some(mut alert) = self.open.remove(&subject) else { return };
        alert.state = if alert.state == AlertState::Pending { AlertState::Inactive } else { AlertState::Resolved };
        (alert.severity, alert.value, alert.since, alert.samples, alert.at) = (None, None, None, 0, at);
        alert.summary = format!("{}: {why}", word(alert.state));
        self.publish(subject, alert, out);
    }

    /// Closes every open alert that `backed` does not know: rules change, and so do scopes.
    pub fn close_orphans(&mut self, at: Timestamp, backed: impl Fn(&Alert) -> bool, out: &mut Effects) {
        let orphans: Vec<Alert> = self.open.values().filter(|alert| !backed(alert)).cloned().collect();
        for alert in orphans {
            self.close(&alert.name, &alert.scope, at, "its rule was changed or removed", out);
        }
    }

    fn publish(&mut self, subject: String, mut alert: Alert, out: &mut Effects) {
        self.told += 1;
        let known = self.revisions.get(&subject).copied();
        if known.is_none() && self.revisions.len() >= SUBJECTS_MAX {
            self.refused += 1;
            return;
        }
        alert.revision = known.unwrap_or(0) + 1;
        if let Some(stored) = self.stored.get(&subject)
            && alert.revision >= stored.revision
        {
            // The broker keeps one message a revision: another decision under the same number would be lost.
            if alert.revision == stored.revision && !same(stored, alert.state, alert.severity) {
                alert.revision += 1;
            }
            self.stored.remove(&subject);
        }
        self.revisions.insert(subject.clone(), alert.revision);
        out.publish_revision(subject.clone(), &alert, alert.revision);
        self.keep(subject, alert);
    }

    fn keep(&mut self, subject: String, alert: Alert) {
        if matches!(alert.state, AlertState::Pending | AlertState::Firing | AlertState::NoData) {
            self.open.insert(subject, alert);
        } else {
            self.open.remove(&subject);
        }
    }
}

/// Whether an alert says this. The severity of what only waits is not told again when it changes.
fn same(alert: &Alert, state: AlertState, severity: Option<Severity>) -> bool {
    alert.state == state && (alert.severity == severity || state != AlertState::Firing)
}

fn word(state: AlertState) -> &'static str {
    match state {
        AlertState::Inactive => "inactive",
        AlertState::Pending => "pending",
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
        AlertState::NoData => "no data",
    }
}

fn sentences(
    rule: &Rule,
    scope: &BTreeMap<String, String>,
    transition: &Transition,
    (threshold, window): (Option<f64>, Duration),
    reading: Reading,
) -> Text {
    let severity = match transition.severity {
        Some(Severity::Critical) => "critical",
        Some(Severity::Warning) => "warning",
        None => "none",
    };
    let mut values: BTreeMap<&str, String> = BTreeMap::from([
        ("value", reading.value.map_or_else(|| "unknown".to_owned(), figure)),
        ("threshold", threshold.map_or_else(|| "none".to_owned(), figure)),
        ("unit", rule.unit.to_owned()),
        ("window", span(window)),
        ("samples", reading.samples.to_string()),
        ("severity", severity.to_owned()),
        ("scope", scope.values().map(String::as_str).collect::<Vec<_>>().join(", ")),
    ]);
    values.extend(scope.iter().map(|(label, value)| (label.as_str(), value.clone())));
    let summary = render(&rule.text.summary, &values);
    Text {
        summary: if transition.to == AlertState::Firing { summary } else { format!("{}: {summary}", word(transition.to)) },
        cause: render(&rule.text.cause, &values),
        first_action: render(&rule.text.first_action, &values),
        permanent_fix: render(&rule.text.permanent_fix, &values),
        runbook: render(&rule.text.runbook, &values),
    }
}
