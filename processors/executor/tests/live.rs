//! Live trading against the simulated exchanges, over their real protocols.

mod support;

use serde_json::json;
use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Evidence, OrderId, OrderState};
use spark_bus_schema::strategies::{StrategyRegistered, StrategyStatus};
use spark_bus_schema::{Message as _, subject};
use spark_nats::testing::TestBroker;
use support::sim::{BINANCE, BTCTURK, Exchange};
use support::{Process, Wish, World, limit, market};

struct Stage {
    exchange: Exchange,
    world: World,
    executor: Process,
    broker: TestBroker,
}

impl Stage {
    async fn binance() -> Self {
        let (broker, exchange) = (TestBroker::start().await, Exchange::start().await);
        let config = exchange.binance(broker.dir(), true);
        let executor = Process::start(&broker, "executor", &config).await;
        let world = World::new(&broker).await;
        Self { exchange, world, executor, broker }
    }

    async fn btcturk() -> Self {
        let (broker, exchange) = (TestBroker::start().await, Exchange::start().await);
        let config = exchange.btcturk(broker.dir());
        let executor = Process::start(&broker, "executor", &config).await;
        let mut world = World::new(&broker).await;
        world.quote(BTCTURK, "BTCTRY", "2000000", "2000100", "1").await;
        Self { exchange, world, executor, broker }
    }

    async fn restart(self) -> Self {
        let Self { exchange, world, executor, broker } = self;
        executor.kill().await;
        let config = exchange.binance(broker.dir(), true);
        let executor = Process::start(&broker, "executor", &config).await;
        Self { exchange, world, executor, broker }
    }

    async fn order(&mut self, wish: Wish, state: OrderState) -> OrderId {
        let order = self.world.approve(&wish).await;
        self.world.until_state(&order, state).await;
        order
    }

    /// Nothing was halted, every order was sent once, and what follows is compared and found equal.
    async fn end(mut self, exchange: &str) {
        let seen = self.world.reconciliations.len();
        self.world.until("another comparison", |world| world.reconciliations.len() > seen + 2).await;
        for reconciliation in &self.world.reconciliations {
            assert_eq!(reconciliation.halted, None, "{reconciliation:?}");
        }
        for order in self.world.events.keys() {
            assert!(self.exchange.submits(exchange, order).await <= 1, "{order}: {}", self.world.history(order));
        }
        self.executor.stop().await;
        self.exchange.sim.stop().await;
    }
}

#[tokio::test]
async fn orders_trade_rest_and_are_cancelled_at_binance() {
    let mut stage = Stage::binance().await;
    let bought = stage.order(market("a", "0.1"), OrderState::Settled).await;
    assert_eq!(stage.world.history(&bought), "pending submitted filled+0.1");
    let resting = stage.order(limit("b", "0.2", "59000"), OrderState::Submitted).await;
    stage
        .exchange
        .admin("/sim/orders/fill", json!({"exchange": "binance", "client_id": resting.client_id(), "quantity": "0.05"}))
        .await;
    stage.world.until_state(&resting, OrderState::PartiallyFilled).await;
    stage.world.cancel(&resting).await;
    stage.world.until_state(&resting, OrderState::Cancelled).await;
    assert_eq!(stage.world.history(&resting), "pending submitted partially_filled+0.05 cancelled");
    let mut refused = market("c", "900");
    refused.side = Side::Sell;
    let refused = stage.order(refused, OrderState::Rejected).await;
    let reason = stage.world.events[&refused].last().unwrap().steps.last().unwrap().reason.clone().unwrap();
    assert!(reason.contains("insufficient") || reason.contains("LOT_SIZE"), "{reason}");
    stage.end("binance").await;
}

#[tokio::test]
async fn ambiguous_submit_is_asked_before_resend() {
    let mut stage = Stage::binance().await;
    stage.order(market("warm", "0.01"), OrderState::Filled).await;
    stage.exchange.fault(json!({"exchange": "binance", "kind": "lost_after", "n": 1})).await;
    let order = stage.order(market("a", "0.1"), OrderState::Settled).await;
    assert_eq!(stage.exchange.fills("binance", &order).await, 1);
    stage.exchange.fault(json!({"exchange": "binance", "kind": "lost_before", "code": 503, "n": 1})).await;
    let lost = stage.order(market("b", "0.1"), OrderState::Rejected).await;
    assert_eq!(stage.world.history(&lost), "pending unknown rejected");
    assert_eq!(stage.world.events[&lost].last().unwrap().steps[0].evidence, Evidence::Query);
    stage.end("binance").await;
}

#[tokio::test]
async fn restart_keeps_working_orders_of_an_exchange_and_finds_what_happened_meanwhile() {
    let mut stage = Stage::binance().await;
    let open = stage.order(limit("a", "0.1", "59000"), OrderState::Submitted).await;
    let filled = stage.order(limit("b", "0.1", "58000"), OrderState::Submitted).await;
    let Stage { exchange, world, executor, broker } = stage;
    executor.kill().await;
    exchange.admin("/sim/orders/fill", json!({"exchange": "binance", "client_id": filled.client_id()})).await;
    let config = exchange.binance(broker.dir(), true);
    let executor = Process::start(&broker, "executor", &config).await;
    let mut stage = Stage { exchange, world, executor, broker };
    stage.world.until_state(&filled, OrderState::Settled).await;
    assert_eq!(stage.world.state(&open), Some(OrderState::Submitted));
    stage = stage.restart().await;
    let next = stage.order(market("c", "0.1"), OrderState::Filled).await;
    assert_eq!(stage.world.history(&next), "pending submitted filled+0.1");
    stage.end("binance").await;
}

#[tokio::test]
async fn reconnect_pulls_executions() {
    let mut stage = Stage::binance().await;
    let order = stage.order(limit("a", "0.1", "59000"), OrderState::Submitted).await;
    // Neither told by the stream nor by a second copy of it.
    stage.exchange.fault(json!({"exchange": "binance", "kind": "skip", "n": 20})).await;
    stage.exchange.admin("/sim/orders/fill", json!({"exchange": "binance", "client_id": order.client_id()})).await;
    stage.exchange.fault(json!({"exchange": "binance", "kind": "cut"})).await;
    stage.world.until_state(&order, OrderState::Settled).await;
    assert_eq!(stage.world.history(&order), "pending submitted filled+0.1");
    stage.end("binance").await;
}

#[tokio::test]
async fn exchange_restarts_with_other_state_halts_trading() {
    let mut stage = Stage::binance().await;
    stage.order(market("a", "0.1"), OrderState::Filled).await;
    let open = stage.order(limit("b", "0.1", "59000"), OrderState::Submitted).await;
    stage.world.until("a clean comparison", |world| world.reconciliations.iter().any(|r| r.exchange == BINANCE)).await;
    stage.exchange.admin("/sim/state/reset", json!({"exchange": "binance"})).await;
    stage.world.until("a halt", |world| world.reconciliations.iter().any(|r| r.halted.is_some())).await;
    let refused = stage.order(market("c", "0.1"), OrderState::Cancelled).await;
    assert_eq!(stage.exchange.submits("binance", &refused).await, 0);
    let halted = stage.world.reconciliations.iter().filter_map(|r| r.halted.clone()).next().unwrap();
    assert!(halted.contains("positions") || halted.contains("open_orders"), "{halted}");
    stage.world.resume(BINANCE).await;
    stage.world.until_state(&open, OrderState::Cancelled).await;
    let again = stage.order(market("d", "0.1"), OrderState::Filled).await;
    assert_eq!(stage.exchange.submits("binance", &again).await, 1);
    stage.executor.stop().await;
}

#[tokio::test]
async fn orphan_order_found_by_sweep() {
    let mut stage = Stage::binance().await;
    stage.order(market("a", "0.1"), OrderState::Filled).await;
    let orphan = OrderId::derive("manual", "never approved").client_id();
    let body = json!({"exchange": "binance", "symbol": "BTCUSDT", "side": "buy", "quantity": "0.1", "price": "50000", "client_id": orphan});
    stage.exchange.admin("/sim/orders", body).await;
    let found = |world: &World| world.reconciliations.iter().any(|r| r.orphans.contains(&orphan) && r.halted.is_some());
    stage.world.until("an orphan", found).await;
    stage.executor.stop().await;
}

#[tokio::test]
async fn a_key_that_may_not_trade_is_an_error_of_its_exchange_alone() {
    let (broker, exchange) = (TestBroker::start().await, Exchange::start().await);
    let mut world = World::new(&broker).await;
    world.quote(BTCTURK, "BTCTRY", "2000000", "2000100", "1").await;
    let executor = Process::start(&broker, "executor", &exchange.binance(broker.dir(), false)).await;
    let order = world.approve(&market("a", "0.1")).await;
    world.until_state(&order, OrderState::Cancelled).await;
    assert!(world.events[&order][0].steps[1].reason.as_ref().unwrap().contains("may not trade"));
    assert_eq!(exchange.submits("binance", &order).await, 0);
    let other = world.approve(&Wish { venue: BTCTURK, symbol: "BTCTRY", ..market("b", "0.1") }).await;
    world.until("a paper fill", |world| world.history(&other).ends_with("filled+0.1")).await;
    executor.stop().await;
}

#[tokio::test]
async fn nothing_leaves_after_the_kill_switch_and_open_orders_are_cancelled() {
    let mut stage = Stage::binance().await;
    let open = stage.order(limit("a", "0.1", "59000"), OrderState::Submitted).await;
    stage.world.kill_switch(true, true).await;
    stage.world.until_state(&open, OrderState::Cancelled).await;
    let refused = stage.order(market("b", "0.1"), OrderState::Cancelled).await;
    assert_eq!(stage.exchange.submits("binance", &refused).await, 0);
    stage.end("binance").await;
}

#[tokio::test]
async fn orders_trade_rest_and_are_cancelled_at_btcturk() {
    let mut stage = Stage::btcturk().await;
    let wish = |wish: Wish| Wish { venue: BTCTURK, symbol: "BTCTRY", ..wish };
    let bought = stage.order(wish(market("a", "0.01")), OrderState::Settled).await;
    assert_eq!(stage.world.history(&bought), "pending submitted filled+0.01");
    let resting = stage.order(wish(limit("b", "0.01", "1900000")), OrderState::Submitted).await;
    stage.world.cancel(&resting).await;
    stage.world.until_state(&resting, OrderState::Cancelled).await;
    stage.exchange.fault(json!({"exchange": "btcturk", "kind": "lost_after", "n": 1})).await;
    let ambiguous = stage.order(wish(limit("c", "0.01", "1900000")), OrderState::Submitted).await;
    assert_eq!(stage.exchange.submits("btcturk", &ambiguous).await, 1);
    let ioc = Wish { tif: spark_bus_schema::orders::TimeInForce::Ioc, ..wish(limit("d", "0.01", "2000100")) };
    let unsupported = stage.order(ioc, OrderState::Rejected).await;
    assert_eq!(stage.world.events[&unsupported].last().unwrap().steps[0].evidence, Evidence::NeverSent);
    stage.end("btcturk").await;
}

#[tokio::test]
async fn what_the_exchange_tells_twice_late_or_not_at_all_is_counted_once() {
    let mut stage = Stage::binance().await;
    stage.order(market("warm", "0.01"), OrderState::Filled).await;
    let fault = |kind: serde_json::Value| {
        let mut body = json!({"exchange": "binance", "n": 1});
        body.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
        body
    };
    stage.exchange.fault(fault(json!({"kind": "duplicate", "n": 6}))).await;
    let twice = stage.order(market("twice", "0.02"), OrderState::Settled).await;
    assert_eq!(stage.world.history(&twice), "pending submitted filled+0.02");

    stage.exchange.fault(fault(json!({"kind": "part_expire"}))).await;
    let part = stage.order(limit("part", "0.02", "59000"), OrderState::Expired).await;
    assert_eq!(stage.world.history(&part), "pending submitted partially_filled+0.01 expired");

    stage.exchange.fault(fault(json!({"kind": "reject", "late": true}))).await;
    let late = stage.order(limit("late", "0.02", "59000"), OrderState::Rejected).await;
    assert!(stage.world.history(&late).ends_with("rejected"), "{}", stage.world.history(&late));

    let raced = stage.order(limit("raced", "0.02", "59000"), OrderState::Submitted).await;
    stage.exchange.fault(fault(json!({"kind": "cancel_race"}))).await;
    stage.world.cancel(&raced).await;
    stage.world.until_state(&raced, OrderState::Settled).await;
    assert_eq!(stage.world.history(&raced), "pending submitted filled+0.02");

    // The stream loses the next frames, the cancel's answer is lost too.
    let silent = stage.order(limit("silent", "0.02", "59000"), OrderState::Submitted).await;
    stage.exchange.fault(fault(json!({"kind": "skip", "n": 4}))).await;
    stage.exchange.fault(fault(json!({"kind": "lost_after", "method": "DELETE"}))).await;
    stage.world.cancel(&silent).await;
    stage.world.until_state(&silent, OrderState::Cancelled).await;
    stage.end("binance").await;
}

#[tokio::test]
async fn client_id_reuse_after_fill_does_not_trade_twice() {
    let mut stage = Stage::binance().await;
    let order = stage.order(market("a", "0.1"), OrderState::Settled).await;
    // The approval comes again (somebody replays the message): the LEDGER knows the order, whatever the exchange would take.
    stage.world.approve(&market("a", "0.1")).await;
    let next = stage.order(market("b", "0.1"), OrderState::Settled).await;
    assert_eq!((stage.exchange.submits("binance", &order).await, stage.exchange.submits("binance", &next).await), (1, 1));
    assert_eq!(stage.exchange.fills("binance", &order).await, 1);
    stage.end("binance").await;
}

#[tokio::test]
async fn outage_during_submit_keeps_tracking() {
    let mut stage = Stage::binance().await;
    stage.order(market("warm", "0.01"), OrderState::Filled).await;
    // Everything breaks for a while: the submit is executed and its answer lost, and nobody can be asked.
    stage.exchange.fault(json!({"exchange": "binance", "kind": "lost_after", "n": 1})).await;
    stage.exchange.fault(json!({"exchange": "binance", "kind": "status", "code": 503, "method": "GET", "for_ms": 2_500})).await;
    stage.exchange.fault(json!({"exchange": "binance", "kind": "cut"})).await;
    let order = stage.world.approve(&limit("a", "0.1", "59000")).await;
    stage
        .world
        .until("it is unknown or known", |world| world.state(&order).is_some_and(|state| state != OrderState::Pending))
        .await;
    stage.world.until_state(&order, OrderState::Submitted).await;
    stage.world.cancel(&order).await;
    stage.world.until_state(&order, OrderState::Cancelled).await;
    stage.end("binance").await;
}

#[tokio::test]
async fn a_takeover_in_the_middle_of_orders_sends_each_of_them_once() {
    let mut stage = Stage::binance().await;
    let config = stage.exchange.binance(stage.broker.dir(), true);
    let standby = Process::start(&stage.broker, "standby", &config).await;
    stage.order(market("warm", "0.001"), OrderState::Filled).await;
    let mut orders = Vec::new();
    for number in 0..20 {
        orders.push(stage.world.approve(&market(&format!("{number}"), "0.001")).await);
    }
    let Stage { exchange, world, executor, broker } = stage;
    executor.kill().await;
    let mut stage = Stage { exchange, world, executor: standby, broker };
    let all = orders.clone();
    stage
        .world
        .until("all orders final", move |world| all.iter().all(|order| world.state(order).is_some_and(OrderState::is_final)))
        .await;
    for order in &orders {
        let (submits, fills) = (stage.exchange.submits("binance", order).await, stage.exchange.fills("binance", order).await);
        let history = stage.world.history(order);
        assert!(submits <= 1 && fills == usize::from(history.contains("filled+")), "{submits} {fills} {history}");
    }
    stage.end("binance").await;
}

#[tokio::test]
async fn a_strategy_on_paper_never_reaches_a_live_exchange_and_a_live_one_does() {
    let mut stage = Stage::binance().await;
    let register = async |stage: &Stage, status| {
        let entry = find(&StrategyRegistered::KIND.to_string()).unwrap();
        let mut strategy: StrategyRegistered = decode_payload(&(entry.sample)()).unwrap();
        (strategy.name, strategy.status) = ("manual".to_owned(), status);
        stage.world.command(&subject::registry("manual"), &strategy).await;
    };
    register(&stage, StrategyStatus::Paper).await;
    let refused = stage.order(market("a", "0.1"), OrderState::Rejected).await;
    let step = stage.world.events[&refused].last().unwrap().steps.last().unwrap().clone();
    assert_eq!(step.evidence, Evidence::NeverSent);
    assert!(step.reason.unwrap().contains("strategy manual is `paper`"));
    assert_eq!(stage.exchange.submits("binance", &refused).await, 0);
    register(&stage, StrategyStatus::Live).await;
    stage.order(market("b", "0.1"), OrderState::Settled).await;
    stage.end("binance").await;
}
