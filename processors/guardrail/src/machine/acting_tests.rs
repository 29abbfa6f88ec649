//! The whole decision, from events to restarts and rollbacks, and its state.

use spark_bus_schema::actions::{Action, ActionStage, RestartCommand};
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::telemetry::{Heartbeat, ProcessState};
use spark_nats::machine::Effect;

use super::*;
use crate::action::config::Span;

const RULES: &str = r#"
[[rule]]
id = "process_missing"
alert = "SparkUpMissing"
metric = "heartbeats"
scope = ["service"]
aggregation = "staleness"
critical = 15
restart = "{service}"
summary = "{service}"
cause = "c"
first_action = "f"
"#;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

fn beat(service: &str, ms: i64, state: ProcessState) -> Event {
    Event::Heartbeat(Heartbeat {
        service: service.into(),
        pid: 1,
        version: "0".into(),
        started_at: at(0),
        sent_at: at(ms),
        state,
        detail: None,
        resident_bytes: 0,
        counters: BTreeMap::new(),
    })
}

fn guardrail() -> Guardrail {
    let mut policy = Policy::default();
    (policy.rollback.hold, policy.rollback.watch) = (Span(Duration::from_secs(60)), Span(Duration::from_secs(20)));
    Guardrail::new(&Rules::from_toml(RULES, "test.toml").unwrap()).acting(policy)
}

/// Feed and gateway fall silent after 5 s, and nothing brings them back. What is published comes back from the LEDGER.
fn story(mut each: impl FnMut(&mut Guardrail)) -> (Vec<Effect>, Vec<u8>) {
    let (mut guardrail, mut log, mut sequence) = (guardrail(), Vec::<Effect>::new(), 0);
    for tenth in 0..2_400_i64 {
        let ms = tenth * 100;
        each(&mut guardrail);
        let mut out = Effects::default();
        guardrail.tick(at(ms), &mut out);
        if ms % 1_000 == 0 {
            let alive: &[&str] = if ms < 5_000 { &["guardrail", "feed", "gateway"] } else { &["guardrail"] };
            for service in alive {
                guardrail.apply(at(ms), beat(service, ms, ProcessState::Running), &mut out).unwrap();
            }
        }
        loop {
            let stored: Vec<Effect> = out.drain().filter(|effect| effect.revision.is_some()).collect();
            if stored.is_empty() {
                break;
            }
            for effect in &stored {
                sequence += 1;
                if effect.subject.starts_with("control.") {
                    let kind = effect.kind.to_string();
                    let event = Event::decode(&effect.subject, sequence, Some(&kind), &effect.payload).unwrap();
                    guardrail.apply(at(ms), event.revised(effect.revision), &mut out).unwrap();
                }
            }
            log.extend(stored);
        }
    }
    (log, guardrail.save())
}

fn actions(log: &[Effect]) -> Vec<Action> {
    let told = log.iter().filter(|effect| effect.subject.starts_with("alerts.action."));
    told.map(|effect| decode_payload(&effect.payload).unwrap()).collect()
}

#[test]
fn silent_processes_are_restarted_and_a_restart_of_the_executor_that_does_not_help_ends_in_a_rollback() {
    let (log, _) = story(|_| {});
    let told: Vec<_> =
        actions(&log).iter().map(|action| (action.at.since_ms(at(0)), action.stage, action.service.clone())).collect();
    let step = |ms, stage, service: &str| (ms, stage, (!service.is_empty()).then(|| service.to_owned()));
    assert_eq!(
        told[..9],
        [
            // Silent since 4.0 s, critical from 15 s on.
            step(19_100, ActionStage::Began, ""),
            step(49_100, ActionStage::RestartAsked, "feed"),
            step(49_100, ActionStage::RestartAsked, "gateway"),
            // They were missing before anything was restarted, so they count all the while.
            step(59_100, ActionStage::RestartAsked, "executor"),
            step(79_100, ActionStage::RestartFailed, "executor"),
            step(79_100, ActionStage::RollbackAsked, ""),
            step(109_100, ActionStage::RestartFailed, "feed"),
            step(109_100, ActionStage::RestartFailed, "gateway"),
            // Both are still missing.
            step(139_100, ActionStage::RollbackUnverified, ""),
        ]
    );
}

#[test]
fn the_reason_is_told_with_its_figures() {
    let (log, _) = story(|_| {});
    let command = log.iter().find(|effect| effect.subject == "control.restart.feed").unwrap();
    let command: RestartCommand = decode_payload(&command.payload).unwrap();
    let why = &command.evidence[0];
    assert_eq!((why.alert.as_str(), why.scope["service"].as_str(), why.unit.as_str()), ("SparkUpMissing", "feed", "s"));
    assert_eq!((why.threshold, why.since, why.revision), (Some(15.0), at(19_100), 1));
    assert!(why.value.is_some_and(|value| (value - 45.1).abs() < 1e-6), "{why:?}");
    assert_eq!(command.reason, "SparkUpMissing has fired for 30s");
}

#[test]
fn the_same_log_gives_the_same_bytes_also_when_it_crashes_at_every_step() {
    let straight = story(|_| {});
    assert!(actions(&straight.0).len() > 8);
    assert_eq!(straight, story(|_| {}));
    let crashing = story(|machine| {
        let saved = machine.save();
        *machine = guardrail();
        machine.load(&saved).unwrap();
    });
    assert_eq!(straight, crashing);
}

#[test]
fn a_guardrail_that_only_watches_tells_alerts_and_does_nothing() {
    let mut guardrail = Guardrail::new(&Rules::from_toml(RULES, "test.toml").unwrap());
    let mut out = Effects::default();
    guardrail.apply(at(0), beat("feed", 0, ProcessState::Running), &mut out).unwrap();
    for second in 1..=120 {
        guardrail.apply(at(second * 1_000), beat("guardrail", 0, ProcessState::Running), &mut out).unwrap();
        guardrail.tick(at(second * 1_000), &mut out);
    }
    let told: Vec<_> = out.items().iter().filter_map(|effect| effect.revision.map(|_| effect.subject.as_str())).collect();
    assert_eq!(told, ["alerts.changed.SparkUpMissing.feed"]);
}

#[test]
fn a_state_of_a_build_that_did_not_act_is_continued() {
    let mut before = Guardrail::new(&Rules::from_toml(RULES, "test.toml").unwrap());
    let mut out = Effects::default();
    before.apply(at(0), beat("feed", 0, ProcessState::Running), &mut out).unwrap();
    let mut bytes = before.save();
    // Its layout ended before the thresholds and what was done.
    let added = rmp_serde::to_vec(&(Thresholds::default(), None::<u8>, super::scores::Scores::default())).unwrap().len() - 1;
    bytes.truncate(bytes.len() - added);
    assert_eq!(bytes[0], 0x9b);
    bytes[0] = 0x98;
    let mut after = guardrail();
    after.load(&bytes).unwrap();
    after.tick(at(100), &mut out);
    assert_eq!(after.actions().map(crate::action::Actions::restarts), Some(0));
    assert_eq!(after.windows(at(1_000)).values.len(), 1);
}

#[test]
fn an_old_run_whose_clock_is_ahead_does_not_answer_for_a_new_one() {
    let summary = |ahead_ms: i64, began_ms: i64| {
        let mut guardrail = guardrail();
        let mut log = Vec::new();
        for second in 0..120 {
            let (mut out, ms) = (Effects::default(), second * 1_000);
            guardrail.apply(at(ms), beat("guardrail", ms, ProcessState::Running), &mut out).unwrap();
            // Silent from 1 s to 60 s: critical at 16 s, its restart asked for at 46 s.
            if !(1..60).contains(&second) {
                let Event::Heartbeat(mut beat) = beat("feed", ms + ahead_ms, ProcessState::Running) else { unreachable!() };
                beat.started_at = at(if second == 0 { 0 } else { began_ms } + ahead_ms);
                guardrail.apply(at(ms), Event::Heartbeat(beat), &mut out).unwrap();
            }
            guardrail.tick(at(ms), &mut out);
            log.extend(out.drain());
        }
        let judged = actions(&log).into_iter().find(|action| action.stage == ActionStage::RestartHelped);
        judged.unwrap().summary
    };
    let hour = 3_600_000;
    assert!(summary(0, 0).contains("nobody answered"), "{}", summary(0, 0));
    assert!(summary(hour, 0).contains("nobody answered"), "{}", summary(hour, 0));
    assert!(summary(0, 50_000).contains("found by its heartbeat"), "{}", summary(0, 50_000));
    assert!(summary(hour, 50_000).contains("found by its heartbeat"), "{}", summary(hour, 50_000));
}
