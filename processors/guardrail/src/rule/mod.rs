//! Rules: what to look at, where, over how long, and how much is too much. They come from one TOML file.

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::alerts::Severity;

use crate::alert::{Direction, Limits};
use crate::window::Aggregation;

mod burn;
pub mod duration;
mod limits;
pub mod metric;
mod parse;
pub(crate) mod problem;
pub(crate) mod reader;
mod said;
#[cfg(test)]
mod tests;
pub mod text;

pub use limits::{impossible, reversed};
pub use metric::{METRICS, Metric, MetricKind};
pub use problem::{Problem, suggestion};
pub use text::Text;

/// The rules that are in force without a file of one's own.
pub const BUILTIN: &str = include_str!("../../guardrail.toml");
/// How the built-in rules are named in messages.
pub const BUILTIN_NAME: &str = "guardrail.toml (built in)";

/// Processes that a rule may name for a restart. The guardrail itself is not among them: it would cut off the hand that
/// acts.
pub const PROCESSES: &[&str] = &[
    "auditor",
    "backtest",
    "candles",
    "exchange-sim",
    "executor",
    "feed",
    "gateway",
    "notifier",
    "portfolio",
    "reporter",
    "risk",
    "rollout",
    "signal",
    "strategy",
];

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name in the configuration; unique.
    pub id: String,
    /// The alert's name, e.g. `WSStaleness`.
    pub alert: String,
    /// What it looks at.
    pub metric: Metric,
    /// Labels that tell its scopes apart, sorted; empty: one scope for everything.
    pub scope: Vec<String>,
    /// Only samples with these labels count.
    pub filter: BTreeMap<String, String>,
    /// Length of the window; zero where the value is momentary.
    pub window: Duration,
    /// How samples become one value.
    pub aggregation: Aggregation,
    /// Unit of value and thresholds.
    pub unit: &'static str,
    /// Thresholds and delays.
    pub limits: Limits,
    /// With fewer samples in the window there is no data.
    pub min_samples: u64,
    /// Scopes that are looked at before anything was seen in them.
    pub expect: Vec<BTreeMap<String, String>>,
    /// What the alert says.
    pub text: Text,
    /// The process whose restart may help while the alert is critical: one of [`PROCESSES`], or a scope label in braces.
    pub restart: Option<String>,
}

impl Rule {
    /// Changes with everything that decides, not with the texts. A saved state is only continued under the same value.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let decides = format!(
            "{}|{}|{:?}|{:?}|{:?}|{:?}|{}|{:?}|{}",
            self.alert,
            self.metric.name,
            self.scope,
            self.filter,
            self.window,
            self.aggregation,
            self.unit,
            self.limits,
            self.min_samples
        );
        // FNV-1a: stable between builds, which the standard library's hasher does not promise.
        decides.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// Raw value of the window to the rule's unit.
    #[must_use]
    pub fn in_unit(&self, raw: f64) -> f64 {
        match (self.aggregation, self.unit) {
            (Aggregation::Quantile(_), _) => raw / self.metric.raw_per_unit(),
            (Aggregation::Rate, "1/min") => raw * 60.0,
            _ => raw,
        }
    }

    /// The window behind the value of a severity: a burn rate has one for each.
    #[must_use]
    pub fn window_of(&self, severity: Severity) -> Duration {
        match self.aggregation {
            Aggregation::BurnRate(burn) => burn.of(severity).map_or(self.window, |pair| pair.long),
            _ => self.window,
        }
    }

    /// The process whose restart may help in this scope. None when the rule names none, or when the scope's label is no
    /// process name.
    #[must_use]
    pub fn restart_in(&self, scope: &BTreeMap<String, String>) -> Option<String> {
        let restart = self.restart.as_deref()?;
        let label = restart.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let service = label.map_or(Some(restart), |label| scope.get(label).map(String::as_str))?;
        let plain = !service.is_empty() && service.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        plain.then(|| service.to_owned())
    }

    /// `above` or `below`.
    #[must_use]
    pub const fn direction(&self) -> &'static str {
        match self.limits.direction {
            Direction::Above => "above",
            Direction::Below => "below",
        }
    }
}

/// All rules, ordered by id.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Reads a rule file.
    ///
    /// # Errors
    /// Every mistake in it, in the order of lines.
    pub fn from_toml(text: &str, file_name: &str) -> Result<Self, Vec<Problem>> {
        let mut rules = parse::rules(text, file_name)?;
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self(rules))
    }

    /// The rules of [`BUILTIN`].
    #[must_use]
    pub fn builtin() -> Self {
        Self::from_toml(BUILTIN, BUILTIN_NAME).expect("a test reads the built-in rules")
    }

    /// The rules, ordered by id.
    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.0.iter()
    }

    /// Only some of them.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Rule) -> bool) -> Self {
        Self(self.0.iter().filter(|rule| keep(rule)).cloned().collect())
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Rules {
    type Item = &'a Rule;
    type IntoIter = std::slice::Iter<'a, Rule>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
