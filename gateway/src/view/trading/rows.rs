//! What may trade, in the shapes that leave the view as JSON.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::Venue;
use spark_bus_schema::control::{KillSwitch, LimitsCommand, LimitsSource, StrategyCommand};
use spark_bus_schema::orders::{Invariant, Reconciliation, TradingMode};
use spark_bus_schema::risk::Limits;

use super::actions::ActionRow;
use super::{At, Halt};
use crate::number::Number;

/// Kill switch, limits, strategies, halts, reconciliations, the newest actions.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TradingState")]
pub struct Guard<'a> {
    /// Null before the first command: off.
    pub kill_switch: Option<KillRow<'a>>,
    /// What has stopped until a person resumes it.
    pub halts: Vec<&'a Halt>,
    /// The newest comparison with each exchange.
    pub reconciliations: Vec<ReconciliationRow<'a>>,
    /// What strategies were told last.
    pub strategies: Vec<StrategyRow<'a>>,
    /// Limits in force.
    pub limits: LimitsAnswer<'a>,
    /// Newest first.
    pub actions: Vec<ActionRow<'a>>,
    /// Whether the end of the ledger was reached since the gateway's start.
    pub complete: bool,
}

/// The last word about the kill switch.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KillRow<'a> {
    /// Nothing new may be sent.
    pub on: bool,
    cancel_open: bool,
    actor: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) at: String,
    at_ms: i64,
    sequence: u64,
}

impl<'a> From<&'a At<KillSwitch>> for KillRow<'a> {
    fn from(told: &'a At<KillSwitch>) -> Self {
        Self {
            on: told.value.on,
            cancel_open: told.value.cancel_open,
            actor: &told.value.actor,
            reason: &told.value.reason,
            at: told.at.to_string(),
            at_ms: told.at.as_millis(),
            sequence: told.sequence,
        }
    }
}

/// `GET /api/exec/limits`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsAnswer<'a> {
    limits: Limits,
    /// 0: the built-in defaults.
    sequence: u64,
    source: Option<LimitsSource>,
    actor: Option<&'a str>,
    reason: Option<&'a str>,
    at: Option<String>,
}

impl<'a> LimitsAnswer<'a> {
    /// The last command; the built-in limits without one.
    #[must_use]
    pub fn new(told: Option<&'a At<LimitsCommand>>) -> Self {
        Self {
            limits: told.map(|told| told.value.limits.clone()).unwrap_or_default(),
            sequence: told.map_or(0, |told| told.sequence),
            source: told.map(|told| told.value.source),
            actor: told.map(|told| told.value.actor.as_str()),
            reason: told.map(|told| told.value.reason.as_str()),
            at: told.map(|told| told.at.to_string()),
        }
    }
}

/// What a strategy was told last.
#[derive(Serialize, JsonSchema)]
pub struct StrategyRow<'a> {
    strategy: &'a str,
    run: bool,
    symbols: &'a [String],
    actor: &'a str,
    reason: &'a str,
    at: String,
    sequence: u64,
}

impl<'a> From<&'a At<StrategyCommand>> for StrategyRow<'a> {
    fn from(told: &'a At<StrategyCommand>) -> Self {
        Self {
            strategy: &told.value.strategy,
            run: told.value.run,
            symbols: &told.value.symbols,
            actor: &told.value.actor,
            reason: &told.value.reason,
            at: told.at.to_string(),
            sequence: told.sequence,
        }
    }
}

/// The newest comparison with one exchange.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReconciliationRow<'a> {
    exchange: Venue,
    mode: TradingMode,
    at: String,
    at_ms: i64,
    occasion: &'a str,
    holds: bool,
    invariants: &'a [Invariant],
    orphans: &'a [String],
    baseline: BTreeMap<&'a str, Number>,
    halted: Option<&'a str>,
    sequence: u64,
}

impl<'a> From<&'a At<Reconciliation>> for ReconciliationRow<'a> {
    fn from(told: &'a At<Reconciliation>) -> Self {
        let compared = &told.value;
        Self {
            exchange: compared.exchange,
            mode: compared.mode,
            at: compared.at.to_string(),
            at_ms: compared.at.as_millis(),
            occasion: &compared.occasion,
            holds: compared.invariants.iter().all(|invariant| invariant.holds),
            invariants: &compared.invariants,
            orphans: &compared.orphans,
            baseline: compared.baseline.iter().map(|(asset, amount)| (asset.as_str(), Number(*amount))).collect(),
            halted: compared.halted.as_deref(),
            sequence: told.sequence,
        }
    }
}
