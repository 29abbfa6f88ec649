//! What was said: the last revision of every alert subject, and the alerts that are still open.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::{Timestamp, subject};
use spark_nats::Effects;

use super::tracker::window_ms;
use crate::alert::Transition;
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
}

impl Book {
    /// Goes on after alerts that are stored already, when the state that raised them is lost.
    pub fn seed(&mut self, alerts: impl IntoIterator<Item = Alert>) {
        for alert in alerts {
            let subject = subject::alert(&alert.name, &alert.scope);
            self.revisions.insert(subject.clone(), alert.revision);
            self.keep(subject, alert);
        }
    }

    pub fn say(
        &mut self,
        rule: &Rule,
        scope: &BTreeMap<String, String>,
        at: Timestamp,
        transition: &Transition,
        reading: Reading,
        out: &mut Effects,
    ) {
        let severity = transition.severity.unwrap_or(rule.limits.lowest());
        let threshold = rule.limits.of(severity).map(|limit| limit.threshold);
        let text = sentences(rule, scope, transition, threshold, reading);
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
            window_ms: window_ms(rule),
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
        let known = self.revisions.get(&subject).copied();
        if known.is_none() && self.revisions.len() >= SUBJECTS_MAX {
            self.refused += 1;
            return;
        }
        alert.revision = known.unwrap_or(0) + 1;
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
    threshold: Option<f64>,
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
        ("window", span(rule.window)),
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
