//! What is done about criticals: processes are restarted, and when that does not help, everything goes back to what was
//! last known to be good. Pure decisions: alerts, answers and time in, commands and their story out.
//!
//! An episode begins with the first critical and ends when none has fired for a while. Each of its steps is told as
//! `alerts.action.<episode>`. What was asked for is carried on when it is read back from the LEDGER, so the LEDGER and not
//! this process's memory says what was done: a command that was stored before a crash is never given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spark_bus_schema::actions::{Action, ActionStage, EVIDENCE_MAX, Evidence, HealthCheck};
use spark_bus_schema::{Timestamp, subject};
use spark_nats::Effects;

pub mod config;
pub mod moves;
mod restart;
mod rollback;
mod state;
#[cfg(test)]
mod tests;
mod told;

pub use config::Policy;
pub use moves::Firing;
pub use state::State;
pub use told::Told;

use state::{Episode, Flight, Found};

/// Who asks, in every command.
pub const ACTOR: &str = "guardrail";
/// Time over which restarts of one process are counted.
const HOUR: Duration = Duration::from_secs(3600);

/// One alert that fires as critical.
#[derive(Clone, Debug, PartialEq)]
pub struct Critical {
    /// Tells it apart from every other: rule and scope.
    pub key: String,
    /// What is said about it; `since` is filled in here.
    pub evidence: Evidence,
    /// The process whose restart may help.
    pub restart: Option<String>,
    /// The process that is missed, where the alert is about one.
    pub missing: Option<String>,
}

/// Decides what is done.
#[derive(Debug)]
pub struct Actions {
    policy: Policy,
    state: State,
    /// Nothing is asked for before this: what a late start reads is history, and somebody may have dealt with it.
    acts_from: Timestamp,
    /// Last action that the broker held when this run began.
    stored: Option<Action>,
}

impl Actions {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, state: State::default(), acts_from: Timestamp::ZERO, stored: None }
    }

    /// Nothing is asked for before this moment.
    pub fn act_from(&mut self, at: Timestamp) {
        self.acts_from = at;
    }

    /// The state, to be continued later.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Takes over a saved state.
    pub fn replace(&mut self, state: State) {
        self.state = state;
    }

    /// Restarts asked for.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.state.restarts.values().sum()
    }

    /// Rollbacks asked for.
    #[must_use]
    pub const fn rollbacks(&self) -> u64 {
        self.state.rollbacks
    }

    /// A process said that it is there, or that it goes; its run began at `began_at`.
    ///
    /// Where nobody supervises processes over the bus, as under compose, nobody answers a restart either: that a later run is
    /// heard of is the answer. Its process id may be the same, as it is in every new container.
    pub fn heard(&mut self, at: Timestamp, service: &str, began_at: Timestamp, goes: bool) {
        self.state.heard(at, service, goes);
        if let Some(flight) = self.state.flights.get_mut(service)
            && began_at > flight.asked_at
        {
            flight.found.get_or_insert(Found::ByHeartbeat);
        }
    }

    /// After a time during which the whole system was off: nothing that happened before it went on through it.
    pub fn resume(&mut self, at: Timestamp) {
        let (restart_watch, rollback) = (self.policy.restart.watch.0, &self.policy.rollback);
        let state = &mut self.state;
        state.well_since = state.well_since.map(|_| at);
        for since in state.criticals.values_mut() {
            *since = at;
        }
        for flight in state.flights.values_mut() {
            flight.until = at + if flight.is_last_resort { rollback.watch.0 } else { restart_watch };
        }
        if let Some(episode) = &mut state.episode {
            episode.stretch = None;
            episode.calm_since = episode.calm_since.map(|_| at);
            if let Some(done) = &mut episode.rollback {
                done.until = at + rollback.verify.0;
            }
        }
    }

    /// The criticals of this moment; called whenever one comes or goes, and at every boundary.
    pub fn step(&mut self, at: Timestamp, mut criticals: Vec<Critical>, out: &mut Effects) {
        self.follow(at, &mut criticals);
        self.learn_limits(at);
        if self.state.episode.is_none() {
            if criticals.is_empty() {
                return;
            }
            self.begin(at, &criticals, out);
        }
        self.judge_restarts(at, &criticals, out);
        self.judge_stretch(at, &criticals, out);
        self.restart_by_rules(at, &criticals, out);
        self.verify(at, &criticals, out);
        self.end(at, &criticals, out);
    }

    /// Since when each fires.
    fn follow(&mut self, at: Timestamp, criticals: &mut [Critical]) {
        let firing: BTreeSet<&str> = criticals.iter().map(|critical| critical.key.as_str()).collect();
        self.state.criticals.retain(|key, _| firing.contains(key.as_str()));
        for critical in criticals.iter_mut() {
            critical.evidence.since = *self.state.criticals.entry(critical.key.clone()).or_insert(at);
        }
        self.state.well_since = if criticals.is_empty() { self.state.well_since.or(Some(at)) } else { None };
    }

    fn begin(&mut self, at: Timestamp, criticals: &[Critical], out: &mut Effects) {
        self.state.episodes += 1;
        self.state.episode = Some(Episode::new(self.state.episodes, at));
        let names = names(criticals);
        self.tell(at, ActionStage::Began, None, format!("the first critical fires: {names}"), criticals, vec![], out);
    }

    fn end(&mut self, at: Timestamp, criticals: &[Critical], out: &mut Effects) {
        let is_busy = !self.state.flights.is_empty();
        let Some(episode) = &mut self.state.episode else { return };
        if !criticals.is_empty() {
            episode.calm_since = None;
            return;
        }
        let calm_since = *episode.calm_since.get_or_insert(at);
        let is_settled = episode.rollback.as_ref().is_none_or(|done| done.is_judged);
        if is_busy || !is_settled || at.saturating_since(calm_since) < self.policy.calm {
            return;
        }
        let calm = config::Span(self.policy.calm);
        self.tell(at, ActionStage::Ended, None, format!("no critical has fired for {calm}"), criticals, vec![], out);
        self.state.episode = None;
    }

    /// Tells one step of the episode.
    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    fn tell(
        &mut self,
        at: Timestamp,
        stage: ActionStage,
        service: Option<&str>,
        summary: String,
        criticals: &[Critical],
        checks: Vec<HealthCheck>,
        out: &mut Effects,
    ) {
        let Some(episode) = &mut self.state.episode else { return };
        let id = episode.id();
        episode.revision += 1;
        let service = service.map(str::to_owned);
        if let Some(stored) = &self.stored
            && stored.episode == id
            && stored.revision == episode.revision
            && (stored.stage, &stored.service) != (stage, &service)
        {
            // The broker keeps one message a revision: another step under the same number would be lost.
            episode.revision += 1;
        }
        let action = Action {
            episode: id.clone(),
            revision: episode.revision,
            stage,
            dry_run: self.policy.dry_run,
            service,
            summary: if self.policy.dry_run { format!("dry run: {summary}") } else { summary },
            evidence: evidence(criticals),
            checks,
            at,
        };
        out.publish_revision(subject::action(&id), &action, action.revision);
    }

    /// Whether anything may be asked for now.
    fn may_ask(&self, at: Timestamp) -> bool {
        at >= self.acts_from
    }

    /// A process that is being restarted is missing for a moment: that is no reason for anything.
    fn is_excused(&self, critical: &Critical) -> bool {
        let flight: Option<&Flight> = critical.missing.as_ref().and_then(|service| self.state.flights.get(service));
        flight.is_some_and(|flight| critical.evidence.since >= flight.asked_at)
    }
}

fn evidence(criticals: &[Critical]) -> Vec<Evidence> {
    criticals.iter().take(EVIDENCE_MAX).map(|critical| critical.evidence.clone()).collect()
}

/// Labels that say what an alert is about; the first that it has counts.
const PLACES: [&str; 3] = ["exchange", "venue", "service"];

/// How many criticals are independent of each other: those of the same alert at the same exchange or venue, or about the same
/// process, count once. One dead venue makes each of its symbols stale, and that is one thing that is wrong.
fn independent<'a>(criticals: impl Iterator<Item = &'a Critical>) -> usize {
    let of = |critical: &'a Critical| {
        let Evidence { alert, scope, .. } = &critical.evidence;
        (alert, PLACES.iter().find_map(|label| scope.get(*label)))
    };
    criticals.map(of).collect::<BTreeSet<_>>().len()
}

/// Alert names with their number, for a sentence.
fn names(criticals: &[Critical]) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for critical in criticals {
        *counts.entry(&critical.evidence.alert).or_default() += 1;
    }
    let one = |(name, count): (&str, u32)| if count == 1 { name.to_owned() } else { format!("{name} ×{count}") };
    counts.into_iter().map(one).collect::<Vec<_>>().join(", ")
}
