//! The step: what a rollout is after something happened, and what is told. Pure: no clock, no bus, no samples.
//!
//! The rules, all of them:
//! - A stage's time counts only while it runs and every gate passes. A gate that cannot say (too few samples, or beyond its
//!   threshold by less than chance explains) sets the time back to nothing: what promotes is one unbroken stretch.
//! - A red gate takes the model back by itself to the last good stage, where nobody trades on it until a person says so:
//!   while it runs, while it is paused, and after its promotion.
//! - Another model than the one that was started takes it off: nothing is known about that one.

use spark_bus_schema::Timestamp;
use spark_bus_schema::rollout::{Gate, GateState, Phase, RolloutChanged, RolloutCommand, RolloutVerb, Stage};
use spark_bus_schema::signals::ModelId;

use crate::config::Config;
use crate::status::{Action, Observation, Status};

/// Who changes what nobody asked for.
pub const ACTOR: &str = "rollout";

/// What follows from one observation, stored at `at`.
#[must_use]
pub fn next(status: &Status, at: Timestamp, observation: &Observation, config: &Config) -> (Status, Vec<Action>) {
    let mut step = Step { status: status.clone(), at, config, actions: Vec::new() };
    match observation {
        Observation::Model(model) => step.model(model),
        Observation::Measured { elapsed_ms, gates } => step.measured(*elapsed_ms, gates),
        Observation::Command { sequence, command } => step.command(*sequence, command),
        Observation::RolloutBack { sequence, actor, reason } => step.rollout_back(*sequence, actor, reason),
    }
    let place = |status: &Status| (status.model.clone(), status.stage, status.phase, status.stage_since);
    if place(&step.status) != place(status) {
        step.status.changed_revision = step.status.revision;
    }
    (step.status, step.actions)
}

/// Who changes something, and in whose words.
#[derive(Clone, Copy)]
struct Because<'a> {
    actor: &'a str,
    command: Option<u64>,
}

impl Because<'_> {
    const ITSELF: Self = Because { actor: ACTOR, command: None };
}

struct Step<'a> {
    status: Status,
    at: Timestamp,
    config: &'a Config,
    actions: Vec<Action>,
}

impl Step<'_> {
    fn model(&mut self, model: &ModelId) {
        self.status.in_force = Some(model.clone());
        let started = self.status.model.clone();
        if self.status.is_watched()
            && let Some(started) = started
            && started != *model
        {
            let why = format!("another model scores: {} instead of {}", named(model), named(&started));
            self.take_back(Stage::Off, &why, Because::ITSELF);
        }
    }

    fn measured(&mut self, elapsed_ms: u64, gates: &[Gate]) {
        if !self.status.is_watched() {
            return;
        }
        self.status.gates = gates.to_vec();
        let red: Vec<String> = gates.iter().filter(|gate| gate.state == GateState::Failed).map(words).collect();
        if !red.is_empty() {
            self.take_back(self.status.last_good, &red.join(", "), Because::ITSELF);
        } else if self.status.phase == Phase::Running {
            self.count(elapsed_ms, gates);
        }
        let is_due = self.at.saturating_since(self.status.told_at) >= self.config.report();
        if self.actions.is_empty() && is_due {
            let summary = self.progress();
            self.tell(summary, Because::ITSELF, None);
        }
    }

    /// The stage's time goes on, or begins anew; with the whole of it the next stage begins.
    fn count(&mut self, elapsed_ms: u64, gates: &[Gate]) {
        if gates.is_empty() || gates.iter().any(|gate| gate.state != GateState::Passed) {
            self.status.held_ms = 0;
            return;
        }
        self.status.held_ms = self.status.held_ms.saturating_add(elapsed_ms);
        if self.status.held_ms < self.hold_ms() {
            return;
        }
        let (from, held) = (self.status.stage, self.status.held_ms);
        match from.next() {
            Some(to) => {
                self.status.last_good = from;
                self.enter(to, Phase::Running);
                self.tell(format!("promoted from {from} to {to}: every gate held for {held} ms"), Because::ITSELF, None);
            }
            None => {
                self.status.phase = Phase::Promoted;
                self.tell(format!("every gate of {from} held for {held} ms: promoted for good"), Because::ITSELF, None);
            }
        }
    }

    fn command(&mut self, sequence: u64, command: &RolloutCommand) {
        let because = Because { actor: &command.actor, command: Some(sequence) };
        let refusal = self.stale(command).or_else(|| match command.verb {
            RolloutVerb::Start => self.start(command, because).err(),
            RolloutVerb::Promote => self.promote(command, because).err(),
            RolloutVerb::Pause => self.pause(command, because).err(),
            RolloutVerb::Resume => self.resume(command, because).err(),
            RolloutVerb::Abort => self.abort(command, because).err(),
        });
        if let Some(refusal) = refusal {
            // In a stage that nobody started, the command's own model is the only one that can be told about.
            if self.status.model.is_none() && self.status.in_force.is_none() && command.model.is_none() {
                return;
            }
            let about = self.about().or_else(|| command.model.clone());
            let summary = format!("{} is refused", verb(command.verb));
            self.tell_about(about, summary, because, Some(refusal));
        }
    }

    /// Why a command is about something else than what there is.
    fn stale(&self, command: &RolloutCommand) -> Option<String> {
        let (seen, status) = (command.revision?, &self.status);
        let is_now = (status.changed_revision..=status.revision).contains(&seen);
        (!is_now).then(|| {
            format!(
                "it was given for revision {seen}; since revision {} the rollout is at {} ({:?})",
                status.changed_revision, status.stage, status.phase
            )
        })
    }

    fn start(&mut self, command: &RolloutCommand, because: Because) -> Result<(), String> {
        if self.status.is_watched() {
            let started = self.status.model.as_ref().map(named).unwrap_or_default();
            return Err(format!("the rollout of {started} is at {}; abort it first", self.status.stage));
        }
        let in_force =
            self.status.in_force.clone().ok_or("no model is in force: signal has not said which one it scores with")?;
        if let Some(wanted) = command.model.as_ref().filter(|wanted| **wanted != in_force) {
            return Err(format!("{} is not in force, {} is", named(wanted), named(&in_force)));
        }
        let summary = format!("{} starts with its preview: {}", named(&in_force), command.reason);
        self.status.model = Some(in_force);
        self.status.last_good = Stage::Off;
        self.enter(Stage::Preview, Phase::Running);
        self.tell(summary, because, None);
        Ok(())
    }

    fn promote(&mut self, command: &RolloutCommand, because: Because) -> Result<(), String> {
        self.is_about(command)?;
        self.is_running("promote")?;
        let from = self.status.stage;
        let to = from.next().ok_or("100 is the last stage; it is promoted when its gates have held for its time")?;
        // The stage before did not hold for its time: what was good stays what it was.
        self.enter(to, Phase::Running);
        self.tell(format!("promoted from {from} to {to} by hand: {}", command.reason), because, None);
        Ok(())
    }

    fn pause(&mut self, command: &RolloutCommand, because: Because) -> Result<(), String> {
        self.is_about(command)?;
        self.is_running("pause")?;
        self.status.phase = Phase::Paused;
        self.tell(format!("paused at {}: {}", self.status.stage, command.reason), because, None);
        Ok(())
    }

    fn resume(&mut self, command: &RolloutCommand, because: Because) -> Result<(), String> {
        self.is_about(command)?;
        let stage = self.status.stage;
        match self.status.phase {
            Phase::Paused => {
                self.status.phase = Phase::Running;
                self.tell(format!("goes on at {stage}: {}", command.reason), because, None);
                Ok(())
            }
            Phase::RolledBack if stage != Stage::Off => {
                if self.status.in_force != self.status.model {
                    return Err("another model is in force by now; start that one".to_owned());
                }
                // The next time it is taken back, it is taken off.
                self.status.last_good = Stage::Off;
                self.enter(stage, Phase::Running);
                self.tell(format!("goes on at {stage} after its rollback: {}", command.reason), because, None);
                Ok(())
            }
            Phase::RolledBack => Err("it was taken off; start it anew".to_owned()),
            Phase::Running => Err(format!("it runs at {stage} already")),
            Phase::Promoted => Err("it is promoted; there is nothing to go on with".to_owned()),
            Phase::Idle => Err(nothing()),
        }
    }

    fn abort(&mut self, command: &RolloutCommand, because: Because) -> Result<(), String> {
        self.is_about(command)?;
        if !self.status.is_watched() && self.status.stage == Stage::Off {
            return Err(nothing());
        }
        self.take_back(Stage::Off, &format!("aborted: {}", command.reason), because);
        Ok(())
    }

    fn rollout_back(&mut self, sequence: u64, actor: &str, reason: &str) {
        let because = Because { actor, command: Some(sequence) };
        if self.status.is_watched() {
            self.take_back(self.status.last_good, reason, because);
        } else if self.about().is_some() {
            let summary = match self.status.phase {
                Phase::RolledBack => format!("it is back at {} already", self.status.stage),
                _ => nothing(),
            };
            self.tell(summary, because, None);
        }
    }

    fn is_about(&self, command: &RolloutCommand) -> Result<(), String> {
        let started = self.status.model.as_ref().ok_or_else(nothing)?;
        match &command.model {
            Some(wanted) if wanted != started => Err(format!("the rollout is about {}, not {}", named(started), named(wanted))),
            _ => Ok(()),
        }
    }

    fn is_running(&self, verb: &str) -> Result<(), String> {
        match self.status.phase {
            Phase::Running => Ok(()),
            Phase::Paused => Err(format!("it is paused at {}; resume it before you {verb} it", self.status.stage)),
            Phase::Promoted => Err(format!("it is promoted; there is nothing to {verb}")),
            Phase::RolledBack => Err("it was rolled back; resume it, or start it anew".to_owned()),
            Phase::Idle => Err(nothing()),
        }
    }

    /// Back, where nobody trades on it. The gates stay as they were: they say why.
    fn take_back(&mut self, to: Stage, why: &str, because: Because) {
        let from = self.status.stage;
        let gates = std::mem::take(&mut self.status.gates);
        self.status.last_good = to;
        self.enter(to, Phase::RolledBack);
        self.status.gates = gates;
        self.tell(format!("rolled back from {from} to {to}: {why}"), because, None);
    }

    fn enter(&mut self, stage: Stage, phase: Phase) {
        self.status.stage = stage;
        self.status.phase = phase;
        self.status.stage_since = self.at;
        self.status.held_ms = 0;
        self.status.gates.clear();
        self.actions.push(Action::MeasureAnew);
    }

    fn hold_ms(&self) -> u64 {
        u64::try_from(self.config.hold(self.status.stage).as_millis()).unwrap_or(u64::MAX)
    }

    fn progress(&self) -> String {
        let (stage, held, hold) = (self.status.stage, self.status.held_ms, self.hold_ms());
        let waits = self.status.gates.iter().filter(|gate| gate.state == GateState::Inconclusive).map(words);
        let waits = waits.collect::<Vec<_>>().join(", ");
        match self.status.phase {
            Phase::Promoted => {
                format!("promoted and watched{}", if waits.is_empty() { "" } else { "; not everything can be said" })
            }
            Phase::Paused => format!("paused at {stage} after {held} of {hold} ms"),
            _ if waits.is_empty() => format!("at {stage}: its gates have held for {held} of {hold} ms"),
            _ => format!("at {stage}: waits for {waits}"),
        }
    }

    /// The model that is told about.
    fn about(&self) -> Option<ModelId> {
        self.status.model.clone().or_else(|| self.status.in_force.clone())
    }

    fn tell(&mut self, summary: String, because: Because, refusal: Option<String>) {
        self.tell_about(self.about(), summary, because, refusal);
    }

    fn tell_about(&mut self, model: Option<ModelId>, summary: String, because: Because, refusal: Option<String>) {
        let (Some(model), Some(preview)) = (model, self.config.preview_of()) else { return };
        let (at, hold_ms) = (self.at, self.hold_ms());
        let status = &mut self.status;
        status.revision += 1;
        status.told_at = at;
        let told = RolloutChanged {
            revision: status.revision,
            model,
            stage: status.stage,
            phase: status.phase,
            stage_since: status.stage_since,
            held_ms: status.held_ms,
            hold_ms,
            preview,
            gates: status.gates.clone(),
            last_good: status.last_good,
            summary,
            actor: because.actor.to_owned(),
            command: because.command,
            refusal,
            at,
        };
        self.actions.push(Action::Tell(Box::new(told)));
    }
}

fn nothing() -> String {
    "nothing is under way".to_owned()
}

fn verb(verb: RolloutVerb) -> &'static str {
    match verb {
        RolloutVerb::Start => "start",
        RolloutVerb::Promote => "promote",
        RolloutVerb::Pause => "pause",
        RolloutVerb::Resume => "resume",
        RolloutVerb::Abort => "abort",
    }
}

/// A model for people: its version and the first digits of its hash.
fn named(model: &ModelId) -> String {
    format!("{} ({:.8})", model.model_version, model.hash)
}

/// A gate for people.
fn words(gate: &Gate) -> String {
    let value = gate.value.map_or("nothing".to_owned(), |value| format!("{value:.4}"));
    let baseline = gate.baseline.map(|baseline| format!(" beside {baseline:.4}")).unwrap_or_default();
    let (samples, min) = (gate.samples, gate.samples_min);
    format!("{} {value}{baseline} (threshold {}, {samples} of {min} samples)", gate.name, gate.threshold)
}
