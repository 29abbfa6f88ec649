//! Telling people: silences, notifications, and what became of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::orders::name;
use crate::time::Timestamp;

/// Matchers of one silence.
pub const MATCHERS_MAX: usize = 32;

/// A condition on one label. A label that an alert does not have counts as empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// The value, or a regular expression that the whole value must match.
    pub value: String,
    /// `value` is a regular expression.
    pub is_regex: bool,
    /// True: the label must match; false: it must not.
    #[serde(default = "yes")]
    pub is_equal: bool,
}

const fn yes() -> bool {
    true
}

/// While it is active, nobody is told about alerts that all its matchers match. The latest one with an id decides;
/// a silence is taken back by an `ends_at` that has passed. Subject `control.silence.<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Silence {
    /// A UUID.
    pub id: String,
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// From then on.
    pub starts_at: Timestamp,
    /// Until then.
    pub ends_at: Timestamp,
    /// Who.
    pub created_by: String,
    /// Why; not empty.
    pub comment: String,
    /// When this was said.
    pub at: Timestamp,
}

impl Message for Silence {
    const KIND: Kind = Kind { name: "silence", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.id.is_empty() || self.id.len() > 64 || !self.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(format!("id: {:.64?} is not a UUID", self.id));
        }
        if self.matchers.is_empty() || self.matchers.len() > MATCHERS_MAX {
            return Err(format!("matchers: {}; there must be 1 to {MATCHERS_MAX}", self.matchers.len()));
        }
        // It would silence everything: a mistake in nearly every case, and never one to make quietly.
        if self.matchers.iter().all(|matcher| matcher.value.is_empty() && matcher.is_equal) {
            return Err("matchers: every value is empty; name at least one label's value".to_owned());
        }
        if self.matchers.iter().any(|matcher| matcher.name.is_empty()) {
            return Err("matchers: a label without a name".to_owned());
        }
        if self.ends_at < self.starts_at {
            return Err("ends_at: before starts_at".to_owned());
        }
        name("created_by", &self.created_by)?;
        if self.comment.trim().is_empty() {
            return Err("comment: empty; say why".to_owned());
        }
        Ok(())
    }
}

/// Why a notification goes out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyReason {
    /// The group is new.
    New,
    /// Alerts joined it, got worse, or some of them resolved.
    Changed,
    /// Nothing changed for the repeat interval.
    Repeat,
    /// All its alerts resolved.
    Resolved,
}

/// One alert as a receiver is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotifiedAlert {
    /// `alertname`, `severity`, the scope's labels.
    pub labels: BTreeMap<String, String>,
    /// `summary`, `cause`, `first_action`, `permanent_fix`, `runbook`, `value` …
    pub annotations: BTreeMap<String, String>,
    /// Whether it fires still.
    pub firing: bool,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it resolved.
    pub ends_at: Option<Timestamp>,
    /// 16 hexadecimal digits that follow from the labels.
    pub fingerprint: String,
}

/// A decision to tell one receiver about one group of alerts. Subject `alerts.notification.<receiver>.<group id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// The receiver's name in the configuration.
    pub receiver: String,
    /// Names the group: its route and labels.
    pub group_key: String,
    /// What its alerts have in common by the route's `group_by`.
    pub group_labels: BTreeMap<String, String>,
    /// Rises by one with each notification of this group to this receiver; starts at 1.
    pub revision: u64,
    /// Why now.
    pub reason: NotifyReason,
    /// The alerts, the firing ones first.
    pub alerts: Vec<NotifiedAlert>,
    /// Alerts that found no room in `alerts`.
    pub truncated: u64,
    /// When it was decided.
    pub at: Timestamp,
}

impl Message for Notification {
    const KIND: Kind = Kind { name: "notification", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.receiver.is_empty() || self.group_key.is_empty() {
            return Err("receiver and group_key: not empty".to_owned());
        }
        if self.revision == 0 {
            return Err("revision: starts at 1".to_owned());
        }
        Ok(())
    }
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOutcome {
    /// The receiver took it.
    Delivered,
    /// It did not; it is tried again. Told once when it begins, not for each try.
    Retrying,
    /// It is given up; the notification is in PARKED.
    Parked,
}

/// What became of a [`Notification`]. Subject `alerts.delivery.<receiver>.<group id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// The receiver.
    pub receiver: String,
    /// The group.
    pub group_key: String,
    /// The notification's revision.
    pub revision: u64,
    /// The notification's sequence in LEDGER.
    pub notification: u64,
    /// What became of it.
    pub outcome: DeliveryOutcome,
    /// Tries so far.
    pub attempts: u32,
    /// HTTP status of the last answer.
    pub http_status: Option<u16>,
    /// Why it was not taken; no secret, no address with one.
    pub detail: Option<String>,
    /// From the decision to this outcome, ms.
    pub took_ms: u64,
    /// When.
    pub at: Timestamp,
}

impl Message for Delivery {
    const KIND: Kind = Kind { name: "delivery", version: 1 };
    crate::codec::bytes_here!();
}
