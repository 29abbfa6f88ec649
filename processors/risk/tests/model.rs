//! Random orders of many strategies, with fills, cancels, lost answers and moving prices, against a model that knows
//! nothing but lists of orders and trades.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rust_decimal::Decimal;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{OrderIntent, OrderState};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::{Message, OrderId, Timestamp, Venue, codec::decode_payload, encode, subject};
use spark_nats::{Delivery, Effects, Machine};
use spark_risk::{Risk, replay};
use world::{World, d};

const STRATEGIES: usize = 12;
const SYMBOLS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];
const CAPITAL: &str = "2000";
const NOTIONAL: &str = "2000";
const EXPOSURE: &str = "8000";
const DRAWDOWN: &str = "15";
const RATE: usize = 40;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// Lists, and sums over them.
#[derive(Default)]
struct Model {
    /// Approved orders that are not final: intent and what was filled.
    open: BTreeMap<OrderId, (OrderIntent, Decimal)>,
    trades: Vec<(String, String, Decimal, Decimal)>,
    marks: BTreeMap<String, Decimal>,
    asked: BTreeMap<String, Vec<Timestamp>>,
    recent: BTreeMap<OrderId, usize>,
    /// Highest equity by strategy; the account is the empty name.
    highest: BTreeMap<String, Decimal>,
    killed: bool,
    stopped: BTreeMap<String, bool>,
    /// Sums of `trades`, kept because adding up thousands of them at each step takes minutes.
    held: BTreeMap<(String, String), Decimal>,
    cash: BTreeMap<String, Decimal>,
}

impl Model {
    fn position(&self, symbol: &str) -> Decimal {
        self.held.iter().filter(|((_, of), _)| of == symbol).map(|(_, held)| *held).sum()
    }

    fn reserved(&self, symbol: &str, side: Side) -> Decimal {
        let same = |intent: &OrderIntent| intent.symbol == symbol && intent.side == side;
        self.open.values().filter(|(intent, _)| same(intent)).map(|(intent, filled)| intent.quantity - filled).sum()
    }

    /// The largest position, either sign, that may come of what is open.
    fn worst(&self, symbol: &str) -> Decimal {
        let long = self.position(symbol) + self.reserved(symbol, Side::Buy);
        let short = self.position(symbol) - self.reserved(symbol, Side::Sell);
        long.abs().max(short.abs())
    }

    fn equity(&self, strategy: &str) -> Decimal {
        let is_whole = strategy.is_empty();
        let start = if is_whole { d("100000") } else { d(CAPITAL) };
        let cash: Decimal = self.cash.iter().filter(|(of, _)| is_whole || *of == strategy).map(|(_, cash)| *cash).sum();
        let held = self.held.iter().filter(|((of, _), _)| is_whole || of == strategy);
        start + cash + held.map(|((_, symbol), held)| held * self.marks[symbol]).sum::<Decimal>()
    }

    fn observe(&mut self) {
        let names: Vec<String> = self.asked.keys().cloned().chain([String::new()]).collect();
        for name in names {
            let equity = self.equity(&name);
            let highest = self.highest.entry(name).or_insert(equity);
            *highest = equity.max(*highest);
        }
    }

    fn asks(&mut self, intent: &OrderIntent, now: Timestamp) {
        let asked = self.asked.entry(intent.strategy.clone()).or_default();
        asked.push(now);
        let second = |at: Timestamp| at.as_millis().div_euclid(1_000);
        let recent = asked.iter().filter(|at| second(**at) >= second(now) - 60).count();
        self.recent.insert(intent.order.clone(), recent);
        self.observe();
    }

    fn reduces(&self, intent: &OrderIntent) -> bool {
        let position = self.position(&intent.symbol);
        let held = if intent.side == Side::Sell { position } else { -position };
        held > Decimal::ZERO && held >= intent.quantity + self.reserved(&intent.symbol, intent.side)
    }

    /// The guard that must refuse.
    fn guard(&mut self, intent: &OrderIntent) -> Option<Guard> {
        let (mark, reduces) = (self.marks[&intent.symbol], self.reduces(intent));
        let half = mark / Decimal::from(10_000);
        let touch = if intent.side == Side::Buy { mark + half } else { mark - half };
        if intent.quantity * intent.limit_price.unwrap_or(touch) < d("5") {
            return Some(Guard::Filters);
        }
        if intent.quantity * intent.limit_price.map_or(touch, |limit| limit.max(mark)) > d(NOTIONAL) {
            return Some(Guard::Notional);
        }
        self.open.insert(intent.order.clone(), (intent.clone(), Decimal::ZERO));
        let worst = self.worst(&intent.symbol);
        self.open.remove(&intent.order);
        if !reduces && worst * mark > d(EXPOSURE) {
            return Some(Guard::Exposure);
        }
        for name in [intent.strategy.as_str(), ""] {
            let (equity, highest) = (self.equity(name), self.highest[name]);
            if !reduces && (highest - equity) * Decimal::ONE_HUNDRED > d(DRAWDOWN) * highest {
                return Some(Guard::Drawdown);
            }
        }
        let price = intent.limit_price.unwrap_or(touch);
        let worse = if intent.side == Side::Buy { price - mark } else { mark - price };
        match () {
            () if self.killed => Some(Guard::KillSwitch),
            () if worse * Decimal::ONE_HUNDRED > d("5") * mark => Some(Guard::Collar),
            () if self.recent[&intent.order] > RATE && !reduces => Some(Guard::Rate),
            () if self.stopped.get(&intent.strategy).copied().unwrap_or(false) => Some(Guard::Strategy),
            () => None,
        }
    }

    fn fill(&mut self, order: &OrderId, quantity: Decimal, price: Decimal) {
        let (intent, filled) = self.open.get_mut(order).unwrap();
        *filled += quantity;
        let signed = if intent.side == Side::Buy { quantity } else { -quantity };
        let (strategy, symbol) = (intent.strategy.clone(), intent.symbol.clone());
        *self.held.entry((strategy.clone(), symbol.clone())).or_default() += signed;
        *self.cash.entry(strategy.clone()).or_default() -= signed * price;
        self.trades.push((strategy, symbol, signed, price));
    }
}

#[derive(Default)]
struct Seen {
    guards: BTreeMap<Option<Guard>, usize>,
    reducing: usize,
    unknown: usize,
}

/// Plays `intents` random intents; every verdict and every sum is held against the model after every message.
fn play(seed: u64, intents: usize) -> (World, Seen) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut world, mut model, mut seen) = (World::empty(), Model::default(), Seen::default());
    world.stores = false;
    world.limits(|limits| {
        limits.default.notional_usd_max = d(NOTIONAL);
        limits.default.exposure_usd_max = d(EXPOSURE);
        limits.default.capital_usd = Some(d(CAPITAL));
        limits.default.orders_per_minute_max = u32::try_from(RATE).unwrap();
    });
    world.filters().balances("100000");
    let mut trend = 0_i64;
    let mut move_marks = |world: &mut World, model: &mut Model, random: &mut Random| {
        for symbol in SYMBOLS {
            let old = model.marks.get(symbol).copied().unwrap_or(d("100"));
            // The second one stands still: its exposure must never be above the limit, whatever happens.
            let step = if symbol == "ETHUSDT" { 0 } else { i64::try_from(random.below(401)).unwrap() - 200 + trend };
            let price = (old + Decimal::new(step, 2)).clamp(d("20"), d("500"));
            model.marks.insert(symbol.to_owned(), price);
            world.mark_of(symbol, price, d("1"));
            model.observe();
        }
        if random.below(50) == 0 {
            trend = i64::try_from(random.below(121)).unwrap() - 60;
        }
    };
    move_marks(&mut world, &mut model, &mut random);
    let mut asked = 0;
    let mut judged = 0;
    let mut states: BTreeMap<OrderId, Option<OrderState>> = BTreeMap::new();
    while asked < intents {
        world.after(Duration::from_millis(random.below(120)));
        let worst_before: Vec<Decimal> = SYMBOLS.iter().map(|symbol| model.worst(symbol)).collect();
        let mut approved = false;
        match random.below(100) {
            0..45 => {
                asked += 1;
                let strategy = format!("s{}", random.below(STRATEGIES as u64));
                let side = random.one(&["buy", "sell"]);
                let symbol = random.one(&SYMBOLS);
                let quantity = Decimal::new(i64::try_from(random.below(22_000)).unwrap() + 60, 3);
                let far = Decimal::new(i64::try_from(random.below(1_300)).unwrap() - 600, 2);
                let price = (model.marks[symbol] + far).max(d("10"));
                let mut intent = world.wish(&strategy, &format!("{side} {quantity} @ {price} {symbol}"));
                if random.below(4) == 0 {
                    intent.limit_price = None;
                    intent.order_type = spark_bus_schema::orders::OrderType::Market;
                    intent.time_in_force = spark_bus_schema::orders::TimeInForce::Ioc;
                }
                model.asks(&intent, world.now);
                let guard = model.guard(&intent);
                let reduces = model.reduces(&intent);
                seen.reducing += usize::from(reduces);
                world.intend(&intent).unwrap();
                judged += 1;
                let verdict = world.verdicts.get(&intent.order).expect("marks are fresh");
                assert_eq!(verdict.guard, guard, "seed {seed}, intent {asked}: {:#?}", verdict);
                assert!(!reduces || !matches!(verdict.guard, Some(Guard::Exposure | Guard::Drawdown | Guard::Rate)));
                *seen.guards.entry(verdict.guard).or_default() += 1;
                if verdict.approved {
                    approved = true;
                    model.open.insert(intent.order.clone(), (intent, Decimal::ZERO));
                }
            }
            45..55 => world.store(),
            55..70 => move_marks(&mut world, &mut model, &mut random),
            70..97 => act(&mut world, &mut model, &mut random, &mut states, &mut seen),
            97 => {
                model.killed = random.below(6) == 0;
                world.kill(model.killed);
            }
            _ => {
                let strategy = format!("s{}", random.below(STRATEGIES as u64));
                let run = random.below(3) > 0;
                world.strategy(&strategy, run);
                model.stopped.insert(strategy, !run);
            }
        }
        for (symbol, before) in SYMBOLS.iter().zip(worst_before) {
            let (position, reserved) =
                (world.risk.book().position(Venue::Binance, symbol), world.risk.book().reserved(Venue::Binance, symbol));
            assert_eq!(position.quantity, model.position(symbol), "seed {seed}");
            assert_eq!(reserved.buy, model.reserved(symbol, Side::Buy), "seed {seed}");
            assert_eq!(reserved.sell, model.reserved(symbol, Side::Sell), "seed {seed}");
            let worst = model.worst(symbol);
            assert!(approved || worst <= before, "seed {seed}: {symbol} grew from {before} to {worst} without an approval");
            if *symbol == "ETHUSDT" {
                assert!(worst * model.marks[*symbol] <= d(EXPOSURE), "seed {seed}: {worst} {symbol}");
            }
        }
    }
    assert_eq!((judged, world.risk.diverged()), (intents, 0));
    world.store();
    (world, seen)
}

/// The executor: something becomes of one of the orders whose approval is stored.
fn act(
    world: &mut World,
    model: &mut Model,
    random: &mut Random,
    states: &mut BTreeMap<OrderId, Option<OrderState>>,
    seen: &mut Seen,
) {
    let stored = |order: &&OrderId| !world.pending.iter().any(|verdict| verdict.order == **order);
    let orders: Vec<OrderId> = model.open.keys().filter(stored).cloned().collect();
    if orders.is_empty() {
        return;
    }
    let order = orders[usize::try_from(random.below(orders.len() as u64)).unwrap()].clone();
    let from = states.get(&order).copied().flatten();
    let legal: Vec<OrderState> = OrderState::ALL.into_iter().filter(|state| state.may_follow(from)).collect();
    let mut to = random.one(&legal);
    let (intent, filled) = model.open[&order].clone();
    let left = intent.quantity - filled;
    let is_fill = matches!(to, OrderState::PartiallyFilled | OrderState::Filled);
    let share = Decimal::new(i64::try_from(random.below(90)).unwrap() + 5, 2);
    let quantity = if to == OrderState::Filled { left } else { (left * share).round_dp(3) };
    if is_fill && quantity.is_zero() {
        to = OrderState::Cancelled;
    }
    seen.unknown += usize::from(to == OrderState::Unknown);
    let is_fill = matches!(to, OrderState::PartiallyFilled | OrderState::Filled);
    let price = intent.limit_price.unwrap_or(model.marks[&intent.symbol]);
    world.event(&order, &[to], is_fill.then_some((quantity, price)));
    if is_fill {
        model.fill(&order, quantity, price);
    }
    if to.is_final() {
        model.open.remove(&order);
    }
    states.insert(order, Some(to));
    if is_fill {
        model.observe();
    }
}

#[test]
fn ten_thousand_random_orders_stay_within_every_limit() {
    let mut all = Seen::default();
    for seed in 1..=10 {
        let (_, seen) = play(seed, 1_000);
        for (guard, count) in seen.guards {
            *all.guards.entry(guard).or_default() += count;
        }
        all.reducing += seen.reducing;
        all.unknown += seen.unknown;
    }
    println!("{:?}, {} reducing, {} unknown", all.guards, all.reducing, all.unknown);
    // A guard that never spoke was not tested.
    let guards =
        [Guard::Notional, Guard::Exposure, Guard::Drawdown, Guard::KillSwitch, Guard::Collar, Guard::Rate, Guard::Strategy];
    for guard in guards.map(Some).into_iter().chain([None]) {
        assert!(all.guards.get(&guard).is_some_and(|count| *count > 20), "{guard:?}: {:?}", all.guards);
    }
    assert!(all.reducing > 100 && all.unknown > 100, "{} {}", all.reducing, all.unknown);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_story_agrees_with_the_model(seed in any::<u64>()) {
        play(seed, 120);
    }
}

fn verdicts_in(log: &[Delivery]) -> Vec<Vec<u8>> {
    log.iter().filter(|message| message.subject.starts_with("risk.verdict.")).map(|message| message.payload.to_vec()).collect()
}

#[test]
fn the_recorded_ledger_gives_the_recorded_verdicts_byte_for_byte() {
    let (world, _) = play(77, 1_000);
    let recorded = verdicts_in(&world.log);
    assert_eq!(recorded.len(), 1_000);
    for _ in 0..2 {
        let again: Vec<Vec<u8>> = replay(world.log.iter(), None).iter().map(encode).collect();
        assert_eq!(again, recorded);
    }
}

#[test]
fn a_state_saved_at_any_message_goes_on_to_the_same_bytes() {
    let (world, _) = play(78, 150);
    // What each message makes the machine publish, and its state at the end.
    let run = |mut risk: Risk, from: usize| {
        let mut decided = Vec::new();
        for delivery in &world.log[from..] {
            let mut effects = Effects::default();
            let _ = risk.apply(delivery.stored_at, Risk::decode(delivery).unwrap(), &mut effects);
            decided.extend(effects.drain().map(|effect| effect.payload));
        }
        (decided, risk.save())
    };
    let (all, end) = run(Risk::default(), 0);
    assert_eq!(all, verdicts_in(&world.log));
    let mut risk = Risk::default();
    let mut decided = 0;
    for (index, delivery) in world.log.iter().enumerate() {
        let mut loaded = Risk::default();
        loaded.load(&risk.save()).unwrap();
        assert_eq!(loaded.save(), risk.save(), "at {index}");
        let (rest, state) = run(loaded, index);
        assert!(rest == all[decided..] && state == end, "differs after a restart before message {index}");
        let mut effects = Effects::default();
        let _ = risk.apply(delivery.stored_at, Risk::decode(delivery).unwrap(), &mut effects);
        decided += effects.items().len();
    }
    assert!(Risk::default().load(b"nonsense").is_err());
}

#[test]
fn other_limits_are_tried_on_the_recorded_day() {
    let (world, _) = play(79, 600);
    let recorded: BTreeMap<OrderId, Verdict> =
        replay(world.log.iter(), None).into_iter().map(|verdict| (verdict.order.clone(), verdict)).collect();
    let mut limits = world.risk.limits().clone();
    // The same limits: the same verdicts, but for the place of the limits.
    for verdict in replay(world.log.iter(), Some(limits.clone())) {
        let known = &recorded[&verdict.order];
        assert_eq!(verdict.guard, known.guard, "{}", verdict.reason);
    }
    limits.default.notional_usd_max = d("500");
    let strict = replay(world.log.iter(), Some(limits.clone()));
    assert_eq!(strict.len(), recorded.len());
    let large =
        |verdict: &Verdict| verdict.checks.iter().any(|check| check.guard == Guard::Notional && check.value > Some(d("500")));
    assert!(strict.iter().filter(|verdict| verdict.guard == Some(Guard::Notional)).all(large));
    assert!(strict.iter().filter(|verdict| verdict.approved).count() < recorded.values().filter(|v| v.approved).count());
    // Stricter about the age of marks than the record: what waits there is refused, and nothing stays behind.
    limits.default.mark_age_ms_max = 1;
    let hurried = replay(world.log.iter(), Some(limits));
    assert_eq!(hurried.len(), recorded.len());
    assert!(hurried.iter().any(|verdict| verdict.guard == Some(Guard::StalePrice)));
}

#[test]
fn a_verdict_survives_its_encoding() {
    let mut world = World::new();
    let verdict = world.ask("s", "buy 1.500 @ 100.10").unwrap();
    assert!(verdict.validate().is_ok());
    assert_eq!(decode_payload::<Verdict>(&encode(&verdict)).unwrap(), verdict);
    assert_eq!(world.log.last().unwrap().subject, subject::verdict(&verdict.order));
}
