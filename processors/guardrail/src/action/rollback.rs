//! The rollback rule: enough criticals at once, for long enough without a break, and a restart that did not help. Then
//! everything goes back to what was last known to be good, once an episode, and it is looked whether it did.

use spark_bus_schema::actions::{ActionStage, HealthCheck, RollbackCommand, RollbackStep};
use spark_bus_schema::control::{KillSwitch, LimitsCommand, LimitsSource, StrategyCommand};
use spark_bus_schema::rollout::Phase;
use spark_bus_schema::{Timestamp, subject};
use spark_nats::Effects;

use super::config::Span;
use super::state::{Done, FORGOTTEN_AFTER, Rollout, State, Stretch};
use super::{ACTOR, Actions, Critical, evidence, independent, names};

impl Actions {
    /// Moves the rule's clock, tries the restart in time, and rolls back when the rule is met.
    pub(super) fn judge_stretch(&mut self, at: Timestamp, criticals: &[Critical], out: &mut Effects) {
        if !self.policy.rollback.enabled {
            return;
        }
        let count = independent(criticals.iter().filter(|critical| !self.is_excused(critical)));
        let may_ask = self.may_ask(at);
        let rule = &self.policy.rollback;
        let (hold, watch) = (rule.hold.0, rule.watch.0);
        let Some(episode) = &mut self.state.episode else { return };
        if count < rule.criticals as usize {
            episode.stretch = None;
            return;
        }
        // After a crash the stretch may be seen to begin later than it did: what was asked for in it still counts.
        let adopted = self.state.flights.get(&rule.restart).filter(|flight| flight.is_adopted);
        let tried_at = adopted.map(|flight| flight.asked_at);
        let stretch = episode.stretch.get_or_insert(Stretch { since: at, tried_at });
        if episode.rollback.is_some() || !may_ask {
            return;
        }
        let lasted = at.saturating_since(stretch.since);
        match stretch.tried_at {
            None if lasted >= hold.saturating_sub(watch) => self.try_restart(at, criticals, out),
            Some(tried_at) if lasted >= hold && at.saturating_since(tried_at) >= watch => self.roll_back(at, criticals, out),
            _ => {}
        }
    }

    /// The restart that the rule wants to see tried. It needs no pause, and one an hour is kept for it.
    fn try_restart(&mut self, at: Timestamp, criticals: &[Critical], out: &mut Effects) {
        let service = self.policy.rollback.restart.clone();
        let is_free = !self.state.flights.contains_key(&service);
        if is_free && self.asked_within_hour(at, &service) <= self.policy.restart.max_per_hour {
            let reasons = criticals.iter().map(|critical| critical.key.clone()).collect();
            let reason = format!("{} at once; without an end to it everything is rolled back", names(criticals));
            self.ask_restart(at, &service, reasons, true, &reason, criticals, out);
        }
    }

    fn roll_back(&mut self, at: Timestamp, criticals: &[Critical], out: &mut Effects) {
        let rule = &self.policy.rollback;
        let verify = rule.verify.0;
        let (steps, plan) = plan(rule.kill_switch, rule.cancel_open, &self.state);
        let reason = format!(
            "at least {} independent criticals at once for {}, and a restart of {} did not help: {}",
            rule.criticals,
            rule.hold,
            rule.restart,
            names(criticals)
        );
        let is_dry = self.policy.dry_run;
        let Some(episode) = &mut self.state.episode else { return };
        let done = Done { asked_at: at, until: at + verify, steps: steps.clone(), is_carried_out: is_dry, is_judged: false };
        episode.rollback = Some(done);
        if !is_dry {
            self.state.rollbacks += 1;
            let command = RollbackCommand {
                episode: episode.id(),
                steps,
                actor: ACTOR.to_owned(),
                reason: reason.clone(),
                evidence: evidence(criticals),
                at,
            };
            out.publish_revision(subject::ROLLBACK.to_owned(), &command, self.state.rollbacks);
        }
        let asks = if is_dry { "would roll back" } else { "rolls back" };
        self.tell(at, ActionStage::RollbackAsked, None, format!("{asks}: {plan}; {reason}"), criticals, vec![], out);
    }

    /// Gives the commands of a rollback that was seen in the LEDGER, so that it stands there as their cause.
    pub(super) fn carry_out(&self, at: Timestamp, number: u64, rollback: &RollbackCommand, out: &mut Effects) {
        let actor = || ACTOR.to_owned();
        let reason = || format!("rollback of {}: {}", rollback.episode, rollback.reason);
        for step in &rollback.steps {
            match step {
                RollbackStep::FeaturesOff { strategies } => {
                    for name in strategies {
                        let symbols = self.state.strategies.get(name).map(|known| known.symbols.clone()).unwrap_or_default();
                        let command =
                            StrategyCommand { strategy: name.clone(), run: false, symbols, actor: actor(), reason: reason(), at };
                        out.publish_revision(subject::strategy(name), &command, number);
                    }
                }
                // The rollout follows the rollback itself.
                RollbackStep::RolloutBack => {}
                RollbackStep::ConfigurationBack { limits, .. } => {
                    let limits = (**limits).clone();
                    let command = LimitsCommand { limits, source: LimitsSource::Command, actor: actor(), reason: reason(), at };
                    out.publish_revision(subject::LIMITS.to_owned(), &command, number);
                }
                RollbackStep::KillSwitch { cancel_open } => {
                    let command = KillSwitch { on: true, cancel_open: *cancel_open, actor: actor(), reason: reason(), at };
                    out.publish_revision(subject::KILL_SWITCH.to_owned(), &command, number);
                }
            }
        }
    }

    /// Tells whether the rollback is in force: as soon as it is, or when its time is over.
    pub(super) fn verify(&mut self, at: Timestamp, criticals: &[Critical], out: &mut Effects) {
        let is_dry = self.policy.dry_run;
        let Some(done) = self.state.episode.as_ref().and_then(|episode| episode.rollback.as_ref()) else { return };
        if done.is_judged {
            return;
        }
        let given = if is_dry { "dry run: no command was given" } else { "its commands were given" };
        let mut checks = vec![check("rollback", done.is_carried_out, given, "not seen in the LEDGER")];
        if !is_dry {
            checks.extend(done.steps.iter().flat_map(|step| in_force(step, &self.state)));
        }
        let alive = |(service, last): (&String, &Timestamp)| {
            let ago = Span(std::time::Duration::from_secs(at.saturating_since(*last).as_secs()));
            let silent = format!("no sign of life since the rollback, the last one {ago} ago");
            check(&format!("process {service}"), *last > done.asked_at, "heard of since", &silent)
        };
        let known = self.state.heard.iter().filter(|(_, last)| at.saturating_since(**last) < FORGOTTEN_AFTER);
        checks.extend(known.map(alive));
        let is_well = checks.iter().all(|check| check.ok);
        if !is_well && at < done.until {
            return;
        }
        let took = Span(at.saturating_since(done.asked_at));
        let wrong = checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect::<Vec<_>>().join(", ");
        let (stage, summary) = if is_well && is_dry {
            (ActionStage::RollbackVerified, format!("every process is heard of after {took}; no command was given"))
        } else if is_well {
            (ActionStage::RollbackVerified, format!("the rollback is in force after {took} and every process is heard of"))
        } else {
            (ActionStage::RollbackUnverified, format!("after {took} this is not as it should be: {wrong}"))
        };
        if let Some(done) = self.state.episode.as_mut().and_then(|episode| episode.rollback.as_mut()) {
            done.is_judged = true;
        }
        self.tell(at, stage, None, summary, criticals, checks, out);
    }
}

/// The steps, and a sentence about them.
fn plan(kill_switch: bool, cancel_open: bool, state: &State) -> (Vec<RollbackStep>, String) {
    let mut steps = Vec::new();
    let mut words = Vec::new();
    let running = state.strategies.iter().filter(|(_, strategy)| strategy.runs);
    let strategies: Vec<String> = running.map(|(name, _)| name.clone()).collect();
    if strategies.is_empty() {
        words.push("no strategy runs".to_owned());
    } else {
        words.push(format!("features off ({})", strategies.join(", ")));
        steps.push(RollbackStep::FeaturesOff { strategies });
    }
    words.push("rollout back".to_owned());
    steps.push(RollbackStep::RolloutBack);
    match (&state.good, &state.limits) {
        (None, _) => words.push("limits stay: none are known to be good".to_owned()),
        (Some(good), Some(now)) if good.limits == now.limits => {
            words.push("limits stay: those in force are known to be good".to_owned());
        }
        (Some(good), _) => {
            words.push(format!("limits of LEDGER:{} back", good.sequence));
            let revision = (good.sequence > 0).then_some(good.sequence);
            steps.push(RollbackStep::ConfigurationBack { revision, limits: Box::new(good.limits.clone()) });
        }
    }
    if kill_switch {
        words.push(if cancel_open { "kill switch on, open orders cancelled" } else { "kill switch on" }.to_owned());
        steps.push(RollbackStep::KillSwitch { cancel_open });
    }
    (steps, words.join(", "))
}

/// Whether what a step changes was seen to be changed.
fn in_force(step: &RollbackStep, state: &State) -> Vec<HealthCheck> {
    let unseen = "its command was not seen in the LEDGER";
    match step {
        RollbackStep::FeaturesOff { strategies } => {
            let is_off = |name: &String| state.strategies.get(name).is_some_and(|strategy| !strategy.runs);
            strategies.iter().map(|name| check(&format!("strategy {name}"), is_off(name), "stopped", unseen)).collect()
        }
        RollbackStep::RolloutBack => {
            let is_back = |rollout: &Rollout| matches!(rollout.phase, Phase::Idle | Phase::RolledBack);
            let still = |rollout: &Rollout| format!("still at stage {}", rollout.stage);
            let rollout = state.rollout.as_ref();
            rollout.map(|rollout| check("rollout", is_back(rollout), "rolled back", &still(rollout))).into_iter().collect()
        }
        RollbackStep::ConfigurationBack { limits, .. } => {
            let is_back = state.limits.as_ref().is_some_and(|now| now.limits == **limits);
            vec![check("limits", is_back, "those known to be good are in force", unseen)]
        }
        RollbackStep::KillSwitch { .. } => vec![check("kill switch", state.kill_switch, "on", unseen)],
    }
}

fn check(name: &str, ok: bool, well: &str, wrong: &str) -> HealthCheck {
    HealthCheck { name: name.to_owned(), ok, detail: if ok { well } else { wrong }.to_owned() }
}
