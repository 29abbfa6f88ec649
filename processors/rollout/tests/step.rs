//! The step alone: every phase × every observation, and what must hold for any history.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::time::Duration;

use proptest::prelude::*;
use spark_bus_schema::Timestamp;
use spark_bus_schema::rollout::{Gate, GateState, Phase, RolloutChanged, RolloutVerb, Stage};
use spark_rollout::{Action, Observation, Status, next};
use world::{START, bad, command, config, good};

/// Gates that say this.
fn gates(state: GateState) -> Vec<Gate> {
    let gate = |name: &str, state| Gate {
        name: name.into(),
        state,
        value: Some(0.4),
        baseline: None,
        threshold: 0.5,
        samples: 9,
        samples_min: 5,
    };
    vec![gate("error_ratio", GateState::Passed), gate("hit_rate", state)]
}

fn measured(state: GateState, elapsed_ms: u64) -> Observation {
    Observation::Measured { elapsed_ms, gates: gates(state) }
}

fn asked(verb: RolloutVerb) -> Observation {
    Observation::Command { sequence: 7, command: Box::new(command(verb)) }
}

/// The places that a rollout can be in.
const PLACES: [(Phase, Stage); 13] = [
    (Phase::Idle, Stage::Off),
    (Phase::Running, Stage::Preview),
    (Phase::Running, Stage::Tenth),
    (Phase::Running, Stage::Half),
    (Phase::Running, Stage::Full),
    (Phase::Paused, Stage::Preview),
    (Phase::Paused, Stage::Tenth),
    (Phase::Paused, Stage::Half),
    (Phase::Paused, Stage::Full),
    (Phase::Promoted, Stage::Full),
    (Phase::RolledBack, Stage::Off),
    (Phase::RolledBack, Stage::Tenth),
    (Phase::RolledBack, Stage::Half),
];

fn place(phase: Phase, stage: Stage) -> Status {
    let index = Stage::ALL.iter().position(|known| *known == stage).unwrap();
    let below = Stage::ALL[index.saturating_sub(1)];
    Status {
        revision: 5,
        changed_revision: 4,
        model: (phase != Phase::Idle).then(good),
        in_force: Some(good()),
        stage,
        phase,
        stage_since: START,
        held_ms: 1_000,
        last_good: match (phase, below) {
            (Phase::RolledBack, _) => stage,
            (_, below) => below,
        },
        gates: vec![],
        told_at: START,
    }
}

/// Where one observation leads, and whether it was refused. `None`: nothing changes and nothing is told.
fn outcome(status: &Status, observation: &Observation) -> (Phase, Stage, Option<String>, Option<RolloutChanged>) {
    let (after, actions) = next(status, START + Duration::from_secs(2), observation, &config());
    let mut told: Vec<RolloutChanged> =
        actions.into_iter().filter_map(|action| if let Action::Tell(told) = action { Some(*told) } else { None }).collect();
    assert!(told.len() <= 1, "told twice: {told:?}");
    let told = told.pop();
    if let Some(told) = &told {
        assert_eq!((told.revision, after.revision), (status.revision + 1, status.revision + 1));
        assert_eq!((told.stage, told.phase), (after.stage, after.phase));
    } else {
        assert_eq!(after.revision, status.revision);
        assert_eq!((after.stage, after.phase), (status.stage, status.phase), "a change that nobody was told");
    }
    (after.phase, after.stage, told.as_ref().and_then(|told| told.refusal.clone()), told)
}

/// One row of the table: an observation, and for each of [`PLACES`] where it leads: `=` stays and says nothing, `!` stays and
/// refuses, `.` stays and answers, else `<phase><stage>` with phases `r`unning, `p`aused, `d`one (promoted), `b`ack.
fn check(observation: &Observation, want: &str) {
    let want: Vec<&str> = want.split_whitespace().collect();
    assert_eq!(want.len(), PLACES.len());
    for ((phase, stage), want) in PLACES.into_iter().zip(want) {
        let status = place(phase, stage);
        let (after, to, refusal, told) = outcome(&status, observation);
        let letter = match after {
            Phase::Idle => "i",
            Phase::Running => "r",
            Phase::Paused => "p",
            Phase::Promoted => "d",
            Phase::RolledBack => "b",
        };
        let stays = (after, to) == (phase, stage);
        let got = match (refusal, told) {
            (Some(_), _) if stays => "!".to_owned(),
            (None, None) if stays => "=".to_owned(),
            (None, Some(told)) if told.stage_since == status.stage_since && stays => ".".to_owned(),
            _ => format!("{letter}{to}"),
        };
        assert_eq!(got, want, "{phase:?} {stage} on {observation:?}");
    }
}

#[test]
fn every_phase_and_every_observation() {
    use GateState::{Failed, Inconclusive, Passed};
    use RolloutVerb::{Abort, Pause, Promote, Resume, Start};
    // Idle, running ×4, paused ×4, promoted, rolled back to off, 10, 50.
    check(&measured(Passed, 500), "= = = = = = = = = = = = =");
    check(&measured(Passed, 1_000_000), "= r10 r50 r100 d100 = = = = = = = =");
    check(&measured(Inconclusive, 1_000_000), "= = = = = = = = = = = = =");
    check(&measured(Failed, 1_000_000), "= boff bpreview b10 b50 boff bpreview b10 b50 b50 = = =");
    check(&Observation::Measured { elapsed_ms: 1_000_000, gates: vec![] }, "= = = = = = = = = = = = =");
    check(&Observation::Model(good()), "= = = = = = = = = = = = =");
    check(&Observation::Model(bad()), "= boff boff boff boff boff boff boff boff boff = = =");
    let back = Observation::RolloutBack { sequence: 9, actor: "guardrail".into(), reason: "two criticals".into() };
    check(&back, ". boff bpreview b10 b50 boff bpreview b10 b50 b50 . . .");
    check(&asked(Start), "rpreview ! ! ! ! ! ! ! ! ! rpreview rpreview rpreview");
    check(&asked(Promote), "! r10 r50 r100 ! ! ! ! ! ! ! ! !");
    check(&asked(Pause), "! ppreview p10 p50 p100 ! ! ! ! ! ! ! !");
    check(&asked(Resume), "! ! ! ! ! rpreview r10 r50 r100 ! ! r10 r50");
    check(&asked(Abort), "! boff boff boff boff boff boff boff boff boff ! boff boff");
}

#[test]
fn a_command_about_another_state_or_model_is_refused_with_the_reason() {
    let status = place(Phase::Running, Stage::Tenth);
    let check = |change: &dyn Fn(&mut spark_bus_schema::rollout::RolloutCommand), want: Option<&str>| {
        let mut given = command(RolloutVerb::Promote);
        change(&mut given);
        let (_, stage, refusal, told) = outcome(&status, &Observation::Command { sequence: 7, command: Box::new(given) });
        assert_eq!(told.unwrap().command, Some(7));
        match want {
            Some(want) => assert!(refusal.as_ref().is_some_and(|refusal| refusal.contains(want)), "{refusal:?}"),
            None => assert_eq!((refusal, stage), (None, Stage::Half)),
        }
    };
    check(&|command| command.revision = Some(3), Some("given for revision 3; since revision 4"));
    check(&|command| command.revision = Some(6), Some("given for revision 6"));
    check(&|command| command.revision = Some(4), None);
    check(&|command| command.revision = Some(5), None);
    check(&|command| command.model = Some(bad()), Some("about ml-good (aaaaaaaa), not ml-bad (bbbbbbbb)"));
    check(&|command| command.model = Some(good()), None);
}

#[test]
fn only_the_model_in_force_is_started() {
    let mut given = command(RolloutVerb::Start);
    given.model = Some(bad());
    let start = Observation::Command { sequence: 7, command: Box::new(given) };
    let (_, _, refusal, _) = outcome(&place(Phase::Idle, Stage::Off), &start);
    assert_eq!(refusal.unwrap(), "ml-bad (bbbbbbbb) is not in force, ml-good (aaaaaaaa) is");
    let unknown = Status { in_force: None, ..place(Phase::RolledBack, Stage::Off) };
    let (_, _, refusal, _) = outcome(&unknown, &asked(RolloutVerb::Start));
    assert!(refusal.unwrap().contains("no model is in force"));
    let other = Status { in_force: Some(bad()), ..place(Phase::RolledBack, Stage::Tenth) };
    let (_, _, refusal, _) = outcome(&other, &asked(RolloutVerb::Resume));
    assert!(refusal.unwrap().contains("another model is in force"));
}

#[test]
fn after_a_rollback_and_its_resume_the_next_one_takes_it_off() {
    let status = place(Phase::RolledBack, Stage::Tenth);
    let (resumed, _) = next(&status, START, &asked(RolloutVerb::Resume), &config());
    let (after, _) = next(&resumed, START, &measured(GateState::Failed, 1), &config());
    assert_eq!((after.stage, after.phase), (Stage::Off, Phase::RolledBack));
}

#[test]
fn a_promotion_by_hand_makes_nothing_good() {
    let status = place(Phase::Running, Stage::Tenth);
    let (promoted, _) = next(&status, START, &asked(RolloutVerb::Promote), &config());
    assert_eq!((promoted.stage, promoted.last_good), (Stage::Half, Stage::Preview));
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let state = prop_oneof![
        6 => Just(GateState::Passed),
        1 => Just(GateState::Inconclusive),
        1 => Just(GateState::Failed)
    ];
    let verb = prop_oneof![
        4 => Just(RolloutVerb::Start),
        1 => Just(RolloutVerb::Promote),
        1 => Just(RolloutVerb::Pause),
        3 => Just(RolloutVerb::Resume),
        1 => Just(RolloutVerb::Abort)
    ];
    prop_oneof![
        12 => (state, 0..8_000_u64).prop_map(|(state, elapsed)| measured(state, elapsed)),
        3 => verb.prop_map(asked),
        1 => proptest::bool::weighted(0.7).prop_map(|is_good| Observation::Model(if is_good { good() } else { bad() })),
        1 => Just(Observation::RolloutBack { sequence: 9, actor: "guardrail".into(), reason: "r".into() }),
    ]
}

proptest! {
    #[test]
    fn the_share_never_rises_without_a_whole_hold_or_a_command(history in proptest::collection::vec(any_observation(), 1..200)) {
        let config = config();
        let mut status = Status::default();
        let mut unbroken = 0;
        let mut at = START;
        for observation in history {
            at = at + Duration::from_secs(1);
            let (after, _) = next(&status, at, &observation, &config);
            let all_passed = matches!(&observation, Observation::Measured { gates, .. } if gates.iter().all(|gate| gate.state == GateState::Passed));
            if let (Observation::Measured { elapsed_ms, .. }, Phase::Running) = (&observation, status.phase) {
                unbroken = if all_passed { unbroken + elapsed_ms } else { 0 };
            }
            let is_command = matches!(observation, Observation::Command { .. });
            let acts = |status: &Status| if status.is_watched() { status.stage.percent() } else { 0 };
            if acts(&after) > acts(&status) && !is_command {
                prop_assert!(all_passed && u128::from(unbroken) >= config.hold(status.stage).as_millis(), "{status:?} {observation:?}");
                prop_assert_eq!(Some(after.stage), status.stage.next(), "one stage at a time");
                prop_assert_eq!(after.last_good, status.stage);
            }
            if after.phase == Phase::Promoted && status.phase != Phase::Promoted {
                prop_assert!(all_passed && u128::from(unbroken) >= config.hold(Stage::Full).as_millis());
            }
            if matches!(&observation, Observation::Measured { gates, .. } if gates.iter().any(|gate| gate.state == GateState::Failed)) {
                prop_assert!(!after.is_watched(), "a red gate leaves nothing running: {after:?}");
            }
            prop_assert!(after.last_good <= after.stage);
            prop_assert!(!after.is_watched() || after.in_force == after.model, "{after:?}");
            if (after.stage, after.phase) != (status.stage, status.phase) || after.stage_since != status.stage_since {
                unbroken = 0;
                prop_assert!(after.revision > status.revision, "a change that nobody was told");
            }
            if status.phase == Phase::Paused && after.phase == Phase::Running { unbroken = status.held_ms; }
            status = after;
        }
    }

    #[test]
    fn the_same_history_gives_the_same_words(history in proptest::collection::vec(any_observation(), 1..60)) {
        let tell = || {
            let mut status = Status::default();
            let mut told = Vec::new();
            for (index, observation) in history.iter().enumerate() {
                let at = Timestamp::from_millis(i64::try_from(index).unwrap() * 1_000);
                let (after, actions) = next(&status, at, observation, &config());
                for action in actions {
                    if let Action::Tell(message) = action {
                        told.extend(spark_bus_schema::encode(&*message));
                    }
                }
                status = after;
            }
            told
        };
        prop_assert_eq!(tell(), tell());
    }
}
