//! What the guardrail says when a limit is crossed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::time::Timestamp;

/// Where an alert instance (one rule in one scope) stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Within limits.
    #[default]
    Inactive,
    /// Beyond a limit, not yet for long enough.
    Pending,
    /// Beyond a limit for long enough.
    Firing,
    /// Was firing, is within limits again.
    Resolved,
    /// There is nothing to judge by.
    NoData,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

/// A change of state of one rule in one scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// The alert's name, e.g. `PortfolioRefreshLatencyHighP95`.
    pub name: String,
    /// The rule's id in the configuration.
    pub rule: String,
    /// Rises by one with each change of this rule in this scope; starts at 1.
    pub revision: u64,
    /// Where: `{"exchange": "binance"}`.
    pub scope: BTreeMap<String, String>,
    /// The new state.
    pub state: AlertState,
    /// How bad, while pending or firing.
    pub severity: Option<Severity>,
    /// The value that decided; none on no data.
    pub value: Option<f64>,
    /// The threshold that it was held against.
    pub threshold: Option<f64>,
    /// `above` or `below`: the side of the threshold that is bad.
    pub direction: String,
    /// Unit of value and threshold.
    pub unit: String,
    /// Length of the window, ms.
    pub window_ms: u64,
    /// Samples in the window.
    pub samples: u64,
    /// When this state began.
    pub at: Timestamp,
    /// When the condition first held, for pending and firing.
    pub since: Option<Timestamp>,
    /// One sentence with the figures.
    pub summary: String,
    /// Probable cause.
    pub cause: String,
    /// What to do first.
    pub first_action: String,
    /// What keeps it from coming back.
    pub permanent_fix: String,
    /// Link to the runbook.
    pub runbook: String,
}

impl Message for Alert {
    const KIND: Kind = Kind { name: "alert", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.name.is_empty() || !self.name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(format!("name: {:?} is not an alert name", self.name));
        }
        if self.revision == 0 {
            return Err("revision: starts at 1".to_owned());
        }
        for (field, value) in [("value", self.value), ("threshold", self.threshold)] {
            if value.is_some_and(|value| !value.is_finite()) {
                return Err(format!("{field}: not a finite number"));
            }
        }
        Ok(())
    }
}
