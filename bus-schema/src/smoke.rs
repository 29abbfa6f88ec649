//! The smoke check: six questions whose answers say whether the system works.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::orders::name;
use crate::time::Timestamp;

/// With so many good checks it passes.
pub const PASS_AT: u32 = 5;

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SmokeCheck {
    /// `portfolio_answers`, `accounts`, `metrics`, `p95`, `staleness`, `error_rate`.
    pub name: String,
    /// Whether it is good.
    pub ok: bool,
    /// What was measured, where it is a number.
    pub value: Option<f64>,
    /// What it was held against.
    pub limit: Option<f64>,
    /// What was found, in words.
    pub detail: String,
}

/// The outcome of one smoke check. Subject `audit.smoke`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Smoke {
    /// The checks, in order.
    pub checks: Vec<SmokeCheck>,
    /// How many are good.
    pub passed: u32,
    /// [`PASS_AT`] or more are.
    pub pass: bool,
    /// The notification's text.
    pub text: String,
    /// Share of the last 24 h in which every process was heard of, 0 to 1; none when it is not known.
    pub uptime: Option<f64>,
    /// Who asked.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

impl Message for Smoke {
    const KIND: Kind = Kind { name: "smoke", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        let good = u32::try_from(self.checks.iter().filter(|check| check.ok).count()).unwrap_or(u32::MAX);
        if good != self.passed || self.pass != (good >= PASS_AT) {
            return Err(format!("passed: {} and pass: {} do not follow from {good} good checks", self.passed, self.pass));
        }
        name("actor", &self.actor)
    }
}
