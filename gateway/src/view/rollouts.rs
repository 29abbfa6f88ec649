//! Where each model stands on its way to live trading, how it came there, and what the guardrail does against it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::rollout::{CounterMove, CounterMoveKind, Gate, Phase, PreviewOf, RolloutChanged, Stage};

use super::saved::{Word, moment, word};
use super::trading::At;
use super::words;
use crate::record::{Entry, Record};

/// Models whose rollout is held; of more, the one that was told longest ago is forgotten.
pub const MODELS_MAX: usize = 16;
/// Changes held.
pub const HISTORY_MAX: usize = 200;
/// Bytes of a message; a larger one is not held.
pub const BYTES_MAX: usize = 64 * 1024;

/// Rollouts by model version, and counter-moves by kind.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Rollouts {
    by_model: BTreeMap<String, At<RolloutChanged>>,
    history: VecDeque<Arc<ChangeRow>>,
    counter_moves: BTreeMap<CounterMoveKind, At<CounterMove>>,
    counter_sequence: u64,
}

/// One change of a rollout.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RolloutChangeRow")]
pub struct ChangeRow {
    /// LEDGER sequence.
    pub sequence: u64,
    /// When it was stored; in JSON RFC 3339.
    #[serde(serialize_with = "moment")]
    #[schemars(with = "String")]
    pub at: Timestamp,
    revision: u64,
    model_version: String,
    /// How far.
    pub stage: Stage,
    #[serde(deserialize_with = "word::one")]
    phase: Word,
    actor: String,
    summary: String,
    /// LEDGER sequence of the command that led to it.
    pub command: Option<u64>,
    /// Why that command was refused.
    pub refusal: Option<String>,
}

impl Rollouts {
    /// Takes in a message of the ledger, stored at `at`. False when there was no room for it.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry) -> bool {
        match &entry.record {
            Record::RolloutChanged(changed) => entry.payload.len() <= BYTES_MAX && self.changed(entry.sequence, at, changed),
            Record::CounterMove(command) => {
                if entry.payload.len() > BYTES_MAX {
                    return false;
                }
                if entry.sequence > self.counter_sequence {
                    self.counter_sequence = entry.sequence;
                    self.counter_moves.insert(command.kind, At { sequence: entry.sequence, at, value: command.clone() });
                }
                true
            }
            _ => true,
        }
    }

    fn changed(&mut self, sequence: u64, at: Timestamp, changed: &RolloutChanged) -> bool {
        let version = &changed.model.model_version;
        let held = self.by_model.get(version);
        if held.is_some_and(|held| held.sequence >= sequence) {
            return true;
        }
        // Between changes it is said once a minute that nothing has happened.
        let news = changed.command.is_some()
            || held.is_none_or(|held| (held.value.stage, held.value.phase) != (changed.stage, changed.phase));
        if news {
            if self.history.len() >= HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(Arc::new(ChangeRow {
                sequence,
                at,
                revision: changed.revision,
                model_version: words::short(version),
                stage: changed.stage,
                phase: words::phase(changed.phase),
                actor: words::short(&changed.actor),
                summary: words::short(&changed.summary),
                command: changed.command,
                refusal: changed.refusal.as_deref().map(words::short),
            }));
        }
        if held.is_none() && self.by_model.len() >= MODELS_MAX {
            let oldest = self.by_model.iter().min_by_key(|(_, held)| held.sequence).map(|(version, _)| version.clone());
            oldest.and_then(|oldest| self.by_model.remove(&oldest));
        }
        self.by_model.insert(version.clone(), At { sequence, at, value: changed.clone() });
        true
    }

    /// The rollout that was told of last.
    #[must_use]
    pub fn current(&self) -> Option<&At<RolloutChanged>> {
        self.by_model.values().max_by_key(|held| held.sequence)
    }

    /// The oldest revision at which the rollout under way was where it is now: a word that was decided on that one, or on a later
    /// one, still means what it meant.
    #[must_use]
    pub fn same_since(&self) -> Option<u64> {
        let told = &self.current()?.value;
        let here = (told.model.model_version.as_str(), told.stage, words::phase(told.phase));
        let rows = self.history.iter().rev().filter(|row| row.model_version == here.0);
        let same = rows.take_while(|row| (row.stage, row.phase) == (here.1, here.2)).map(|row| row.revision);
        Some(same.last().unwrap_or(told.revision))
    }

    /// Every rollout, by model version.
    pub fn all(&self) -> impl Iterator<Item = &RolloutChanged> {
        self.by_model.values().map(|held| &held.value)
    }

    /// What became of a command, once it is told.
    #[must_use]
    pub fn answer_to(&self, command: u64) -> Option<&ChangeRow> {
        self.history.iter().rev().find(|row| row.command == Some(command)).map(Arc::as_ref)
    }

    /// `GET /api/rollout`, without what is about the gateway.
    #[must_use]
    pub fn answer(&self, history: usize) -> RolloutAnswer<'_> {
        let current = self.current();
        RolloutAnswer {
            rollout: current.map(StateRow::new),
            history: self.history.iter().rev().take(history).map(Arc::as_ref).collect(),
            others: self
                .by_model
                .values()
                .filter(|held| current.is_some_and(|current| current.sequence != held.sequence))
                .map(|held| OtherRow {
                    model_version: &held.value.model.model_version,
                    stage: held.value.stage,
                    phase: words::phase(held.value.phase),
                    at: held.at.to_string(),
                })
                .collect(),
            counter_moves: self.counter_moves.values().map(CounterMoveRow::from).collect(),
            stages: Stage::ALL,
        }
    }
}

/// Where it stands.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutAnswer<'a> {
    /// Null: no rollout was ever told of.
    rollout: Option<StateRow<'a>>,
    /// Newest first.
    history: Vec<&'a ChangeRow>,
    /// Models whose rollout was told of before.
    others: Vec<OtherRow<'a>>,
    counter_moves: Vec<CounterMoveRow<'a>>,
    /// Every stage, in order.
    stages: [Stage; 5],
}

/// The rollout under way.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RolloutState")]
pub struct StateRow<'a> {
    revision: u64,
    sequence: u64,
    feature_version: &'a str,
    model_version: &'a str,
    model_hash: &'a str,
    stage: Stage,
    phase: Word,
    stage_since: String,
    /// As it was told at `at`; a running stage has held longer by now.
    held_ms: u64,
    hold_ms: u64,
    preview: &'a PreviewOf,
    gates: Vec<GateRow<'a>>,
    last_good: Stage,
    summary: &'a str,
    actor: &'a str,
    at: String,
    at_ms: i64,
}

impl<'a> StateRow<'a> {
    fn new(held: &'a At<RolloutChanged>) -> Self {
        let told = &held.value;
        Self {
            revision: told.revision,
            sequence: held.sequence,
            feature_version: &told.model.feature_version,
            model_version: &told.model.model_version,
            model_hash: &told.model.hash,
            stage: told.stage,
            phase: words::phase(told.phase),
            stage_since: told.stage_since.to_string(),
            held_ms: told.held_ms,
            hold_ms: told.hold_ms,
            preview: &told.preview,
            gates: told.gates.iter().map(GateRow::from).collect(),
            last_good: told.last_good,
            summary: &told.summary,
            actor: &told.actor,
            at: held.at.to_string(),
            at_ms: held.at.as_millis(),
        }
    }
}

/// A gate as measured.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GateRow<'a> {
    name: &'a str,
    state: Word,
    value: Option<f64>,
    baseline: Option<f64>,
    threshold: f64,
    samples: u64,
    samples_min: u64,
}

impl<'a> From<&'a Gate> for GateRow<'a> {
    fn from(gate: &'a Gate) -> Self {
        Self {
            name: &gate.name,
            state: words::gate(gate.state),
            value: gate.value,
            baseline: gate.baseline,
            threshold: gate.threshold,
            samples: gate.samples,
            samples_min: gate.samples_min,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OtherRollout")]
struct OtherRow<'a> {
    model_version: &'a str,
    stage: Stage,
    phase: Word,
    at: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CounterMoveRow<'a> {
    kind: Word,
    on: bool,
    actor: &'a str,
    reason: &'a str,
    at: String,
    at_ms: i64,
}

impl<'a> From<&'a At<CounterMove>> for CounterMoveRow<'a> {
    fn from(held: &'a At<CounterMove>) -> Self {
        Self {
            kind: held.value.kind.as_str(),
            on: held.value.on,
            actor: &held.value.actor,
            reason: &held.value.reason,
            at: held.at.to_string(),
            at_ms: held.at.as_millis(),
        }
    }
}

/// Whether a model may have orders follow from its scores.
#[must_use]
pub fn trades(told: &RolloutChanged) -> bool {
    told.stage.percent() > 0 && matches!(told.phase, Phase::Running | Phase::Paused | Phase::Promoted)
}
