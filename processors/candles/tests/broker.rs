//! Marks on a real broker: at once for an intent, once a second while somebody needs them, none otherwise.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use spark_bus_schema::control::StrategyCommand;
use spark_bus_schema::market::{Quote, QuoteBatch, Side};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{OrderId, OrderIntent, OrderType, TimeInForce};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Fixed, InstrumentTable, Kind, Timestamp, Venue};
use spark_candles::{Config, Error, run};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Delivery, Follower, Meta, Start, now};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

struct World {
    broker: TestBroker,
    operator: Bus,
    gateway: Bus,
    feed: Bus,
    marks: Follower,
    read: VecDeque<Delivery>,
    running: Option<(JoinHandle<Result<(), Error>>, CancellationToken)>,
}

impl World {
    async fn start() -> Self {
        let broker = TestBroker::start().await;
        let operator = broker.bus("operator").await;
        let subjects = vec![subject::MARKS.to_owned()];
        let marks = Follower::start(operator.clone(), "operator-marks", LEDGER, subjects, Start::Beginning);
        let (gateway, feed) = (broker.bus("gateway").await, broker.bus("feed").await);
        let mut world = Self { operator, gateway, feed, marks, read: VecDeque::new(), broker, running: None };
        world.run().await;
        world
    }

    async fn run(&mut self) {
        let service = self.broker.service("candles").await;
        let shutdown = service.shutdown.clone();
        let task = tokio::spawn(async move { run(service, Config::default(), &InstrumentTable::builtin()).await });
        self.running = Some((task, shutdown));
    }

    async fn stop(&mut self) {
        let (task, shutdown) = self.running.take().unwrap();
        shutdown.cancel();
        timeout(LIMIT, task).await.expect("stops").unwrap().unwrap();
    }

    async fn quote(&self, symbol: &str, received_at: Timestamp, bid: &str, ask: &str) -> u64 {
        let mut batch = QuoteBatch::new(Venue::Binance, symbol);
        let fixed = |text| Fixed::parse(text).unwrap();
        let quote = Quote {
            update_id: 0,
            received_at,
            bid_price: fixed(bid),
            bid_quantity: fixed("1"),
            ask_price: fixed(ask),
            ask_quantity: fixed("1"),
        };
        batch.push(&quote).unwrap();
        self.feed.publish(&subject::quotes(Venue::Binance, symbol), &batch, Meta::default()).await.unwrap()
    }

    async fn intent(&self, key: &str, symbol: &str) -> u64 {
        let intent = OrderIntent {
            order: OrderId::derive("manual", key),
            key: key.to_owned(),
            strategy: "manual".to_owned(),
            actor: "test".to_owned(),
            exchange: Venue::Binance,
            symbol: symbol.to_owned(),
            side: Side::Buy,
            order_type: OrderType::Market,
            time_in_force: TimeInForce::Ioc,
            quantity: "0.1".parse().unwrap(),
            limit_price: None,
            requested_at: now(),
            reason: None,
            decided_at: None,
        };
        self.gateway.publish(&subject::intent(&intent.order), &intent, Meta::default()).await.unwrap()
    }

    async fn arm(&self, run: bool) {
        let command = StrategyCommand {
            strategy: "mine".to_owned(),
            run,
            symbols: vec!["binance.BTCUSDT".to_owned()],
            actor: "test".to_owned(),
            reason: "test".to_owned(),
            at: now(),
        };
        self.operator.publish(&subject::strategy("mine"), &command, Meta::default()).await.unwrap();
    }

    async fn next(&mut self) -> (Delivery, Mark) {
        while self.read.is_empty() {
            self.read.extend(timeout(LIMIT, self.marks.next()).await.expect("a mark within the limit").unwrap());
        }
        let delivery = self.read.pop_front().unwrap();
        let mark = delivery.decode().unwrap();
        (delivery, mark)
    }
}

#[tokio::test]
async fn an_intent_has_its_mark_and_an_idle_market_has_none() {
    let mut world = World::start().await;
    let newest = world.quote("BTCUSDT", now(), "61000", "61000.02").await;
    let intent = world.intent("1", "BTCUSDT").await;
    let (delivery, mark) = world.next().await;
    assert!(delivery.sequence > intent, "nobody asked before the intent");
    assert_eq!((mark.price.to_string().as_str(), mark.quote_usd.to_string().as_str()), ("61000.01", "1"));
    assert_eq!(mark.feed_sequence, newest);
    assert_eq!(delivery.subject, "marks.price.binance.BTCUSDT");
    world.stop().await;
}

#[tokio::test]
async fn an_armed_strategy_has_marks_a_second_apart_over_a_restart_until_it_is_stopped() {
    let mut world = World::start().await;
    world.arm(true).await;
    world.quote("BTCUSDT", now(), "1", "1").await;
    let (first, _) = world.next().await;
    world.quote("BTCUSDT", now(), "2", "2").await;
    let (second, mark) = world.next().await;
    assert_eq!(mark.price.to_string(), "2");
    assert!(second.stored_at.since_ms(first.stored_at) >= 900, "{first:?} {second:?}");
    world.stop().await;
    world.run().await;
    // Known again from the checkpoint; the stored quote is read again.
    let last = world.quote("BTCUSDT", now(), "3", "3").await;
    while world.next().await.1.feed_sequence != last {}
    world.arm(false).await;
    world.quote("BTCUSDT", now(), "4", "4").await;
    // The intent's mark is the next one: had the stopped strategy still wanted marks, one would have come before it.
    let intent = world.intent("1", "BTCUSDT").await;
    let (delivery, _) = world.next().await;
    assert!(delivery.sequence > intent);
    world.stop().await;
}

#[tokio::test]
async fn a_stale_quote_makes_no_mark_and_garbage_is_passed_over() {
    let mut world = World::start().await;
    let old = now() - Duration::from_secs(60);
    world.quote("ETHUSDT", old, "2000", "2001").await;
    let kind = Kind { name: "quote_batch", version: 1 };
    let target = subject::quotes(Venue::Binance, "BTCUSDT");
    world.feed.store_kind(&target, kind, Bytes::from_static(b"\xc1garbage"), Meta::default()).await.unwrap();
    let good = world.quote("BTCUSDT", now(), "1", "1").await;
    world.intent("stale", "ETHUSDT").await;
    world.intent("fresh", "BTCUSDT").await;
    assert_eq!(world.next().await.1.feed_sequence, good, "the stale symbol has none");
    world.stop().await;
}
