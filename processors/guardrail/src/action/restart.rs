//! Restarts: asked for when a critical goes on, watched, and judged by whether the criticals are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::actions::{ActionStage, RestartCommand};
use spark_bus_schema::{Timestamp, subject};
use spark_nats::Effects;

use super::config::Span;
use super::state::{Flight, Found};
use super::{ACTOR, Actions, Critical, HOUR, evidence, independent, names};
use crate::rule::PROCESSES;

/// After the first restart of a process within an hour there is none for so long; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(120);
/// The pause does not double more often than this.
const DOUBLINGS_MAX: u32 = 5;
/// Rules restart so many processes at once: when more are missing, it is not they that are broken.
const IN_FLIGHT_MAX: usize = 3;
/// Restarts of one process within an hour that are remembered.
const ASKED_MAX: usize = 64;

impl Actions {
    /// Restarts the process of each rule whose critical has fired for long enough.
    pub(super) fn restart_by_rules(&mut self, at: Timestamp, criticals: &[Critical], out: &mut Effects) {
        if !self.policy.restart.enabled || !self.may_ask(at) {
            return;
        }
        let after = self.policy.restart.after.0;
        let mut wanted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for critical in criticals {
            let Some(service) = critical.restart.as_deref().filter(|service| PROCESSES.contains(service)) else { continue };
            if at.saturating_since(critical.evidence.since) >= after && !self.is_excused(critical) {
                wanted.entry(service).or_default().push(critical.key.clone());
            }
        }
        for (service, reasons) in wanted {
            let is_full = self.state.flights.len() >= IN_FLIGHT_MAX;
            if is_full || self.state.flights.contains_key(service) || !self.is_rested(at, service) {
                continue;
            }
            let meant: Vec<Critical> = criticals.iter().filter(|critical| reasons.contains(&critical.key)).cloned().collect();
            let reason = format!("{} has fired for {}", names(&meant), Span(after));
            self.ask_restart(at, service, reasons, false, &reason, criticals, out);
        }
    }

    /// Whether a rule may restart the process once more: not too often within an hour, with a pause that grows.
    fn is_rested(&mut self, at: Timestamp, service: &str) -> bool {
        let count = self.asked_within_hour(at, service);
        if count >= self.policy.restart.max_per_hour {
            return false;
        }
        let last = self.state.asked.get(service).and_then(|asked| asked.last());
        last.is_none_or(|last| at.saturating_since(*last) >= PAUSE * (1 << (count - 1).min(DOUBLINGS_MAX)))
    }

    /// How often a restart of the process was asked for within the last hour.
    pub(super) fn asked_within_hour(&mut self, at: Timestamp, service: &str) -> u32 {
        let Some(asked) = self.state.asked.get_mut(service) else { return 0 };
        asked.retain(|asked| at.saturating_since(*asked) < HOUR);
        let surplus = asked.len().saturating_sub(ASKED_MAX);
        asked.drain(..surplus);
        if asked.is_empty() {
            self.state.asked.remove(service);
            return 0;
        }
        u32::try_from(asked.len()).unwrap_or(u32::MAX)
    }

    /// Asks for a restart, or only tells that it would.
    #[expect(clippy::too_many_arguments, reason = "the parts of one command")]
    pub(super) fn ask_restart(
        &mut self,
        at: Timestamp,
        service: &str,
        reasons: Vec<String>,
        is_last_resort: bool,
        reason: &str,
        criticals: &[Critical],
        out: &mut Effects,
    ) {
        let watch = if is_last_resort { self.policy.rollback.watch } else { self.policy.restart.watch };
        let Some(episode) = &mut self.state.episode else { return };
        let attempt = episode.attempts.entry(service.to_owned()).or_default();
        *attempt += 1;
        let attempt = *attempt;
        if service == self.policy.rollback.restart
            && let Some(stretch) = &mut episode.stretch
        {
            stretch.tried_at.get_or_insert(at);
        }
        let id = episode.id();
        self.state.asked.entry(service.to_owned()).or_default().push(at);
        let flight = Flight {
            asked_at: at,
            until: at + watch.0,
            is_last_resort,
            is_adopted: false,
            reasons,
            command: None,
            is_answered: false,
            failed: None,
            found: None,
        };
        self.state.flights.insert(service.to_owned(), flight);
        if !self.policy.dry_run {
            let number = self.state.restarts.entry(service.to_owned()).or_default();
            *number += 1;
            let command = RestartCommand {
                service: service.to_owned(),
                episode: Some(id),
                attempt,
                actor: ACTOR.to_owned(),
                reason: reason.to_owned(),
                evidence: evidence(criticals),
                at,
            };
            out.publish_revision(subject::restart(service), &command, *number);
        }
        let asks = if self.policy.dry_run { "would restart" } else { "asks for a restart of" };
        let summary = format!("{asks} {service} (attempt {attempt}): {reason}; judged in {watch}");
        self.tell(at, ActionStage::RestartAsked, Some(service), summary, criticals, vec![], out);
    }

    /// Tells of each restart whose time is over whether it helped.
    pub(super) fn judge_restarts(&mut self, at: Timestamp, criticals: &[Critical], out: &mut Effects) {
        let due = |flight: &Flight| flight.failed.is_some() || at >= flight.until;
        let over: Vec<String> =
            self.state.flights.iter().filter(|(_, flight)| due(flight)).map(|(service, _)| service.clone()).collect();
        for service in over {
            let Some(flight) = self.state.flights.remove(&service) else { continue };
            let left = criticals.iter().filter(|critical| !self.is_excused(critical));
            let is_cured = if flight.is_last_resort {
                independent(left) < self.policy.rollback.criticals as usize
            } else if flight.reasons.is_empty() {
                left.count() == 0
            } else {
                left.filter(|critical| flight.reasons.contains(&critical.key)).count() == 0
            };
            let (stage, outcome) = self.verdict(&flight, is_cured);
            let summary = format!("{service}: {outcome}");
            self.tell(at, stage, Some(&service), summary, criticals, vec![], out);
        }
    }

    fn verdict(&self, flight: &Flight, is_cured: bool) -> (ActionStage, String) {
        if let Some(failed) = &flight.failed {
            return (ActionStage::RestartFailed, failed.clone());
        }
        let answered = match (self.policy.dry_run, flight.is_answered, flight.found) {
            (true, ..) => "nothing was restarted",
            (false, true, _) => "it was restarted",
            (false, false, Some(Found::ByHeartbeat)) => "it was restarted, found by its heartbeat",
            (false, false, Some(Found::JustBefore)) => "it had been restarted a moment before",
            (false, false, None) => "nobody answered the command",
        };
        match (is_cured, flight.is_last_resort) {
            (true, _) => (ActionStage::RestartHelped, format!("{answered}, and the criticals are gone")),
            (false, true) => {
                let least = self.policy.rollback.criticals;
                (ActionStage::RestartFailed, format!("{answered}, and at least {least} independent criticals still fire"))
            }
            (false, false) => (ActionStage::RestartFailed, format!("{answered}, and the criticals still fire")),
        }
    }
}
