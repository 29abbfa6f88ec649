use std::collections::BTreeMap;

use rust_decimal::prelude::FromPrimitive;
use spark_bus_schema::Venue;
use spark_bus_schema::candles::CandleSource;
use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::control::KillSwitch;
use spark_bus_schema::rollout::{CounterMove, CounterMoveKind, Phase, PreviewOf, RolloutChanged, Stage};
use spark_bus_schema::signals::ScoreRequest;

use super::*;

const MINUTE: i64 = 60;

fn sample<T: Message>() -> T {
    decode_payload(&(find(&T::KIND.to_string()).unwrap().sample)()).unwrap()
}

fn at(n: i64) -> Timestamp {
    Timestamp::from_nanos((1_700_000_040 + n * MINUTE) * 1_000_000_000)
}

/// Rises, then falls, then rises: 40 candles each.
fn price(n: i64) -> f64 {
    let place = n.rem_euclid(80);
    100.0 + if place < 40 { place as f64 } else { (80 - place) as f64 }
}

fn candle(n: i64) -> Candle {
    let dec = |value: f64| Decimal::from_f64(value).unwrap();
    Candle {
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: TimeFrame::M1,
        open_time: at(n),
        close_time: at(n + 1),
        open: dec(price(n)),
        high: dec(price(n) + 1.0),
        low: dec(price(n) - 1.0),
        close: dec(price(n)),
        volume: Decimal::ONE,
        quote_volume: Decimal::ONE,
        trades: 5,
        revision: 1,
        source: CandleSource::Ticks,
        gap: false,
        complete: true,
        closed_at: at(n + 1),
    }
}

/// A model that says what the trend says, so that the sides are known.
fn model() -> Model {
    let text = crate::model::BUILT_IN.replace("weight = 1.0", "weight = 0.0");
    Model::parse(&text.replace("[trend]\nweight = 0.0", "[trend]\nweight = 1.0")).unwrap()
}

fn rollout(model: &Model, stage: Stage, phase: Phase) -> Event {
    let preview = PreviewOf { venue: Venue::Binance, symbol: "BTCUSDT".to_owned(), timeframe: TimeFrame::M1 };
    Event::Rollout(Box::new(RolloutChanged { model: model.id().clone(), stage, phase, preview, ..sample() }))
}

fn counter_move(kind: CounterMoveKind, on: bool) -> Event {
    Event::CounterMove(CounterMove { kind, on, ..sample() })
}

struct World {
    signal: Signal,
    acts: Vec<Act>,
}

impl World {
    fn new(config: Config) -> Self {
        let quantity = BTreeMap::from([("binance.BTCUSDT".to_owned(), Decimal::new(1, 2))]);
        Self { signal: Signal::new(Config { quantity, ..config }, model()), acts: Vec::new() }
    }

    fn warm() -> Self {
        let mut world = Self::new(Config::default());
        (0..39).for_each(|n| world.give(n));
        world.acts.clear();
        world
    }

    fn event(&mut self, event: Event) {
        self.signal.apply(at(0), event, &mut self.acts);
    }

    fn give(&mut self, n: i64) {
        self.signal.apply(at(n + 1), Event::Candle(Box::new(candle(n))), &mut self.acts);
    }

    /// The score of the next candle, and the order that followed.
    fn next(&mut self, candle: Candle) -> (Score, Option<OrderIntent>) {
        self.acts.clear();
        self.signal.apply(candle.closed_at, Event::Candle(Box::new(candle)), &mut self.acts);
        let score =
            self.acts.iter().find_map(|act| if let Act::Score(score) = act { Some(score.as_ref().clone()) } else { None });
        let intent =
            self.acts.iter().find_map(|act| if let Act::Intent(intent) = act { Some(intent.as_ref().clone()) } else { None });
        self.acts.iter().for_each(valid);
        (score.expect("a score"), intent)
    }

    fn ask(&mut self, n: i64, features: &[(&str, Option<f64>)]) -> Score {
        let features = features.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let request = ScoreRequest {
            id: "r1".to_owned(),
            venue: Venue::Binance,
            symbol: "BTCUSDT".to_owned(),
            timeframe: TimeFrame::M1,
            open_time: at(n),
            features,
            ..sample()
        };
        let before = self.signal.save();
        self.acts.clear();
        self.event(Event::Request(Box::new(request)));
        assert_eq!(self.signal.save(), before, "asking changes nothing");
        let [Act::Answer(answer)] = &self.acts[..] else { panic!("{:?}", self.acts) };
        valid(&self.acts[0]);
        answer.score.clone()
    }
}

/// What is stored is what everybody may read.
fn valid(act: &Act) {
    let checked = match act {
        Act::Score(score) => score.validate(),
        Act::Intent(intent) => intent.validate(),
        Act::Outcome(outcome) => outcome.validate(),
        Act::Calibration(calibration, _) => calibration.validate(),
        Act::Answer(answer) => answer.validate(),
    };
    assert_eq!(checked, Ok(()), "{act:?}");
}

#[test]
fn a_score_may_be_traded_on_only_where_everything_allows_it() {
    let check = |prepare: &dyn Fn(&mut World), change: &dyn Fn(&mut Candle), want: Option<&str>| {
        let mut world = World::warm();
        let model = world.signal.model.clone();
        world.event(rollout(&model, Stage::Full, Phase::Running));
        prepare(&mut world);
        let mut next = candle(39);
        change(&mut next);
        let (score, intent) = world.next(next);
        match want {
            None => assert!(!score.advisory && intent.is_some(), "{score:?}"),
            Some(want) => {
                assert!(score.advisory && intent.is_none(), "{score:?}");
                assert!(score.reason.as_ref().unwrap().contains(want), "{want}: {score:?}");
            }
        }
    };
    let nothing = |_: &mut Candle| {};
    let model = model();
    check(&|_| {}, &nothing, None);
    check(&|world| world.event(counter_move(CounterMoveKind::PreviewOnly, true)), &nothing, Some("preview_only"));
    check(&|world| world.event(counter_move(CounterMoveKind::ScoringOff, true)), &nothing, Some("scoring_off"));
    check(&|world| world.event(Event::KillSwitch(KillSwitch { on: true, ..sample() })), &nothing, Some("kill switch"));
    check(&|world| world.event(rollout(&model, Stage::Full, Phase::RolledBack)), &nothing, Some("rolled back"));
    check(
        &|world| world.event(rollout(&model, Stage::Preview, Phase::Running)),
        &nothing,
        Some("preview, nothing is ordered; would buy 0.01"),
    );
    check(&|_| {}, &|candle| candle.complete = false, Some("trades of it are missing"));
    check(&|_| {}, &|candle| candle.volume = Decimal::ZERO, Some("v: 0"));
    check(&|_| {}, &|candle| candle.open = Decimal::from(500), Some("h: l ≤ o, c ≤ h does not hold"));
    check(&|world| world.signal.pinned = Some("model_hash: another".to_owned()), &nothing, Some("model_hash"));
    check(
        &|world| world.event(Event::Command(spark_bus_schema::control::StrategyCommand { run: false, ..sample() })),
        &nothing,
        Some("stopped"),
    );
}

#[test]
fn without_any_rollout_it_scores_and_orders_nothing() {
    let (score, intent) = World::warm().next(candle(39));
    assert!(score.score.is_some() && score.advisory && !score.assigned && intent.is_none(), "{score:?}");
    assert_eq!(score.side, Some(Side::Buy), "what would follow is told");
}

#[test]
fn another_file_than_the_pinned_one_scores_and_nobody_trades_on_it() {
    let signal = |hash: String| Signal::new(Config { model_hash: Some(hash), ..Config::default() }, model());
    assert_eq!(signal(model().id().hash.clone()).pinned(), None);
    assert!(signal("0".repeat(64)).pinned().unwrap().contains("the configuration says 000000000000"));
}

#[test]
fn an_order_is_asked_for_once_and_follows_the_price_up_and_down() {
    let mut world = World::warm();
    let model = world.signal.model.clone();
    world.event(rollout(&model, Stage::Full, Phase::Promoted));
    let (score, intent) = world.next(candle(39));
    let intent = intent.unwrap();
    assert!(!score.advisory && score.assigned);
    assert_eq!((intent.side, intent.quantity, intent.decided_at), (Side::Buy, Decimal::new(1, 2), Some(at(40))));
    assert_eq!(intent.key, format!("binance.BTCUSDT.1m.{}", at(39).as_millis()));
    let (score, again) = world.next(candle(40));
    assert!(!score.advisory && again.is_none(), "an order is open");
    let mut filled: spark_bus_schema::orders::OrderEvent = sample();
    filled.order = intent.order.clone();
    filled.side = Side::Buy;
    let last = filled.steps.last_mut().unwrap();
    last.fill.as_mut().unwrap().quantity = intent.quantity;
    filled.steps = vec![last.clone()];
    world.event(Event::Order(Box::new(filled)));
    let sold = (41..79).find_map(|n| world.next(candle(n)).1).expect("it turns when the price does");
    assert_eq!((sold.side, sold.quantity), (Side::Sell, intent.quantity), "what it holds, not more");
}

#[test]
fn only_the_first_word_about_a_candle_decides() {
    let mut world = World::warm();
    world.next(candle(39));
    world.acts.clear();
    for revision in [1, 2, 3] {
        world.event(Event::Candle(Box::new(Candle { revision, ..candle(39) })));
    }
    world.event(Event::Candle(Box::new(Candle { revision: 2, ..candle(40) })));
    assert_eq!(world.acts, []);
}

#[test]
fn time_frames_that_are_not_named_are_not_scored() {
    let mut world = World::new(Config { timeframes: vec![TimeFrame::H1], ..Config::default() });
    (0..50).for_each(|n| world.give(n));
    assert_eq!(world.acts, []);
}

#[test]
fn outcomes_and_calibrations_follow_the_scores() {
    let mut world = World::new(Config::default());
    (0..60).for_each(|n| world.give(n));
    world.acts.iter().for_each(valid);
    let scored = world.acts.iter().filter(|act| matches!(act, Act::Score(score) if score.score.is_some())).count();
    let outcomes: Vec<_> =
        world.acts.iter().filter_map(|act| if let Act::Outcome(outcome) = act { Some(outcome) } else { None }).collect();
    assert_eq!((scored, outcomes.len()), (60 - 33, 60 - 33 - 4));
    let first = outcomes[0];
    assert_eq!((first.open_time, first.horizon, first.at), (at(33), 4, at(38)));
    assert!((first.move_bps - (price(37) / price(33) - 1.0) * 10_000.0).abs() < 1e-9 && first.hit);
    let last = world.acts.iter().rfind(|act| matches!(act, Act::Calibration(..)));
    let Some(Act::Calibration(last, revision)) = last else { panic!("a calibration with each outcome") };
    assert_eq!((last.samples, *revision), (23, u64::try_from(at(55).as_nanos() / 1_000_000_000).unwrap()));
}

#[test]
fn answers_are_those_of_the_next_candle_and_fail_closed() {
    let mut world = World::warm();
    let bar = [("o", Some(139.0)), ("h", Some(140.0)), ("l", Some(138.0)), ("c", Some(139.0)), ("v", Some(1.0))];
    let asked = world.ask(39, &bar);
    let (told, _) = world.next(candle(39));
    assert_eq!((asked.score, asked.confid, &asked.ml_signal_parts), (told.score, told.confid, &told.ml_signal_parts));
    assert!(asked.score.is_some() && asked.advisory);
    let check = |world: &mut World, n: i64, at: usize, with: Option<f64>, want: &str| {
        let mut bar = bar;
        bar[at].1 = with;
        let score = world.ask(n, &bar);
        assert!(score.advisory && score.score.is_none() && score.side.is_none(), "{score:?}");
        assert!(score.reason.as_ref().unwrap().contains(want), "{want}: {score:?}");
    };
    for (at, name) in ["o", "h", "l", "c", "v"].into_iter().enumerate() {
        check(&mut world, 40, at, None, &format!("{name}: missing, null, NaN or infinite"));
        check(&mut world, 40, at, Some(f64::NAN), &format!("{name}: missing, null, NaN or infinite"));
    }
    check(&mut world, 40, 3, Some(0.0), "c: 0 is not above 0");
    check(&mut world, 40, 4, Some(0.0), "v: 0, nothing was traded");
    check(&mut world, 10, 0, Some(139.0), "ts: ");
    check(&mut world, 99, 0, Some(139.0), "ts: candles between");
    let ignored = [bar.as_slice(), &[("rsi_foreign", None)]].concat();
    assert!(world.ask(40, &ignored).score.is_some(), "whatever else comes along is ignored");
    let mut empty = World::new(Config::default());
    let score = empty.ask(0, &bar);
    assert!(score.reason.unwrap().contains("history: 1 of 34 candles"));
    let score = empty.ask(0, &[]);
    assert!(score.reason.unwrap().contains("o: missing"), "no features at all");
}

#[test]
fn a_model_that_names_more_features_needs_them() {
    let text = crate::model::BUILT_IN.replace("\"v\"]", "\"v\", \"funding\"]");
    let mut world = World { signal: Signal::new(Config::default(), Model::parse(&text).unwrap()), acts: Vec::new() };
    (0..39).for_each(|n| world.give(n));
    let (score, _) = world.next(candle(39));
    assert_eq!((score.score, score.reason.as_deref()), (None, Some("funding: candles do not carry it")));
    let bar = [("o", Some(139.0)), ("h", Some(140.0)), ("l", Some(138.0)), ("c", Some(139.0)), ("v", Some(1.0))];
    assert!(world.ask(40, &bar).reason.unwrap().contains("funding: missing"));
    assert!(world.ask(40, &[bar.as_slice(), &[("funding", Some(0.1))]].concat()).score.is_some());
}

/// A story with everything in it.
fn story() -> Vec<(Timestamp, Event)> {
    let model = model();
    let mut story = Vec::new();
    for n in 0..120 {
        let special = match n {
            36 => Some(rollout(&model, Stage::Preview, Phase::Running)),
            40 => Some(rollout(&model, Stage::Full, Phase::Running)),
            60 => Some(counter_move(CounterMoveKind::ConfidenceFloor, true)),
            70 => Some(counter_move(CounterMoveKind::PinWeights, true)),
            90 => Some(rollout(&model, Stage::Full, Phase::RolledBack)),
            _ => None,
        };
        story.extend(special.map(|event| (at(n), event)));
        if n != 80 {
            story.push((at(n + 1), Event::Candle(Box::new(candle(n)))));
        }
    }
    story
}

fn told(signal: &mut Signal, story: &[(Timestamp, Event)]) -> Vec<Stored> {
    let mut acts = Vec::new();
    story.iter().for_each(|(at, event)| signal.apply(*at, event.clone(), &mut acts));
    acts.iter().map(Act::message).collect()
}

#[test]
fn the_same_story_gives_the_same_bytes_wherever_it_was_interrupted() {
    let (story, fresh) = (story(), || World::new(Config::default()).signal);
    let whole = told(&mut fresh(), &story);
    assert_eq!(whole, told(&mut fresh(), &story));
    assert!(whole.iter().any(|message| message.kind.name == "order_intent"));
    for cut in 0..story.len() {
        let mut signal = fresh();
        let mut messages = told(&mut signal, &story[..cut]);
        let mut next = fresh();
        assert_eq!(next.load(&signal.save()), Ok(true));
        messages.extend(told(&mut next, &story[cut..]));
        assert_eq!(messages, whole, "interrupted at {cut}");
    }
}

#[test]
fn natural_keys_rise_on_each_subject_so_that_each_is_stored_once() {
    let mut newest = BTreeMap::new();
    for message in told(&mut World::new(Config::default()).signal, &story()) {
        if let Some(before) = newest.insert(message.subject.clone(), message.revision) {
            assert!(before < message.revision, "{}: {before} {}", message.subject, message.revision);
        }
    }
}

#[test]
fn a_state_of_another_model_is_not_continued_and_old_candles_stay_silent() {
    let saved = World::warm().signal.save();
    let mut other = Signal::new(Config::default(), Model::built_in());
    assert_eq!(other.load(&saved), Ok(false));
    assert!(other.load(b"garbage").is_err());
    let mut world = World { signal: other.silent_until(at(40)), acts: Vec::new() };
    (0..40).for_each(|n| world.give(n));
    assert_eq!(world.acts, []);
    world.give(40);
    let [Act::Score(score)] = &world.acts[..] else { panic!("{:?}", world.acts) };
    assert!(score.score.is_some(), "the old candles have warmed it");
}
