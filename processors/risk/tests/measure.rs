//! The guards as a backtest asks them, against the machine that judges live orders: the same order in the same place has
//! the same answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::time::Duration;

use proptest::prelude::*;
use rust_decimal::Decimal;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Filters, OrderType};
use spark_bus_schema::risk::{Guard, LimitSet};
use spark_ledger::Reserved;
use spark_risk::measure::{self, Equity, Holding, Market, Moment, Order};
use world::{World, d};

/// What happened before the order is asked for.
#[derive(Clone, Debug)]
struct Place {
    /// Bought (or sold, below zero) at 100.
    held: Decimal,
    /// On its way, with sign.
    open: Decimal,
    /// The marks after that, the last one in force.
    marks: Vec<Decimal>,
    /// Since the last mark.
    age_ms: u64,
    limits: LimitSet,
}

fn place() -> Place {
    let limits = LimitSet { capital_usd: Some(d("10000")), ..LimitSet::default() };
    Place { held: Decimal::ZERO, open: Decimal::ZERO, marks: vec![d("100")], age_ms: 0, limits }
}

fn words(signed: Decimal, limit: Option<Decimal>) -> String {
    let side = if signed < Decimal::ZERO { "sell" } else { "buy" };
    let price = limit.map(|price| format!(" @ {price}")).unwrap_or_default();
    format!("{side} {}{price}", signed.abs())
}

/// What the machine says.
fn live(place: &Place, order: &str) -> Option<Guard> {
    let mut world = World::new();
    if !place.held.is_zero() {
        world.trade("s", &words(place.held, Some(d("100"))), "100");
    }
    if !place.open.is_zero() {
        assert!(world.ask("s", &words(place.open, Some(d("100")))).unwrap().approved);
    }
    world.limits(|limits| limits.default = place.limits.clone());
    for mark in &place.marks {
        world.mark_of("BTCUSDT", *mark, d("1"));
    }
    world.after(Duration::from_millis(place.age_ms));
    let intent = world.wish("s", order);
    world.intend(&intent).unwrap();
    if !world.verdicts.contains_key(&intent.order) {
        // It waits for a newer price, and none comes.
        world.time_out(&intent.order);
    }
    world.verdicts[&intent.order].guard
}

/// What a backtest says.
fn tested(place: &Place, order: &str) -> Option<Guard> {
    let parts: Vec<&str> = order.split(' ').collect();
    let limit_price = parts.get(3).map(|price| d(price));
    let order = Order {
        side: if parts[0] == "buy" { Side::Buy } else { Side::Sell },
        order_type: if limit_price.is_some() { OrderType::Limit } else { OrderType::Market },
        quantity: d(parts[1]),
        limit_price,
    };
    let filters = Filters {
        tick_size: d("0.01"),
        step_size: d("0.001"),
        quantity_min: d("0.001"),
        quantity_max: d("9000"),
        notional_min: d("5"),
        market_orders: true,
    };
    let price = *place.marks.last().unwrap();
    let half = price / d("10000");
    let profit = |mark: &Decimal| place.held * (mark - d("100"));
    let highest = place.marks.iter().map(profit).fold(Decimal::ZERO, Decimal::max);
    let positive = |value: Decimal| value.max(Decimal::ZERO);
    measure::refusal(
        &order,
        &Moment {
            limits: &place.limits,
            filters: &filters,
            market: Market { bid: price - half, ask: price + half, price, quote_usd: Decimal::ONE },
            mark_age_ms: place.age_ms,
            holding: Holding {
                position: place.held,
                reserved: Reserved { buy: positive(place.open), sell: positive(-place.open) },
            },
            equity: Equity { start: d("10000"), profit: profit(&price), highest },
            recent: 1 + u32::from(!place.held.is_zero()) + u32::from(!place.open.is_zero()),
        },
    )
}

#[test]
fn each_guard_refuses_in_a_backtest_what_it_refuses_live() {
    let check = |change: fn(&mut Place), order: &str, want: Option<Guard>| {
        let mut place = place();
        change(&mut place);
        assert_eq!((live(&place, order), tested(&place, order)), (want, want), "{order} {place:?}");
    };
    check(|_| {}, "buy 1", None);
    check(|place| place.age_ms = place.limits.mark_age_ms_max, "buy 1", None);
    check(|place| place.age_ms = place.limits.mark_age_ms_max + 1, "buy 1", Some(Guard::StalePrice));
    for order in ["buy 1.0005", "buy 0.049", "buy 9000.001", "sell 1 @ 100.005"] {
        check(|_| {}, order, Some(Guard::Filters));
    }
    check(|_| {}, "buy 99.991", Some(Guard::Notional));
    check(|place| place.limits.exposure_usd_max = d("500"), "sell 5.001", Some(Guard::Exposure));
    check(|place| (place.held, place.limits.exposure_usd_max) = (d("20"), d("500")), "sell 20", None);
    // 10 500 USD less 15 % are 8 925.
    let fallen = |place: &mut Place| (place.held, place.marks) = (d("50"), vec![d("110"), d("78.5")]);
    check(fallen, "buy 1", None);
    let too_deep = |place: &mut Place| (place.held, place.marks) = (d("50"), vec![d("110"), d("78.49")]);
    check(too_deep, "buy 1", Some(Guard::Drawdown));
    check(too_deep, "sell 50", None);
    check(|place| place.limits.collar_pct_max = d("0.009"), "sell 1", Some(Guard::Collar));
    check(|_| {}, "buy 1 @ 105.01", Some(Guard::Collar));
    check(|place| (place.held, place.limits.orders_per_minute_max) = (d("10"), 1), "buy 1", Some(Guard::Rate));
    check(|place| (place.held, place.limits.orders_per_minute_max) = (d("10"), 1), "sell 10", None);
}

fn places() -> impl Strategy<Value = Place> {
    let pick = |values: &'static [&'static str]| proptest::sample::select(values).prop_map(d);
    let limits = (
        pick(&["300", "4000", "10000"]),
        pick(&["1000", "6000", "100000"]),
        pick(&["0.009", "1", "5"]),
        pick(&["2", "15"]),
        1_u32..5,
    );
    let marks = proptest::collection::vec((5_000_i64..15_000).prop_map(|cents| Decimal::new(cents, 2)), 1..4);
    (-60_i64..60, -3_i64..4, marks, 0_u64..20_000, limits).prop_map(|(held, open, marks, age_ms, limits)| {
        let (notional_usd_max, exposure_usd_max, collar_pct_max, drawdown_pct_max, orders_per_minute_max) = limits;
        let (held, open) = (Decimal::from(held), Decimal::from(open));
        let limits = LimitSet {
            notional_usd_max,
            exposure_usd_max,
            collar_pct_max,
            drawdown_pct_max,
            orders_per_minute_max,
            mark_age_ms_max: 10_000,
            ..place().limits
        };
        Place { held, open, marks, age_ms, limits }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happened_the_answers_are_equal(
        place in places(),
        is_buy in any::<bool>(),
        thousandths in 1_i64..90_000,
        limit in proptest::option::of(-800_i64..800),
    ) {
        let sign = if is_buy { Decimal::ONE } else { -Decimal::ONE };
        let near = |cents: i64| (*place.marks.last().unwrap() + Decimal::new(cents, 2)).normalize();
        let order = words(sign * Decimal::new(thousandths, 3), limit.map(near));
        prop_assert_eq!(live(&place, &order), tested(&place, &order), "{}", order);
    }
}
