//! Whatever happens to orders in whatever order: sums agree, and what is illegal changes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use rust_decimal::Decimal;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Evidence, Fill, OrderEvent, OrderIntent, OrderState, OrderType, Step, TimeInForce, TradingMode};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::{OrderId, Timestamp, Venue};
use spark_ledger::book::Known;
use spark_ledger::{Book, Illegal, Position};

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn verdict(strategy: &str, key: &str, side: Side, quantity: Decimal, approved: bool) -> Verdict {
    let intent = OrderIntent {
        order: OrderId::derive(strategy, key),
        key: key.to_owned(),
        strategy: strategy.to_owned(),
        actor: "test".to_owned(),
        exchange: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        side,
        order_type: OrderType::Limit,
        time_in_force: TimeInForce::Gtc,
        quantity,
        limit_price: Some(d("100")),
        requested_at: Timestamp::ZERO,
        reason: None,
        decided_at: None,
    };
    Verdict {
        order: intent.order.clone(),
        approved,
        guard: (!approved).then_some(Guard::Notional),
        reason: String::new(),
        intent,
        intent_sequence: 1,
        decided_on: 1,
        decided_at: Timestamp::ZERO,
        expires_at: Timestamp::ZERO,
        checks: vec![],
        mark: None,
        limits_sequence: 0,
        position: Decimal::ZERO,
        reserved_buy: Decimal::ZERO,
        reserved_sell: Decimal::ZERO,
    }
}

fn fill(trade_id: &str, price: &str, quantity: Decimal) -> Fill {
    Fill {
        trade_id: trade_id.to_owned(),
        price: d(price),
        quantity,
        fee: Decimal::ZERO,
        fee_asset: "USDT".to_owned(),
        is_maker: false,
        at: Timestamp::ZERO,
    }
}

fn step(state: OrderState, fill: Option<Fill>) -> Step {
    Step { state, evidence: Evidence::Paper, reason: None, at: Timestamp::ZERO, fill }
}

/// The next event of an order, with totals that follow from its fills.
fn event(book: &Book, verdict: &Verdict, steps: Vec<Step>) -> OrderEvent {
    let known = book.order(&verdict.order);
    let mut filled = known.map(|order| order.filled).unwrap_or_default();
    let mut filled_quote = known.map(|order| order.filled_quote).unwrap_or_default();
    for fill in steps.iter().filter_map(|step| step.fill.as_ref()) {
        if known.is_none_or(|order| !order.trades.contains(&fill.trade_id)) {
            filled += fill.quantity;
            filled_quote += fill.quantity * fill.price;
        }
    }
    OrderEvent {
        order: verdict.order.clone(),
        revision: known.map_or(0, |order| order.revision) + 1,
        verdict_sequence: 1,
        mode: TradingMode::Paper,
        exchange: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        strategy: verdict.intent.strategy.clone(),
        side: verdict.intent.side,
        quantity: verdict.intent.quantity,
        client_order_id: verdict.order.client_id(),
        exchange_order_id: None,
        steps,
        filled,
        filled_quote,
    }
}

fn opened(quantity: &str) -> (Book, Verdict) {
    let verdict = verdict("s", "k", Side::Buy, d(quantity), true);
    let mut book = Book::keeping(10);
    book.apply_verdict(7, &verdict).unwrap();
    (book, verdict)
}

#[test]
fn an_order_reserves_until_it_is_final_and_counts_each_trade_once() {
    use OrderState::{Filled, PartiallyFilled, Pending, Settled, Submitted, Unknown};
    let (mut book, verdict) = opened("3");
    assert_eq!(book.reserved(Venue::Binance, "BTCUSDT").buy, d("3"));
    let steps = vec![step(Pending, None), step(Submitted, None), step(PartiallyFilled, Some(fill("1", "100", d("1"))))];
    let first = event(&book, &verdict, steps);
    let applied = book.apply_event(8, Timestamp::ZERO, &first).unwrap();
    assert_eq!((applied.from, applied.to, applied.fills), (None, PartiallyFilled, 1));
    assert_eq!(book.reserved(Venue::Binance, "BTCUSDT").buy, d("2"));
    // An unknown order keeps its worst case, and a trade told again counts once.
    let second = event(&book, &verdict, vec![step(Unknown, None), step(PartiallyFilled, Some(fill("1", "100", d("1"))))]);
    assert_eq!(book.apply_event(9, Timestamp::ZERO, &second).unwrap().duplicates, 1);
    assert_eq!(book.reserved(Venue::Binance, "BTCUSDT").buy, d("2"));
    let order = book.order(&verdict.order).unwrap();
    assert_eq!((order.verdict_sequence, order.last_sequence, order.revision, order.filled), (7, 9, 2, d("1")));
    let third = event(&book, &verdict, vec![step(Filled, Some(fill("2", "103", d("2"))))]);
    assert!(book.apply_event(10, Timestamp::ZERO, &third).unwrap().finished);
    assert_eq!(book.reserved(Venue::Binance, "BTCUSDT").buy, Decimal::ZERO);
    assert_eq!(book.open().count(), 0);
    assert_eq!(book.position_of("s", Venue::Binance, "BTCUSDT").average_price(), Some(d("102")));
    let fourth = event(&book, &verdict, vec![step(Settled, None)]);
    book.apply_event(11, Timestamp::ZERO, &fourth).unwrap();
    assert!(matches!(book.known(&verdict.order), Some(Known::Ended(ended)) if ended.state == Some(Settled)));
    assert!(book.apply_event(12, Timestamp::ZERO, &fourth).is_err());
}

#[test]
fn what_contradicts_the_book_is_refused_and_changes_nothing() {
    use OrderState::{Filled, PartiallyFilled, Pending, Submitted};
    let check = |change: fn(&mut OrderEvent), want: &str| {
        let (mut book, verdict) = opened("3");
        let steps = vec![step(Pending, None), step(Submitted, None), step(Filled, Some(fill("1", "100", d("3"))))];
        let mut event = event(&book, &verdict, steps);
        change(&mut event);
        let before = book.clone();
        let error = book.apply_event(8, Timestamp::ZERO, &event).unwrap_err();
        assert_eq!(error.reason(), want, "{error}");
        assert_eq!(book, before, "{error}");
    };
    check(|event| event.revision = 2, "order_revision");
    check(|event| event.side = Side::Sell, "order_mismatch");
    check(|event| event.quantity = d("4"), "order_mismatch");
    check(|event| event.symbol = "ETHUSDT".to_owned(), "order_mismatch");
    check(|event| event.strategy = "t".to_owned(), "order_mismatch");
    check(|event| event.filled = d("2"), "order_totals");
    check(|event| event.filled_quote = d("2"), "order_totals");
    check(|event| event.order = OrderId::derive("s", "other"), "order_not_approved");
    check(|event| event.steps.truncate(0), "order_transition");
    check(|event| drop(event.steps.remove(0)), "order_transition");
    check(
        |event| {
            event.steps[2].fill = Some(fill("1", "100", d("2")));
            (event.filled, event.filled_quote) = (d("2"), d("200"));
        },
        "order_incomplete",
    );
    check(
        |event| {
            event.steps[2] = step(PartiallyFilled, Some(fill("1", "0.000000000000000001", d("0.000000000000000001"))));
            event.filled = d("0.000000000000000001");
        },
        "inexact",
    );
}

#[test]
fn a_second_verdict_is_refused_and_an_unstored_one_can_be_taken_back() {
    let (mut book, approval) = opened("3");
    let refusal = verdict("s", "k", Side::Buy, d("3"), false);
    assert!(matches!(book.apply_verdict(9, &refusal), Err(Illegal::Decided { .. })));
    assert!(book.retract(&approval.order));
    assert_eq!(book, Book::keeping(10).also_seen());
    book.apply_verdict(9, &refusal).unwrap();
    assert!(matches!(book.known(&approval.order), Some(Known::Ended(ended)) if ended.state.is_none()));
    assert!(book.retract(&approval.order) && !book.retract(&approval.order));
}

trait AlsoSeen {
    fn also_seen(self) -> Self;
}

impl AlsoSeen for Book {
    /// A book that has had a reservation has an account for its exchange.
    fn also_seen(mut self) -> Self {
        let verdict = verdict("s", "k", Side::Buy, d("3"), true);
        self.apply_verdict(7, &verdict).unwrap();
        assert!(self.retract(&verdict.order));
        self
    }
}

#[test]
fn paper_and_live_positions_are_kept_apart() {
    use OrderState::{Filled, Pending, Submitted};
    let mut book = Book::new();
    for (key, mode, quantity) in [("a", TradingMode::Paper, "3"), ("b", TradingMode::Live, "1")] {
        let verdict = verdict("s", key, Side::Buy, d(quantity), true);
        book.apply_verdict(1, &verdict).unwrap();
        let steps = vec![step(Pending, None), step(Submitted, None), step(Filled, Some(fill(key, "100", d(quantity))))];
        let event = OrderEvent { mode, ..event(&book, &verdict, steps) };
        book.apply_event(2, Timestamp::ZERO, &event).unwrap();
        assert_eq!(book.position(Venue::Binance, "BTCUSDT").quantity, d(quantity));
    }
    book.set_mode(Venue::Binance, TradingMode::Paper);
    assert_eq!(book.position(Venue::Binance, "BTCUSDT").quantity, d("3"));
}

#[derive(Clone, Debug)]
struct Move {
    order: usize,
    state: OrderState,
    /// Of the whole, in hundredths; 200: all that is left.
    share: u8,
    price: u32,
    fee: u32,
    trade: u8,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let state = proptest::sample::select(OrderState::ALL.to_vec());
    let one = (0..6_usize, state, 1..=200_u8, 1..100_000_u32, 0..50_u32, 0..200_u8);
    let one = one.prop_map(|(order, state, share, price, fee, trade)| Move { order, state, share, price, fee, trade });
    proptest::collection::vec(one, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_the_sums_and_every_illegal_transition_is_refused(moves in moves()) {
        let mut book = Book::keeping(100);
        let unit = [d("0.00000001"), d("10000000000"), d("1"), d("0.01"), d("17"), d("0.5")];
        let verdicts: Vec<Verdict> = (0..6)
            .map(|n| {
                let side = if n % 2 == 0 { Side::Buy } else { Side::Sell };
                verdict(if n < 3 { "a" } else { "b" }, &n.to_string(), side, unit[n] * d("100"), true)
            })
            .collect();
        for (index, verdict) in verdicts.iter().enumerate() {
            book.apply_verdict(index as u64 + 1, verdict).unwrap();
        }
        // What must come out, kept by the simplest means: per order state, and sums of every trade.
        let mut states: BTreeMap<usize, OrderState> = BTreeMap::new();
        let mut filled = [Decimal::ZERO; 6];
        let (mut cash, mut held) = (Decimal::ZERO, Decimal::ZERO);
        let mut trades = std::collections::BTreeSet::new();
        for (at, mv) in moves.iter().enumerate() {
            let verdict = &verdicts[mv.order];
            let is_fill = matches!(mv.state, OrderState::PartiallyFilled | OrderState::Filled);
            let left = verdict.intent.quantity - filled[mv.order];
            let all = mv.share > 100 || mv.state == OrderState::Filled;
            let quantity = if all { left } else { (unit[mv.order] * Decimal::from(mv.share)).min(left) };
            let known_trade = trades.contains(&(mv.order, mv.trade));
            let trade = is_fill.then(|| Fill {
                fee: unit[mv.order] * Decimal::new(i64::from(mv.fee), 3),
                fee_asset: if mv.fee % 2 == 0 { "BTC" } else { "USDT" }.to_owned(),
                ..fill(&mv.trade.to_string(), "1", quantity)
            });
            let trade = trade.map(|fill| Fill { price: Decimal::new(i64::from(mv.price), 2), ..fill });
            if is_fill && quantity.is_zero() {
                continue;
            }
            let event = event(&book, verdict, vec![step(mv.state, trade.clone())]);
            let legal = mv.state.may_follow(states.get(&mv.order).copied());
            let complete = mv.state != OrderState::Filled || !known_trade || left.is_zero();
            let before = book.clone();
            let outcome = book.apply_event(100 + at as u64, Timestamp::ZERO, &event);
            prop_assert_eq!(outcome.is_ok(), legal && complete, "{:?} after {:?}: {:?}", mv, states.get(&mv.order), outcome);
            if outcome.is_err() {
                prop_assert_eq!(&book, &before);
                continue;
            }
            states.insert(mv.order, mv.state);
            if let Some(fill) = trade.filter(|_| !known_trade) {
                trades.insert((mv.order, mv.trade));
                filled[mv.order] += fill.quantity;
                let sign = if verdict.intent.side == Side::Buy { Decimal::ONE } else { -Decimal::ONE };
                cash -= sign * fill.quantity * fill.price;
                held += sign * fill.quantity;
                if fill.fee_asset == "BTC" {
                    held -= fill.fee;
                }
            }
            let total = book.position(Venue::Binance, "BTCUSDT");
            prop_assert_eq!(total.quantity, held);
            prop_assert_eq!(total.realized - total.cost, cash);
            prop_assert!(!total.is_flat() || total.cost.is_zero());
            let parts: Vec<&Position> = book.positions().map(|(_, _, _, position)| position).collect();
            prop_assert_eq!(parts.iter().map(|part| part.quantity).sum::<Decimal>(), held);
            prop_assert_eq!(parts.iter().map(|part| part.realized - part.cost).sum::<Decimal>(), cash);
            let reserved = |side: Side| -> Decimal {
                book.open().filter(|order| order.intent.side == side).map(spark_ledger::Order::remaining).sum()
            };
            let stored = book.reserved(Venue::Binance, "BTCUSDT");
            prop_assert_eq!((stored.buy, stored.sell), (reserved(Side::Buy), reserved(Side::Sell)));
            for (index, verdict) in verdicts.iter().enumerate() {
                prop_assert_eq!(book.order(&verdict.order).unwrap().filled, filled[index]);
                prop_assert_eq!(book.order(&verdict.order).unwrap().state, states.get(&index).copied());
            }
        }
        let bytes = rmp_serde::to_vec_named(&book).unwrap();
        let loaded: Book = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert_eq!(&loaded, &book);
        prop_assert_eq!(rmp_serde::to_vec_named(&loaded).unwrap(), bytes);
    }
}
