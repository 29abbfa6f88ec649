//! What the guardrail does by itself against a model or an exchange that does badly, and takes back on recovery. Each
//! counter-move belongs to rules: it is made when one of them fires, and taken back when none has for a while.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spark_bus_schema::actions::{EVIDENCE_MAX, Evidence};
use spark_bus_schema::alerts::Severity;
use spark_bus_schema::rollout::{CounterMove, CounterMoveKind};
use spark_bus_schema::{Timestamp, subject};
use spark_nats::Effects;

use super::config::Span;
use super::{ACTOR, Actions, Critical};

/// Until none of its rules has fired for so long, a counter-move stays.
const BACK_AFTER: Span = Span(std::time::Duration::from_secs(5 * 60));

/// `[guardrail.counter_moves.<kind>]`; what is not written is as it ships.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Written {
    /// Off: it is never made; one that is in force is taken back.
    pub enabled: Option<bool>,
    /// Ids of the rules that it is made for.
    pub rules: Option<Vec<String>>,
    /// From which severity on.
    pub severity: Option<Severity>,
    /// For how long none of the rules may have fired before it is taken back.
    pub back_after: Option<Span>,
}

/// `[guardrail.counter_moves]`, by kind.
pub type CounterMoves = BTreeMap<CounterMoveKind, Written>;

/// One counter-move with everything decided.
struct Terms<'a> {
    enabled: bool,
    rules: Vec<&'a str>,
    severity: Severity,
    back_after: Span,
}

/// What ships: the rules of each, and from which severity on.
const fn shipped(kind: CounterMoveKind) -> (&'static [&'static str], Severity) {
    match kind {
        CounterMoveKind::PollInterval => (&["portfolio_refresh_p95", "exchange_error_rate"], Severity::Critical),
        CounterMoveKind::ConfidenceFloor => (&["ml_confidence"], Severity::Warning),
        CounterMoveKind::PinWeights => (&["ml_confidence"], Severity::Critical),
        CounterMoveKind::PreviewOnly => (&["ml_latency_p95", "ml_staleness"], Severity::Critical),
        CounterMoveKind::ScoringOff => (&["ml_error_ratio"], Severity::Critical),
    }
}

fn terms(written: &CounterMoves, kind: CounterMoveKind) -> Terms<'_> {
    let (rules, severity) = shipped(kind);
    let own = written.get(&kind);
    let own_rules = own.and_then(|own| own.rules.as_ref());
    Terms {
        enabled: own.and_then(|own| own.enabled).unwrap_or(true),
        rules: own_rules.map_or_else(|| rules.to_vec(), |rules| rules.iter().map(String::as_str).collect()),
        severity: own.and_then(|own| own.severity).unwrap_or(severity),
        back_after: own.and_then(|own| own.back_after).unwrap_or(BACK_AFTER),
    }
}

/// Every rule that a counter-move names and `known` does not: `key = value: what is wrong; what would be right`.
#[must_use]
pub fn problems(written: &CounterMoves, known: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for (kind, own) in written {
        let key = format!("counter_moves.{}", kind.as_str());
        for rule in own.rules.iter().flatten().filter(|rule| !known.contains(&rule.as_str())) {
            problems.push(format!("{key}.rules = {rule:?}: no such rule; known are {}", known.join(", ")));
        }
        if own.rules.as_ref().is_some_and(Vec::is_empty) {
            problems.push(format!("{key}.rules = []: would never be made; name a rule, or write enabled = false"));
        }
    }
    problems
}

/// One counter-move as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// In force.
    pub on: bool,
    /// Of the last message about it.
    pub revision: u64,
    /// Since when none of its rules fires.
    pub calm_since: Option<Timestamp>,
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    /// The rule's id.
    pub rule: String,
    /// Tells it apart from every other: rule and scope.
    pub key: String,
    /// What is said about it.
    pub evidence: Evidence,
    /// The process whose restart may help.
    pub restart: Option<String>,
    /// The process that is missed, where the alert is about one.
    pub missing: Option<String>,
}

impl Firing {
    /// The critical that it is, if it is one.
    #[must_use]
    pub fn critical(&self) -> Option<Critical> {
        let Self { key, evidence, restart, missing, .. } = self.clone();
        (evidence.severity == Severity::Critical).then_some(Critical { key, evidence, restart, missing })
    }
}

impl Actions {
    /// Makes and takes back counter-moves. Called whenever an alert comes or goes, and at every boundary.
    pub fn counter(&mut self, at: Timestamp, firing: &[Firing], out: &mut Effects) {
        if self.policy.dry_run || !self.may_ask(at) {
            return;
        }
        for kind in CounterMoveKind::ALL {
            let terms = terms(&self.policy.counter_moves, kind);
            let is_reason = |alert: &&Firing| {
                terms.rules.contains(&alert.rule.as_str())
                    && (terms.severity == Severity::Warning || alert.evidence.severity == Severity::Critical)
            };
            let reasons: Vec<&Firing> = if terms.enabled { firing.iter().filter(is_reason).collect() } else { Vec::new() };
            let standing = self.state.moves.entry(kind).or_default();
            let calm_since = if reasons.is_empty() { Some(*standing.calm_since.get_or_insert(at)) } else { None };
            standing.calm_since = calm_since;
            let is_over = |since: Timestamp| !terms.enabled || at.saturating_since(since) >= terms.back_after.0;
            let on = match calm_since {
                None => true,
                Some(since) => standing.on && !is_over(since),
            };
            if on == standing.on {
                continue;
            }
            standing.on = on;
            standing.revision += 1;
            let command = CounterMove {
                kind,
                on,
                revision: standing.revision,
                actor: ACTOR.to_owned(),
                reason: reason(on, &reasons, &terms),
                evidence: reasons.iter().take(EVIDENCE_MAX).map(|alert| alert.evidence.clone()).collect(),
                at,
            };
            out.publish_revision(subject::counter_move(kind), &command, command.revision);
        }
    }

    /// A counter-move that the broker holds: numbers go on after it, and what is in force stays so until its rules are calm.
    pub(super) fn seed_move(&mut self, command: &CounterMove) {
        let standing = Standing { on: command.on, revision: command.revision, calm_since: None };
        self.state.moves.insert(command.kind, standing);
    }
}

fn reason(on: bool, reasons: &[&Firing], terms: &Terms<'_>) -> String {
    let names = || reasons.iter().map(|alert| alert.evidence.alert.as_str()).collect::<std::collections::BTreeSet<_>>();
    if on {
        format!("{} fires", names().into_iter().collect::<Vec<_>>().join(", "))
    } else if terms.enabled {
        format!("none of {} has fired for {}", terms.rules.join(", "), terms.back_after)
    } else {
        "it was switched off in the configuration".to_owned()
    }
}
