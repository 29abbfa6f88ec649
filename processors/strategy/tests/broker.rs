//! Strategies on a real broker: they ask once a boundary, wait for what becomes of it, and can be stopped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]

use std::collections::VecDeque;
use std::time::Duration;

use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::control::StrategyCommand;
use spark_bus_schema::market::{Quote, QuoteBatch, Side};
use spark_bus_schema::orders::{OrderEvent, OrderIntent, TradingMode};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Fixed, Message, Venue};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Meta, Start, now};
use spark_strategy::{Config, Error, run};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);
const QUOTE_EVERY: Duration = Duration::from_millis(50);

fn sample<T: Message>() -> T {
    decode_payload(&(find(&T::KIND.to_string()).unwrap().sample)()).unwrap()
}

fn config() -> Config {
    let mut config = Config::default();
    config.run.truncate(1);
    config.run[0].interval_ms = Some(1_000);
    config
}

struct World {
    broker: TestBroker,
    operator: Bus,
    risk: Bus,
    executor: Bus,
    intents: Follower,
    read: VecDeque<OrderIntent>,
    running: Option<(JoinHandle<Result<(), Error>>, CancellationToken)>,
    market: JoinHandle<()>,
}

impl World {
    async fn start() -> Self {
        let broker = TestBroker::start().await;
        let operator = broker.bus("operator").await;
        let subjects = vec![subject::INTENTS.to_owned()];
        let intents = Follower::start(operator.clone(), "operator-intents", LEDGER, subjects, Start::Beginning);
        let market = tokio::spawn(rising_market(broker.bus("feed").await));
        let (risk, executor) = (broker.bus("risk").await, broker.bus("executor").await);
        let read = VecDeque::new();
        let mut world = Self { operator, risk, executor, intents, read, running: None, market, broker };
        world.run().await;
        world
    }

    async fn run(&mut self) {
        let service = self.broker.service("strategy").await;
        let shutdown = service.shutdown.clone();
        self.running = Some((tokio::spawn(run(service, config())), shutdown));
    }

    async fn stop(&mut self) {
        let (task, shutdown) = self.running.take().unwrap();
        shutdown.cancel();
        timeout(LIMIT, task).await.expect("stops").unwrap().unwrap();
    }

    async fn next(&mut self) -> OrderIntent {
        while self.read.is_empty() {
            let batch = timeout(LIMIT, self.intents.next()).await.expect("an intent within the limit").unwrap();
            self.read.extend(batch.iter().map(|delivery| delivery.decode().unwrap()));
        }
        self.read.pop_front().unwrap()
    }

    async fn verdict(&self, intent: &OrderIntent, approved: bool) {
        let guard = (!approved).then_some(Guard::KillSwitch);
        let verdict = Verdict { approved, guard, order: intent.order.clone(), intent: intent.clone(), ..sample() };
        self.risk.publish(&subject::verdict(&intent.order), &verdict, Meta::default()).await.unwrap();
    }

    async fn fill(&self, intent: &OrderIntent) {
        let mut event: OrderEvent = sample();
        event.order = intent.order.clone();
        event.strategy.clone_from(&intent.strategy);
        event.side = intent.side;
        event.mode = TradingMode::Paper;
        event.exchange = intent.exchange;
        event.symbol.clone_from(&intent.symbol);
        event.quantity = intent.quantity;
        event.steps.last_mut().unwrap().fill.as_mut().unwrap().quantity = intent.quantity;
        self.executor.publish(&subject::order_event(&intent.order), &event, Meta::default()).await.unwrap();
    }

    async fn command(&self, run: bool) {
        let command = StrategyCommand { strategy: "demo-btcusdt".to_owned(), run, ..sample() };
        self.operator.publish(&subject::strategy(&command.strategy), &command, Meta::default()).await.unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.market.abort();
    }
}

/// Prices that only rise: the strategy sells until its bound, then it turns.
async fn rising_market(feed: Bus) {
    for cents in 6_000_000.. {
        let mut batch = QuoteBatch::new(Venue::Binance, "BTCUSDT");
        let price = Fixed { mantissa: cents, scale: 2 };
        let one = Fixed::parse("1").unwrap();
        let quote =
            Quote { update_id: 0, received_at: now(), bid_price: price, bid_quantity: one, ask_price: price, ask_quantity: one };
        batch.push(&quote).unwrap();
        feed.publish(&subject::quotes(Venue::Binance, "BTCUSDT"), &batch, Meta::default()).await.unwrap();
        tokio::time::sleep(QUOTE_EVERY).await;
    }
}

#[tokio::test]
async fn orders_flow_one_at_a_time_and_the_position_stays_within_its_bound_over_a_restart() {
    let mut world = World::start().await;
    let mut position = rust_decimal::Decimal::ZERO;
    let mut sides = Vec::new();
    let bound = config().run[0].position_max.unwrap();
    for round in 0..5 {
        let intent = world.next().await;
        assert_eq!(intent.strategy, "demo-btcusdt");
        assert!(world.read.is_empty(), "one at a time");
        if round == 2 {
            // It goes on with the order of its earlier life open.
            world.stop().await;
            world.run().await;
        }
        world.verdict(&intent, true).await;
        world.fill(&intent).await;
        sides.push(intent.side);
        position += if intent.side == Side::Buy { intent.quantity } else { -intent.quantity };
        assert!(position.abs() <= bound, "{position}");
    }
    assert!(sides.contains(&Side::Buy), "it turned at the bound: {sides:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_refusal_is_survived_and_a_stopped_strategy_asks_for_nothing() {
    let mut world = World::start().await;
    let refused = world.next().await;
    world.verdict(&refused, false).await;
    let second = world.next().await;
    assert!(second.requested_at.since_ms(refused.requested_at) >= 2_000, "it asks less often");
    world.command(false).await;
    world.verdict(&second, true).await;
    world.fill(&second).await;
    // The stop was stored before the order ended, so from here on nothing may come, over two boundaries.
    let silence = timeout(Duration::from_millis(2_500), world.intents.next()).await;
    assert!(silence.is_err(), "asked while stopped");
    world.command(true).await;
    world.next().await;
    world.stop().await;
}
