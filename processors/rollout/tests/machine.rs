//! From messages of the LEDGER to what is told: gates, time, silence, other models, restarts at every message.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::time::Duration;

use spark_bus_schema::alerts::{AlertState, Severity};
use spark_bus_schema::rollout::{GateState, Phase, RolloutVerb, Stage};
use spark_bus_schema::subject;
use spark_nats::{Effects, Machine};
use spark_rollout::Rollout;
use spark_rollout::config::Config;
use world::{World, alert, bad, config, good, no_score, outcome, rollback, score};

fn gate(world: &World, name: &str) -> GateState {
    world
        .status()
        .gates
        .iter()
        .find(|gate| gate.name == name)
        .unwrap_or_else(|| panic!("no gate {name}: {:?}", world.status()))
        .state
}

#[test]
fn a_good_model_goes_through_every_stage_and_stays_watched() {
    let mut world = World::at(Stage::Full);
    for _ in 0..30 {
        world.second(&good(), true);
    }
    assert_eq!((world.status().stage, world.status().phase), (Stage::Full, Phase::Promoted));
    let way: Vec<_> = world.told.iter().map(|told| (told.stage.as_str(), told.phase, told.last_good.as_str())).collect();
    use Phase::{Promoted, Running};
    let want = [
        ("preview", Running, "off"),
        ("10", Running, "preview"),
        ("50", Running, "10"),
        ("100", Running, "50"),
        ("100", Promoted, "50"),
    ];
    let mut places = way.clone();
    places.dedup();
    assert_eq!(places, want);
    assert!(world.told.iter().enumerate().all(|(index, told)| told.revision == index as u64 + 1));

    world.alerted(&alert("ExchangeDown", AlertState::Firing, Severity::Critical));
    world.second(&good(), true);
    assert_eq!((world.status().stage, world.status().phase), (Stage::Half, Phase::RolledBack));
    assert!(world.last().summary.contains("critical_alerts 1"), "{}", world.last().summary);
}

#[test]
fn each_gate_takes_a_model_back_by_itself() {
    type Second = fn(&mut World);
    let check = |name: &str, second: Second| {
        let mut world = World::at(Stage::Tenth);
        let way = (0..60).find(|_| {
            world.now = world.now + Duration::from_secs(1);
            second(&mut world);
            world.status().phase == Phase::RolledBack
        });
        assert!(way.is_some(), "{name}: {:?}", world.status());
        assert_eq!(gate(&world, name), GateState::Failed, "{:?}", world.status().gates);
        assert!(world.last().summary.contains(name), "{}", world.last().summary);
        assert_eq!((world.status().stage, world.last().actor.as_str()), (Stage::Preview, "rollout"));
    };
    check("hit_rate", |world| {
        let now = world.now;
        for (symbol, assigned) in [("BTCUSDT", true), ("ETHUSDT", false)] {
            let mut missed = outcome(&good(), symbol, assigned, now, false);
            missed.move_bps = 0.0;
            world.scored(&score(&good(), symbol, assigned, now, 5));
            world.came_true(&missed);
        }
    });
    check("hit_rate_vs_baseline", |world| put(world, false, 5));
    check("move_bps", |world| put(world, false, 5));
    check("latency_p95_ms", |world| put(world, true, 2_000));
    check("error_ratio", |world| {
        let now = world.now;
        world.scored(&no_score(&good(), "BTCUSDT", true, now));
    });
    check("staleness_s", |world| {
        if world.status().gates.iter().any(|gate| gate.samples > 0 && gate.name == "staleness_s") {
            world.clock();
        } else {
            put(world, true, 5);
        }
    });
    check("confid_median", |world| {
        let now = world.now;
        let mut unsure = score(&good(), "BTCUSDT", true, now, 5);
        unsure.confid = Some(0.5);
        world.scored(&unsure);
    });
    check("move_bps_vs_baseline", |world| {
        let now = world.now;
        for (symbol, assigned, bps) in [("BTCUSDT", true, 0.5), ("ETHUSDT", false, 9.0)] {
            let mut moved = outcome(&good(), symbol, assigned, now, true);
            moved.move_bps = bps + f64::from(u8::from(now.as_millis() % 2_000 == 0)) / 10.0;
            world.scored(&score(&good(), symbol, assigned, now, 5));
            world.came_true(&moved);
        }
    });
}

fn put(world: &mut World, hit: bool, latency: u64) {
    let now = world.now;
    world.scored(&score(&good(), "BTCUSDT", true, now, latency));
    world.scored(&score(&good(), "ETHUSDT", false, now, 5));
    world.came_true(&outcome(&good(), "BTCUSDT", true, now, hit));
    world.came_true(&outcome(&good(), "ETHUSDT", false, now, true));
}

#[test]
fn without_data_a_stage_waits_for_ever() {
    let mut world = World::new();
    world.in_force(&good());
    world.command(RolloutVerb::Start);
    for _ in 0..600 {
        world.now = world.now + Duration::from_secs(1);
        world.clock();
    }
    assert_eq!((world.status().stage, world.status().phase, world.status().held_ms), (Stage::Preview, Phase::Running, 0));
    assert!(world.last().summary.contains("waits for error_ratio nothing"), "{}", world.last().summary);
    let reports = world.told.len() - 1;
    assert_eq!(reports, 10, "one a minute");
}

#[test]
fn a_gate_without_enough_samples_does_not_let_time_count_and_neither_does_a_missing_baseline() {
    let mut world = World::at(Stage::Tenth);
    for _ in 0..60 {
        world.now = world.now + Duration::from_secs(1);
        let now = world.now;
        world.scored(&score(&good(), "BTCUSDT", true, now, 5));
        world.came_true(&outcome(&good(), "BTCUSDT", true, now, true));
    }
    assert_eq!((world.status().stage, world.status().held_ms), (Stage::Tenth, 0));
    assert_eq!(gate(&world, "hit_rate"), GateState::Passed);
    assert_eq!(gate(&world, "hit_rate_vs_baseline"), GateState::Inconclusive);
}

#[test]
fn a_breach_in_a_pause_is_honoured_and_a_pause_does_not_count() {
    let mut world = World::at(Stage::Half);
    for _ in 0..8 {
        world.second(&good(), true);
    }
    let held = world.status().held_ms;
    assert!(held > 0);
    world.command(RolloutVerb::Pause);
    for _ in 0..60 {
        world.second(&good(), true);
    }
    assert_eq!((world.status().phase, world.status().held_ms), (Phase::Paused, held));
    world.alerted(&alert("ExchangeDown", AlertState::Firing, Severity::Warning));
    world.second(&good(), true);
    assert_eq!(world.status().phase, Phase::Paused, "a warning is no breach");
    world.alerted(&alert("ExchangeDown", AlertState::Firing, Severity::Critical));
    world.second(&good(), true);
    assert_eq!((world.status().stage, world.status().phase), (Stage::Tenth, Phase::RolledBack));
}

#[test]
fn flapping_between_enough_and_too_few_samples_does_not_promote() {
    let mut config = config();
    config.window = spark_rollout::span::Span::from_secs(3);
    (config.gates.scores_min, config.gates.outcomes_min) = (2, 2);
    let mut world = World::with(config);
    world.in_force(&good());
    world.command(RolloutVerb::Start);
    let mut held = 0;
    for _ in 0..20 {
        // Fifteen good seconds of the preview's twenty, then a silence until the window is empty.
        for _ in 0..15 {
            world.second(&good(), true);
            held = held.max(world.status().held_ms);
        }
        for _ in 0..5 {
            world.now = world.now + Duration::from_secs(1);
            world.clock();
        }
        assert_eq!((world.status().stage, world.status().phase), (Stage::Preview, Phase::Running), "{:?}", world.status());
    }
    assert!(held > 10_000, "{held}");
}

#[test]
fn another_model_takes_it_off_at_once() {
    for stage in [Stage::Preview, Stage::Tenth, Stage::Half, Stage::Full] {
        for by_score in [false, true] {
            let mut world = World::at(stage);
            if by_score {
                let now = world.now;
                world.scored(&score(&bad(), "BTCUSDT", true, now, 5));
            } else {
                world.in_force(&bad());
            }
            assert_eq!((world.status().stage, world.status().phase), (Stage::Off, Phase::RolledBack));
            assert_eq!(world.last().model, good(), "told where the old model's readers look");
            assert!(world.last().summary.contains("ml-bad (bbbbbbbb) instead of ml-good (aaaaaaaa)"), "{}", world.last().summary);
            let refused = world.command(RolloutVerb::Resume);
            assert!(refused.refusal.is_some());
            let started = world.command(RolloutVerb::Start).clone();
            assert_eq!((started.model, started.stage, started.phase), (bad(), Stage::Preview, Phase::Running));
        }
    }
}

#[test]
fn the_guardrails_rollback_is_answered_with_its_sequence_in_every_phase() {
    let mut world = World::new();
    world.put(subject::ROLLBACK, &rollback());
    assert!(world.told.is_empty(), "no model, no rollout, nothing to say");
    world.in_force(&good());
    world.put(subject::ROLLBACK, &rollback());
    assert_eq!((world.last().phase, world.last().command), (Phase::Idle, Some(3)));
    world.command(RolloutVerb::Start);
    world.until(Stage::Half);
    world.put(subject::ROLLBACK, &rollback());
    let sequence = world.log.len() as u64 - 1;
    let told = world.last().clone();
    assert_eq!(
        (told.stage, told.phase, told.command, told.actor.as_str()),
        (Stage::Tenth, Phase::RolledBack, Some(sequence), "guardrail")
    );
    world.put(subject::ROLLBACK, &rollback());
    let again = world.last();
    assert_eq!((again.stage, again.phase, again.command), (Stage::Tenth, Phase::RolledBack, Some(sequence + 2)));
}

#[test]
fn nothing_is_judged_by_a_time_in_which_everything_was_down() {
    let mut world = World::at(Stage::Half);
    for _ in 0..8 {
        world.second(&good(), true);
    }
    let held = world.status().held_ms;
    world.now = world.now + Duration::from_secs(3 * 3_600);
    world.clock();
    assert_eq!((world.status().phase, world.status().held_ms), (Phase::Running, held), "no time counted, no silence judged");
    for _ in 0..12 {
        world.now = world.now + Duration::from_secs(1);
        world.clock();
    }
    assert_eq!(world.status().phase, Phase::RolledBack, "from then on silence is silence: {:?}", world.status());
}

#[test]
fn a_command_before_any_model_is_parked_and_an_ignored_alert_is_no_breach() {
    let mut machine = Rollout::new(config());
    let delivery = world::deliver(1, world::START, subject::ROLLOUT, &world::command(RolloutVerb::Start));
    let event = Rollout::decode(&delivery).unwrap();
    let refused = machine.apply(world::START, event, &mut Effects::default()).unwrap_err();
    assert_eq!(refused.reason, "no_model");

    let mut config = config();
    config.gates.ignored_alerts = vec!["PortfolioNoAssets".into()];
    let mut world = World::with(config);
    world.in_force(&good());
    world.command(RolloutVerb::Start);
    world.alerted(&alert("PortfolioNoAssets", AlertState::Firing, Severity::Critical));
    world.second(&good(), true);
    assert_eq!(world.status().phase, Phase::Running);
}

/// A whole story: up, paused, back by the guardrail, on again, up, promoted, breached.
fn story() -> World {
    let mut world = World::at(Stage::Half);
    world.command(RolloutVerb::Pause);
    world.second(&good(), true);
    world.command(RolloutVerb::Promote);
    world.command(RolloutVerb::Resume);
    world.put(subject::ROLLBACK, &rollback());
    world.command(RolloutVerb::Resume);
    world.until(Stage::Full);
    for _ in 0..30 {
        world.second(&good(), true);
    }
    assert_eq!(world.status().phase, Phase::Promoted);
    for _ in 0..40 {
        world.second(&good(), false);
    }
    assert_eq!(world.status().phase, Phase::RolledBack);
    world
}

#[test]
fn the_same_log_gives_the_same_bytes_with_a_restart_at_every_message() {
    let world = story();
    let mut machine = Rollout::new(config());
    let mut missing: Vec<(String, Vec<u8>)> = Vec::new();
    for delivery in &world.log {
        let saved = machine.save();
        machine = Rollout::new(config());
        machine.load(&saved).unwrap();
        if delivery.subject.starts_with("rollout.changed") {
            let (subject, payload) = missing.remove(0);
            assert_eq!((subject.as_str(), payload.as_slice()), (delivery.subject.as_str(), delivery.payload.as_ref()));
        }
        let mut effects = Effects::default();
        machine.apply(delivery.stored_at, Rollout::decode(delivery).unwrap(), &mut effects).unwrap();
        missing.extend(effects.drain().map(|effect| (effect.subject, effect.payload)));
    }
    assert!(missing.is_empty(), "decided, and never told: {missing:?}");
    assert_eq!(machine.status(), world.status());
}

#[test]
fn what_is_recorded_holds_when_other_rules_would_decide_otherwise() {
    let world = story();
    let strict = Config { preview: spark_rollout::span::Span::from_secs(3_600), ..config() };
    let mut machine = Rollout::new(strict);
    for delivery in &world.log {
        machine.apply(delivery.stored_at, Rollout::decode(delivery).unwrap(), &mut Effects::default()).unwrap();
    }
    let (got, want) = (machine.status(), world.status());
    assert_eq!((got.stage, got.phase, got.revision, &got.model), (want.stage, want.phase, want.revision, &want.model));
}

#[test]
fn a_message_on_the_subject_of_another_is_parked() {
    let mut machine = Rollout::new(config());
    let wrong = subject::score(spark_bus_schema::Venue::Binance, "ETHUSDT", spark_bus_schema::candles::TimeFrame::S1);
    let delivery = world::deliver(1, world::START, &wrong, &score(&good(), "BTCUSDT", false, world::START, 1));
    let refused = machine.apply(world::START, Rollout::decode(&delivery).unwrap(), &mut Effects::default()).unwrap_err();
    assert_eq!(refused.reason, "wrong_subject");
}
