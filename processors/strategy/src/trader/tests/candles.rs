//! Strategies on candles, configured and registered.

use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::orders::{Filters, InstrumentFilters};
use spark_bus_schema::strategies::StrategyKind;

use super::*;
use crate::config::Spec;
use crate::series::tests::{candle, minute};

fn spec() -> Spec {
    Spec {
        kind: StrategyKind::SmaCross,
        fast: Some(1),
        slow: Some(2),
        timeframe: Some(TimeFrame::M1),
        cash: Some(Decimal::from(1_000)),
        ..Spec::new("cross", Venue::Binance, "BTCUSDT")
    }
}

fn cross() -> Trader {
    let plan = Plan::of(&spec()).unwrap();
    let instrument = InstrumentTable::builtin().resolve(plan.exchange, &plan.symbol).unwrap().clone();
    Trader::new(plan, instrument, None)
}

/// A second after the end of minute `number`.
fn after(number: i64) -> Timestamp {
    minute(number + 1) + Duration::from_secs(1)
}

fn fill(intent: &OrderIntent, price: i64, state: OrderState, mode: TradingMode) -> Event {
    let Event::Order(mut event) = filled(intent, state) else { unreachable!() };
    event.mode = mode;
    event.strategy.clone_from(&intent.strategy);
    let fill = event.steps.last_mut().unwrap().fill.as_mut().unwrap();
    (fill.price, fill.fee, fill.fee_asset) = (Decimal::from(price), Decimal::ZERO, "USDT".into());
    Event::Order(event)
}

#[test]
fn an_order_is_sized_by_cash_named_by_its_candle_and_the_next_waits_for_its_end() {
    let mut trader = cross();
    for (number, close) in [(0, 100), (1, 200), (2, 100)] {
        trader.candle(&candle(number, close));
    }
    let bought = trader.decide_candles(after(1), PAPER).unwrap();
    assert_eq!(bought.validate(), Ok(()));
    assert_eq!((bought.side, bought.decided_at), (Side::Buy, Some(minute(2))));
    assert_eq!(bought.key, format!("BTCUSDT/1m/{}", minute(1).as_millis()));
    // 1000 / (200 × 1.001).
    assert_eq!(bought.quantity, "4.99500499".parse().unwrap());
    assert_eq!(trader.decide_candles(after(2), PAPER), None, "on its way");
    trader.apply(after(1), &Event::Intent(bought.clone()));
    assert_eq!(trader.decide_candles(after(2), PAPER), None, "open");
    trader.apply(after(1), &fill(&bought, 201, OrderState::Filled, TradingMode::Paper));
    let sold = trader.decide_candles(after(2), PAPER).unwrap();
    assert_eq!((sold.side, sold.quantity, sold.decided_at), (Side::Sell, bought.quantity, Some(minute(3))));
    trader.apply(after(2), &Event::Intent(sold.clone()));
    trader.apply(after(2), &fill(&sold, 101, OrderState::Filled, TradingMode::Paper));
    trader.candle(&candle(3, 200));
    let again = trader.decide_candles(after(3), PAPER).unwrap();
    // What was lost is gone: 1000 − 4.99500499 × 100 are left.
    assert_eq!(again.quantity, "2.4999975".parse().unwrap());
}

#[test]
fn killed_anywhere_it_asks_for_the_same_orders() {
    let closes = [100, 200, 100, 100, 200, 300, 100, 50, 60, 50];
    // `dies` before the step of that number: everything but what the LEDGER holds is lost.
    let live_through = |dies: Option<usize>| {
        let (mut trader, mut ledger, mut step) = (cross(), Vec::<(Timestamp, Event)>::new(), 0);
        let mut intents = Vec::new();
        for number in 0..closes.len() {
            for part in 0..3 {
                if dies == Some(step) {
                    trader = cross();
                    ledger.iter().for_each(|(at, event)| trader.apply(*at, event));
                    (0..number).for_each(|earlier| trader.candle(&candle(i64::try_from(earlier).unwrap(), closes[earlier])));
                    if part > 0 {
                        trader.candle(&candle(i64::try_from(number).unwrap(), closes[number]));
                    }
                }
                step += 1;
                let at = after(i64::try_from(number).unwrap());
                match part {
                    0 => trader.candle(&candle(i64::try_from(number).unwrap(), closes[number])),
                    1 => {
                        if let Some(intent) = trader.decide_candles(at, PAPER) {
                            let event = Event::Intent(intent.clone());
                            trader.apply(at, &event);
                            ledger.push((at, event));
                            intents.push(intent);
                        }
                    }
                    _ => {
                        if let Some(intent) = intents.last().filter(|_| !trader.kept.is_idle()) {
                            let event = fill(intent, closes[number], OrderState::Filled, TradingMode::Paper);
                            trader.apply(at, &event);
                            ledger.push((at, event));
                        }
                    }
                }
            }
        }
        intents
    };
    let whole = live_through(None);
    assert_eq!(whole.len(), 6, "{whole:?}");
    for step in 0..closes.len() * 3 {
        assert_eq!(live_through(Some(step)), whole, "killed before step {step}");
    }
}

#[test]
fn an_old_candle_is_not_traded_on_and_live_it_is_old_sooner() {
    let live = Place { mode: Some(TradingMode::Live), ..PAPER };
    let asks = |seconds: u64, place| {
        let mut trader = cross();
        trader.candle(&candle(0, 100));
        trader.candle(&candle(1, 200));
        trader.decide_candles(minute(2) + Duration::from_secs(seconds), place).is_some()
    };
    assert!(asks(30, PAPER) && asks(5, live));
    assert!(!asks(31, PAPER) && !asks(6, live));
}

fn registered(status: StrategyStatus) -> StrategyRegistered {
    StrategyRegistered {
        name: "cross".into(),
        revision: 1,
        kind: StrategyKind::SmaCross,
        params: [("fast", "1"), ("slow", "2")].map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        exchange: Venue::Binance,
        symbol: "BTCUSDT".into(),
        timeframe: Some(TimeFrame::M1),
        quantity: None,
        cash: Some(Decimal::from(1_000)),
        status,
        backtest: None,
        actor: "tests".into(),
        reason: "tests".into(),
        at: minute(0),
    }
}

/// Whether a registered strategy of this status asks, where the exchange is traded on so.
fn asks(status: StrategyStatus, mode: Option<TradingMode>) -> bool {
    let table = InstrumentTable::builtin();
    let mut roster = Roster::new(Vec::new(), &table);
    if let Some(mode) = mode {
        let told = Reconciliation { mode, exchange: Venue::Binance, ..sample() };
        roster.apply(minute(0), &Event::Reconciled(Box::new(told)));
    }
    assert!(roster.apply(minute(0), &Event::Registered(Box::new(registered(status)))));
    let place = roster.place(Venue::Binance, "BTCUSDT");
    let trader = roster.trader_mut("cross").unwrap();
    trader.candle(&candle(0, 100));
    trader.candle(&candle(1, 200));
    trader.decide_candles(after(1), place).is_some()
}

#[test]
fn a_strategy_on_paper_never_asks_where_money_moves_or_may_move() {
    use StrategyStatus::{Backtested, Draft, Live, Paper, Stopped};
    for (status, unknown, paper, live) in [
        (Draft, false, false, false),
        (Backtested, false, false, false),
        (Paper, false, true, false),
        (Live, false, true, true),
        (Stopped, false, false, false),
    ] {
        assert_eq!(asks(status, None), unknown, "{status}, unknown");
        assert_eq!(asks(status, Some(TradingMode::Paper)), paper, "{status} on paper");
        assert_eq!(asks(status, Some(TradingMode::Live)), live, "{status} live");
    }
}

#[test]
fn why_it_asks_for_nothing_is_told_once() {
    let table = InstrumentTable::builtin();
    let mut roster = Roster::new(Vec::new(), &table);
    roster.apply(minute(0), &Event::Registered(Box::new(registered(StrategyStatus::Paper))));
    assert!(roster.news()[0].1.contains("the executor has not said yet"));
    assert!(roster.news().is_empty());
    let told = Reconciliation { mode: TradingMode::Live, exchange: Venue::Binance, ..sample() };
    roster.apply(minute(0), &Event::Reconciled(Box::new(told)));
    assert!(roster.news()[0].1.contains("its status is paper and binance is live"));
    roster.apply(minute(0), &Event::Registered(Box::new(registered(StrategyStatus::Live))));
    assert!(roster.news().is_empty());
}

#[test]
fn other_parameters_begin_anew_and_what_is_held_stays_held() {
    let table = InstrumentTable::builtin();
    let mut roster = Roster::new(Vec::new(), &table);
    let told = Reconciliation { mode: TradingMode::Paper, exchange: Venue::Binance, ..sample() };
    roster.apply(minute(0), &Event::Reconciled(Box::new(told)));
    let mut filters: InstrumentFilters = sample();
    filters.exchange = Venue::Binance;
    let one: Filters = filters.symbols.values().next().unwrap().clone();
    filters.symbols = [("BTCUSDT".to_owned(), Filters { step_size: Decimal::new(1, 2), ..one })].into();
    roster.apply(minute(0), &Event::Filters(Box::new(filters)));
    roster.apply(minute(0), &Event::Registered(Box::new(registered(StrategyStatus::Paper))));
    let place = roster.place(Venue::Binance, "BTCUSDT");
    let trader = roster.trader_mut("cross").unwrap();
    trader.candle(&candle(0, 100));
    trader.candle(&candle(1, 200));
    let bought = trader.decide_candles(after(1), place).unwrap();
    assert_eq!(bought.quantity, "4.99".parse().unwrap(), "multiples of what the executor said");
    roster.apply(after(1), &Event::Intent(bought.clone()));
    roster.apply(after(1), &fill(&bought, 200, OrderState::Filled, TradingMode::Paper));
    // Further with the same parameters: nothing begins anew.
    let live = StrategyRegistered { revision: 2, ..registered(StrategyStatus::Paper) };
    assert!(!roster.apply(after(1), &Event::Registered(Box::new(live))));
    assert_eq!(roster.traders()["cross"].kept.holding(TradingMode::Paper).quote, Decimal::from(-998));
    let mut other = StrategyRegistered { revision: 3, ..registered(StrategyStatus::Paper) };
    other.params.insert("slow".into(), "3".into());
    roster.apply(after(1), &Event::Registered(Box::new(other.clone())));
    let holding = roster.traders()["cross"].kept.holding(TradingMode::Paper).clone();
    assert_eq!((holding.held(), holding.quote), (bought.quantity, Decimal::ZERO));
    let trader = roster.trader_mut("cross").unwrap();
    trader.candle(&candle(2, 300));
    assert_eq!(trader.decide_candles(after(2), place), None, "no bars yet");
    // Another symbol: what is held is nothing that it can sell there.
    other.symbol = "ETHUSDT".into();
    assert!(roster.apply(after(2), &Event::Registered(Box::new(other.clone()))), "other subjects");
    assert_eq!(roster.traders()["cross"].kept.holding(TradingMode::Paper).held(), Decimal::ZERO);
    other.params.insert("medium".into(), "3".into());
    assert!(roster.apply(after(2), &Event::Registered(Box::new(other))));
    assert!(roster.traders().is_empty(), "what cannot be run is not run");
}
