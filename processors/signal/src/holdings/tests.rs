use spark_bus_schema::Message;
use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::orders::{Fill, OrderState, Step};

use super::*;

const BTC: &str = "binance.BTCUSDT";

fn sample<T: Message>() -> T {
    decode_payload(&(find(&T::KIND.to_string()).unwrap().sample)()).unwrap()
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn config() -> Config {
    Config { quantity: BTreeMap::from([(BTC.to_owned(), dec("0.01234"))]), ..Config::default() }
}

fn filters(holdings: &mut Holdings, step: &str, least: &str) {
    let mut all: InstrumentFilters = sample();
    all.exchange = Venue::Binance;
    let first = all.symbols.values().next().unwrap().clone();
    let limits = Filters { step_size: dec(step), quantity_min: dec(least), quantity_max: dec("10"), ..first };
    all.symbols = ["BTCUSDT", "ETHUSDT"].map(|symbol| (symbol.to_owned(), limits.clone())).into();
    holdings.filters(all);
}

fn filled(holdings: &mut Holdings, order: &str, side: Side, quantity: &str, state: OrderState) {
    let mut event: OrderEvent = sample();
    event.order = OrderId::derive(STRATEGY, order);
    event.side = side;
    let fill: Fill = event.steps.iter().find_map(|step| step.fill.clone()).unwrap();
    let step = event.steps.last().unwrap().clone();
    event.steps = vec![Step { state, fill: Some(Fill { quantity: dec(quantity), ..fill }), ..step }];
    assert_eq!(name(event.exchange, &event.symbol), BTC, "the sample is about it");
    holdings.order(&event);
}

#[test]
fn it_is_long_or_flat_and_sells_what_it_bought() {
    let mut holdings = Holdings::default();
    let price = dec("61000");
    let quantity = |holdings: &Holdings, side| holdings.quantity(&config(), BTC, side, price);
    assert_eq!(quantity(&holdings, Side::Sell), Ok(None), "it holds nothing");
    assert_eq!(quantity(&holdings, Side::Buy), Ok(Some(dec("0.01234"))));
    filters(&mut holdings, "0.001", "0.001");
    assert_eq!(quantity(&holdings, Side::Buy), Ok(Some(dec("0.012"))), "what the exchange takes");
    holdings.asked(BTC, &OrderId::derive(STRATEGY, "a"));
    assert!(quantity(&holdings, Side::Buy).unwrap_err().contains("open"));
    filled(&mut holdings, "a", Side::Buy, "0.0125", OrderState::Filled);
    assert_eq!(holdings.position(BTC), dec("0.0125"));
    assert_eq!(quantity(&holdings, Side::Buy), Ok(None));
    assert_eq!(quantity(&holdings, Side::Sell), Ok(Some(dec("0.012"))));
    filled(&mut holdings, "b", Side::Sell, "0.012", OrderState::Filled);
    assert_eq!(quantity(&holdings, Side::Sell), Ok(None), "the rest is too little to be sold");
    assert_eq!(quantity(&holdings, Side::Buy), Ok(Some(dec("0.012"))));
}

#[test]
fn without_a_quantity_it_is_the_notional_and_needs_the_exchanges_step() {
    let mut holdings = Holdings::default();
    let quantity = |holdings: &Holdings| holdings.quantity(&config(), "binance.ETHUSDT", Side::Buy, dec("3000"));
    assert!(quantity(&holdings).unwrap_err().contains("step"));
    filters(&mut holdings, "0.001", "0.001");
    assert_eq!(quantity(&holdings), Ok(Some(dec("0.083"))), "250 / 3000");
    filters(&mut holdings, "0.001", "0.1");
    assert!(quantity(&holdings).unwrap_err().contains("less than the exchange takes"));
}

#[test]
fn a_refused_or_given_up_order_is_open_no_longer() {
    let mut holdings = Holdings::default();
    let order = OrderId::derive(STRATEGY, "a");
    let is_open = |holdings: &Holdings| holdings.quantity(&config(), BTC, Side::Buy, dec("1")).is_err();
    holdings.asked(BTC, &order);
    assert!(is_open(&holdings));
    holdings.verdict(&Verdict { order: order.clone(), approved: true, ..sample() });
    assert!(is_open(&holdings), "the exchange has it");
    holdings.verdict(&Verdict { order: order.clone(), approved: false, ..sample() });
    assert!(!is_open(&holdings));
    holdings.asked(BTC, &order);
    holdings.given_up(&order);
    assert!(!is_open(&holdings));
}
