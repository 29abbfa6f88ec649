//! How it is known what became of a restart, and which criticals count.

use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::rollout::{Phase, RolloutChanged, Stage};

use super::*;

/// Two independent criticals for long enough, and what the executor's restart is told to have come to.
fn restart_told(supervisor: Supervisor) -> (World, String) {
    let mut world = shipped();
    world.supervisor = supervisor;
    world.fire("A");
    world.fire("B");
    world.run(20 * MINUTE);
    let told = world.steps()[2].1.clone();
    assert_eq!((told.stage, told.service.as_deref()), (RestartFailed, EXECUTOR));
    (world, told.summary)
}

#[test]
fn where_nobody_answers_a_heartbeat_of_a_later_run_is_the_answer() {
    let (_, summary) = restart_told(Supervisor::IsNone);
    assert!(summary.starts_with("executor: it was restarted, found by its heartbeat, and"), "{summary}");
    let (_, summary) = restart_told(Supervisor::IsDead);
    assert!(summary.starts_with("executor: nobody answered the command, and"), "{summary}");
}

#[test]
fn a_restart_refused_because_of_one_just_before_counts_as_tried_and_is_watched() {
    let (world, summary) = restart_told(Supervisor::WasFaster);
    assert!(summary.starts_with("executor: it had been restarted a moment before, and"), "{summary}");
    let want = [
        (0, Began, None),
        (840, RestartAsked, EXECUTOR),
        (900, RestartFailed, EXECUTOR),
        (900, RollbackAsked, None),
        (901, RollbackVerified, None),
    ];
    check(&world, &want);
    // It may help as any other: no failure is told before its time is over.
    let mut world = shipped();
    world.supervisor = Supervisor::WasFaster;
    world.fire_of("stale", Some("feed"), None);
    world.run(60_000);
    world.resolve("stale");
    world.run(2 * MINUTE);
    check(&world, &[(0, Began, None), (30, RestartAsked, Some("feed")), (90, RestartHelped, Some("feed"))]);
}

#[test]
fn a_dry_run_never_says_that_commands_were_given() {
    let mut world = troubled(Policy { dry_run: true, ..Policy::default() });
    world.run(60 * MINUTE);
    let (_, judged) = world.steps().into_iter().find(|(_, action)| action.stage == RollbackVerified).unwrap();
    let given = judged.checks.iter().find(|check| check.name == "rollback").unwrap();
    assert!(given.ok && given.detail == "dry run: no command was given", "{given:?}");
}

#[test]
fn a_dead_venue_counts_once_for_each_alert_about_it_however_many_symbols_it_has() {
    let mut world = shipped();
    for symbol in ["BTCUSDT", "ETHUSDT", "SOLUSDT"] {
        world.fire_in(symbol, "WSStaleness", &[("symbol", symbol), ("venue", "binance")], None, None);
    }
    world.fire_in("venue", "WSStaleness", &[("venue", "binance")], None, None);
    world.run(60 * MINUTE);
    assert_eq!(world.commands(), [""; 0]);
    // Another venue, or another alert about this one, is a second thing that is wrong.
    for (alert, label, value) in [("WSStaleness", "venue", "btcturk"), ("ExchangeDown", "exchange", "binance")] {
        world.fire_in("second", alert, &[(label, value)], None, None);
        world.run(world.now + 14 * MINUTE);
        assert_eq!(world.count(RestartAsked), 1, "{alert} of {value}");
        world.resolve("second");
        world.log.clear();
        // The next one's restart is within its hour.
        world.run(world.now + 60 * MINUTE);
    }
}

#[test]
fn processes_that_are_missing_count_each_and_the_last_restart_helps_when_one_thing_is_left() {
    let mut world = shipped();
    for service in ["risk", "feed"] {
        world.fire_in(service, "SparkUpMissing", &[("service", service)], None, Some(service));
    }
    let stale = [("symbol", "BTCUSDT"), ("venue", "binance")];
    world.fire_in("symbol", "WSStaleness", &stale, None, None);
    world.fire_in("venue", "WSStaleness", &stale[1..], None, None);
    world.run(14 * MINUTE + 30_000);
    for service in ["risk", "feed"] {
        world.resolve(service);
    }
    world.run(20 * MINUTE);
    check(&world, &[(0, Began, None), (840, RestartAsked, EXECUTOR), (900, RestartHelped, EXECUTOR)]);
}

#[test]
fn a_restart_under_way_that_an_older_build_saved_is_read() {
    let flight = Flight {
        asked_at: at(0),
        until: at(60_000),
        is_last_resort: true,
        is_adopted: false,
        reasons: vec!["A".into()],
        command: Some(7),
        is_answered: false,
        failed: None,
        found: None,
    };
    let mut bytes = rmp_serde::to_vec(&flight).unwrap();
    // Its layout ended before how it was found.
    assert_eq!((bytes[0], bytes.pop()), (0x99, Some(0xc0)));
    bytes[0] = 0x98;
    assert_eq!(rmp_serde::from_slice::<Flight>(&bytes).unwrap(), flight);
}

/// A rollout as it was last told of.
fn rollout(phase: Phase) -> Told {
    let sample = (spark_bus_schema::catalogue::find("rollout_changed.v1").unwrap().sample)();
    let told: RolloutChanged = decode_payload(&sample).unwrap();
    Told::Rollout(Box::new(RolloutChanged { phase, stage: Stage::Half, ..told }))
}

#[test]
fn a_rollback_is_not_verified_before_the_rollout_has_gone_back() {
    for (answer, stage, ok) in
        [(Phase::RolledBack, ActionStage::RollbackVerified, true), (Phase::Running, ActionStage::RollbackUnverified, false)]
    {
        let mut world = World::new(Policy::default());
        world.learn(&rollout(Phase::Running));
        world.fire("A");
        world.fire("B");
        world.run(15 * MINUTE + 5_000);
        assert_eq!((world.count(ActionStage::RollbackAsked), world.count(ActionStage::RollbackVerified)), (1, 0));
        world.learn(&rollout(answer));
        world.run(20 * MINUTE);
        let steps = world.steps();
        let last = &steps.last().unwrap().1;
        assert_eq!(last.stage, stage);
        let found = last.checks.iter().find(|check| check.name == "rollout").unwrap();
        assert_eq!(found.ok, ok, "{found:?}");
        assert_eq!(found.detail, if ok { "rolled back" } else { "still at stage 50" });
    }
}
