//! Where a rollout stands, what can happen to it, and what follows.

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::rollout::{Gate, Phase, RolloutChanged, RolloutCommand, Stage};
use spark_bus_schema::signals::ModelId;

/// Where the rollout stands. Its whole state is in what it tells: [`Status::adopt`] takes it back from there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the last thing told, over all models; 0 when nothing was.
    pub revision: u64,
    /// Of the last thing told that changed stage, phase or model: a command that names an older one is stale.
    pub changed_revision: u64,
    /// The model that it is about; none before the first.
    pub model: Option<ModelId>,
    /// The model that scores; none when nobody has said.
    pub in_force: Option<ModelId>,
    /// How far.
    pub stage: Stage,
    /// What happens in it.
    pub phase: Phase,
    /// Since when the stage is this.
    pub stage_since: Timestamp,
    /// How much of its time has counted, ms.
    pub held_ms: u64,
    /// The last stage below this one whose gates held for its whole time.
    pub last_good: Stage,
    /// The gates when they were last looked at in this stage.
    pub gates: Vec<Gate>,
    /// When it was last told.
    pub told_at: Timestamp,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// Somebody scores with this model.
    Model(ModelId),
    /// The gates were looked at.
    Measured {
        /// Time of this stage that was watched since they were last looked at, ms.
        elapsed_ms: u64,
        /// What they say.
        gates: Vec<Gate>,
    },
    /// A person's word.
    Command {
        /// Its LEDGER sequence.
        sequence: u64,
        /// The word.
        command: Box<RolloutCommand>,
    },
    /// The guardrail wants the last good stage.
    RolloutBack {
        /// LEDGER sequence of the rollback.
        sequence: u64,
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Tell everybody.
    Tell(Box<RolloutChanged>),
    /// Another stage begins: what was measured before says nothing about it.
    MeasureAnew,
}

impl Status {
    /// Whether it is watched: a red gate in any of these phases takes it back.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused | Phase::Promoted)
    }

    /// What was recorded holds, whatever would be decided now.
    pub fn adopt(&mut self, recorded: &RolloutChanged) {
        let changes = self.model.as_ref() != Some(&recorded.model)
            || (self.stage, self.phase, self.stage_since) != (recorded.stage, recorded.phase, recorded.stage_since);
        if changes {
            self.changed_revision = recorded.revision;
        }
        self.revision = recorded.revision;
        self.model = Some(recorded.model.clone());
        self.stage = recorded.stage;
        self.phase = recorded.phase;
        self.stage_since = recorded.stage_since;
        self.held_ms = recorded.held_ms;
        self.last_good = recorded.last_good;
        self.gates.clone_from(&recorded.gates);
        self.told_at = recorded.at;
    }
}
