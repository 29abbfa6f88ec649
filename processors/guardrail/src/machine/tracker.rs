//! One rule at work: its scopes, each with a window and an alert status.

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::Timestamp;
use spark_bus_schema::actions::Evidence;
use spark_bus_schema::alerts::{AlertState, Severity};
use spark_bus_schema::telemetry::WindowValue;
use spark_nats::Effects;

use super::SCOPES_MAX;
use super::book::Book;
use super::judge;
use super::thresholds::{Changed, in_force};
use crate::action::Firing;
use crate::alert::{self, Limits, Status};
use crate::rule::Rule;
use crate::rule::metric::HEARTBEATS;
use crate::window::{Sample, Window};

/// Labels of one sample.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// One scope of one rule.
pub struct Instance {
    pub scope: BTreeMap<String, String>,
    pub window: Window,
    pub status: Status,
    /// In force here: the rule's, with what was changed at run time.
    pub limits: Limits,
    /// Named in the rule's `expect`: never forgotten.
    pub expected: bool,
}

/// One rule with all its scopes.
pub struct Tracker {
    pub rule: Rule,
    pub fingerprint: u64,
    /// By the values of the scope's labels, joined.
    pub instances: BTreeMap<String, Instance>,
    /// Thresholds changed at run time, by scope.
    changed: BTreeMap<BTreeMap<String, String>, Changed>,
    key: String,
}

/// Cannot occur in a label: those are printable.
const SEPARATOR: char = '\u{1f}';

impl Tracker {
    pub fn new(rule: Rule) -> Self {
        Self { fingerprint: rule.fingerprint(), rule, instances: BTreeMap::new(), changed: BTreeMap::new(), key: String::new() }
    }

    /// Puts thresholds in force in every scope, also in those that are still to come.
    pub fn put_in_force(&mut self, changed: BTreeMap<BTreeMap<String, String>, Changed>) {
        self.changed = changed;
        for instance in self.instances.values_mut() {
            instance.limits = in_force(&self.rule, &self.changed, &instance.scope);
        }
    }

    /// Makes the scopes that the rule wants to see from the beginning. A rule without scope labels has one scope.
    pub fn expect(&mut self, at: Timestamp) {
        let mut scopes = self.rule.expect.clone();
        if self.rule.scope.is_empty() {
            scopes.push(BTreeMap::new());
        }
        for scope in scopes {
            let instance = self.put(scope);
            instance.expected = true;
            instance.window.record(at, Sample::Expected);
        }
    }

    /// The instance of a scope, made when it is missing.
    pub fn put(&mut self, scope: BTreeMap<String, String>) -> &mut Instance {
        let key = scope.values().map(String::as_str).collect::<Vec<_>>().join(&SEPARATOR.to_string());
        let window = || Window::new(self.rule.aggregation, self.rule.window);
        self.instances.entry(key).or_insert_with(|| Instance {
            limits: in_force(&self.rule, &self.changed, &scope),
            scope,
            window: window(),
            status: Status::default(),
            expected: false,
        })
    }

    /// Gives `samples` to the scope that they belong to, if they concern this rule, and judges it. False when there is no room for another scope.
    pub fn record(
        &mut self,
        at: Timestamp,
        labels: Labels<'_>,
        samples: impl Iterator<Item = Sample>,
        judge_at: Timestamp,
        book: &mut Book,
        out: &mut Effects,
    ) -> bool {
        let value_of = |label: &str| labels.iter().find(|(key, _)| *key == label).map(|(_, value)| *value);
        let concerns = self.rule.filter.iter().all(|(label, value)| value_of(label) == Some(value))
            && self.rule.scope.iter().all(|label| value_of(label).is_some());
        if !concerns {
            return true;
        }
        self.key.clear();
        for (number, label) in self.rule.scope.iter().enumerate() {
            if number > 0 {
                self.key.push(SEPARATOR);
            }
            self.key.push_str(value_of(label).unwrap_or_default());
        }
        if !self.instances.contains_key(self.key.as_str()) {
            if self.instances.len() >= SCOPES_MAX {
                return false;
            }
            let scope =
                self.rule.scope.iter().map(|label| (label.clone(), value_of(label).unwrap_or_default().to_owned())).collect();
            self.put(scope);
        }
        let Some(instance) = self.instances.get_mut(self.key.as_str()) else { return false };
        for sample in samples {
            instance.window.record(at, sample);
        }
        judge(&self.rule, instance, judge_at, book, out);
        true
    }

    /// Judges every scope.
    pub fn judge_all(&mut self, at: Timestamp, book: &mut Book, out: &mut Effects) {
        for instance in self.instances.values_mut() {
            judge(&self.rule, instance, at, book, out);
        }
    }

    /// Lets go of scopes that are not expected by the rule, and closes what they had open.
    pub fn forget(
        &mut self,
        at: Timestamp,
        gone: impl Fn(&BTreeMap<String, String>) -> bool,
        book: &mut Book,
        out: &mut Effects,
    ) {
        let rule = &self.rule;
        self.instances.retain(|_, instance| {
            let stays = instance.expected || !gone(&instance.scope);
            if !stays {
                book.close(&rule.alert, &instance.scope, at, "it is no longer there", out);
            }
            stays
        });
    }

    /// Every scope that fires now.
    pub fn firing<'a>(&'a mut self, at: Timestamp, book: &'a Book) -> impl Iterator<Item = Firing> + 'a {
        let rule = &self.rule;
        self.instances.iter_mut().filter_map(move |(scope_key, instance)| {
            let severity = fires(&instance.status)?;
            let evidence = Evidence {
                alert: rule.alert.clone(),
                scope: instance.scope.clone(),
                severity,
                value: judge::read(rule, &mut instance.window, at, severity).value,
                threshold: instance.limits.of(severity).map(|limit| limit.threshold),
                unit: rule.unit.to_owned(),
                since: at,
                revision: book.revision(&rule.alert, &instance.scope),
            };
            Some(Firing {
                rule: rule.id.clone(),
                key: format!("{}{SEPARATOR}{scope_key}", rule.id),
                evidence,
                restart: rule.restart_in(&instance.scope),
                missing: if rule.metric == HEARTBEATS { instance.scope.get("service").cloned() } else { None },
            })
        })
    }

    /// The current values, for people and charts.
    pub fn values(&mut self, at: Timestamp) -> impl Iterator<Item = WindowValue> + '_ {
        let rule = &self.rule;
        self.instances.values_mut().map(move |instance| {
            let reading = judge::shown(rule, &instance.limits, &mut instance.window, at);
            WindowValue {
                rule: rule.id.clone(),
                metric: rule.metric.name.to_owned(),
                scope: instance.scope.clone(),
                value: reading.value,
                samples: reading.samples,
                window_ms: millis(rule.window),
                unit: rule.unit.to_owned(),
                warning: instance.limits.warning.map(|limit| limit.threshold),
                critical: instance.limits.critical.map(|limit| limit.threshold),
                state: instance.status.state,
            }
        })
    }
}

/// How bad it is, when it fires.
pub fn fires(status: &Status) -> Option<Severity> {
    status.severity.filter(|_| matches!(status.state, AlertState::Firing | AlertState::NoData))
}

pub fn millis(window: Duration) -> u64 {
    u64::try_from(window.as_millis()).unwrap_or(u64::MAX)
}

fn judge(rule: &Rule, instance: &mut Instance, at: Timestamp, book: &mut Book, out: &mut Effects) {
    if !rule.limits.decide() {
        return;
    }
    let judged = judge::judge(rule, &instance.limits, &mut instance.window, at);
    let (status, transition) = alert::next(instance.status, &judged.limits, at, judged.seen);
    instance.status = status;
    if let Some(transition) = transition {
        let reading = judged.reading(transition.severity);
        book.say(rule, &instance.limits, &instance.scope, at, &transition, reading, out);
    }
}
