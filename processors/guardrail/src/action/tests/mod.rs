//! Criticals as timelines: seconds in, restarts and rollbacks out.

use spark_bus_schema::actions::ActionStage::{
    self, Began, Ended, RestartAsked, RestartFailed, RestartHelped, RollbackAsked, RollbackUnverified, RollbackVerified,
};
use spark_bus_schema::actions::{RestartCommand, RollbackCommand, RollbackStep};
use spark_bus_schema::control::{LimitsCommand, StrategyCommand};

use super::*;

mod answers;
mod model;
mod moves;
mod world;

use world::{Supervisor, World, at, kill_switch, limits, secs};

/// As shipped: two criticals for 15 minutes, the executor's restart a minute before.
fn shipped() -> World {
    World::new(Policy::default())
}

fn check(world: &World, want: &[(i64, ActionStage, Option<&str>)]) {
    let want: Vec<_> = want.iter().map(|(at, stage, service)| (*at, *stage, service.map(str::to_owned))).collect();
    assert_eq!(world.told(), want);
}

const MINUTE: i64 = 60_000;
const EXECUTOR: Option<&str> = Some("executor");

#[test]
fn one_critical_alone_is_told_and_never_rolled_back() {
    let mut world = shipped();
    world.fire("A");
    world.run(120 * MINUTE);
    world.resolve("A");
    world.run(130 * MINUTE);
    check(&world, &[(0, Began, None), (7_500, Ended, None)]);
    assert_eq!(world.commands(), [""; 0]);
}

#[test]
fn two_criticals_for_too_short_a_time_cost_nothing() {
    let mut world = shipped();
    world.fire("A");
    world.fire("B");
    world.run(13 * MINUTE);
    world.resolve("B");
    world.run(60 * MINUTE);
    assert_eq!(world.told().len(), 1, "{:?}", world.told());
}

#[test]
fn a_restart_that_leaves_one_critical_ends_the_matter() {
    let mut world = shipped();
    world.supervisor = Supervisor::Cures(&["B"]);
    world.fire("A");
    world.fire("B");
    world.run(60 * MINUTE);
    check(&world, &[(0, Began, None), (840, RestartAsked, EXECUTOR), (900, RestartHelped, EXECUTOR)]);
    let command: RestartCommand = world.command("control.restart.executor");
    assert_eq!((command.attempt, command.episode.as_deref(), command.actor.as_str()), (1, Some("episode-1"), "guardrail"));
    assert_eq!(command.evidence.iter().map(|one| one.alert.as_str()).collect::<Vec<_>>(), ["A", "B"]);
    assert_eq!(command.evidence[0].since, at(0));
}

/// Two criticals, limits of before and after, two strategies that run, one that does not, and the manual desk.
fn troubled(policy: Policy) -> World {
    let mut world = World::new(policy);
    world.limits(10_000);
    world.strategy("sma-cross", true);
    world.strategy("old", false);
    world.intent("mine");
    world.intent("manual");
    world.run(20 * MINUTE);
    world.limits(20_000);
    world.run(21 * MINUTE);
    world.fire("A");
    world.run(25 * MINUTE);
    world.fire("B");
    world
}

#[test]
fn a_restart_that_fails_is_followed_by_one_rollback_with_all_its_steps_which_is_verified() {
    let mut world = troubled(Policy::default());
    world.run(120 * MINUTE);
    check(
        &world,
        &[
            (1_260, Began, None),
            (2_340, RestartAsked, EXECUTOR),
            (2_400, RestartFailed, EXECUTOR),
            (2_400, RollbackAsked, None),
            (2_401, RollbackVerified, None),
        ],
    );
    assert_eq!(
        world.commands(),
        ["control.restart.executor", "control.rollback", "control.strategy.mine", "control.strategy.sma-cross", "control.limits"]
    );
    let rollback: RollbackCommand = world.command("control.rollback");
    let strategies = vec!["mine".to_owned(), "sma-cross".to_owned()];
    let back = RollbackStep::ConfigurationBack { revision: Some(101), limits: Box::new(limits(10_000)) };
    assert_eq!(rollback.steps, [RollbackStep::FeaturesOff { strategies }, RollbackStep::RolloutBack, back]);
    assert_eq!((rollback.episode.as_str(), rollback.evidence.len()), ("episode-1", 2));
    let limits_back: LimitsCommand = world.command("control.limits");
    assert_eq!(limits_back.limits, limits(10_000));
    let stopped: StrategyCommand = world.command("control.strategy.sma-cross");
    assert_eq!((stopped.run, stopped.symbols.len(), stopped.actor.as_str()), (false, 1, "guardrail"));
    assert!(stopped.reason.contains("episode-1"), "{}", stopped.reason);
    let steps = world.steps();
    let checks = &steps.last().unwrap().1.checks;
    let names: Vec<_> = checks.iter().map(|check| check.name.as_str()).collect();
    let want =
        ["rollback", "strategy mine", "strategy sma-cross", "limits", "process executor", "process feed", "process gateway"];
    assert_eq!(names, want);
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    let revisions: Vec<_> = steps.iter().map(|(_, action)| action.revision).collect();
    assert_eq!(revisions, [1, 2, 3, 4, 5]);
}

#[test]
fn a_new_episode_may_be_rolled_back_again_and_the_same_one_never() {
    let mut world = shipped();
    for key in ["A", "B"] {
        world.fire(key);
    }
    world.run(17 * MINUTE);
    // It flaps for two hours: the same episode.
    for round in 0..4 {
        world.resolve("A");
        world.resolve("B");
        world.run((17 + round * 30 + 4) * MINUTE);
        world.fire("A");
        world.fire("B");
        world.run((17 + round * 30 + 30) * MINUTE);
    }
    assert_eq!((world.count(RollbackAsked), world.count(Ended)), (1, 0));
    world.resolve("A");
    world.resolve("B");
    world.run(143 * MINUTE);
    assert_eq!(world.count(Ended), 1);
    world.fire("A");
    world.fire("B");
    world.run(160 * MINUTE);
    assert_eq!(world.count(RollbackAsked), 2);
    let revisions: Vec<_> = world.log.iter().filter(|(_, effect)| effect.subject == "control.rollback").collect();
    assert_eq!(revisions.iter().map(|(_, effect)| effect.revision).collect::<Vec<_>>(), [Some(1), Some(2)]);
}

#[test]
fn a_supervisor_that_never_answers_or_refuses_counts_as_failed() {
    for (supervisor, failed_at, words) in
        [(Supervisor::IsDead, 900, "nobody answered"), (Supervisor::Refuses, 842, "refused: no such process")]
    {
        let mut world = shipped();
        world.supervisor = supervisor;
        world.fire("A");
        world.fire("B");
        world.run(20 * MINUTE);
        let want = [
            (0, Began, None),
            (840, RestartAsked, EXECUTOR),
            (failed_at, RestartFailed, EXECUTOR),
            (900, RollbackAsked, None),
            (901, RollbackVerified, None),
        ];
        check(&world, &want);
        assert!(world.steps()[2].1.summary.contains(words), "{}", world.steps()[2].1.summary);
    }
}

#[test]
fn a_break_however_short_sets_the_clock_back() {
    let mut world = shipped();
    world.fire("A");
    world.fire("B");
    world.run(14 * MINUTE + 30_000);
    // Between two boundaries.
    world.resolve("B");
    world.fire("B");
    world.run(29 * MINUTE + 29_000);
    assert_eq!(world.count(RollbackAsked), 0);
    // The restart of before the break does not count: there is another.
    assert_eq!(world.count(RestartAsked), 2);
    world.run(29 * MINUTE + 30_000);
    assert_eq!(world.count(RollbackAsked), 1);
}

#[test]
fn taking_turns_is_not_at_once() {
    let mut world = shipped();
    for minute in 0..60 {
        let (on, off) = if minute % 2 == 0 { ("A", "B") } else { ("B", "A") };
        world.resolve(off);
        world.fire(on);
        world.run((minute + 1) * MINUTE);
    }
    assert_eq!(world.commands(), [""; 0]);
}

#[test]
fn the_kill_switch_goes_on_where_it_is_asked_for() {
    let mut policy = Policy::default();
    (policy.rollback.kill_switch, policy.rollback.cancel_open) = (true, true);
    let mut world = troubled(policy);
    world.run(60 * MINUTE);
    let command = kill_switch(&world);
    assert!(command.on && command.cancel_open);
    let checks = world.steps().last().unwrap().1.checks.clone();
    assert!(checks.iter().any(|check| check.name == "kill switch" && check.ok), "{checks:?}");
}

#[test]
fn a_dry_run_tells_the_same_story_and_asks_nobody() {
    let mut world = troubled(Policy { dry_run: true, ..Policy::default() });
    world.fire_of("C", Some("feed"), None);
    world.run(60 * MINUTE);
    assert_eq!(world.commands(), [""; 0]);
    let stages: Vec<_> = world.told().into_iter().map(|(_, stage, _)| stage).collect();
    assert!(stages.starts_with(&[Began, RestartAsked, RestartFailed]), "{stages:?}");
    assert_eq!((world.count(RollbackAsked), world.count(RollbackVerified)), (1, 1));
    let steps = world.steps();
    assert!(steps.iter().all(|(_, action)| action.dry_run && action.summary.starts_with("dry run: ")));
    let asked = steps.iter().find(|(_, action)| action.stage == RollbackAsked).unwrap();
    for part in ["would roll back", "mine, sma-cross", "limits of LEDGER:101 back"] {
        assert!(asked.1.summary.contains(part), "{}", asked.1.summary);
    }
    assert_eq!((world.actions.restarts(), world.actions.rollbacks()), (0, 0));
}

#[test]
fn what_is_not_seen_in_force_is_named_when_the_time_for_it_is_over() {
    let mut world = troubled(Policy::default());
    world.lost = "control.limits";
    world.run(39 * MINUTE + 50_000);
    world.alive.remove("feed");
    world.run(60 * MINUTE);
    let (second, last) = world.steps().pop().unwrap();
    assert_eq!((second / 1_000, last.stage), (2_460, RollbackUnverified));
    let wrong: Vec<_> = last.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
    assert_eq!(wrong, ["limits", "process feed"]);
    assert!(last.summary.ends_with("limits, process feed"), "{}", last.summary);
}

#[test]
fn limits_that_were_not_proven_or_are_in_force_already_stay() {
    let check = |good: bool, word: &str| {
        let mut world = shipped();
        if good {
            world.limits(10_000);
            world.run(16 * MINUTE);
        }
        world.fire("A");
        world.fire("B");
        world.run(40 * MINUTE);
        let asked = world.steps().into_iter().find(|(_, action)| action.stage == RollbackAsked).unwrap().1;
        assert!(asked.summary.contains(word), "{}", asked.summary);
        assert!(!world.commands().contains(&"control.limits"));
    };
    check(false, "none are known to be good");
    check(true, "those in force are known to be good");
}

#[test]
fn a_rule_restarts_its_process_after_its_time_and_tells_that_it_helped() {
    let mut world = shipped();
    world.supervisor = Supervisor::Cures(&["stale"]);
    world.fire_of("stale", Some("feed"), None);
    world.run(29_000);
    assert_eq!(world.commands(), [""; 0]);
    world.run(20 * MINUTE);
    let feed = Some("feed");
    check(&world, &[(0, Began, None), (30, RestartAsked, feed), (90, RestartHelped, feed), (332, Ended, None)]);
    // A hiccup that is over in time restarts nothing.
    world.fire_of("stale", Some("feed"), None);
    world.run(20 * MINUTE + 29_000);
    world.resolve("stale");
    world.run(40 * MINUTE);
    assert_eq!(world.count(RestartAsked), 1);
}

#[test]
fn restarts_that_do_not_help_become_rarer_and_are_bounded() {
    let mut world = shipped();
    world.fire_of("stale", Some("feed"), None);
    world.run(60 * MINUTE);
    let asked: Vec<_> = world.told().into_iter().filter(|(_, stage, _)| *stage == RestartAsked).map(|(at, ..)| at).collect();
    assert_eq!(asked, [30, 150, 390]);
    world.run(120 * MINUTE);
    let revisions: Vec<_> = world.log.iter().filter(|(_, effect)| effect.subject == "control.restart.feed").collect();
    assert_eq!(revisions.iter().filter_map(|(_, effect)| effect.revision).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_process_that_is_missing_because_it_is_restarted_is_no_new_reason() {
    let mut world = shipped();
    world.supervisor = Supervisor::Cures(&["stale"]);
    world.fire_of("stale", Some("executor"), None);
    world.run(31_000);
    // It is gone for 40 s, and back.
    world.fire_of("missing executor", Some("executor"), Some("executor"));
    world.run(75_000);
    world.resolve("missing executor");
    world.run(10 * MINUTE);
    assert_eq!((world.count(RestartAsked), world.count(RestartHelped)), (1, 1));
    // Nor does it start the rollback rule's clock: that runs from when the restart is over and it is still missing.
    let mut policy = Policy::default();
    (policy.rollback.hold, policy.rollback.watch) = (secs(30), secs(5));
    let mut world = World::new(policy);
    world.fire_of("stale", Some("executor"), None);
    world.run(31_000);
    world.fire_of("missing executor", Some("executor"), Some("executor"));
    world.run(114_000);
    assert_eq!(world.count(RestartAsked), 1);
    world.run(115_000);
    assert_eq!(world.count(RestartAsked), 2);
}

#[test]
fn many_missing_processes_are_not_restarted_all_at_once_and_the_broker_never() {
    let mut world = shipped();
    for service in ["auditor", "candles", "executor", "feed", "gateway", "nats-server", "portfolio", "risk", "guardrail"] {
        world.fire_of(service, Some(service), Some(service));
    }
    world.run(89_000);
    assert_eq!(world.commands(), ["control.restart.auditor", "control.restart.candles", "control.restart.executor"]);
    world.run(30 * MINUTE);
    assert!(!world.commands().iter().any(|subject| subject.ends_with("nats-server") || subject.ends_with("guardrail")));
}

#[test]
fn a_persons_restart_a_moment_ago_is_respected() {
    let mut world = shipped();
    let command = RestartCommand {
        service: "feed".into(),
        episode: None,
        attempt: 1,
        actor: "operator".into(),
        reason: "maintenance".into(),
        evidence: vec![],
        at: at(0),
    };
    world.learn(&Told::Restart { sequence: 5, revision: None, command });
    world.fire_of("stale", Some("feed"), None);
    world.run(119_000);
    assert_eq!(world.count(RestartAsked), 0);
    world.run(120_000);
    assert_eq!(world.count(RestartAsked), 1);
}

#[test]
fn a_restart_of_the_executor_that_a_rule_made_counts_for_the_rollback() {
    let mut world = shipped();
    world.fire("A");
    world.fire_of("B", Some("executor"), None);
    world.run(20 * MINUTE);
    let asked: Vec<_> = world.told().into_iter().filter(|(_, stage, _)| *stage == RestartAsked).map(|(at, ..)| at).collect();
    // The rule's own three, and none for the rollback.
    assert_eq!(asked, [30, 150, 390]);
    assert_eq!(world.steps().iter().filter(|(_, action)| action.stage == RollbackAsked).map(|(at, _)| *at).next(), Some(900_000));
}

#[test]
fn with_a_short_time_the_restart_is_tried_at_once_and_watched_for_its_whole_time() {
    let mut policy = Policy::default();
    policy.rollback.hold = secs(10);
    let mut world = World::new(policy);
    world.fire("A");
    world.fire("B");
    world.run(5 * MINUTE);
    check(
        &world,
        &[
            (0, Began, None),
            (0, RestartAsked, EXECUTOR),
            (60, RestartFailed, EXECUTOR),
            (60, RollbackAsked, None),
            (61, RollbackVerified, None),
        ],
    );
}

#[test]
fn a_night_during_which_everything_was_off_is_no_stretch() {
    let mut world = shipped();
    world.fire("A");
    world.fire("B");
    world.run(10 * MINUTE);
    world.now = 600 * MINUTE;
    world.actions.resume(at(world.now));
    world.run(613 * MINUTE);
    assert_eq!(world.commands(), [""; 0]);
    world.run(615 * MINUTE);
    assert_eq!((world.count(RestartAsked), world.count(RollbackAsked)), (1, 0));
    world.run(615 * MINUTE + 1_000);
    assert_eq!(world.count(RollbackAsked), 1);
}

#[test]
fn what_a_late_start_reads_is_told_and_nothing_is_asked_for_about_it() {
    let mut world = shipped();
    world.actions.act_from(at(40 * MINUTE));
    world.fire("A");
    world.fire_of("B", Some("feed"), None);
    world.run(20 * MINUTE);
    assert_eq!(world.commands(), [""; 0]);
    world.run(40 * MINUTE);
    // Both still fire: what is due is done now, one after the other.
    assert_eq!(world.commands(), ["control.restart.executor", "control.restart.feed"]);
    world.run(41 * MINUTE);
    assert_eq!(world.count(RollbackAsked), 1);
}

#[test]
fn a_crash_between_any_two_steps_changes_nothing_and_doubles_nothing() {
    let story = |crashing: bool| {
        let mut world = troubled(Policy::default());
        world.fire_of("C", Some("feed"), None);
        while world.now < 50 * MINUTE {
            if crashing {
                world.crash();
            }
            world.run(world.now + 1_000);
        }
        world.resolve("A");
        world.resolve("B");
        world.resolve("C");
        world.run(60 * MINUTE);
        world.log
    };
    let straight = story(false);
    assert!(straight.len() > 15, "{straight:?}");
    assert_eq!(straight, story(false), "the same log gives the same bytes");
    assert_eq!(straight, story(true));
}

#[test]
fn commands_that_were_stored_before_a_crash_are_carried_on_and_not_given_again() {
    let mut world = troubled(Policy::default());
    world.run(40 * MINUTE - 1_000);
    let before = rmp_serde::to_vec(world.actions.state()).unwrap();
    world.lost = "control.>";
    world.run(40 * MINUTE);
    let rollback: RollbackCommand = world.command("control.rollback");
    // Only the command was stored; the decision was not saved and is not made again at that moment.
    world.actions.replace(rmp_serde::from_slice(&before).unwrap());
    (world.lost, world.log) = ("nothing", vec![]);
    world.learn(&Told::Rollback { revision: Some(1), command: rollback.clone() });
    assert_eq!(world.commands(), ["control.strategy.mine", "control.strategy.sma-cross", "control.limits"]);
    world.run(80 * MINUTE);
    assert_eq!((world.count(RollbackAsked), world.count(RollbackVerified)), (0, 1));
    world.learn(&Told::Rollback { revision: Some(1), command: rollback });
    assert_eq!(world.commands().len(), 3);
}

#[test]
fn without_its_state_it_goes_on_with_the_episode_that_is_open_and_does_not_roll_back_twice() {
    let mut world = troubled(Policy::default());
    world.run(45 * MINUTE);
    let rollback: RollbackCommand = world.command("control.rollback");
    let last = world.steps().pop().unwrap().1;
    world.actions = Actions::new(Policy::default());
    world.log.clear();
    world.actions.seed(at(world.now), &[Told::Rollback { revision: Some(1), command: rollback }], [last.clone()]);
    world.run(100 * MINUTE);
    assert_eq!(world.commands(), [""; 0]);
    world.resolve("A");
    world.resolve("B");
    world.run(110 * MINUTE);
    let next = world.steps().remove(0).1;
    assert_eq!((next.episode, next.revision, next.stage), (last.episode, last.revision + 1, Ended));
}
