use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::control::StrategyCommand;
use spark_bus_schema::market::Quote;
use spark_bus_schema::orders::{OrderEvent, OrderState, Reconciliation};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::{Fixed, InstrumentTable, Message, Venue};

use super::*;
use crate::config::Config;
use crate::roster::Roster;

mod candles;

const PAPER: Place = Place { mode: Some(TradingMode::Paper), step: STEP };

fn sample<T: Message>() -> T {
    decode_payload(&(find(&T::KIND.to_string()).unwrap().sample)()).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((1_700_000_000 + seconds) * 1_000)
}

fn trader() -> Trader {
    let plan = Plan::of(&Config::default().run[0]).unwrap();
    let instrument = InstrumentTable::builtin().resolve(plan.exchange, &plan.symbol).unwrap().clone();
    Trader::new(plan, instrument, None)
}

fn price(trader: &mut Trader, seconds: i64, mid: &str) {
    let mut batch = QuoteBatch::new(trader.plan.exchange, &trader.plan.symbol);
    let mid = Fixed::parse(mid).unwrap();
    let one = Fixed::parse("1").unwrap();
    let quote =
        Quote { update_id: 0, received_at: at(seconds), bid_price: mid, bid_quantity: one, ask_price: mid, ask_quantity: one };
    batch.push(&quote).unwrap();
    trader.quotes(&batch);
}

/// A trader that has just asked: the price fell.
fn asked() -> (Trader, OrderIntent) {
    let mut trader = trader();
    price(&mut trader, 0, "100");
    assert_eq!(trader.decide(at(0), PAPER), None, "a mean of one");
    price(&mut trader, 5, "99");
    let intent = trader.decide(at(5), PAPER).unwrap();
    (trader, intent)
}

fn verdict(intent: &OrderIntent, approved: bool) -> Event {
    Event::Verdict(Box::new(Verdict { approved, order: intent.order.clone(), intent: intent.clone(), ..sample() }))
}

fn filled(intent: &OrderIntent, state: OrderState) -> Event {
    let mut event: OrderEvent = sample();
    event.order = intent.order.clone();
    event.side = intent.side;
    event.mode = TradingMode::Paper;
    (event.exchange, event.symbol) = (intent.exchange, intent.symbol.clone());
    let step = event.steps.last_mut().unwrap();
    step.state = state;
    if let Some(fill) = &mut step.fill {
        fill.quantity = intent.quantity;
    }
    Event::Order(event)
}

#[test]
fn the_same_boundary_gives_the_same_order_in_every_life() {
    let (_, first) = asked();
    let (_, second) = asked();
    assert_eq!(first, second);
    assert_eq!(first.validate(), Ok(()));
    assert_eq!((first.key.as_str(), first.side), ("demo-btcusdt/1700000005000", Side::Buy));
}

#[test]
fn one_order_at_a_time() {
    let (mut trader, intent) = asked();
    price(&mut trader, 10, "98");
    assert_eq!(trader.decide(at(10), PAPER), None, "on its way");
    trader.apply(at(10), &Event::Intent(intent.clone()));
    trader.settled(&intent.order);
    assert_eq!(trader.decide(at(11), PAPER), None, "no verdict yet");
    trader.apply(at(11), &verdict(&intent, true));
    trader.apply(at(11), &filled(&intent, OrderState::PartiallyFilled));
    price(&mut trader, 15, "98");
    assert_eq!(trader.decide(at(15), PAPER), None, "it may fill further");
    assert_eq!(trader.kept.holding(TradingMode::Paper).position, "0.001".parse().unwrap());
    trader.apply(at(15), &filled(&intent, OrderState::Filled));
    price(&mut trader, 20, "97");
    assert!(trader.decide(at(20), PAPER).is_some());
}

#[test]
fn an_intent_that_never_reached_the_ledger_does_not_block() {
    let (mut trader, intent) = asked();
    trader.settled(&intent.order);
    price(&mut trader, 10, "98");
    assert!(trader.decide(at(10), PAPER).is_some());
}

#[test]
fn refusals_make_it_ask_less_often_and_an_approval_ends_that() {
    let (mut trader, intent) = asked();
    trader.apply(at(5), &Event::Intent(intent.clone()));
    trader.apply(at(5), &verdict(&intent, false));
    let asks = |trader: &mut Trader, seconds: i64| {
        price(trader, seconds, "98");
        let asked = trader.decide(at(seconds), PAPER);
        asked.inspect(|intent| trader.settled(&intent.order)).is_some()
    };
    assert!(!asks(&mut trader, 10));
    assert!(asks(&mut trader, 15), "twice the interval later");
    for _ in 0..100 {
        trader.apply(at(15), &verdict(&intent, false));
    }
    assert!(!asks(&mut trader, 70));
    assert!(asks(&mut trader, 75), "a minute at most");
    trader.apply(at(75), &verdict(&intent, true));
    assert!(asks(&mut trader, 80) || !trader.kept.is_idle());
}

#[test]
fn stopped_by_a_command_it_does_not_ask_until_it_is_started() {
    let (mut trader, intent) = asked();
    trader.settled(&intent.order);
    let command = |run| Event::Command(StrategyCommand { strategy: "demo-btcusdt".into(), run, ..sample() });
    trader.apply(at(6), &command(false));
    price(&mut trader, 10, "98");
    assert_eq!(trader.decide(at(10), PAPER), None);
    trader.apply(at(11), &command(true));
    price(&mut trader, 15, "97");
    assert!(trader.decide(at(15), PAPER).is_some());
}

#[test]
fn an_old_price_is_no_price() {
    let (mut trader, intent) = asked();
    trader.settled(&intent.order);
    price(&mut trader, 10, "98");
    assert_eq!(trader.decide(at(16), PAPER), None);
}

#[test]
fn what_follows_from_the_ledger_survives_and_a_new_strategy_asks_for_all_of_it() {
    let (mut trader, intent) = asked();
    trader.apply(at(5), &Event::Intent(intent.clone()));
    trader.apply(at(5), &filled(&intent, OrderState::Filled));
    let table = InstrumentTable::builtin();
    let roster = |plans: usize| {
        let plans = Config::default().run.iter().take(plans).map(|spec| Plan::of(spec).unwrap()).collect();
        Roster::new(plans, &table)
    };
    let mut one = roster(1);
    *one.trader_mut("demo-btcusdt").unwrap() = trader.clone();
    one.apply(at(6), &Event::Reconciled(Box::new(Reconciliation { mode: TradingMode::Live, ..sample() })));
    let bytes = one.save();
    let mut again = roster(1);
    assert!(again.load(&bytes));
    assert_eq!(again.traders()["demo-btcusdt"].kept, trader.kept);
    assert_eq!(again.save(), bytes);
    let exchange = sample::<Reconciliation>().exchange;
    assert_eq!(again.place(exchange, "BTCUSDT").mode, Some(TradingMode::Live));
    let mut two = roster(2);
    assert!(!two.load(&bytes));
    assert_eq!(two.traders()["demo-btcusdt"].kept, Kept::default(), "nothing is taken over in part");
    assert!(!again.load(b"garbage"));
}
