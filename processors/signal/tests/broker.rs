//! The process on a real broker: each score once whatever is killed, orders only where the LEDGER allows them, answers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::candles::{Candle, CandleSource, TimeFrame};
use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::orders::OrderIntent;
use spark_bus_schema::rollout::{Phase, PreviewOf, RolloutChanged, Stage};
use spark_bus_schema::signals::{ModelInForce, Score, ScoreAnswer, ScoreRequest};
use spark_bus_schema::subject::{self, FEED, LEDGER, PARKED};
use spark_bus_schema::{Kind, Message, Timestamp, Venue};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Meta, Start, now};
use spark_signal::model::Model;
use spark_signal::{Config, Error, run};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

fn sample<T: Message>() -> T {
    decode_payload(&(find(&T::KIND.to_string()).unwrap().sample)()).unwrap()
}

/// Candle `n` of a price that only rises, closed at this moment.
fn candle(n: u32) -> Candle {
    let begun = Timestamp::from_nanos(1_700_000_040_000_000_000);
    let close = Decimal::from(100 + n);
    Candle {
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: TimeFrame::M1,
        open_time: begun + MINUTE * n,
        close_time: begun + MINUTE * (n + 1),
        open: close,
        high: close,
        low: close,
        close,
        volume: Decimal::ONE,
        quote_volume: Decimal::ONE,
        trades: 5,
        revision: 1,
        source: CandleSource::Ticks,
        gap: false,
        complete: true,
        closed_at: now(),
    }
}

/// A model that believes in the trend alone, written where the process finds it.
fn config(broker: &TestBroker) -> Config {
    let text = spark_signal::model::BUILT_IN.replace("weight = 1.0", "weight = 0.0");
    let path = broker.dir().join("trend.toml");
    std::fs::write(&path, text.replace("[trend]\nweight = 0.0", "[trend]\nweight = 1.0")).unwrap();
    let quantity = BTreeMap::from([("binance.BTCUSDT".to_owned(), Decimal::new(1, 2))]);
    Config { model: Some(path), quantity, ..Config::default() }
}

struct World {
    broker: TestBroker,
    candles: Bus,
    rollout: Bus,
    operator: Bus,
    config: Config,
    running: Option<(JoinHandle<Result<(), Error>>, CancellationToken)>,
}

impl World {
    async fn start() -> Self {
        let broker = TestBroker::start().await;
        let (candles, rollout, operator) =
            (broker.bus("candles").await, broker.bus("rollout").await, broker.bus("operator").await);
        let config = config(&broker);
        let mut world = Self { broker, candles, rollout, operator, config, running: None };
        world.run().await;
        world
    }

    async fn run(&mut self) {
        let service = self.broker.service("signal").await;
        let shutdown = service.shutdown.clone();
        self.running = Some((tokio::spawn(run(service, self.config.clone())), shutdown));
    }

    async fn stop(&mut self) {
        let (task, shutdown) = self.running.take().unwrap();
        shutdown.cancel();
        timeout(LIMIT, task).await.expect("stops").unwrap().unwrap();
    }

    /// As kill -9: nothing is saved any more.
    fn kill(&mut self) {
        let (task, _) = self.running.take().unwrap();
        task.abort();
    }

    async fn candle(&self, candle: &Candle) {
        let target = subject::candle(candle.venue, &candle.symbol, candle.timeframe);
        self.candles.publish(&target, candle, Meta::default()).await.unwrap();
    }

    /// FEED may lose the end of what it acknowledged when its broker is killed: that is told again, up to `n`.
    async fn tell_again(&self, n: u32) {
        self.operator.wait_connected().await;
        let any = candle(0);
        let target = subject::candle(any.venue, &any.symbol, any.timeframe);
        let last = self.operator.last(FEED, &target).await.unwrap().map(|delivery| delivery.decode::<Candle>().unwrap());
        let lost = (0..=n).map(candle).filter(|candle| last.as_ref().is_none_or(|last| candle.open_time > last.open_time));
        for candle in lost {
            self.candle(&candle).await;
        }
    }

    async fn stage(&self, stage: Stage, phase: Phase) {
        let model = self.config.load_model().unwrap().id().clone();
        let preview = PreviewOf { venue: Venue::Binance, symbol: "BTCUSDT".to_owned(), timeframe: TimeFrame::M1 };
        let target = subject::rollout_changed(&model.model_version);
        let changed = RolloutChanged { model, stage, phase, preview, ..sample() };
        self.rollout.publish(&target, &changed, Meta::default()).await.unwrap();
    }

    /// Everything on a subject, from its beginning until `enough`.
    async fn read<T: Message>(&self, stream: &'static str, pattern: &str, enough: impl Fn(&[T]) -> bool) -> Vec<T> {
        let mut all = Vec::new();
        let mut follower =
            Follower::start(self.operator.clone(), "operator-test", stream, vec![pattern.to_owned()], Start::Beginning);
        while !enough(&all) {
            let batch = timeout(LIMIT, follower.next()).await;
            let batch = batch.unwrap_or_else(|_| panic!("{} of {pattern} within the limit", all.len())).unwrap();
            all.extend(batch.iter().map(|delivery| delivery.decode::<T>().unwrap()));
        }
        all
    }

    async fn scores(&self, count: usize) -> Vec<Score> {
        self.read(LEDGER, subject::SCORES, |all: &[Score]| all.len() >= count).await
    }
}

#[tokio::test]
async fn each_candle_is_scored_once_whatever_is_killed_and_forgotten() {
    let mut world = World::start().await;
    for n in 0..60 {
        world.candle(&candle(n)).await;
        match n {
            10 | 35 | 36 => {
                // In the middle of whatever it does.
                world.kill();
                world.run().await;
            }
            20 => {
                world.stop().await;
                world.run().await;
            }
            45 => {
                world.kill();
                std::fs::remove_dir_all(world.broker.dir().join("data")).unwrap();
                world.run().await;
            }
            50 => {
                world.broker.kill();
                world.broker.restart().await;
                world.tell_again(n).await;
            }
            _ => {}
        }
    }
    let scores = world.scores(60).await;
    let times: Vec<Timestamp> = scores.iter().map(|score| score.open_time).collect();
    assert_eq!(times, (0..60).map(|n| candle(n).open_time).collect::<Vec<_>>(), "all of them, in order, each once");
    assert!(scores.iter().all(|score| score.advisory), "there is no rollout");
    assert!(scores[40..].iter().all(|score| score.score.is_some()), "what was killed goes on warm");
    world.stop().await;
    let again = world.scores(60).await;
    assert_eq!(again.len(), 60);
}

#[tokio::test]
async fn orders_follow_from_a_fresh_candle_where_the_rollout_allows_it() {
    let mut world = World::start().await;
    for n in 0..40 {
        world.candle(&candle(n)).await;
    }
    world.scores(40).await;
    world.stage(Stage::Full, Phase::Running).await;
    world.stop().await;
    // Closed long ago, found at a start: it is scored, and its price is gone.
    let old = Candle { closed_at: now() - MINUTE, ..candle(40) };
    world.candle(&old).await;
    world.run().await;
    let scores = world.scores(41).await;
    assert!(!scores[40].advisory && scores[40].assigned, "{:?}", scores[40]);
    let next = candle(41);
    world.candle(&next).await;
    let intents: Vec<OrderIntent> = world.read(LEDGER, subject::INTENTS, |all: &[OrderIntent]| !all.is_empty()).await;
    assert_eq!((intents.len(), intents[0].decided_at, intents[0].strategy.as_str()), (1, Some(next.closed_at), "ml-fusion"));
    // A rollback that was stored while it was away is known before the next candle is looked at.
    world.stop().await;
    world.candle(&candle(42)).await;
    world.stage(Stage::Off, Phase::RolledBack).await;
    world.run().await;
    let scores = world.scores(43).await;
    assert!(scores[42].advisory && scores[42].reason.as_ref().unwrap().contains("rolled back"), "{:?}", scores[42]);
    world.stop().await;
}

#[tokio::test]
async fn it_says_which_model_it_is_answers_and_parks_what_it_cannot_read() {
    let mut world = World::start().await;
    let said: Vec<ModelInForce> = world.read(LEDGER, subject::MODEL, |all: &[ModelInForce]| !all.is_empty()).await;
    let model: Model = world.config.load_model().unwrap();
    assert_eq!((&said[0].model, said[0].horizon), (model.id(), 4));
    let gateway = world.broker.bus("gateway").await;
    for n in 0..40 {
        world.candle(&candle(n)).await;
    }
    world.scores(40).await;
    let values = [("o", 140.0), ("h", 140.0), ("l", 140.0), ("c", 140.0), ("v", 1.0)];
    let features = values.map(|(name, value)| (name.to_owned(), Some(value))).into();
    let request = ScoreRequest {
        id: "r1".to_owned(),
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: TimeFrame::M1,
        open_time: candle(40).open_time,
        features,
        ..sample()
    };
    gateway.publish(&subject::score_request("r1"), &request, Meta::default()).await.unwrap();
    let answers: Vec<ScoreAnswer> = world.read(LEDGER, &subject::score_answer("r1"), |all: &[ScoreAnswer]| !all.is_empty()).await;
    world.candle(&candle(40)).await;
    let scores = world.scores(41).await;
    assert_eq!(answers[0].score.score, scores[40].score);
    let target = subject::candle(Venue::Binance, "ETHUSDT", TimeFrame::M1);
    world.candles.publish(&target, &candle(41), Meta::default()).await.unwrap();
    world
        .candles
        .store_kind(&target, Kind { name: "candle", version: 1 }, b"garbage".as_slice().into(), Meta::default())
        .await
        .unwrap();
    let parked: Vec<spark_bus_schema::parked::Parked> =
        world.read(PARKED, "parked.signal.>", |all: &[spark_bus_schema::parked::Parked]| all.len() == 2).await;
    assert_eq!(parked[0].reason, "wrong_subject");
    assert!(parked.iter().all(|parked| parked.stream == FEED));
    world.stop().await;
}
