use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::market::Quote;
use spark_bus_schema::orders::OrderState;
use spark_bus_schema::{Fixed, Message};

use super::*;
use crate::config::Config;

fn sample<T: Message>() -> T {
    decode_payload(&(find(&T::KIND.to_string()).unwrap().sample)()).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((1_700_000_000 + seconds) * 1_000)
}

fn trader() -> Trader {
    Trader::new(Config::default().run.remove(0))
}

fn price(trader: &mut Trader, seconds: i64, mid: &str) {
    let mut batch = QuoteBatch::new(trader.spec.exchange, &trader.spec.symbol);
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
    assert_eq!(trader.decide(at(0)), None, "a mean of one");
    price(&mut trader, 5, "99");
    let intent = trader.decide(at(5)).unwrap();
    (trader, intent)
}

fn verdict(intent: &OrderIntent, approved: bool) -> Event {
    Event::Verdict(Box::new(Verdict { approved, order: intent.order.clone(), intent: intent.clone(), ..sample() }))
}

fn filled(intent: &OrderIntent, state: OrderState) -> Event {
    let mut event: OrderEvent = sample();
    event.order = intent.order.clone();
    event.side = intent.side;
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
    assert_eq!(trader.decide(at(10)), None, "on its way");
    trader.apply(at(10), Event::Intent(intent.clone()));
    trader.settled(&intent.order);
    assert_eq!(trader.decide(at(11)), None, "no verdict yet");
    trader.apply(at(11), verdict(&intent, true));
    trader.apply(at(11), filled(&intent, OrderState::PartiallyFilled));
    price(&mut trader, 15, "98");
    assert_eq!(trader.decide(at(15)), None, "it may fill further");
    assert_eq!(trader.position(), "0.001".parse().unwrap());
    trader.apply(at(15), filled(&intent, OrderState::Filled));
    price(&mut trader, 20, "97");
    assert!(trader.decide(at(20)).is_some());
}

#[test]
fn an_intent_that_never_reached_the_ledger_does_not_block() {
    let (mut trader, intent) = asked();
    trader.settled(&intent.order);
    price(&mut trader, 10, "98");
    assert!(trader.decide(at(10)).is_some());
}

#[test]
fn refusals_make_it_ask_less_often_and_an_approval_ends_that() {
    let (mut trader, intent) = asked();
    trader.apply(at(5), Event::Intent(intent.clone()));
    trader.apply(at(5), verdict(&intent, false));
    let asks = |trader: &mut Trader, seconds: i64| {
        price(trader, seconds, "98");
        let asked = trader.decide(at(seconds));
        asked.inspect(|intent| trader.settled(&intent.order)).is_some()
    };
    assert!(!asks(&mut trader, 10));
    assert!(asks(&mut trader, 15), "twice the interval later");
    for _ in 0..100 {
        trader.apply(at(15), verdict(&intent, false));
    }
    assert!(!asks(&mut trader, 70));
    assert!(asks(&mut trader, 75), "a minute at most");
    trader.apply(at(75), verdict(&intent, true));
    assert!(asks(&mut trader, 80) || !trader.kept.open.is_empty());
}

#[test]
fn stopped_by_a_command_it_does_not_ask_until_it_is_started() {
    let (mut trader, intent) = asked();
    trader.settled(&intent.order);
    let command = |run| Event::Command(StrategyCommand { strategy: "demo-btcusdt".into(), run, ..sample() });
    trader.apply(at(6), command(false));
    price(&mut trader, 10, "98");
    assert_eq!(trader.decide(at(10)), None);
    trader.apply(at(11), command(true));
    price(&mut trader, 15, "97");
    assert!(trader.decide(at(15)).is_some());
}

#[test]
fn an_old_price_is_no_price() {
    let (mut trader, intent) = asked();
    trader.settled(&intent.order);
    price(&mut trader, 10, "98");
    assert_eq!(trader.decide(at(16)), None);
}

#[test]
fn what_follows_from_the_ledger_survives_and_a_new_strategy_asks_for_all_of_it() {
    let (mut trader, intent) = asked();
    trader.apply(at(5), Event::Intent(intent.clone()));
    trader.apply(at(5), filled(&intent, OrderState::Filled));
    let bytes = save(std::slice::from_ref(&trader));
    let mut again = [Trader::new(trader.spec.clone())];
    assert_eq!(load(&mut again, &bytes), Ok(true));
    assert_eq!(again[0].kept, trader.kept);
    let mut more: Vec<Trader> = Config::default().run.into_iter().map(Trader::new).collect();
    assert_eq!(load(&mut more, &bytes), Ok(false));
    assert_eq!(more[0].position(), Decimal::ZERO, "nothing is taken over in part");
    assert!(load(&mut again, b"garbage").is_err());
}
