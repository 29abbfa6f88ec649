//! Facts of the LEDGER to steps: the time of a stage, the samples of its gates, and what was told.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spark_bus_schema::rollout::RolloutChanged;
use spark_bus_schema::signals::ModelId;
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{DecodeError, Timestamp, encode};
use spark_nats::{Delivery, Effects, Input, Machine, Reject};

use crate::config::Config;
use crate::event::{Event, Fact};
use crate::gates::measure;
use crate::samples::Samples;
use crate::status::{Action, Observation, Status};
use crate::step::next;

/// Layout of the saved state.
const STATE_VERSION: u32 = 1;
/// Alerts that may fire at once; more are one more.
const ALERTS_MAX: usize = 10_000;
/// Things told that were not read back yet; older ones are forgotten. Of a process that was down for two months, one a minute.
const TOLD_MAX: usize = 100_000;

/// The decision about a model's stages.
#[derive(Clone, Debug)]
pub struct Rollout {
    config: Config,
    state: State,
}

/// Everything that follows from the LEDGER so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    status: Status,
    samples: Samples,
    /// Subjects of criticals that fire.
    criticals: BTreeSet<String>,
    /// When the gates were last looked at, or could have been.
    boundary: Timestamp,
    /// When the last message was stored.
    seen: Timestamp,
    /// Since when the phase in this stage is what it is.
    phase_since: Timestamp,
    /// Told, and not read back from the LEDGER yet: revision and digest.
    told: VecDeque<(u64, Digest)>,
}

/// SHA-256 of a message's bytes, the first half of it.
type Digest = [u8; 16];

fn digest(told: &RolloutChanged) -> Digest {
    let mut half = Digest::default();
    half.copy_from_slice(&Sha256::digest(encode(told))[..16]);
    half
}

impl Rollout {
    /// Before the LEDGER's beginning.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, state: State::default() }
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.state.status
    }

    /// When the last message was stored.
    #[must_use]
    pub fn seen(&self) -> Timestamp {
        self.state.seen
    }

    /// Looks at the gates at every boundary up to `at`. A time in which nothing at all was stored was not watched by anybody:
    /// it counts for nothing, and silence in it says nothing.
    fn advance(&mut self, at: Timestamp, effects: &mut Effects) {
        let step = self.config.step();
        let gap = at.saturating_since(self.state.seen);
        if self.state.seen == Timestamp::ZERO {
            self.state.boundary = at;
        } else if gap > self.config.unwatched() {
            self.state.samples.skip(gap);
            self.state.boundary = at;
        }
        self.state.seen = self.state.seen.max(at);
        loop {
            let boundary = self.state.boundary.next_boundary(step);
            if boundary > at {
                return;
            }
            let since = self.state.boundary.max(self.state.phase_since);
            self.state.boundary = boundary;
            if self.state.status.is_watched() {
                self.look(boundary, boundary.saturating_since(since), effects);
            }
        }
    }

    fn look(&mut self, at: Timestamp, elapsed: Duration, effects: &mut Effects) {
        self.state.samples.forget_before(at - self.config.scaled(self.config.window));
        let criticals = self.state.criticals.len() as u64;
        let gates = measure(at, self.state.status.stage, &self.state.samples, criticals, &self.config);
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.observe(at, &Observation::Measured { elapsed_ms, gates }, effects);
    }

    /// Takes one step; whether anything was told.
    fn observe(&mut self, at: Timestamp, observation: &Observation, effects: &mut Effects) -> bool {
        let (status, actions) = next(&self.state.status, at, observation, &self.config);
        let place = |status: &Status| (status.stage, status.phase, status.stage_since);
        if place(&status) != place(&self.state.status) {
            self.state.phase_since = at;
        }
        self.state.status = status;
        let mut is_told = false;
        for action in actions {
            match action {
                Action::MeasureAnew => self.state.samples = Samples::default(),
                Action::Tell(told) => {
                    is_told = true;
                    effects.publish_revision(subject::rollout_changed(&told.model.model_version), &*told, told.revision);
                    if self.state.told.len() >= TOLD_MAX {
                        self.state.told.pop_front();
                    }
                    self.state.told.push_back((told.revision, digest(&told)));
                }
            }
        }
        is_told
    }

    /// Reads back what was told. What an earlier run told under other rules, or from what it had not read yet, holds.
    fn recorded(&mut self, recorded: &RolloutChanged) {
        let found = (recorded.revision, digest(recorded));
        if let Some(position) = self.state.told.iter().position(|told| *told == found) {
            self.state.told.drain(..=position);
            return;
        }
        if self.state.told.front().is_some_and(|oldest| recorded.revision < oldest.0) {
            return;
        }
        let begins = self.state.status.stage_since != recorded.stage_since;
        self.state.told.clear();
        self.state.status.adopt(recorded);
        self.state.phase_since = recorded.at;
        if begins {
            self.state.samples = Samples::default();
        }
    }

    /// Whoever scores with another model than the one that was started is noticed before anything is made of it.
    fn model(&mut self, at: Timestamp, model: &ModelId, effects: &mut Effects) {
        if self.state.status.in_force.as_ref() != Some(model) {
            self.observe(at, &Observation::Model(model.clone()), effects);
        }
    }

    fn is_judged(&self, model: &ModelId) -> bool {
        self.state.status.is_watched() && self.state.status.model.as_ref() == Some(model)
    }

    fn alert(&mut self, subject: String, name: &str, is_critical: bool) {
        let is_ignored = self.config.gates.ignored_alerts.iter().any(|ignored| ignored == name);
        if is_critical && !is_ignored && self.state.criticals.len() < ALERTS_MAX {
            self.state.criticals.insert(subject);
        } else {
            self.state.criticals.remove(&subject);
        }
    }
}

impl Machine for Rollout {
    type Event = Event;
    const INPUTS: &'static [Input] = &[Input {
        stream: LEDGER,
        subjects: &[
            subject::ROLLOUT,
            subject::ROLLBACK,
            subject::ALERTS,
            subject::MODEL,
            subject::SCORES,
            subject::OUTCOMES,
            subject::ROLLOUT_CHANGED,
            subject::ROLLOUT_EPOCH,
            subject::ROLLOUT_CLOCK,
        ],
    }];
    /// Its own boundaries follow from the configuration; see [`Rollout::advance`].
    const STEP: Duration = Duration::from_secs(3_600);

    fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
        Event::decode(delivery)
    }

    fn apply(&mut self, at: Timestamp, event: Event, effects: &mut Effects) -> Result<(), Reject> {
        if let Fact::Misplaced { subject, belongs } = &event.fact {
            return Err(Reject { reason: "wrong_subject", detail: format!("a message of {belongs} on {subject}") });
        }
        if let Fact::Told(told) = &event.fact {
            self.recorded(told);
        }
        self.advance(at, effects);
        let (stage, since) = (self.state.status.stage, self.state.status.stage_since);
        match event.fact {
            Fact::Command(command) => {
                let observation = Observation::Command { sequence: event.sequence, command };
                if !self.observe(at, &observation, effects) {
                    let detail = "no model is known: nothing scores, and the command names none".to_owned();
                    return Err(Reject { reason: "no_model", detail });
                }
            }
            Fact::RolloutBack { actor, reason } => {
                self.observe(at, &Observation::RolloutBack { sequence: event.sequence, actor, reason }, effects);
            }
            Fact::Alert { subject, name, is_critical } => self.alert(subject, &name, is_critical),
            Fact::Model(model) => self.model(at, &model.model, effects),
            Fact::Score(score) => {
                self.model(at, &score.model, effects);
                if let Some(preview) = self.config.preview_of().filter(|_| self.is_judged(&score.model)) {
                    self.state.samples.score(at, &score, stage, since, &preview);
                }
            }
            Fact::Outcome(outcome) => {
                if let Some(preview) = self.config.preview_of().filter(|_| self.is_judged(&outcome.model)) {
                    self.state.samples.outcome(at, &outcome, stage, since, &preview);
                }
            }
            Fact::Told(_) | Fact::Time | Fact::Misplaced { .. } => {}
        }
        Ok(())
    }

    fn tick(&mut self, _: Timestamp, _: &mut Effects) {}

    fn save(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(&(STATE_VERSION, &self.state)).expect("writing to memory cannot fail")
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (version, state): (u32, State) = spark_bus_schema::codec::from_saved(bytes).map_err(|error| error.to_string())?;
        if version != STATE_VERSION {
            return Err(format!("layout {version}, this build reads {STATE_VERSION}"));
        }
        self.state = state;
        Ok(())
    }
}
