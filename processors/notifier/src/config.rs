//! Section `[notifier]` of `spark.toml`, as it is written. [`Plan`](crate::plan::Plan) is what it means.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::plan::Plan;

/// Text that is never shown: an address with a token in it.
#[derive(Clone, Debug)]
pub struct Hidden(SecretString);

impl Hidden {
    /// For tests and for what reads a file.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Hidden {}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Section `[notifier]` of `spark.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where people reach the gateway: links in notifications begin with it.
    pub external_url: String,
    /// Alerts that agree in these labels are told together.
    pub group_by: Vec<String>,
    /// How long a new group waits for more alerts to join it.
    pub group_wait: String,
    /// Shortest time between two notifications of a group.
    pub group_interval: String,
    /// What fires on without a change is told again after this long.
    pub repeat_interval: String,
    /// Who is told what no route takes; empty: every receiver.
    pub receivers: Vec<String>,
    /// How long a notification that a receiver does not take is tried again; then it is parked.
    pub retry_for: String,
    /// First pause before the next try; it doubles.
    pub retry_pause: String,
    /// Longest pause before the next try.
    pub retry_pause_max: String,
    /// How long one request may take.
    pub timeout: String,
    /// A critical over the warning of the same alert, a dead feed over the staleness of its symbols.
    pub builtin_inhibitions: bool,
    /// Whom to tell, and how.
    pub receiver: Vec<Receiver>,
    /// Who is told what. Without any: criticals at once, what a broader alert may explain and warnings after 5 s.
    pub route: Option<Vec<Route>>,
    /// Alerts that hide others.
    pub inhibit: Vec<Inhibit>,
}

impl Default for Config {
    fn default() -> Self {
        let text = |value: &str| value.to_owned();
        Self {
            external_url: text("http://127.0.0.1:4001"),
            group_by: ["alertname", "exchange", "venue", "service"].map(text).to_vec(),
            group_wait: text("5s"),
            group_interval: text("30s"),
            repeat_interval: text("4h"),
            receivers: Vec::new(),
            retry_for: text("24h"),
            retry_pause: text("1s"),
            retry_pause_max: text("1m"),
            timeout: text("10s"),
            builtin_inhibitions: true,
            // A new user sees at once what would be told.
            receiver: vec![Receiver {
                name: text("file"),
                kind: text("file"),
                path: Some(PathBuf::from("notifications.jsonl")),
                ..Receiver::default()
            }],
            route: None,
            inhibit: Vec::new(),
        }
    }
}

/// `[[notifier.receiver]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Receiver {
    /// Letters, digits, `-` and `_`.
    pub name: String,
    /// `webhook`, `slack`, `alertmanager`, `stdout` or `file`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where to send. It may hold a token, so it is never shown.
    pub url: Option<Hidden>,
    /// File with the address.
    pub url_file: Option<PathBuf>,
    /// Environment variable with the address.
    pub url_env: Option<String>,
    /// File with a bearer token.
    pub bearer_file: Option<PathBuf>,
    /// Environment variable with a bearer token.
    pub bearer_env: Option<String>,
    /// For `file`: where; relative to the process's data folder.
    pub path: Option<PathBuf>,
    /// Tell too when it is over.
    pub send_resolved: bool,
    /// For `alertmanager`: a firing alert that is not sent again for this long counts as resolved there.
    pub resolve_timeout: String,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: String::new(),
            url: None,
            url_file: None,
            url_env: None,
            bearer_file: None,
            bearer_env: None,
            path: None,
            send_resolved: true,
            resolve_timeout: "5m".to_owned(),
        }
    }
}

/// `[[notifier.route]]`, and `[[notifier.route.route]]` below it. What is not written is as in the route above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// `severity="critical"`, `venue=~"btcturk|bist"`, `symbol!=""`: all must match.
    pub matchers: Vec<String>,
    /// Labels with exactly these values.
    #[serde(rename = "match")]
    pub equal: BTreeMap<String, String>,
    /// Who is told.
    pub receiver: Option<String>,
    /// Who is told, several.
    pub receivers: Vec<String>,
    /// As in the section.
    pub group_by: Option<Vec<String>>,
    /// As in the section.
    pub group_wait: Option<String>,
    /// As in the section.
    pub group_interval: Option<String>,
    /// As in the section.
    pub repeat_interval: Option<String>,
    /// Look at the next routes too.
    #[serde(rename = "continue")]
    pub goes_on: bool,
    /// Routes within this one; the first that matches takes the alert.
    pub route: Vec<Route>,
}

/// `[[notifier.inhibit]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inhibit {
    /// Matchers of the alert that hides others while it fires.
    pub source: Vec<String>,
    /// Matchers of those that are hidden.
    pub target: Vec<String>,
    /// Labels in which both must agree: `venue`, `exchange=venue` (of the source, of the target), `*` (all but severity).
    pub equal: Vec<String>,
}

impl Config {
    /// Every mistake, each as "key = value: what is wrong; what would be right".
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        Plan::new(self).err().unwrap_or_default()
    }
}
