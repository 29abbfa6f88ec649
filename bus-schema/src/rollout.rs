//! A model goes live in stages: commands, gates, and where it stands; and the guardrail's counter-moves.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actions::Evidence;
use crate::candles::TimeFrame;
use crate::codec::{Kind, Message};
use crate::control::reasoned;
use crate::instrument::Venue;
use crate::orders::name;
use crate::signals::ModelId;
use crate::time::Timestamp;

/// How far a model has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Stage {
    /// It scores, nobody acts on it.
    #[default]
    #[serde(rename = "off")]
    Off,
    /// One symbol and time frame: what it would order is recorded, nothing is ordered.
    #[serde(rename = "preview")]
    Preview,
    /// A tenth of the symbols.
    #[serde(rename = "10")]
    Tenth,
    /// Half of them.
    #[serde(rename = "50")]
    Half,
    /// All.
    #[serde(rename = "100")]
    Full,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 5] = [Self::Off, Self::Preview, Self::Tenth, Self::Half, Self::Full];

    /// Share of the symbols that trade on it, percent.
    #[must_use]
    pub const fn percent(self) -> u8 {
        match self {
            Self::Off | Self::Preview => 0,
            Self::Tenth => 10,
            Self::Half => 50,
            Self::Full => 100,
        }
    }

    /// The spelling on the bus and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Preview => "preview",
            Self::Tenth => "10",
            Self::Half => "50",
            Self::Full => "100",
        }
    }

    /// The one after it; the last has none.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage > self)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens in a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing was started.
    #[default]
    Idle,
    /// The stage runs and its gates are measured.
    Running,
    /// Somebody paused it: its time does not count, a breach still rolls it back.
    Paused,
    /// All stages are done; a breach still rolls it back.
    Promoted,
    /// It went back, by itself or by a command.
    RolledBack,
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutVerb {
    /// Begin with the preview.
    Start,
    /// Go to the next stage now, whatever the gates' time.
    Promote,
    /// Hold the stage.
    Pause,
    /// Go on.
    Resume,
    /// Back to off.
    Abort,
}

/// A person's word about a rollout. Subject `control.rollout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutCommand {
    /// What.
    pub verb: RolloutVerb,
    /// Which model; with `start` the one that is started, else a guard against a mistake. None: the one under way.
    pub model: Option<ModelId>,
    /// The state that the sender saw; a command against another one is refused. None: whatever it is.
    pub revision: Option<u64>,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When, by the sender's clock.
    pub at: Timestamp,
}

impl Message for RolloutCommand {
    const KIND: Kind = Kind { name: "rollout_command", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        reasoned(&self.actor, &self.reason)
    }
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateState {
    /// Held since the stage began.
    Passed,
    /// Too few samples to say: neither passed nor failed.
    Inconclusive,
    /// Breached.
    Failed,
}

/// One gate of a stage, as measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// Its name, e.g. `hit_rate`, `latency_p95_ms`, `error_ratio`, `critical_alerts`.
    pub name: String,
    /// What it says.
    pub state: GateState,
    /// Of the assigned part.
    pub value: Option<f64>,
    /// Of the concurrent baseline, the part that is not assigned; none where there is none.
    pub baseline: Option<f64>,
    /// What it is held against.
    pub threshold: f64,
    /// Samples in `value`.
    pub samples: u64,
    /// Samples that it needs.
    pub samples_min: u64,
}

/// Where a rollout stands, at each change and once a minute in between. Subject `rollout.changed.<model version>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutChanged {
    /// Rises by one with each message; starts at 1.
    pub revision: u64,
    /// Which model.
    pub model: ModelId,
    /// How far.
    pub stage: Stage,
    /// What happens in it.
    pub phase: Phase,
    /// Since when the stage is this.
    pub stage_since: Timestamp,
    /// How much of the stage's time has counted, ms.
    pub held_ms: u64,
    /// How long its gates must hold, ms.
    pub hold_ms: u64,
    /// The only symbol and time frame that the preview is about.
    pub preview: PreviewOf,
    /// Its gates.
    pub gates: Vec<Gate>,
    /// What a rollback goes back to.
    pub last_good: Stage,
    /// What happened, one sentence.
    pub summary: String,
    /// Who: a person, `rollout` by itself, `guardrail`.
    pub actor: String,
    /// LEDGER sequence of the command that this follows from, when one did.
    pub command: Option<u64>,
    /// Why that command was refused, when it was.
    pub refusal: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// What a preview looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewOf {
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Of the candles.
    pub timeframe: TimeFrame,
}

impl Message for RolloutChanged {
    const KIND: Kind = Kind { name: "rollout_changed", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.revision == 0 {
            return Err("revision: starts at 1".to_owned());
        }
        name("actor", &self.actor)
    }
}

/// What the guardrail may do by itself against a model that does badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CounterMoveKind {
    /// Exchanges are polled half as often again.
    PollInterval,
    /// The confidence floor is 0.65 at least.
    ConfidenceFloor,
    /// No order follows from a score.
    PreviewOnly,
    /// Each part has the same weight. Not within the first 24 h of a stage.
    PinWeights,
    /// Nothing is scored.
    ScoringOff,
}

impl CounterMoveKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::PollInterval, Self::ConfidenceFloor, Self::PreviewOnly, Self::PinWeights, Self::ScoringOff];

    /// The spelling in subjects, configuration and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PollInterval => "poll_interval",
            Self::ConfidenceFloor => "confidence_floor",
            Self::PreviewOnly => "preview_only",
            Self::PinWeights => "pin_weights",
            Self::ScoringOff => "scoring_off",
        }
    }
}

/// The guardrail does, or takes back, one counter-move. The latest of each kind decides. Subject `control.countermove.<kind>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CounterMove {
    /// Which.
    pub kind: CounterMoveKind,
    /// Done, or taken back.
    pub on: bool,
    /// Rises by one with each message of the kind; starts at 1.
    pub revision: u64,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// What the guardrail saw.
    pub evidence: Vec<Evidence>,
    /// When.
    pub at: Timestamp,
}

impl Message for CounterMove {
    const KIND: Kind = Kind { name: "counter_move", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        reasoned(&self.actor, &self.reason)
    }
}
