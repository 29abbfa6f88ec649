//! Ten thousand random orders of many strategies at once, against a model that knows nothing of Spark's own bookkeeping.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use spark_bus_schema::market::Side;
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{OrderEvent, OrderIntent, OrderState, OrderType, TimeInForce};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, Message, OrderId, Timestamp, Venue, encode};
use spark_nats::{Bus, Delivery, Follower, Start, SubjectWriter};
use spark_tests::checker::{ledger_problems, stories, unfinished};
use spark_tests::orders::{is, record};
use spark_tests::system::System;
use spark_tests::wait::until;
use tokio::time::timeout;

use crate::setting::{LIMIT, desk, pin, system, turn};

const INTENTS: usize = 10_000;
const STRATEGIES: usize = 12;
const IN_FLIGHT: usize = 200;
/// Orders of one strategy on their way at once.
const BURST: usize = 3;
const EXPOSURE_MAX: i64 = 50_000;
const LOSER: &str = "loser";

const CONFIG: &str = r#"
[risk.default]
capital_usd = "1000000"
orders_per_minute_max = 1000000
drawdown_pct_max = "90"
[executor.binance]
balances = { USDT = "10000000", BTC = "1000", ETH = "10000" }
[executor.btcturk]
balances = { TRY = "400000000", BTC = "1000" }
[risk.strategy.loser]
capital_usd = "400"
drawdown_pct_max = "15"
"#;

/// Price and the smallest step of quantity.
const MARKETS: [(Venue, &str, &str, &str, &str); 3] = [
    (Venue::Binance, "BTCUSDT", "60000.00", "60010.00", "0.001"),
    (Venue::Binance, "ETHUSDT", "3000.00", "3000.50", "0.01"),
    (Venue::Btcturk, "BTCTRY", "2400000", "2400400", "0.001"),
];

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a plain number")
}

fn intent(strategy: &str, key: &str, market: usize, side: Side, quantity: Decimal, limit: Option<Decimal>) -> OrderIntent {
    let (exchange, symbol, ..) = MARKETS[market];
    OrderIntent {
        order: OrderId::derive(strategy, key),
        key: key.to_owned(),
        strategy: strategy.to_owned(),
        actor: "test".to_owned(),
        exchange,
        symbol: symbol.to_owned(),
        side,
        order_type: if limit.is_some() { OrderType::Limit } else { OrderType::Market },
        time_in_force: if limit.is_some() { TimeInForce::Gtc } else { TimeInForce::Ioc },
        quantity,
        limit_price: limit,
        requested_at: Timestamp::from_millis(1),
        reason: None,
        decided_at: None,
    }
}

/// The same random orders in every run: sizes around what the limits allow, resting ones among them.
fn random_intents() -> Vec<OrderIntent> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    (0..INTENTS)
        .map(|index| {
            let market = usize::try_from(next(3)).expect("small");
            let side = if next(100) < 52 { Side::Buy } else { Side::Sell };
            let (.., bid, ask, step) = MARKETS[market];
            let lots = Decimal::from(1 + next(if market == 1 { 360 } else { 180 }));
            // One in two hundred rests below or above the market and keeps its quantity reserved.
            let limit = (next(200) == 0).then(|| match side {
                Side::Buy => decimal(bid) - Decimal::from(next(50) + 1),
                Side::Sell => decimal(ask) + Decimal::from(next(50) + 1),
            });
            let limit = limit.map(|price| if MARKETS[market].0 == Venue::Btcturk { price.trunc() } else { price });
            intent(&format!("s{}", next(STRATEGIES as u64)), &format!("k{index}"), market, side, lots * decimal(step), limit)
        })
        .collect()
}

async fn place(bus: &Bus, intent: OrderIntent) {
    let target = subject::intent(&intent.order);
    let mut writer = SubjectWriter::at(bus.clone(), LEDGER, target.clone(), 0);
    writer.append(OrderIntent::KIND, Bytes::from(encode(&intent)), &target).await.expect("stored once");
}

async fn place_all(bus: &Bus, intents: Vec<OrderIntent>) {
    stream::iter(intents).for_each_concurrent(IN_FLIGHT, |intent| place(bus, intent)).await;
}

/// Every strategy at once, each one order after another: the next is asked for as soon as the one before has a verdict.
/// Bursts of all of them and positions that come and go are then both there.
async fn place_as_strategies(bus: &Bus, intents: Vec<OrderIntent>) {
    let mut follower = Follower::start(bus.clone(), "strategy", LEDGER, vec![subject::VERDICTS.to_owned()], Start::Beginning);
    let mut queues: BTreeMap<String, VecDeque<OrderIntent>> = BTreeMap::new();
    for intent in intents {
        queues.entry(intent.strategy.clone()).or_default().push_back(intent);
    }
    let mut asked: Vec<OrderIntent> = queues.values_mut().flat_map(|queue| queue.drain(..BURST.min(queue.len()))).collect();
    while !asked.is_empty() || queues.values().any(|queue| !queue.is_empty()) {
        place_all(bus, std::mem::take(&mut asked)).await;
        for delivery in timeout(LIMIT, follower.next()).await.expect("verdicts come").expect("a follower does not end") {
            let verdict: Verdict = delivery.decode().expect("a verdict");
            asked.extend(queues.get_mut(&verdict.intent.strategy).and_then(VecDeque::pop_front));
        }
    }
}

/// Waits until every order has a verdict, and every market order an end.
async fn settled(bus: &Bus, count: usize) -> Vec<Delivery> {
    until(&format!("{count} orders are decided and done"), LIMIT * 3, async || {
        let record = record(bus).await;
        let stories = stories(&record);
        let resting = |story: &spark_tests::checker::Story| {
            story.intent.as_ref().is_some_and(|intent| intent.order_type == OrderType::Limit)
                && story.state() == Some(OrderState::Submitted)
        };
        let open = stories.values().filter(|story| !story.is_over() && !resting(story)).count();
        if stories.len() >= count && open == 0 {
            return Ok(record);
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        Err(format!("{} orders, {open} of them open: {:.400}", stories.len(), unfinished(&stories).join("; ")))
    })
    .await
}

/// What a symbol holds and what may still come, from the LEDGER's messages alone.
#[derive(Default)]
struct Holding {
    position: Decimal,
    /// Approved and not over: side and what is left of it.
    open: BTreeMap<OrderId, (Side, Decimal)>,
}

impl Holding {
    fn reserved(&self, side: Side) -> Decimal {
        self.open.values().filter(|(of, _)| *of == side).map(|(_, left)| *left).sum()
    }

    /// Largest position that may come of it, either sign.
    fn worst(&self) -> Decimal {
        (self.position + self.reserved(Side::Buy)).abs().max((self.position - self.reserved(Side::Sell)).abs())
    }
}

/// Walks through the record and checks every event of it.
#[derive(Default)]
struct Model {
    holdings: BTreeMap<(Venue, String), Holding>,
    marks: BTreeMap<(Venue, String), Decimal>,
    problems: Vec<String>,
    reduced: usize,
}

impl Model {
    fn step(&mut self, delivery: &Delivery) {
        if is(delivery, subject::MARKS) {
            let mark: Mark = delivery.decode().expect("a mark");
            self.marks.insert((mark.venue, mark.symbol), mark.price * mark.quote_usd);
        } else if is(delivery, subject::VERDICTS) {
            self.verdict(&delivery.decode().expect("a verdict"));
        } else if is(delivery, subject::ORDER_EVENTS) {
            self.event(&delivery.decode().expect("an event"));
        } else {
            return;
        }
        self.check(delivery.sequence);
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let intent = &verdict.intent;
        let holding = self.holdings.entry((intent.exchange, intent.symbol.clone())).or_default();
        if verdict.approved {
            holding.open.insert(intent.order.clone(), (intent.side, intent.quantity));
        }
        // Decided on what was known then, which the verdict names; an order that only reduces that is always let out.
        let (held, reserved) = match intent.side {
            Side::Sell => (verdict.position, verdict.reserved_sell),
            Side::Buy => (-verdict.position, verdict.reserved_buy),
        };
        if held > Decimal::ZERO && held >= reserved + intent.quantity {
            self.reduced += 1;
            if matches!(verdict.guard, Some(Guard::Exposure | Guard::Drawdown | Guard::Rate)) {
                self.problems.push(format!("{}: reduces, and was refused by {:?}", intent.order, verdict.guard));
            }
        }
    }

    fn event(&mut self, event: &OrderEvent) {
        let holding = self.holdings.entry((event.exchange, event.symbol.clone())).or_default();
        for fill in event.steps.iter().filter_map(|step| step.fill.as_ref()) {
            // A fee in the base asset leaves less than was bought.
            let fee = if event.symbol.starts_with(&fill.fee_asset) { fill.fee } else { Decimal::ZERO };
            holding.position += if event.side == Side::Buy { fill.quantity - fee } else { -fill.quantity - fee };
        }
        if event.state().is_final() {
            holding.open.remove(&event.order);
        } else if let Some((_, left)) = holding.open.get_mut(&event.order) {
            *left = event.quantity - event.filled;
        }
    }

    fn check(&mut self, sequence: u64) {
        for (market, holding) in &self.holdings {
            let Some(mark) = self.marks.get(market) else { continue };
            let exposure = holding.worst() * mark;
            if exposure > Decimal::from(EXPOSURE_MAX) {
                self.problems.push(format!("{sequence}: exposure of {market:?} is {exposure} USD"));
            }
        }
    }
}

async fn markets_stand_still(system: &System) {
    for (venue, symbol, bid, ask, _) in MARKETS {
        pin(system, venue.as_str(), symbol, bid, ask).await;
    }
    pin(system, "btcturk", "USDTTRY", "40.000", "40.010").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_at_any_event_and_whoever_reduces_gets_out() {
    let _turn = turn().await;
    let system = system(CONFIG).await;
    markets_stand_still(&system).await;
    let bus = system.bus("strategy").await;
    let operator = system.bus("operator").await;
    place_as_strategies(&bus, random_intents()).await;
    let record = settled(&operator, INTENTS).await;
    let mut model = Model::default();
    record.iter().for_each(|delivery| model.step(delivery));
    assert_eq!(model.problems, Vec::<String>::new());
    let stories = stories(&record);
    assert_eq!(ledger_problems(&stories), Vec::<String>::new());
    // The limits were reached, and orders got through: otherwise nothing was tested.
    let verdicts: Vec<&Verdict> = stories.values().filter_map(|story| story.verdicts.first()).collect();
    let refused = |guard| verdicts.iter().filter(|verdict| verdict.guard == Some(guard)).count();
    let approved = verdicts.iter().filter(|verdict| verdict.approved).count();
    let guards = verdicts.iter().fold(BTreeMap::new(), |mut guards: BTreeMap<_, usize>, verdict| {
        *guards.entry(verdict.guard).or_default() += 1;
        guards
    });
    let told = format!("{guards:?}, reducing {}", model.reduced);
    assert!(approved > 500 && refused(Guard::Notional) > 500 && refused(Guard::Exposure) > 500 && model.reduced > 100, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strategy_that_only_loses_is_stopped_and_the_kill_switch_stops_all_until_it_is_off() {
    let _turn = turn().await;
    let system = system(CONFIG).await;
    markets_stand_still(&system).await;
    let (bus, operator, desk) = (system.bus("strategy").await, system.bus("operator").await, desk(&system));

    // Buys and sells at once: each round costs the spread and two fees.
    let quantity = decimal("0.1");
    let mut stopped = None;
    for round in 0..40 {
        for side in [Side::Buy, Side::Sell] {
            let intent = intent(LOSER, &format!("{round}/{side:?}"), 0, side, quantity, None);
            let order = intent.order.clone();
            place(&bus, intent).await;
            let verdict = until("it is decided and done", LIMIT, async || {
                let stories = stories(&record(&operator).await);
                let story = stories.get(&order).filter(|story| story.is_over());
                story.and_then(|story| story.verdicts.first().cloned()).ok_or("not yet")
            })
            .await;
            if verdict.guard == Some(Guard::Drawdown) {
                stopped = Some(round);
            } else {
                assert!(verdict.approved, "{verdict:?}");
            }
        }
        if stopped.is_some() {
            break;
        }
    }
    assert!(stopped.is_some_and(|round| round > 1), "a loss of 15 % of 400 USD must stop it, not before: {stopped:?}");
    // Others go on.
    place(&bus, intent("winner", "1", 0, Side::Buy, decimal("0.01"), None)).await;
    let verdict_of = async |strategy: &str, key: &str| {
        let order = OrderId::derive(strategy, key);
        until("there is a verdict", LIMIT, async || {
            let record = record(&operator).await;
            let found = record.iter().find(|delivery| delivery.subject == subject::verdict(&order));
            found.map(|delivery| (delivery.sequence, delivery.decode::<Verdict>().expect("a verdict"))).ok_or("not yet")
        })
        .await
    };
    assert!(verdict_of("winner", "1").await.1.approved);

    // While orders flow, everything is stopped.
    let flood = |from: usize| {
        (from..from + 300).map(|index| {
            intent("flood", &format!("f{index}"), 1, if index % 2 == 0 { Side::Buy } else { Side::Sell }, decimal("0.1"), None)
        })
    };
    let (first, second) = (flood(0).collect(), flood(300).collect());
    tokio::join!(place_all(&bus, first), desk.kill_switch(true, true));
    place_all(&bus, second).await;
    let (probe_at, probe) = {
        place(&bus, intent("winner", "2", 0, Side::Buy, decimal("0.01"), None)).await;
        verdict_of("winner", "2").await
    };
    assert_eq!(probe.guard, Some(Guard::KillSwitch), "{probe:?}");
    let all = settled(&operator, 0).await;
    let killed_at = all.iter().find(|delivery| delivery.subject == subject::KILL_SWITCH).expect("it is in the ledger").sequence;
    let stories_then = stories(&all);
    for delivery in &all {
        if is(delivery, subject::VERDICTS) {
            let verdict: Verdict = delivery.decode().unwrap();
            assert!(!verdict.approved || verdict.decided_on < killed_at, "approved after the kill switch: {verdict:?}");
        }
        if is(delivery, subject::ORDER_EVENTS) && delivery.sequence > killed_at {
            let event: OrderEvent = delivery.decode().unwrap();
            let sent = event.steps.iter().any(|step| matches!(step.state, OrderState::Submitted | OrderState::Filled));
            let known_late = event.verdict_sequence > killed_at || delivery.sequence > probe_at;
            assert!(!(event.revision == 1 && sent && known_late), "sent after the kill switch: {event:?}");
        }
    }
    assert_eq!(ledger_problems(&stories_then), Vec::<String>::new());

    desk.kill_switch(false, false).await;
    place(&bus, intent("winner", "3", 0, Side::Buy, decimal("0.01"), None)).await;
    assert!(verdict_of("winner", "3").await.1.approved);
}
