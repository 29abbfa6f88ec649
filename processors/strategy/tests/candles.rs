//! A registered strategy on candles, on a real broker: warm from history at once, and the same orders over a restart.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]

use std::time::Duration;

use spark_bus_schema::candles::{Candle, CandleHistory, CandleSource, TimeFrame};
use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Fill, OrderEvent, OrderIntent, Reconciliation, TradingMode};
use spark_bus_schema::strategies::{StrategyKind, StrategyRegistered, StrategyStatus};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, DecimalColumn, Fixed, Message, Timestamp, Venue};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Meta, Start, now};
use spark_strategy::{Config, Error, run};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

fn sample<T: Message>() -> T {
    decode_payload(&(find(&T::KIND.to_string()).unwrap().sample)()).unwrap()
}

struct World {
    broker: TestBroker,
    candles: Bus,
    executor: Bus,
    operator: Bus,
    intents: Follower,
    /// First moment of candle 0.
    begin: Timestamp,
    running: Option<(JoinHandle<Result<(), Error>>, CancellationToken)>,
}

impl World {
    async fn start() -> Self {
        let broker = TestBroker::start().await;
        let operator = broker.bus("operator").await;
        let subjects = vec![subject::INTENTS.to_owned()];
        let intents = Follower::start(operator.clone(), "operator-intents", LEDGER, subjects, Start::Beginning);
        let (candles, executor) = (broker.bus("candles").await, broker.bus("executor").await);
        let begin = now().next_boundary(TimeFrame::M1.duration());
        Self { candles, executor, operator, intents, begin, running: None, broker }
    }

    async fn run(&mut self) {
        let service = self.broker.service("strategy").await;
        let shutdown = service.shutdown.clone();
        let config = Config { run: Vec::new(), ..Config::default() };
        self.running = Some((tokio::spawn(run(service, config)), shutdown));
    }

    /// Ends it as kill -9 would.
    async fn kill(&mut self) {
        let (task, _) = self.running.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    async fn register(&self, status: StrategyStatus, revision: u64) {
        let registered = StrategyRegistered {
            name: "cross".into(),
            revision,
            kind: StrategyKind::SmaCross,
            params: [("fast", "1"), ("slow", "3")].map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            exchange: Venue::Binance,
            symbol: "BTCUSDT".into(),
            timeframe: Some(TimeFrame::M1),
            quantity: Some(Decimal::new(1, 2)),
            cash: None,
            status,
            ..sample()
        };
        self.operator.publish(&subject::registry("cross"), &registered, Meta::default()).await.unwrap();
    }

    async fn mode(&self, mode: TradingMode) {
        let told = Reconciliation { exchange: Venue::Binance, mode, ..sample() };
        self.executor.publish(&subject::reconciliation(Venue::Binance), &told, Meta::default()).await.unwrap();
    }

    fn open(&self, number: i64) -> Timestamp {
        Timestamp::from_millis(self.begin.as_millis() + number * 60_000)
    }

    /// Minutes before candle 0.
    async fn history(&self, closes: &[i64]) {
        let rows = i64::try_from(closes.len()).unwrap();
        let prices = || {
            let mut column = DecimalColumn::default();
            closes.iter().for_each(|close| column.push(Fixed { mantissa: *close, scale: 0 }).unwrap());
            column
        };
        let history = CandleHistory {
            venue: Venue::Binance,
            symbol: "BTCUSDT".into(),
            timeframe: TimeFrame::M1,
            open_time: (0..rows).map(|row| self.open(row - rows)).collect(),
            open: prices(),
            high: prices(),
            low: prices(),
            close: prices(),
            volume: prices(),
            fetched_at: self.begin,
        };
        let target = subject::history(Venue::Binance, "BTCUSDT", TimeFrame::M1);
        self.candles.publish(&target, &history, Meta::default()).await.unwrap();
    }

    /// A candle that is over now, whatever its minute.
    async fn candle(&self, number: i64, close: i64) {
        let price = Decimal::from(close);
        let candle = Candle {
            venue: Venue::Binance,
            symbol: "BTCUSDT".into(),
            timeframe: TimeFrame::M1,
            open_time: self.open(number),
            close_time: self.open(number + 1),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: Decimal::ONE,
            quote_volume: price,
            trades: 1,
            revision: 1,
            source: CandleSource::Ticks,
            gap: false,
            complete: true,
            closed_at: now(),
        };
        let target = subject::candle(Venue::Binance, "BTCUSDT", TimeFrame::M1);
        self.candles.publish(&target, &candle, Meta::default()).await.unwrap();
    }

    async fn next(&mut self) -> OrderIntent {
        let batch = timeout(LIMIT, self.intents.next()).await.expect("an intent within the limit").unwrap();
        assert_eq!(batch.len(), 1, "one at a time");
        batch[0].decode().unwrap()
    }

    async fn fill(&self, intent: &OrderIntent) {
        let mut event: OrderEvent = sample();
        (event.order, event.strategy) = (intent.order.clone(), intent.strategy.clone());
        (event.exchange, event.symbol) = (intent.exchange, intent.symbol.clone());
        (event.side, event.quantity, event.mode) = (intent.side, intent.quantity, TradingMode::Paper);
        let step = event.steps.last_mut().unwrap();
        let fill: &mut Fill = step.fill.as_mut().unwrap();
        (fill.quantity, fill.fee) = (intent.quantity, Decimal::ZERO);
        self.executor.publish(&subject::order_event(&intent.order), &event, Meta::default()).await.unwrap();
    }
}

#[tokio::test]
async fn warm_from_history_it_asks_on_the_first_candle_and_goes_on_over_kills_with_the_same_orders() {
    let mut world = World::start().await;
    world.register(StrategyStatus::Paper, 1).await;
    world.history(&[100, 100, 100]).await;
    world.candle(0, 200).await;
    world.run().await;
    // Nobody has said yet whether money would move; then somebody says that it would.
    world.mode(TradingMode::Live).await;
    let silence = timeout(Duration::from_secs(2), world.intents.next()).await;
    assert!(silence.is_err(), "a strategy on paper asked on a live exchange");
    world.mode(TradingMode::Paper).await;
    // Streams are read side by side: a candle may be seen before the word that it may trade.
    let mut number = 0;
    let bought = loop {
        number += 1;
        world.candle(number, 200 + number).await;
        if let Ok(batch) = timeout(Duration::from_secs(1), world.intents.next()).await {
            break batch.unwrap()[0].decode::<OrderIntent>().unwrap();
        }
        assert!(number < 20, "it never asks");
    };
    assert_eq!((bought.side, &bought.key), (Side::Buy, &format!("BTCUSDT/1m/{}", world.open(number).as_millis())));
    assert!(bought.decided_at.is_some());
    // The candle that sells comes while the order is open and the process dies; its fill while nobody is there.
    world.candle(number + 1, 50).await;
    world.kill().await;
    world.candle(number + 2, 300).await;
    world.fill(&bought).await;
    world.run().await;
    let sold = world.next().await;
    assert_eq!((sold.side, sold.quantity), (Side::Sell, bought.quantity));
    assert_eq!(sold.key, format!("BTCUSDT/1m/{}", world.open(number + 1).as_millis()));
    world.fill(&sold).await;
    let again = world.next().await;
    assert_eq!((again.side, &again.key), (Side::Buy, &format!("BTCUSDT/1m/{}", world.open(number + 2).as_millis())));
    world.fill(&again).await;
    let (task, shutdown) = world.running.take().unwrap();
    shutdown.cancel();
    timeout(LIMIT, task).await.expect("stops").unwrap().unwrap();
}
