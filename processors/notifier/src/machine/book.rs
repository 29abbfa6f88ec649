//! The alerts of this moment, and which of them hide others.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use spark_alerting::labels::{ALERTNAME, SEVERITY};
use spark_alerting::{
    InhibitRule, Labels, action_annotations_of, action_labels_of, annotations_of, fingerprint, is_firing, labels_of,
};
use spark_bus_schema::Timestamp;
use spark_bus_schema::actions::{Action, ActionStage};
use spark_bus_schema::alerts::Alert;

/// Labels that change while an alert stays the same alert.
const PASSING: [&str; 4] = [SEVERITY, "stage", "service", "dry_run"];

/// One alert as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// All labels; when it is over, the ones that it fired with.
    pub labels: Labels,
    /// All annotations.
    pub annotations: Labels,
    /// Whether it fires.
    pub firing: bool,
    /// When it began to.
    pub starts_at: Timestamp,
    /// When that was over.
    pub ends_at: Option<Timestamp>,
}

/// What a message says of an alert.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its labels; without a severity when it is over.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// Whether it fires.
    pub firing: bool,
    /// Since when.
    pub at: Timestamp,
}

/// All alerts that fire or that somebody still has to hear of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    instances: BTreeMap<String, Instance>,
    /// Processes that restart, and until when they are not missed.
    restarts: BTreeMap<String, Timestamp>,
    /// For each rule of inhibition, the alerts that fire and hide others by it.
    #[serde(skip)]
    sources: Vec<BTreeSet<String>>,
}

/// What an alert is known by: 16 hexadecimal digits that follow from the labels that never change.
#[must_use]
pub fn identity(labels: &Labels) -> String {
    let is_action = labels.get(ALERTNAME).is_some_and(|name| name == spark_alerting::labels::GUARDRAIL_ACTION);
    let passing = |name: &str| name == SEVERITY || (is_action && PASSING.contains(&name));
    fingerprint(&labels.iter().filter(|(name, _)| !passing(name)).map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// What an alert's message says.
pub fn of_alert(alert: &Alert) -> Change {
    Change { labels: labels_of(alert), annotations: annotations_of(alert), firing: is_firing(alert), at: alert.at }
}

/// What an action's message says; none for the steps that nobody is woken for.
pub fn of_action(action: &Action) -> Option<Change> {
    let firing = match action.stage {
        ActionStage::RestartFailed
        | ActionStage::RollbackAsked
        | ActionStage::RollbackVerified
        | ActionStage::RollbackUnverified => true,
        ActionStage::Ended => false,
        ActionStage::Began | ActionStage::RestartAsked | ActionStage::RestartHelped => return None,
    };
    Some(Change { labels: action_labels_of(action), annotations: action_annotations_of(action), firing, at: action.at })
}

impl Book {
    /// One of them.
    pub fn get(&self, id: &str) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.instances.len()
    }

    /// Forgets one.
    pub fn remove(&mut self, id: &str) {
        self.instances.remove(id);
    }

    /// Those that are over.
    pub fn over(&self) -> impl Iterator<Item = &str> {
        self.instances.iter().filter(|(_, instance)| !instance.firing).map(|(id, _)| id.as_str())
    }

    /// Those that fire.
    pub fn firing(&self) -> impl Iterator<Item = (String, Labels)> {
        self.instances.iter().filter(|(_, instance)| instance.firing).map(|(id, instance)| (id.clone(), instance.labels.clone()))
    }

    /// Takes a change in; the alert's labels from now on.
    pub fn set(&mut self, id: &str, change: &Change, rules: &[InhibitRule]) -> Labels {
        let known = self.instances.remove(id);
        let instance = match known {
            Some(known) if !change.firing => Instance {
                firing: false,
                ends_at: known.ends_at.or(Some(change.at)),
                annotations: merged(known.annotations, &change.annotations),
                ..known
            },
            Some(known) if known.firing => Instance {
                labels: change.labels.clone(),
                annotations: change.annotations.clone(),
                starts_at: known.starts_at,
                firing: true,
                ends_at: None,
            },
            _ => Instance {
                labels: change.labels.clone(),
                annotations: change.annotations.clone(),
                firing: change.firing,
                starts_at: change.at,
                ends_at: (!change.firing).then_some(change.at),
            },
        };
        self.sources.resize(rules.len(), BTreeSet::new());
        for (rule, sources) in rules.iter().zip(&mut self.sources) {
            if instance.firing && rule.is_source(&instance.labels) {
                sources.insert(id.to_owned());
            } else {
                sources.remove(id);
            }
        }
        let labels = instance.labels.clone();
        self.instances.insert(id.to_owned(), instance);
        labels
    }

    /// Finds again which alerts hide others.
    pub fn index(&mut self, rules: &[InhibitRule]) {
        let sources = rules.iter().map(|rule| {
            let hiding = self.instances.iter().filter(|(_, instance)| instance.firing && rule.is_source(&instance.labels));
            hiding.map(|(id, _)| id.clone()).collect()
        });
        self.sources = sources.collect();
    }

    /// Whether an alert that fires hides these labels.
    pub fn is_inhibited(&self, rules: &[InhibitRule], labels: &Labels) -> bool {
        rules.iter().zip(&self.sources).any(|(rule, sources)| {
            rule.is_target(labels)
                && sources.iter().filter_map(|id| self.instances.get(id)).any(|source| rule.inhibits(&source.labels, labels))
        })
    }

    /// A process is not missed until then.
    pub fn mute_restart(&mut self, service: String, until: Timestamp) {
        self.restarts.insert(service, until);
    }

    /// Whether these labels say no more than that a process restarts, as it was told to.
    pub fn is_restart(&self, labels: &Labels, at: Timestamp) -> bool {
        let has = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
        let until = labels.get("service").and_then(|service| self.restarts.get(service));
        has(ALERTNAME, "SparkUpMissing") && has(SEVERITY, "warning") && until.is_some_and(|until| at < *until)
    }

    /// When the next process is missed again; forgets those before.
    pub fn next_change(&mut self, at: Timestamp) -> Option<Timestamp> {
        self.restarts.retain(|_, until| *until > at);
        self.restarts.values().min().copied()
    }
}

/// What is said of an alert that is over is its newest summary; what it does not say any more stays.
fn merged(mut old: Labels, new: &Labels) -> Labels {
    old.extend(new.iter().map(|(name, value)| (name.clone(), value.clone())));
    old
}
