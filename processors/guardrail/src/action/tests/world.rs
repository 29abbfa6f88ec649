//! The decision with a LEDGER that gives back what it published, a supervisor, and processes that live.

use std::collections::{BTreeMap, BTreeSet};

use spark_bus_schema::actions::{RestartDone, RestartOutcome, RestartRefusal};
use spark_bus_schema::alerts::Severity;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::control::{KillSwitch, LimitsCommand, LimitsSource, StrategyCommand};
use spark_bus_schema::risk::{LimitSet, Limits};
use spark_nats::machine::Effect;

use super::super::config::Span;
use super::*;
use crate::machine::Event;

pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

pub fn secs(secs: u64) -> Span {
    Span(Duration::from_secs(secs))
}

/// What the supervisor does with a restart.
#[derive(Clone, Debug)]
pub enum Supervisor {
    /// Answers after 2 s; these alerts are gone then.
    Cures(&'static [&'static str]),
    /// Says that it did not work.
    Refuses,
    /// Says that somebody restarted it a moment ago.
    WasFaster,
    /// There is none: the process ends, and what runs it starts it again half a second later.
    IsNone,
    /// Says nothing.
    IsDead,
}

/// Everything around the decision. Times in ms.
pub struct World {
    pub actions: Actions,
    pub now: i64,
    pub step_ms: i64,
    pub firing: BTreeMap<String, Critical>,
    pub supervisor: Supervisor,
    pub alive: BTreeSet<&'static str>,
    /// When each process's run began; a minute before the story where nothing is said.
    pub began: BTreeMap<String, i64>,
    pub log: Vec<(i64, Effect)>,
    /// Commands that the LEDGER keeps to itself: published, never seen again.
    pub lost: &'static str,
    sequence: u64,
    answers: Vec<(i64, RestartDone, &'static [&'static str])>,
}

impl World {
    pub fn new(policy: Policy) -> Self {
        Self {
            actions: Actions::new(policy),
            now: 0,
            step_ms: 1_000,
            firing: BTreeMap::new(),
            supervisor: Supervisor::Cures(&[]),
            alive: BTreeSet::from(["executor", "feed", "gateway"]),
            began: BTreeMap::new(),
            log: Vec::new(),
            lost: "nothing",
            sequence: 100,
            answers: Vec::new(),
        }
    }

    /// An alert without a process that could be restarted.
    pub fn fire(&mut self, key: &str) {
        self.fire_of(key, None, None);
    }

    pub fn fire_of(&mut self, key: &str, restart: Option<&str>, missing: Option<&str>) {
        self.fire_in(key, key, &[], restart, missing);
    }

    /// `key` tells this instance of the alert from the others.
    pub fn fire_in(&mut self, key: &str, alert: &str, scope: &[(&str, &str)], restart: Option<&str>, missing: Option<&str>) {
        let evidence = Evidence {
            alert: alert.to_owned(),
            scope: scope.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect(),
            severity: Severity::Critical,
            value: Some(1.0),
            threshold: Some(0.0),
            unit: "count".into(),
            since: Timestamp::ZERO,
            revision: 1,
        };
        let (restart, missing) = (restart.map(str::to_owned), missing.map(str::to_owned));
        self.firing.insert(key.to_owned(), Critical { key: key.to_owned(), evidence, restart, missing });
        self.step();
    }

    pub fn resolve(&mut self, key: &str) {
        self.firing.remove(key);
        self.step();
    }

    fn step(&mut self) {
        let mut out = Effects::default();
        self.actions.step(at(self.now), self.firing.values().cloned().collect(), &mut out);
        self.store(&mut out);
    }

    pub fn learn(&mut self, told: &Told) {
        let mut out = Effects::default();
        self.actions.learn(at(self.now), told, &mut out);
        self.store(&mut out);
        self.step();
    }

    /// The LEDGER keeps what was published, and gives commands back.
    fn store(&mut self, out: &mut Effects) {
        let stored: Vec<Effect> = out.drain().collect();
        for effect in stored {
            self.sequence += 1;
            self.log.push((self.now, effect.clone()));
            if effect.subject.starts_with("alerts.") || subject::matches(self.lost, &effect.subject) {
                continue;
            }
            let event = Event::decode(&effect.subject, self.sequence, Some(&effect.kind.to_string()), &effect.payload).unwrap();
            let Event::Told(told) = event.revised(effect.revision) else { panic!("{effect:?}") };
            if let Told::Restart { sequence, command, .. } = &*told {
                self.supervise(*sequence, command.service.clone());
            }
            self.learn(&told);
        }
    }

    fn supervise(&mut self, command: u64, service: String) {
        let (outcome, cures) = match self.supervisor {
            Supervisor::Cures(cures) => (RestartOutcome::Restarted, cures),
            Supervisor::Refuses | Supervisor::WasFaster => (RestartOutcome::Refused, [].as_slice()),
            Supervisor::IsNone => {
                self.began.insert(service, self.now + 500);
                return;
            }
            Supervisor::IsDead => return,
        };
        let episode = None;
        let detail = (outcome == RestartOutcome::Refused).then(|| "no such process".to_owned());
        let refusal = matches!(self.supervisor, Supervisor::WasFaster).then_some(RestartRefusal::JustRestarted);
        let (pid, took_ms, then) = (Some(7), 2_000, at(self.now + 2_000));
        let done = RestartDone { service, command, episode, outcome, detail, pid, took_ms, at: then, refusal };
        self.answers.push((self.now + 2_000, done, cures));
    }

    /// Lets time pass.
    pub fn run(&mut self, until: i64) {
        while self.now < until {
            self.now = (self.now + self.step_ms).min(until);
            for service in self.alive.clone() {
                let began = self.began.get(service).copied().unwrap_or(-60_000);
                self.actions.heard(at(self.now), service, at(began), false);
            }
            let due: Vec<_> = {
                let now = self.now;
                self.answers.extract_if(.., |(when, _, _)| *when <= now).collect()
            };
            for (_, done, cures) in due {
                for key in cures {
                    self.firing.remove(*key);
                }
                self.learn(&Told::Restarted(done));
            }
            self.step();
        }
    }

    pub fn limits(&mut self, notional: i64) {
        self.sequence += 1;
        let command = LimitsCommand {
            limits: limits(notional),
            source: LimitsSource::Command,
            actor: "me".into(),
            reason: "test".into(),
            at: at(self.now),
        };
        self.learn(&Told::Limits { sequence: self.sequence, command });
    }

    pub fn strategy(&mut self, name: &str, run: bool) {
        let (actor, reason) = ("me".to_owned(), "test".to_owned());
        let symbols = vec!["binance.BTCUSDT".to_owned()];
        self.learn(&Told::Strategy(StrategyCommand { strategy: name.into(), run, symbols, actor, reason, at: at(self.now) }));
    }

    pub fn intent(&mut self, name: &str) {
        self.learn(&Told::Intent { strategy: name.into() });
    }

    /// Seconds, stage and process of each step told.
    pub fn told(&self) -> Vec<(i64, ActionStage, Option<String>)> {
        self.steps().into_iter().map(|(ms, action)| (ms / 1_000, action.stage, action.service)).collect()
    }

    pub fn steps(&self) -> Vec<(i64, Action)> {
        let actions = self.log.iter().filter(|(_, effect)| effect.subject.starts_with("alerts.action."));
        actions.map(|(ms, effect)| (*ms, decode_payload(&effect.payload).unwrap())).collect()
    }

    /// Subjects of commands given, in order.
    pub fn commands(&self) -> Vec<&str> {
        self.log.iter().map(|(_, effect)| effect.subject.as_str()).filter(|subject| subject.starts_with("control.")).collect()
    }

    pub fn count(&self, stage: ActionStage) -> usize {
        self.told().iter().filter(|(_, told, _)| *told == stage).count()
    }

    pub fn command<T: spark_bus_schema::Message>(&self, subject: &str) -> T {
        let found: Vec<_> = self.log.iter().filter(|(_, effect)| effect.subject == subject).collect();
        assert_eq!(found.len(), 1, "{subject}: {found:?}");
        spark_bus_schema::decode(Some(&found[0].1.kind.to_string()), &found[0].1.payload).unwrap()
    }

    /// Saves and loads the state, as a crash between two steps does.
    pub fn crash(&mut self) {
        let saved = rmp_serde::to_vec(self.actions.state()).unwrap();
        let mut actions = Actions::new(self.actions.policy.clone());
        actions.replace(rmp_serde::from_slice(&saved).unwrap());
        self.actions = actions;
    }
}

pub fn limits(notional: i64) -> Limits {
    Limits { default: LimitSet { notional_usd_max: notional.into(), ..LimitSet::default() }, ..Limits::default() }
}

pub fn kill_switch(world: &World) -> KillSwitch {
    world.command(subject::KILL_SWITCH)
}
