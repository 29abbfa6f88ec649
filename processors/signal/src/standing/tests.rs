use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::{Message, market::Side};

use super::*;

const BTC: Place = Place { venue: Venue::Binance, symbol: "BTCUSDT", timeframe: TimeFrame::M15 };

fn sample<T: Message>() -> T {
    decode_payload(&(find(&T::KIND.to_string()).unwrap().sample)()).unwrap()
}

fn at(hours: u64) -> Timestamp {
    Timestamp::from_nanos(1_700_000_000_000_000_000) + Duration::from_secs(hours * 3_600)
}

fn own() -> ModelId {
    Model::built_in().id().clone()
}

fn changed(model: ModelId, stage: Stage, phase: Phase) -> RolloutChanged {
    let preview = PreviewOf { venue: BTC.venue, symbol: BTC.symbol.to_owned(), timeframe: BTC.timeframe };
    RolloutChanged { model, stage, phase, stage_since: at(0), preview, ..sample() }
}

fn standing(stage: Stage, phase: Phase) -> Standing {
    let mut standing = Standing::default();
    standing.rollout(&own(), changed(own(), stage, phase));
    standing
}

fn done(standing: &mut Standing, kind: CounterMoveKind, on: bool) {
    standing.counter_move(at(10), &CounterMove { kind, on, ..sample() });
}

fn sure() -> Verdict {
    Verdict { score: Some(0.5), confid: Some(0.75), parts: Some(Parts::each(0.5)), side: Some(Side::Buy), reason: None }
}

#[test]
fn only_a_live_rollout_of_exactly_this_file_lets_it_trade_and_only_its_symbols() {
    let check = |stage: Stage, phase: Phase, place: Place, want: Option<&str>| {
        let said = standing(stage, phase).refusal(&own(), place, &sure(), 0.55);
        let fits = match (&said, want) {
            (None, None) => true,
            (Some(said), Some(want)) => said.contains(want),
            _ => false,
        };
        assert!(fits, "{stage} {phase:?} {place:?}: {said:?}");
    };
    for phase in [Phase::Running, Phase::Paused, Phase::Promoted] {
        check(Stage::Full, phase, BTC, None);
        check(Stage::Off, phase, BTC, Some("rollout: off"));
        check(Stage::Preview, phase, BTC, Some("rollout: preview, nothing is ordered"));
    }
    for stage in Stage::ALL {
        check(stage, Phase::Idle, BTC, Some("rollout: idle"));
        check(stage, Phase::RolledBack, BTC, Some("rollout: rolled back"));
    }
    let other = Place { symbol: "ETHUSDT", ..BTC };
    check(Stage::Preview, Phase::Running, other, Some("preview of binance.BTCUSDT 15m only"));
    check(Stage::Full, Phase::Running, other, None);
    check(Stage::Full, Phase::Running, Place { timeframe: TimeFrame::H1, ..BTC }, Some("orders follow from 15m candles only"));
    for stage in [Stage::Tenth, Stage::Half] {
        for n in 0..50 {
            let symbol = format!("S{n}USDT");
            let is_in = is_assigned("ml-fusion-1.2", "binance", &symbol, stage.percent());
            check(stage, Phase::Running, Place { symbol: &symbol, ..BTC }, (!is_in).then_some("is not among the"));
        }
    }
}

#[test]
fn another_file_or_no_rollout_is_refused() {
    let none = Standing::default().refusal(&own(), BTC, &sure(), 0.55).unwrap();
    assert!(none.contains("none of ml-fusion-1.2 was started"), "{none}");
    let mut standing = Standing::default();
    let changed_file = ModelId { hash: "0".repeat(64), ..own() };
    standing.rollout(&own(), changed(changed_file, Stage::Full, Phase::Promoted));
    assert!(standing.refusal(&own(), BTC, &sure(), 0.55).unwrap().contains("with file 000000000000"));
    assert!(!standing.assigned(&own(), BTC.venue, BTC.symbol));
    let mut standing = Standing::default();
    let other = ModelId { model_version: "other-1".to_owned(), ..own() };
    standing.rollout(&own(), changed(other, Stage::Full, Phase::Promoted));
    assert_eq!(standing, Standing::default(), "other versions are none of ours");
}

#[test]
fn counter_moves_take_effect_and_are_taken_back() {
    let mut standing = standing(Stage::Full, Phase::Promoted);
    let may = |standing: &Standing| standing.refusal(&own(), BTC, &sure(), 0.55).is_none();
    let model = Model::parse(&crate::model::BUILT_IN.replacen("weight = 1.0", "weight = 2.0", 1)).unwrap();
    assert!(may(&standing));
    done(&mut standing, CounterMoveKind::PreviewOnly, true);
    assert!(!may(&standing));
    done(&mut standing, CounterMoveKind::PreviewOnly, false);
    assert!(may(&standing));
    assert_eq!(standing.blend(&model, at(30)).floor, 0.55);
    done(&mut standing, CounterMoveKind::ConfidenceFloor, true);
    assert_eq!(standing.blend(&model, at(30)).floor, FLOOR_RAISED);
    let strict = Model::parse(&crate::model::BUILT_IN.replace("confid_floor = 0.55", "confid_floor = 0.9")).unwrap();
    assert_eq!(standing.blend(&strict, at(30)).floor, 0.9, "it never lowers the floor");
    done(&mut standing, CounterMoveKind::ScoringOff, true);
    assert!(standing.is_scoring_off());
    standing.kill_switch(true);
    assert!(standing.refusal(&own(), BTC, &sure(), 0.55).unwrap().contains("kill switch"));
    standing.kill_switch(false);
    standing.command(false);
    assert!(standing.refusal(&own(), BTC, &sure(), 0.55).unwrap().contains("stopped"));
}

#[test]
fn weights_are_pinned_but_not_within_the_first_day_of_a_stage() {
    let model = Model::parse(&crate::model::BUILT_IN.replacen("weight = 1.0", "weight = 2.0", 1)).unwrap();
    let mut standing = Standing::default();
    done(&mut standing, CounterMoveKind::PinWeights, true);
    assert_eq!(standing.blend(&model, at(1)).weights, Parts::each(1.0 / 3.0), "no stage, nothing to hold");
    standing.rollout(model.id(), changed(model.id().clone(), Stage::Tenth, Phase::Running));
    assert_eq!(standing.blend(&model, at(23)).weights, model.weights());
    assert_eq!(standing.blend(&model, at(24)).weights, Parts::each(1.0 / 3.0));
    let next = RolloutChanged { stage_since: at(40), ..changed(model.id().clone(), Stage::Half, Phase::Running) };
    standing.rollout(model.id(), next);
    assert_eq!(standing.blend(&model, at(41)).weights, Parts::each(1.0 / 3.0), "they were pinned when it began");
}

#[test]
fn a_score_that_is_not_sure_says_how_far_it_is() {
    let unsure = Verdict { confid: Some(0.52), side: None, ..sure() };
    let said = standing(Stage::Full, Phase::Promoted).refusal(&own(), BTC, &unsure, 0.55).unwrap();
    assert_eq!(said, "confid: 0.520 is below the floor of 0.55");
}
