//! The rollback rule held against a model that looks back over the whole series.

use proptest::prelude::*;

use super::*;

const HOLD: i64 = 180;
const WATCH: i64 = 60;

fn policy(kill_switch: bool) -> Policy {
    let mut policy = Policy::default();
    (policy.rollback.hold, policy.rollback.watch, policy.calm) = (secs(180), secs(60), Duration::from_secs(30));
    policy.rollback.kill_switch = kill_switch;
    policy
}

/// Labels and their values.
type Scope = &'static [(&'static str, &'static str)];

/// Alerts with a label and its value, and by hand which of them are one thing that is wrong.
const ALERTS: [(&str, &str, Scope, usize); 5] = [
    ("symbol", "WSStaleness", &[("symbol", "BTCUSDT"), ("venue", "binance")], 0),
    ("venue", "WSStaleness", &[("venue", "binance")], 0),
    ("other venue", "WSStaleness", &[("venue", "btcturk")], 1),
    ("down", "ExchangeDown", &[("exchange", "binance")], 2),
    ("ledger", "LedgerDamaged", &[], 3),
];

/// Of each second, which of the alerts fire.
type Series = Vec<[bool; 5]>;

fn series() -> impl Strategy<Value = Series> {
    // Runs of some length: seconds of noise would never reach the rule's time.
    let run = (1usize..400, prop::array::uniform5(prop::bool::weighted(0.5)));
    prop::collection::vec(run, 1..16)
        .prop_map(|runs| runs.into_iter().flat_map(|(length, on)| std::iter::repeat_n(on, length)).collect())
}

fn play(series: &Series) -> World {
    let mut world = World::new(policy(false));
    // Only the rollback rule restarts anything here.
    world.actions.policy.restart.max_per_hour = 20;
    for on in series {
        for ((key, alert, scope, _), on) in ALERTS.into_iter().zip(on) {
            if *on && !world.firing.contains_key(key) {
                world.fire_in(key, alert, scope, None, None);
            } else if !on {
                world.firing.remove(key);
            }
        }
        world.run(world.now + 1_000);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fires_a_rollback_only_follows_the_rule_and_never_twice_in_an_episode(series in series()) {
        let world = play(&series);
        let at_once = |second: i64| {
            let row = usize::try_from(second).ok().and_then(|second| series.get(second));
            row.is_some_and(|on| {
                let wrong = |thing| (0..ALERTS.len()).any(|number| on[number] && ALERTS[number].3 == thing);
                (0..4).filter(|thing| wrong(*thing)).count() >= 2
            })
        };
        let told = world.told();
        let mut last_ended = -1;
        let mut rolled_back = false;
        for (second, stage, _) in &told {
            match stage {
                Ended => (last_ended, rolled_back) = (*second, false),
                RollbackAsked => {
                    prop_assert!(!rolled_back, "twice since {last_ended}: {told:?}");
                    rolled_back = true;
                    prop_assert!((second - HOLD..*second).all(at_once), "not at once before {second}: {told:?}");
                    let tried = told.iter().any(|(asked, stage, service)| {
                        *stage == RestartAsked
                            && service.as_deref() == EXECUTOR
                            && second - asked >= WATCH
                            && (*asked..*second).all(at_once)
                    });
                    prop_assert!(tried, "no failed restart before {second}: {told:?}");
                }
                _ => {}
            }
        }
        // And where the rule is met, it is followed: within a second of its time, once an episode.
        let length = i64::try_from(series.len()).unwrap();
        let met = (HOLD..length).any(|second| (second - HOLD - 1..second).all(at_once));
        prop_assert!(!met || world.count(RollbackAsked) > 0, "met and not followed: {told:?}");
        prop_assert_eq!(world.commands().iter().filter(|subject| **subject == "control.rollback").count(), world.count(RollbackAsked));
    }
}
