//! Who is told, who is not, and whether it arrived: silences, notifications, deliveries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spark_alerting::{Labels, Silences};
use spark_bus_schema::Timestamp;
use spark_bus_schema::notify::{Delivery, Notification, NotifyReason, Silence};

use super::saved::{Word, silences, word};
use super::words;
use crate::record::{Entry, Record};

/// Silences held.
pub const SILENCES_MAX: usize = 500;
/// Silences that ended longer ago are forgotten.
pub const SILENCES_KEPT: Duration = Duration::from_secs(5 * 24 * 3_600);
/// Bytes of a silence's message; a larger one is not held.
pub const SILENCE_BYTES_MAX: usize = 16 * 1024;
/// Notifications held, with what became of them.
pub const NOTIFICATIONS_MAX: usize = 200;
/// Groups of a receiver whose newest notification is held.
pub const GROUPS_MAX: usize = 256;
/// Alerts of one group that are known to belong to it.
pub const GROUP_ALERTS_MAX: usize = 256;
/// Receivers whose deliveries are counted.
pub const RECEIVERS_MAX: usize = 64;
/// Alert names told of one notification.
const NAMES_SHOWN: usize = 8;

/// Silences, notifications, deliveries.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct People {
    /// The latest word on each silence.
    #[serde(with = "silences")]
    pub silences: Silences,
    /// LEDGER sequence of that word.
    silence_sequences: BTreeMap<String, u64>,
    notifications: VecDeque<NotificationRow>,
    groups: BTreeMap<(String, String), Arc<Group>>,
    outcomes: BTreeMap<String, [u64; words::OUTCOMES.len()]>,
}

/// A group of alerts as a receiver was told of it last.
#[derive(Debug, Serialize, Deserialize)]
pub struct Group {
    /// What its alerts have in common.
    pub labels: Labels,
    /// The alerts that it held.
    pub fingerprints: BTreeSet<String>,
}

/// A notification and what became of it, without its alerts' texts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationRow {
    /// LEDGER sequence.
    pub sequence: u64,
    /// Who is told.
    pub receiver: String,
    group_key: String,
    group_labels: Labels,
    revision: u64,
    #[serde(deserialize_with = "word::one")]
    reason: Word,
    /// Names of the alerts, each once, the first few.
    names: Vec<String>,
    alerts: usize,
    firing: usize,
    truncated: u64,
    at: String,
    /// Null: nothing has become of it yet.
    pub delivery: Option<DeliveryRow>,
}

/// What became of a notification last.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRow {
    /// `delivered`, `retrying`, `parked`.
    #[serde(deserialize_with = "word::one")]
    pub outcome: Word,
    attempts: u32,
    http_status: Option<u16>,
    detail: Option<String>,
    took_ms: u64,
    at: String,
}

impl People {
    /// Takes in a message of the ledger, stored at `at`. `live`: stored since the gateway runs, so that it counts. False
    /// when there was no room for it.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry, live: bool) -> bool {
        match &entry.record {
            Record::Silence(silence) => entry.payload.len() <= SILENCE_BYTES_MAX && self.silence(entry.sequence, at, silence),
            Record::Notification(told) => self.notification(entry.sequence, told),
            Record::Delivery(told) => self.delivery(told, live),
            _ => true,
        }
    }

    /// Takes in a silence; an older word on it changes nothing. False when there is no room, or a matcher cannot be used.
    pub fn silence(&mut self, sequence: u64, at: Timestamp, silence: &Silence) -> bool {
        self.silences.forget_ended(at - SILENCES_KEPT);
        if self.silences.len() >= SILENCES_MAX {
            // One that is over makes room, the oldest of them.
            let over = self.silences.iter().map(|held| held.ends_at).filter(|ends_at| *ends_at <= at).min();
            self.silences.forget_ended(over.map_or(Timestamp::ZERO, |ends_at| ends_at + Duration::from_nanos(1)));
        }
        let held = &self.silences;
        self.silence_sequences.retain(|id, _| held.get(id).is_some());
        match self.silence_sequences.get(&silence.id) {
            Some(held) if *held >= sequence => return true,
            None if self.silences.len() >= SILENCES_MAX => return false,
            _ => {}
        }
        if let Err(error) = self.silences.insert(silence.clone()) {
            tracing::warn!(sequence, %error, "a silence without effect");
            return false;
        }
        self.silence_sequences.insert(silence.id.clone(), sequence);
        true
    }

    fn notification(&mut self, sequence: u64, told: &Notification) -> bool {
        if self.notifications.back().is_some_and(|held| held.sequence >= sequence) {
            return true;
        }
        let names: BTreeSet<&str> =
            told.alerts.iter().filter_map(|alert| Some(alert.labels.get("alertname")?.as_str())).collect();
        if self.notifications.len() == NOTIFICATIONS_MAX {
            self.notifications.pop_front();
        }
        self.notifications.push_back(NotificationRow {
            sequence,
            receiver: words::short(&told.receiver),
            group_key: words::short(&told.group_key),
            group_labels: words::short_labels(&told.group_labels),
            revision: told.revision,
            reason: words::reason(told.reason),
            names: names.into_iter().take(NAMES_SHOWN).map(words::short).collect(),
            alerts: told.alerts.len(),
            firing: told.alerts.iter().filter(|alert| alert.firing).count(),
            truncated: told.truncated,
            at: told.at.to_string(),
            delivery: None,
        });
        self.group(told)
    }

    fn group(&mut self, told: &Notification) -> bool {
        let key = (words::short(&told.receiver), words::short(&told.group_key));
        if told.reason == NotifyReason::Resolved {
            self.groups.remove(&key);
            return true;
        }
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&key) {
            return false;
        }
        let firing = told.alerts.iter().filter(|alert| alert.firing).take(GROUP_ALERTS_MAX);
        let fingerprints = firing.map(|alert| words::short(&alert.fingerprint)).collect();
        self.groups.insert(key, Arc::new(Group { labels: words::short_labels(&told.group_labels), fingerprints }));
        true
    }

    fn delivery(&mut self, told: &Delivery, live: bool) -> bool {
        if let Some(row) = self.notifications.iter_mut().rev().find(|row| row.sequence == told.notification) {
            row.delivery = Some(DeliveryRow {
                outcome: words::outcome(told.outcome),
                attempts: told.attempts,
                http_status: told.http_status,
                detail: told.detail.as_deref().map(words::short),
                took_ms: told.took_ms,
                at: told.at.to_string(),
            });
        }
        let receiver = words::short(&told.receiver);
        if self.outcomes.len() >= RECEIVERS_MAX && !self.outcomes.contains_key(&receiver) {
            return false;
        }
        let counts = self.outcomes.entry(receiver).or_default();
        if live && let Some(place) = words::OUTCOMES.iter().position(|outcome| *outcome == told.outcome) {
            counts[place] += 1;
        }
        true
    }

    /// Counters begin with the process.
    pub(super) fn begin_to_count(&mut self) {
        self.outcomes.values_mut().for_each(|counts| *counts = Default::default());
    }

    /// Newest first.
    pub fn notifications(&self) -> impl Iterator<Item = &NotificationRow> {
        self.notifications.iter().rev()
    }

    /// Groups by receiver and key.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.groups.iter().map(|((receiver, _), group)| (receiver.as_str(), group.as_ref()))
    }

    /// Receivers that were ever told something.
    #[must_use]
    pub fn receivers(&self) -> BTreeSet<&str> {
        let told = self.notifications.iter().map(|row| row.receiver.as_str());
        told.chain(self.outcomes.keys().map(String::as_str)).chain(self.groups().map(|(receiver, _)| receiver)).collect()
    }

    /// Deliveries of a receiver since the gateway started, in the order of [`words::OUTCOMES`].
    #[must_use]
    pub fn outcomes(&self, receiver: &str) -> [u64; words::OUTCOMES.len()] {
        self.outcomes.get(receiver).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spark_bus_schema::notify::Matcher;

    fn silence(number: usize, ends_at: i64) -> Silence {
        Silence {
            id: format!("id-{number}"),
            matchers: vec![Matcher { name: "a".into(), value: "b".into(), is_regex: false, is_equal: true }],
            starts_at: Timestamp::ZERO,
            ends_at: Timestamp::from_millis(ends_at),
            created_by: "ayse".into(),
            comment: "c".into(),
            at: Timestamp::ZERO,
        }
    }

    #[test]
    fn silences_are_bounded_one_that_is_over_makes_room_and_the_newest_word_counts_in_any_order() {
        let mut people = People::default();
        let now = Timestamp::from_millis(1_000_000);
        for number in 0..SILENCES_MAX {
            assert!(people.silence(number as u64 + 1, now, &silence(number, if number == 7 { 999_000 } else { 2_000_000 })));
        }
        assert!(people.silence(1_000, now, &silence(1_000, 2_000_000)), "number 7 is over");
        assert_eq!((people.silences.len(), people.silences.get("id-7")), (SILENCES_MAX, None));
        assert!(!people.silence(1_001, now, &silence(1_001, 2_000_000)), "no room");
        assert!(people.silence(1_002, now, &silence(3, 3_000_000)), "one that is there may change");
        assert!(people.silence(1_001, now, &silence(3, 1_500_000)), "an older word comes late");
        assert_eq!(people.silences.get("id-3").unwrap().ends_at, Timestamp::from_millis(3_000_000));
    }
}
