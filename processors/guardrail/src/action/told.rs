//! What is read back from the LEDGER: own commands, answers to them, and what others command meanwhile.

use spark_bus_schema::actions::{
    Action, ActionStage, RestartCommand, RestartDone, RestartOutcome, RestartRefusal, RollbackCommand,
};
use spark_bus_schema::control::{KillSwitch, LimitsCommand, StrategyCommand};
use spark_bus_schema::orders::MANUAL;
use spark_bus_schema::rollout::{CounterMove, RolloutChanged};
use spark_bus_schema::{Timestamp, risk::Limits};
use spark_nats::Effects;

use super::state::{Done, Episode, Flight, Found, InForce, Rollout, number_of};
use super::{ACTOR, Actions};

/// One message of the LEDGER that concerns what is done.
#[derive(Clone, Debug)]
pub enum Told {
    /// A process shall be restarted.
    Restart {
        /// Its place in the LEDGER.
        sequence: u64,
        /// Of the guardrail's own commands: which one.
        revision: Option<u64>,
        /// What.
        command: RestartCommand,
    },
    /// What became of that.
    Restarted(RestartDone),
    /// Everything shall go back.
    Rollback {
        /// Of the guardrail's own commands: which one.
        revision: Option<u64>,
        /// What.
        command: RollbackCommand,
    },
    /// Limits are in force.
    Limits {
        /// Its place in the LEDGER.
        sequence: u64,
        /// What.
        command: LimitsCommand,
    },
    /// Everything new stops, or may go on.
    KillSwitch(KillSwitch),
    /// A strategy starts or stops.
    Strategy(StrategyCommand),
    /// A counter-move was made or taken back.
    CounterMove(CounterMove),
    /// A rollout stands somewhere.
    Rollout(Box<RolloutChanged>),
    /// A strategy wants an order.
    Intent {
        /// Its name.
        strategy: String,
    },
}

impl Actions {
    /// Takes in what was stored. What it changes is decided by the next [`Actions::step`].
    pub fn learn(&mut self, at: Timestamp, told: &Told, out: &mut Effects) {
        match told {
            Told::Restart { sequence, revision, command } => self.restart_told(at, *sequence, *revision, command),
            Told::Restarted(done) => self.restarted(done),
            Told::Rollback { revision, command } if command.actor == ACTOR => self.rollback_told(at, *revision, command, out),
            Told::Limits { sequence, command } => self.limits_told(at, *sequence, &command.limits),
            Told::KillSwitch(command) => self.state.kill_switch = command.on,
            Told::Strategy(command) => {
                if command.strategy != MANUAL
                    && let Some(strategy) = self.state.strategy(&command.strategy)
                {
                    strategy.runs = command.run;
                    strategy.symbols.clone_from(&command.symbols);
                }
            }
            Told::Intent { strategy } => {
                // A person's orders are no feature that could be switched off.
                if strategy != MANUAL {
                    let _ = self.state.strategy(strategy);
                }
            }
            Told::Rollout(changed) => {
                self.state.rollout = Some(Rollout { phase: changed.phase, stage: changed.stage, at });
            }
            Told::Rollback { .. } | Told::CounterMove(_) => {}
        }
    }

    /// Tells what the broker holds as the last message of each subject, before a run begins. Without a saved state
    /// numbers go on after these, and an episode that was open goes on.
    pub fn seed(&mut self, at: Timestamp, last: &[Told], actions: impl IntoIterator<Item = Action>) {
        let newest = actions.into_iter().max_by_key(|action| number_of(&action.episode));
        if let Some(action) = &newest {
            let number = number_of(&action.episode).unwrap_or_default();
            self.state.episodes = number;
            if action.stage != ActionStage::Ended {
                let mut episode = Episode::new(number, action.at);
                episode.revision = action.revision;
                self.state.episode = Some(episode);
            }
        }
        self.stored = newest;
        for told in last {
            match told {
                Told::Restart { sequence, revision: Some(revision), command } => {
                    self.state.restarts.insert(command.service.clone(), *revision);
                    let is_mine = self.state.episode.as_ref().is_some_and(|open| Some(open.id()) == command.episode);
                    if is_mine && at < command.at + self.policy.restart.watch.0 {
                        self.adopt(command, Some(*sequence));
                    }
                }
                Told::Rollback { revision, command } => self.seed_rollback(at, *revision, command),
                Told::Restart { .. } | Told::Restarted(_) | Told::Intent { .. } => {}
                Told::CounterMove(command) if command.actor == ACTOR => self.seed_move(command),
                other => self.learn(at, other, &mut Effects::default()),
            }
        }
    }

    /// A rollback of before is not done again. One of a moment ago may have been cut off: it is carried on when it is read
    /// once more, and what it has commanded already is known to the broker.
    fn seed_rollback(&mut self, at: Timestamp, revision: Option<u64>, command: &RollbackCommand) {
        self.state.rollbacks = self.state.rollbacks.max(revision.unwrap_or(0));
        let until = command.at + self.policy.rollback.verify.0;
        if let Some(episode) = self.state.episode.as_mut().filter(|episode| episode.id() == command.episode) {
            let is_over = at >= until;
            episode.rollback = Some(Done {
                asked_at: command.at,
                until,
                steps: command.steps.clone(),
                is_carried_out: is_over,
                is_judged: is_over,
            });
        }
    }

    fn restart_told(&mut self, at: Timestamp, sequence: u64, revision: Option<u64>, command: &RestartCommand) {
        let service = &command.service;
        if command.actor != ACTOR {
            self.state.asked.entry(service.clone()).or_default().push(at);
            return;
        }
        let known = self.state.restarts.get(service).copied().unwrap_or(0);
        let number = revision.unwrap_or(0);
        let is_mine = self.state.episode.as_ref().is_some_and(|episode| Some(episode.id()) == command.episode);
        if let Some(flight) = self.state.flights.get_mut(service) {
            if number >= known {
                flight.command = Some(sequence);
            }
        } else if number > known && is_mine {
            self.adopt(command, Some(sequence));
        }
        self.state.restarts.insert(service.clone(), known.max(number));
    }

    /// Goes on with a restart that was asked for before a crash and was not decided again after it: it happens all the same.
    fn adopt(&mut self, command: &RestartCommand, sequence: Option<u64>) {
        let service = &command.service;
        let Some(episode) = &mut self.state.episode else { return };
        episode.attempts.insert(service.clone(), command.attempt);
        if *service == self.policy.rollback.restart
            && let Some(stretch) = &mut episode.stretch
        {
            stretch.tried_at.get_or_insert(command.at);
        }
        self.state.asked.entry(service.clone()).or_default().push(command.at);
        let flight = Flight {
            asked_at: command.at,
            until: command.at + self.policy.restart.watch.0,
            is_last_resort: false,
            is_adopted: true,
            reasons: self.state.criticals.keys().cloned().collect(),
            command: sequence,
            is_answered: false,
            failed: None,
            found: None,
        };
        self.state.flights.insert(service.clone(), flight);
    }

    fn restarted(&mut self, done: &RestartDone) {
        let Some(flight) = self.state.flights.get_mut(&done.service) else { return };
        if flight.command != Some(done.command) {
            return;
        }
        let word = match done.outcome {
            RestartOutcome::Restarted => {
                flight.is_answered = true;
                return;
            }
            RestartOutcome::Refused if done.refusal == Some(RestartRefusal::JustRestarted) => {
                flight.found = Some(Found::JustBefore);
                return;
            }
            RestartOutcome::Refused => "refused",
            RestartOutcome::Failed => "failed",
        };
        let detail = done.detail.as_deref().unwrap_or("no reason was given");
        flight.failed = Some(format!("the restart was {word}: {detail}"));
    }

    fn rollback_told(&mut self, at: Timestamp, revision: Option<u64>, command: &RollbackCommand, out: &mut Effects) {
        self.state.rollbacks = self.state.rollbacks.max(revision.unwrap_or(0));
        let verify = self.policy.rollback.verify.0;
        let Some(episode) = self.state.episode.as_mut().filter(|episode| episode.id() == command.episode) else { return };
        let done = episode.rollback.get_or_insert_with(|| Done {
            asked_at: command.at,
            until: command.at + verify,
            steps: command.steps.clone(),
            is_carried_out: false,
            is_judged: false,
        });
        if !done.is_carried_out {
            done.is_carried_out = true;
            let number = revision.unwrap_or(self.state.rollbacks);
            self.carry_out(at, number, command, out);
        }
    }

    fn limits_told(&mut self, at: Timestamp, sequence: u64, limits: &Limits) {
        let before = self.state.limits.take().filter(|before| sequence < before.sequence || before.limits == *limits);
        self.state.limits = match before {
            Some(later) if sequence < later.sequence => Some(later),
            // Told once more: in force since the first time.
            Some(same) => Some(InForce { sequence, ..same }),
            None => Some(InForce { sequence, since: at, limits: limits.clone() }),
        };
    }

    /// Limits that have been in force for long enough without any critical are known to be good.
    pub(super) fn learn_limits(&mut self, at: Timestamp) {
        let state = &mut self.state;
        let (Some(well_since), Some(limits)) = (state.well_since, &state.limits) else { return };
        let is_proven = at.saturating_since(well_since.max(limits.since)) >= self.policy.rollback.known_good_after.0;
        if is_proven && state.good.as_ref() != Some(limits) {
            state.good = Some(limits.clone());
        }
    }
}
