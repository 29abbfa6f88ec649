//! What the LEDGER allows the model: its rollout, the guardrail's counter-moves, the kill switch, whether it was stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::rollout::{CounterMove, CounterMoveKind, Phase, PreviewOf, RolloutChanged, Stage};
use spark_bus_schema::{Timestamp, Venue};

use crate::assignment::is_assigned;
use crate::fusion::{Blend, Verdict};
use crate::model::{Model, ModelId, Parts};

/// The floor that the counter-move raises to, at least.
pub const FLOOR_RAISED: f64 = 0.65;
/// Weights stay as they are this long from the beginning of a stage.
pub const WEIGHTS_HELD: Duration = Duration::from_secs(24 * 3_600);

/// Where the rollout of this model's version stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rollout {
    model: ModelId,
    stage: Stage,
    phase: Phase,
    stage_since: Timestamp,
    preview: PreviewOf,
}

/// Which candles a question is about.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: &'a str,
    /// Of the candles.
    pub timeframe: TimeFrame,
}

/// What follows from the LEDGER.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    rollout: Option<Rollout>,
    /// The latest of each kind, and when it was stored.
    moves: BTreeMap<CounterMoveKind, (bool, Timestamp)>,
    is_killed: bool,
    is_stopped: bool,
}

impl Standing {
    /// The rollout of a model stands elsewhere. Other versions are none of ours.
    pub fn rollout(&mut self, own: &ModelId, changed: RolloutChanged) {
        if changed.model.model_version == own.model_version {
            let RolloutChanged { model, stage, phase, stage_since, preview, .. } = changed;
            self.rollout = Some(Rollout { model, stage, phase, stage_since, preview });
        }
    }

    /// The guardrail does or takes back a counter-move.
    pub fn counter_move(&mut self, at: Timestamp, made: &CounterMove) {
        self.moves.insert(made.kind, (made.on, at));
    }

    /// The kill switch.
    pub fn kill_switch(&mut self, on: bool) {
        self.is_killed = on;
    }

    /// Somebody starts or stops the model's orders.
    pub fn command(&mut self, run: bool) {
        self.is_stopped = !run;
    }

    fn is_on(&self, kind: CounterMoveKind) -> bool {
        self.moves.get(&kind).is_some_and(|(on, _)| *on)
    }

    /// Whether nothing is scored.
    #[must_use]
    pub fn is_scoring_off(&self) -> bool {
        self.is_on(CounterMoveKind::ScoringOff)
    }

    /// The rollout of exactly this model, when it is under way or done.
    fn live(&self, own: &ModelId) -> Option<&Rollout> {
        let is_live = |phase| matches!(phase, Phase::Running | Phase::Paused | Phase::Promoted);
        self.rollout.as_ref().filter(|rollout| rollout.model == *own && is_live(rollout.phase))
    }

    /// Weights and floor at a moment.
    #[must_use]
    pub fn blend(&self, model: &Model, at: Timestamp) -> Blend {
        let mut blend = Blend::of(model);
        if self.is_on(CounterMoveKind::ConfidenceFloor) {
            blend.floor = blend.floor.max(FLOOR_RAISED);
        }
        if self.is_on(CounterMoveKind::PinWeights) && !self.are_weights_held(model.id(), at) {
            blend.weights = Parts::each(1.0 / 3.0);
        }
        blend
    }

    /// Whether pinning the weights has to wait: a stage began before that, and less than [`WEIGHTS_HELD`] ago. Weights that
    /// were pinned when the stage began stay so: letting go of them would change them as well.
    fn are_weights_held(&self, own: &ModelId, at: Timestamp) -> bool {
        let pinned_at = self.moves.get(&CounterMoveKind::PinWeights).map_or(Timestamp::ZERO, |(_, at)| *at);
        self.live(own).is_some_and(|rollout| {
            let is_young = at.saturating_since(rollout.stage_since) < WEIGHTS_HELD;
            rollout.stage != Stage::Off && is_young && pinned_at >= rollout.stage_since
        })
    }

    /// Whether the rollout gives the symbol to the model.
    #[must_use]
    pub fn assigned(&self, own: &ModelId, venue: Venue, symbol: &str) -> bool {
        let percent = self.live(own).map_or(0, |rollout| rollout.stage.percent());
        is_assigned(&own.model_version, venue.as_str(), symbol, percent)
    }

    /// Whether the preview is about these candles now.
    #[must_use]
    pub fn previews(&self, own: &ModelId, place: Place) -> bool {
        self.live(own).is_some_and(|rollout| rollout.stage == Stage::Preview && is_of(&rollout.preview, place))
    }

    /// Why nobody may trade on a score; none when the model may.
    #[must_use]
    pub fn refusal(&self, own: &ModelId, place: Place, verdict: &Verdict, floor: f64) -> Option<String> {
        if let (Some(confid), None) = (verdict.confid, verdict.side) {
            return Some(if confid < floor {
                format!("confid: {confid:.3} is below the floor of {floor}")
            } else {
                "score: 0, no side follows".to_owned()
            });
        }
        if self.is_on(CounterMoveKind::PreviewOnly) {
            return Some("counter-move preview_only: no order follows from a score".to_owned());
        }
        if self.is_killed {
            return Some("kill switch: on".to_owned());
        }
        if self.is_stopped {
            return Some("strategy: somebody stopped it".to_owned());
        }
        self.not_so_far(own, place)
    }

    /// Why the rollout has not come as far as these candles.
    fn not_so_far(&self, own: &ModelId, place: Place) -> Option<String> {
        let Some(known) = &self.rollout else {
            return Some(format!("rollout: none of {} was started", own.model_version));
        };
        if known.model != *own {
            return Some(format!(
                "rollout: of {} {} with file {:.12}, this file is {:.12}",
                known.model.feature_version, known.model.model_version, known.model.hash, own.hash
            ));
        }
        let Some(rollout) = self.live(own) else {
            let phase = if known.phase == Phase::RolledBack { "rolled back" } else { "idle" };
            return Some(format!("rollout: {phase}"));
        };
        let preview = &rollout.preview;
        if rollout.stage <= Stage::Preview {
            return Some(match rollout.stage {
                Stage::Preview if is_of(preview, place) => "rollout: preview, nothing is ordered".to_owned(),
                Stage::Preview => format!("rollout: preview of {}.{} {} only", preview.venue, preview.symbol, preview.timeframe),
                _ => "rollout: off".to_owned(),
            });
        }
        if place.timeframe != preview.timeframe {
            return Some(format!("rollout: orders follow from {} candles only", preview.timeframe));
        }
        let is_assigned = self.assigned(own, place.venue, place.symbol);
        (!is_assigned)
            .then(|| format!("rollout: {}.{} is not among the {} %", place.venue, place.symbol, rollout.stage.percent()))
    }
}

fn is_of(preview: &PreviewOf, place: Place) -> bool {
    preview.venue == place.venue && preview.symbol == place.symbol && preview.timeframe == place.timeframe
}

#[cfg(test)]
mod tests;
