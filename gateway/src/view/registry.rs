//! Registered strategies: how each decides, and how far it has come.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::strategies::{Params, StrategyKind, StrategyRegistered, StrategyStatus};
use spark_bus_schema::{Timestamp, Venue};

use super::trading::At;
use crate::number::Number;
use crate::record::{Entry, Record};

/// Strategies held.
pub const STRATEGIES_MAX: usize = 256;
/// Bytes of a strategy's message; a larger one is not held.
pub const BYTES_MAX: usize = 32 * 1024;

/// The newest word on each strategy.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Registry {
    strategies: BTreeMap<String, At<StrategyRegistered>>,
}

impl Registry {
    /// Takes in a message of the ledger, stored at `at`. False when there was no room for it.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry) -> bool {
        let Record::Registered(strategy) = &entry.record else { return true };
        let held = self.strategies.get(&strategy.name);
        if held.is_some_and(|held| held.sequence >= entry.sequence) {
            return true;
        }
        if entry.payload.len() > BYTES_MAX || held.is_none() && self.strategies.len() >= STRATEGIES_MAX {
            return false;
        }
        let value = StrategyRegistered::clone(strategy);
        self.strategies.insert(strategy.name.clone(), At { sequence: entry.sequence, at, value });
        true
    }

    /// Strategies by name.
    #[must_use]
    pub fn rows(&self) -> Vec<RegisteredRow<'_>> {
        self.strategies.values().map(|held| RegisteredRow::new(held.sequence, held.at, &held.value)).collect()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.strategies.keys().map(String::as_str)
    }
}

/// One strategy.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredRow<'a> {
    name: &'a str,
    revision: u64,
    sequence: u64,
    kind: StrategyKind,
    params: &'a Params,
    exchange: Venue,
    symbol: &'a str,
    timeframe: Option<TimeFrame>,
    quantity: Option<Number>,
    cash: Option<Number>,
    status: StrategyStatus,
    backtest: Option<&'a str>,
    actor: &'a str,
    reason: &'a str,
    at: String,
    at_ms: i64,
}

impl<'a> RegisteredRow<'a> {
    /// A strategy as it was stored.
    #[must_use]
    pub fn new(sequence: u64, at: Timestamp, told: &'a StrategyRegistered) -> Self {
        Self {
            name: &told.name,
            revision: told.revision,
            sequence,
            kind: told.kind,
            params: &told.params,
            exchange: told.exchange,
            symbol: &told.symbol,
            timeframe: told.timeframe,
            quantity: told.quantity.map(Number),
            cash: told.cash.map(Number),
            status: told.status,
            backtest: told.backtest.as_deref(),
            actor: &told.actor,
            reason: &told.reason,
            at: at.to_string(),
            at_ms: at.as_millis(),
        }
    }
}
