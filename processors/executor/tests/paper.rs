//! The paper exchange on a real broker: approvals in, order events out.

mod support;

use std::time::Duration;

use bytes::Bytes;
use spark_bus_schema::audit::AuditDamage;
use spark_bus_schema::orders::{Evidence, OrderEvent, OrderId, OrderState};
use spark_bus_schema::{Message as _, Venue, subject};
use spark_executor::Config;
use spark_nats::testing::TestBroker;
use spark_nats::{Meta, SubjectWriter};
use support::{Process, World, limit, market, quick};

#[tokio::test]
async fn approvals_become_fills_and_the_account_is_compared() {
    let broker = TestBroker::start().await;
    let mut world = World::new(&broker).await;
    world.quote(Venue::Binance, "BTCUSDT", "99", "100", "3").await;
    let executor = Process::start(&broker, "executor", &quick()).await;
    let bought = world.approve(&market("a", "2")).await;
    world.until_state(&bought, OrderState::Filled).await;
    assert_eq!(world.history(&bought), "pending submitted filled+2");
    assert_eq!(world.events[&bought].len(), 1, "one event is one fsync");
    let short = world.approve(&market("b", "2")).await;
    world.until_state(&short, OrderState::Expired).await;
    assert_eq!(world.history(&short), "pending submitted partially_filled+1 expired");
    let poor = world.approve(&market("c", "900000")).await;
    world.until_state(&poor, OrderState::Rejected).await;
    assert!(world.events[&poor][0].steps[1].reason.as_ref().unwrap().contains("insufficient balance"));

    let resting = world.approve(&limit("d", "1", "95")).await;
    world.until_state(&resting, OrderState::Submitted).await;
    world.quote(Venue::Binance, "BTCUSDT", "94", "95", "0.4").await;
    world.until_state(&resting, OrderState::PartiallyFilled).await;
    world.cancel(&resting).await;
    world.until_state(&resting, OrderState::Cancelled).await;

    world.until_state(&bought, OrderState::Settled).await;
    let seen = world.reconciliations.len();
    world.until("a comparison", |world| world.reconciliations.len() > seen + 2).await;
    for reconciliation in &world.reconciliations {
        assert_eq!(reconciliation.halted, None, "{reconciliation:?}");
        assert!(reconciliation.invariants.iter().all(|invariant| invariant.holds), "{reconciliation:?}");
        assert_eq!(reconciliation.invariants.len(), 4);
    }
    executor.stop().await;
}

#[tokio::test]
async fn a_damage_report_that_cannot_be_read_halts_and_a_verdict_of_another_order_is_nobodys() {
    let broker = TestBroker::start().await;
    let mut world = World::new(&broker).await;
    world.quote(Venue::Binance, "BTCUSDT", "99", "100", "3").await;
    let executor = Process::start(&broker, "executor", &quick()).await;
    let elsewhere = market("a", "1").verdict();
    let target = subject::verdict(&OrderId::derive("manual", "b"));
    world.risk.publish(&target, &elsewhere, Meta::default()).await.unwrap();
    let bought = world.approve(&market("c", "1")).await;
    world.until_state(&bought, OrderState::Filled).await;
    assert!(!world.events.contains_key(&elsewhere.order), "{:?}", world.events);

    let auditor = broker.bus("auditor").await;
    auditor.store_kind(subject::AUDIT_DAMAGE, AuditDamage::KIND, Bytes::from_static(b"\xc1"), Meta::default()).await.unwrap();
    let late = world.approve(&market("d", "1")).await;
    world.until_state(&late, OrderState::Cancelled).await;
    assert_eq!(world.history(&late), "pending cancelled");
    executor.stop().await;
}

#[tokio::test]
async fn restart_keeps_working_orders() {
    let broker = TestBroker::start().await;
    let mut world = World::new(&broker).await;
    world.quote(Venue::Binance, "BTCUSDT", "99", "100", "1").await;
    let mut executor = Process::start(&broker, "executor", &quick()).await;
    let resting = world.approve(&limit("a", "2", "100")).await;
    world.until_state(&resting, OrderState::PartiallyFilled).await;
    for round in 0..3 {
        if round == 1 {
            executor.kill().await;
            // The saved state is lost too: the LEDGER alone must do.
            std::fs::remove_file(broker.dir().join("data/executor/checkpoint.sqlite")).unwrap();
        } else {
            executor.stop().await;
        }
        // Approved while nobody was there; and one that nobody came for in time.
        let waiting = world.approve(&limit(&format!("w{round}"), "1", "50")).await;
        let mut late = limit(&format!("l{round}"), "1", "50");
        late.good_for = Duration::ZERO;
        let late = world.approve(&late).await;
        executor = Process::start(&broker, "executor", &quick()).await;
        world.until_state(&waiting, OrderState::Submitted).await;
        world.until_state(&late, OrderState::Expired).await;
        assert_eq!(world.events[&late][0].steps[1].evidence, Evidence::NeverSent);
        assert_eq!(world.state(&resting), Some(OrderState::PartiallyFilled));
    }
    world.quote(Venue::Binance, "BTCUSDT", "98", "99", "5").await;
    world.until_state(&resting, OrderState::Filled).await;
    assert_eq!(world.history(&resting), "pending submitted partially_filled+1 filled+1");
    assert!(world.reconciliations.iter().all(|reconciliation| reconciliation.halted.is_none()));
    executor.stop().await;
}

#[tokio::test]
async fn two_executors_one_sends_and_the_standby_takes_over() {
    let broker = TestBroker::start().await;
    let mut world = World::new(&broker).await;
    world.quote(Venue::Binance, "BTCUSDT", "99", "100", "100000").await;
    let first = Process::start(&broker, "first", &quick()).await;
    let before = world.approve(&market("before", "1")).await;
    world.until_state(&before, OrderState::Filled).await;
    let second = Process::start(&broker, "second", &quick()).await;
    let mut orders = Vec::new();
    for number in 0..50 {
        orders.push(world.approve(&market(&format!("{number}"), "1")).await);
    }
    let all = orders.clone();
    world.until("fifty fills", move |world| all.iter().all(|order| world.history(order).ends_with("filled+1"))).await;
    first.stop().await;
    let after = world.approve(&market("after", "1")).await;
    world.until("a fill by the second", |world| world.history(&after).ends_with("filled+1")).await;
    for order in orders.iter().chain([&before, &after]) {
        assert_eq!(world.history(order), "pending submitted filled+1");
    }
    second.stop().await;
}

#[tokio::test]
async fn nothing_is_filled_after_the_kill_switch_until_it_is_off() {
    let broker = TestBroker::start().await;
    let mut world = World::new(&broker).await;
    world.quote(Venue::Binance, "BTCUSDT", "99", "100", "100").await;
    let executor = Process::start(&broker, "executor", &quick()).await;
    let resting = world.approve(&limit("rest", "1", "50")).await;
    world.until_state(&resting, OrderState::Submitted).await;
    world.kill_switch(true, true).await;
    let refused = world.approve(&market("no", "1")).await;
    world.until_state(&refused, OrderState::Cancelled).await;
    world.until_state(&resting, OrderState::Cancelled).await;
    assert_eq!(world.events[&refused][0].steps[1].evidence, Evidence::NeverSent);
    world.kill_switch(false, false).await;
    let again = world.approve(&market("yes", "1")).await;
    world.until("a fill", |world| world.history(&again).ends_with("filled+1")).await;
    executor.stop().await;
}

#[tokio::test]
async fn latency_is_a_claim_first_and_a_fill_later() {
    let broker = TestBroker::start().await;
    let mut world = World::new(&broker).await;
    world.quote(Venue::Binance, "BTCUSDT", "99", "100", "100").await;
    let mut config = quick();
    config.binance.latency_ms = 50;
    let executor = Process::start(&broker, "executor", &config).await;
    let order = world.approve(&market("a", "1")).await;
    world.until("a fill", |world| world.history(&order).ends_with("filled+1")).await;
    assert_eq!(world.events[&order][0].steps.len(), 1);
    executor.stop().await;
}

/// Somebody who should not be there has written the first event of an order: it is adopted, not overwritten.
#[tokio::test]
async fn another_writers_claim_is_adopted() {
    let broker = TestBroker::start().await;
    let mut world = World::new(&broker).await;
    world.quote(Venue::Binance, "BTCUSDT", "99", "100", "100").await;
    let order = OrderId::derive("manual", "a");
    let executor = Process::start(&broker, "executor", &Config { reconcile_ms: 60_000, ..quick() }).await;
    let probe = world.approve(&market("probe", "1")).await;
    world.until("a fill", |world| world.history(&probe).ends_with("filled+1")).await;
    let mut claim: OrderEvent = world.events[&probe][0].clone();
    claim.order = order.clone();
    claim.client_order_id = order.client_id();
    claim.steps.truncate(1);
    (claim.filled, claim.filled_quote) = (support::d("0"), support::d("0"));
    let bus = broker.bus("executor").await;
    let (mut writer, _) = SubjectWriter::open(bus, subject::LEDGER, subject::order_event(&order)).await.unwrap();
    writer.append(OrderEvent::KIND, spark_bus_schema::encode(&claim).into(), "x").await.unwrap();
    // An event before its verdict is nothing that the executor knows: its own claim meets it.
    world.approve(&market("a", "1")).await;
    let after = world.approve(&market("b", "1")).await;
    world.until("the next order", |world| world.history(&after).ends_with("filled+1")).await;
    assert_eq!(world.history(&order), "pending", "nothing is decided over another writer's event");
    executor.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_approvals_is_filled_one_event_each() {
    const ORDERS: usize = 3_000;
    let broker = TestBroker::start().await;
    let mut world = World::new(&broker).await;
    world.quote(Venue::Binance, "BTCUSDT", "0.0099", "0.01", "1000000").await;
    let executor = Process::start(&broker, "executor", &quick()).await;
    let first = world.approve(&market("first", "1")).await;
    world.until("a fill", |world| world.history(&first).ends_with("filled+1")).await;
    let began = std::time::Instant::now();
    let wishes: Vec<_> = (0..ORDERS).map(|number| market(&number.to_string(), "1")).collect();
    for chunk in wishes.chunks(100) {
        let all: Vec<_> = chunk.iter().map(|wish| world.approve(wish)).collect();
        futures_util::future::join_all(all).await;
    }
    let approved = began.elapsed();
    world.until("all fills", |world| world.events.len() > ORDERS).await;
    println!("{ORDERS} approved in {approved:?}, filled in {:?}", began.elapsed());
    for order in world.events.keys() {
        assert_eq!(world.history(order), "pending submitted filled+1");
    }
    assert!(world.reconciliations.iter().all(|reconciliation| reconciliation.halted.is_none()));
    executor.stop().await;
}

#[tokio::test]
async fn an_order_that_names_its_moment_meets_the_book_of_then_also_after_a_kill() {
    let broker = TestBroker::start().await;
    let mut world = World::new(&broker).await;
    let stored_at = async |world: &mut World, ask: &str| {
        world.quote(Venue::Binance, "BTCUSDT", "99", ask, "3").await;
        let last = world.operator.last(subject::FEED, &subject::quotes(Venue::Binance, "BTCUSDT")).await.unwrap().unwrap();
        last.stored_at
    };
    let mut moments = Vec::new();
    for ask in ["100", "110", "120"] {
        moments.push(stored_at(&mut world, ask).await);
    }
    let decided = async |world: &World, key: &str, moment| {
        let mut verdict = market(key, "1").verdict();
        verdict.intent.decided_at = Some(moment);
        world.risk.publish(&subject::verdict(&verdict.order), &verdict, Meta::default()).await.unwrap();
        verdict.order
    };
    let executor = Process::start(&broker, "executor", &quick()).await;
    let first = decided(&world, "a", moments[1]).await;
    world.until_state(&first, OrderState::Filled).await;
    // Decided while nobody is there, and found by the next life in what FEED holds.
    executor.kill().await;
    let second = decided(&world, "b", moments[0]).await;
    let third = decided(&world, "c", spark_nats::now()).await;
    let executor = Process::start(&broker, "executor", &quick()).await;
    for (order, ask) in [(&first, "110"), (&second, "100"), (&third, "120")] {
        world.until_state(order, OrderState::Settled).await;
        let fills: Vec<_> =
            world.events[order].iter().flat_map(|event| &event.steps).filter_map(|step| step.fill.as_ref()).collect();
        assert_eq!(fills.iter().map(|fill| fill.price.to_string()).collect::<Vec<_>>(), [ask]);
    }
    executor.stop().await;
}
