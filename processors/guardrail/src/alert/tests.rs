use std::time::Duration;

use proptest::prelude::*;
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::AlertState::{self, Firing, Inactive, NoData as Missing, Pending, Resolved};
use spark_bus_schema::alerts::Severity::{self, Critical, Warning};

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000) + Duration::from_secs(seconds)
}

fn limits(warning: Option<(f64, u64)>, critical: Option<(f64, u64)>, keep: u64, no_data: NoData) -> Limits {
    let limit = |(threshold, hold)| Limit { threshold, hold: Duration::from_secs(hold) };
    Limits {
        direction: Direction::Above,
        warning: warning.map(limit),
        critical: critical.map(limit),
        keep_firing: Duration::from_secs(keep),
        no_data,
    }
}

/// Seconds and values (negative: no data) in, seconds and states out.
fn check(name: &str, limits: &Limits, timeline: &[(u64, f64)], want: &[(u64, AlertState, Option<Severity>)]) {
    let mut status = Status::default();
    let mut got = Vec::new();
    for (second, value) in timeline {
        let seen = if *value < 0.0 { Observation::NoData } else { Observation::Value(*value) };
        let (after, transition) = next(status, limits, at(*second), seen);
        got.extend(transition.map(|transition| (*second, transition.to, transition.severity)));
        status = after;
    }
    assert_eq!(got, want, "{name}");
    assert_eq!(status.revision, want.len() as u64, "{name}: revision");
}

#[test]
fn an_alert_waits_for_its_for_and_resolves_once() {
    let rule = limits(Some((10.0, 5)), Some((20.0, 2)), 0, NoData::Ok);
    let none: Option<Severity> = None;
    check("within limits", &rule, &[(0, 10.0), (1, 9.0)], &[]);
    check("too short", &rule, &[(0, 11.0), (4, 11.0), (5, 9.0)], &[(0, Pending, Some(Warning)), (5, Inactive, none)]);
    check(
        "long enough",
        &rule,
        &[(0, 11.0), (4, 11.0), (5, 11.0), (6, 12.0), (7, 10.0), (8, 9.0)],
        &[(0, Pending, Some(Warning)), (5, Firing, Some(Warning)), (7, Resolved, none)],
    );
    check(
        "a break starts the clock again",
        &rule,
        &[(0, 11.0), (3, 9.0), (4, 11.0), (8, 11.0)],
        &[(0, Pending, Some(Warning)), (3, Inactive, none), (4, Pending, Some(Warning))],
    );
    check(
        "after it was resolved",
        &rule,
        &[(0, 11.0), (5, 11.0), (6, 1.0), (7, 11.0), (8, 1.0), (9, 1.0)],
        &[
            (0, Pending, Some(Warning)),
            (5, Firing, Some(Warning)),
            (6, Resolved, none),
            (7, Pending, Some(Warning)),
            (8, Inactive, none),
        ],
    );
}

#[test]
fn severities_escalate_and_come_back() {
    let rule = limits(Some((10.0, 5)), Some((20.0, 2)), 0, NoData::Ok);
    check(
        "critical overtakes",
        &rule,
        &[(0, 21.0), (2, 21.0), (3, 15.0), (4, 1.0)],
        &[(0, Pending, Some(Critical)), (2, Firing, Some(Critical)), (3, Firing, Some(Warning)), (4, Resolved, None)],
    );
    check(
        "warning first",
        &rule,
        &[(0, 11.0), (5, 11.0), (6, 21.0), (7, 21.0), (8, 21.0), (9, 11.0), (10, 1.0)],
        &[
            (0, Pending, Some(Warning)),
            (5, Firing, Some(Warning)),
            (8, Firing, Some(Critical)),
            (9, Firing, Some(Warning)),
            (10, Resolved, None),
        ],
    );
    let at_once = limits(Some((10.0, 0)), Some((20.0, 0)), 0, NoData::Ok);
    check("without for", &at_once, &[(0, 21.0), (1, 1.0)], &[(0, Firing, Some(Critical)), (1, Resolved, None)]);
    let critical_only = limits(None, Some((0.5, 0)), 0, NoData::Ok);
    check("one severity", &critical_only, &[(0, 1.0), (1, 0.0)], &[(0, Firing, Some(Critical)), (1, Resolved, None)]);
}

#[test]
fn a_flapping_value_raises_one_alert() {
    let rule = limits(Some((10.0, 0)), Some((20.0, 0)), 10, NoData::Ok);
    let flapping: Vec<(u64, f64)> = (0..50).map(|second| (second, if second % 2 == 0 { 11.0 } else { 1.0 })).collect();
    check("flapping", &rule, &flapping, &[(0, Firing, Some(Warning))]);
    check("then quiet", &rule, &[(0, 11.0), (1, 1.0), (10, 1.0), (11, 1.0)], &[(0, Firing, Some(Warning)), (11, Resolved, None)]);
    check(
        "critical keeps its own time",
        &rule,
        &[(0, 21.0), (1, 11.0), (8, 11.0), (9, 1.0), (11, 1.0), (18, 1.0), (19, 1.0)],
        &[(0, Firing, Some(Critical)), (11, Firing, Some(Warning)), (19, Resolved, None)],
    );
}

#[test]
fn having_no_data_means_what_the_rule_says() {
    let rule = |no_data| limits(Some((10.0, 3)), None, 0, no_data);
    let timeline = [(0, 11.0), (3, 11.0), (4, -1.0), (7, -1.0), (8, 11.0), (9, 1.0)];
    let start = [(0, Pending, Some(Warning)), (3, Firing, Some(Warning))];
    let with = |rest: &[(u64, AlertState, Option<Severity>)]| [&start[..], rest].concat();
    let gone = [(4, Resolved, None), (8, Pending, Some(Warning)), (9, Inactive, None)];
    check("ok", &rule(NoData::Ok), &timeline, &with(&gone));
    check("keep", &rule(NoData::Keep), &timeline, &with(&[(9, Resolved, None)]));
    let missing = [(7, Missing, Some(Warning)), (8, Pending, Some(Warning)), (9, Inactive, None)];
    check("alert", &rule(NoData::Alert), &timeline, &with(&missing));
    check(
        "alert, then good",
        &rule(NoData::Alert),
        &[(0, -1.0), (3, -1.0), (4, 1.0)],
        &[(3, Missing, Some(Warning)), (4, Resolved, None)],
    );
    check("too short a gap", &rule(NoData::Alert), &[(0, -1.0), (2, -1.0), (3, 1.0), (4, -1.0), (6, -1.0)], &[]);
}

#[test]
fn below_is_the_mirror_of_above() {
    let mut rule = limits(Some((10.0, 0)), Some((5.0, 0)), 0, NoData::Ok);
    rule.direction = Direction::Below;
    check(
        "below",
        &rule,
        &[(0, 10.0), (1, 9.0), (2, 4.0), (3, 10.0)],
        &[(1, Firing, Some(Warning)), (2, Firing, Some(Critical)), (3, Resolved, None)],
    );
}

#[test]
fn a_firing_alert_began_when_its_condition_first_held() {
    let rule = limits(Some((10.0, 5)), Some((20.0, 0)), 10, NoData::Ok);
    let mut status = Status::default();
    let mut last = None;
    for (second, value) in [(0, 11.0), (5, 11.0), (6, 1.0), (7, 21.0)] {
        let (after, transition) = next(status, &rule, at(second), Observation::Value(value));
        status = after;
        last = transition.or(last);
    }
    let last = last.unwrap();
    assert_eq!((last.to, last.severity, last.since), (Firing, Some(Critical), Some(at(0))));
}

fn observations() -> impl Strategy<Value = Vec<(u64, Option<f64>)>> {
    let value = prop_oneof![1 => Just(None), 3 => (0.0_f64..12.0).prop_map(Some), 3 => (9.0_f64..30.0).prop_map(Some)];
    prop::collection::vec((1_u64..8, value), 1..80).prop_map(|steps| {
        let mut now = 0;
        steps
            .into_iter()
            .map(|(step, value)| {
                now += step;
                (now, value)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_firing_before_for_resolved_only_after_firing_and_revisions_rise_by_one(
        timeline in observations(), hold_warning in 0_u64..12, hold_critical in 0_u64..12, keep in 0_u64..12, policy in 0..3,
    ) {
        let no_data = [NoData::Ok, NoData::Alert, NoData::Keep][usize::try_from(policy).unwrap()];
        let rule = limits(Some((10.0, hold_warning)), Some((20.0, hold_critical)), keep, no_data);
        let mut status = Status::default();
        for (number, (second, value)) in timeline.iter().enumerate() {
            let before = status;
            let seen = value.map_or(Observation::NoData, Observation::Value);
            let (after, transition) = next(status, &rule, at(*second), seen);
            status = after;
            let Some(transition) = transition else {
                prop_assert_eq!(after.revision, before.revision);
                continue;
            };
            prop_assert_eq!(transition.revision, before.revision + 1);
            prop_assert_eq!(after.revision, transition.revision);
            prop_assert_eq!(transition.from, before.state);
            if transition.to == Resolved {
                prop_assert!(matches!(before.state, Firing | Missing));
            }
            let milder = before.state == Firing && transition.severity < before.severity;
            if transition.to == Firing && !milder {
                let severity = transition.severity.unwrap();
                let limit = rule.of(severity).unwrap();
                // Walk back over the unbroken run of crossings that ends here.
                let run = timeline[..=number].iter().rev().take_while(|(_, value)| match value {
                    Some(value) => *value > limit.threshold,
                    None => no_data == NoData::Keep || no_data == NoData::Alert,
                });
                let began = run.filter(|(_, value)| value.is_some()).last().unwrap().0;
                prop_assert!(second - began >= limit.hold.as_secs(), "fired after {} s", second - began);
            }
        }
    }
}
