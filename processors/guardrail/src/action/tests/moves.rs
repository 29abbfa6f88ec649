//! Counter-moves: made when one of their rules fires, taken back when none has for a while, each once.

use spark_bus_schema::alerts::Severity;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::rollout::{CounterMove, CounterMoveKind};

use super::super::moves::{self, CounterMoves, Written};
use super::*;

fn firing(rule: &str, severity: Severity) -> Firing {
    let evidence = Evidence {
        alert: format!("alert of {rule}"),
        scope: BTreeMap::new(),
        severity,
        value: Some(0.4),
        threshold: Some(0.45),
        unit: "ratio".into(),
        since: at(0),
        revision: 1,
    };
    Firing { rule: rule.to_owned(), key: rule.to_owned(), evidence, restart: None, missing: None }
}

fn is_countered(actions: &Actions, kind: CounterMoveKind) -> bool {
    actions.state.moves.get(&kind).is_some_and(|standing| standing.on)
}

/// Minutes with what fires from then on → minute, kind, made or taken back.
fn check(written: CounterMoves, story: &[(i64, &[(&str, Severity)])], want: &[(i64, CounterMoveKind, bool)]) {
    let mut actions = Actions::new(Policy { counter_moves: written, ..Policy::default() });
    let mut got = Vec::new();
    let mut revisions = BTreeMap::new();
    for minute in 0..=120_i64 {
        let now = story.iter().rev().find(|(from, _)| *from <= minute).map_or(&[][..], |(_, firing)| firing);
        let now: Vec<Firing> = now.iter().map(|(rule, severity)| firing(rule, *severity)).collect();
        let mut out = Effects::default();
        actions.counter(at(minute * MINUTE), &now, &mut out);
        for effect in out.drain() {
            let command: CounterMove = decode_payload(&effect.payload).unwrap();
            let last = revisions.insert(command.kind, command.revision).unwrap_or(0);
            assert_eq!((command.revision, effect.revision), (last + 1, Some(last + 1)));
            assert_eq!(effect.subject, subject::counter_move(command.kind));
            assert_eq!(command.on, !command.evidence.is_empty(), "what is made has its reasons: {command:?}");
            assert_eq!(is_countered(&actions, command.kind), command.on);
            got.push((minute, command.kind, command.on));
        }
    }
    assert_eq!(got, want);
}

const WARNING: Severity = Severity::Warning;
const CRITICAL: Severity = Severity::Critical;

#[test]
fn a_counter_move_is_made_at_once_and_taken_back_five_minutes_after_its_alerts() {
    use CounterMoveKind::{ConfidenceFloor, PinWeights, PollInterval, PreviewOnly, ScoringOff};
    check(CounterMoves::new(), &[(0, &[("something_else", CRITICAL)])], &[]);
    check(
        CounterMoves::new(),
        &[(3, &[("ml_confidence", WARNING)]), (10, &[])],
        &[(3, ConfidenceFloor, true), (15, ConfidenceFloor, false)],
    );
    check(
        CounterMoves::new(),
        &[(3, &[("ml_confidence", WARNING)]), (6, &[("ml_confidence", CRITICAL)]), (10, &[])],
        &[(3, ConfidenceFloor, true), (6, PinWeights, true), (15, ConfidenceFloor, false), (15, PinWeights, false)],
    );
    // A warning is no reason for what belongs to criticals.
    check(CounterMoves::new(), &[(3, &[("ml_error_ratio", WARNING), ("portfolio_refresh_p95", WARNING)])], &[]);
    check(
        CounterMoves::new(),
        &[(3, &[("exchange_error_rate", CRITICAL), ("ml_latency_p95", CRITICAL), ("ml_error_ratio", CRITICAL)])],
        &[(3, PollInterval, true), (3, PreviewOnly, true), (3, ScoringOff, true)],
    );
}

#[test]
fn an_alert_that_flaps_does_not_make_its_counter_move_flap() {
    let mut story: Vec<(i64, &[(&str, Severity)])> = Vec::new();
    for minute in (0..40).step_by(4) {
        story.push((minute, &[("ml_confidence", WARNING)]));
        story.push((minute + 2, &[]));
    }
    let floor = CounterMoveKind::ConfidenceFloor;
    check(CounterMoves::new(), &story, &[(0, floor, true), (43, floor, false)]);
}

#[test]
fn each_can_be_switched_off_or_given_other_reasons() {
    let kind = CounterMoveKind::ScoringOff;
    let written = |written: Written| CounterMoves::from([(kind, written)]);
    let off = written(Written { enabled: Some(false), ..Written::default() });
    check(off, &[(1, &[("ml_error_ratio", CRITICAL)])], &[]);
    let other = Written {
        rules: Some(vec!["ml_confidence".into()]),
        severity: Some(WARNING),
        back_after: Some(secs(60)),
        ..Written::default()
    };
    let floor = CounterMoveKind::ConfidenceFloor;
    check(
        written(other),
        &[(1, &[("ml_confidence", WARNING)]), (2, &[])],
        &[(1, floor, true), (1, kind, true), (3, kind, false), (7, floor, false)],
    );
    let wrong = written(Written { rules: Some(vec!["ml_konfidence".into()]), ..Written::default() });
    let problems = moves::problems(&wrong, &["ml_confidence"]);
    assert_eq!(problems, ["counter_moves.scoring_off.rules = \"ml_konfidence\": no such rule; known are ml_confidence"]);
    let none = written(Written { rules: Some(vec![]), ..Written::default() });
    assert!(moves::problems(&none, &[])[0].contains("enabled = false"));
}

#[test]
fn without_its_state_the_guardrail_goes_on_after_what_the_broker_holds() {
    let mut actions = Actions::new(Policy::default());
    let command = CounterMove {
        kind: CounterMoveKind::PreviewOnly,
        on: true,
        revision: 7,
        actor: ACTOR.to_owned(),
        reason: "it was late".into(),
        evidence: vec![],
        at: at(0),
    };
    actions.seed(at(0), &[Told::CounterMove(command)], []);
    assert!(is_countered(&actions, CounterMoveKind::PreviewOnly));
    let mut out = Effects::default();
    actions.counter(at(0), &[], &mut out);
    assert!(out.items().is_empty());
    actions.counter(at(5 * MINUTE), &[], &mut out);
    let told: Vec<_> = out.items().iter().map(|effect| (effect.subject.as_str(), effect.revision)).collect();
    assert_eq!(told, [("control.countermove.preview_only", Some(8))]);
}
