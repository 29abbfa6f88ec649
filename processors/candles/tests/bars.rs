//! Candles on a real broker: each revision once whatever dies, equal to the exchange's own, warm at a start.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spark_bus_schema::candles::{Candle, CandleHistory, CandleSource, TimeFrame};
use spark_bus_schema::market::{Side, TickBatch, Trade};
use spark_bus_schema::subject::{self, FEED};
use spark_bus_schema::telemetry::Call;
use spark_bus_schema::{Fixed, InstrumentTable, Message, Timestamp, Venue};
use spark_candles::bars::{Bars, BarsConfig, STEP};
use spark_candles::{Config, Error, run};
use spark_exchanges::{ApiConfig, Binance};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Delivery, Follower, Meta, Start, now};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/binance").join(file)
}

/// The recorded trades in batches.
fn recording(rows: usize) -> Vec<TickBatch> {
    let text = std::fs::read_to_string(data("trades/BTCUSDT_trades_2024-08-08_09.csv")).unwrap();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    let batch = |lines: &[&str]| {
        let mut batch = TickBatch::new(Venue::Binance, "BTCUSDT");
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            let trade = Trade {
                trade_id: cells[0].parse().unwrap(),
                price: Fixed::parse(cells[1]).unwrap(),
                quantity: Fixed::parse(cells[2]).unwrap(),
                occurred_at: Timestamp::from_millis(cells[3].parse().unwrap()),
                received_at: Timestamp::from_nanos(cells[6].parse().unwrap()),
                side: if cells[5] == "true" { Side::Sell } else { Side::Buy },
            };
            batch.push(&trade).unwrap();
        }
        batch
    };
    lines.chunks(rows).map(batch).collect()
}

struct Candles {
    task: JoinHandle<Result<(), Error>>,
    shutdown: CancellationToken,
}

impl Candles {
    async fn start(broker: &TestBroker, config: Config) -> Self {
        let service = broker.service("candles").await;
        let shutdown = service.shutdown.clone();
        let task = tokio::spawn(async move { run(service, config, &InstrumentTable::builtin()).await });
        Self { task, shutdown }
    }

    /// As kill -9: nothing is saved, nothing is finished.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        self.shutdown.cancel();
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(LIMIT, self.task).await.expect("stops").unwrap().unwrap();
    }
}

/// Everything on a subject, read from the beginning until `enough`.
async fn read<T: Message>(bus: &Bus, subject: &str, mut enough: impl FnMut(&[(Delivery, T)]) -> bool) -> Vec<(Delivery, T)> {
    let mut follower = Follower::start(bus.clone(), "operator-test", FEED, vec![subject.to_owned()], Start::Beginning);
    let mut all = Vec::new();
    let wait = async {
        while !enough(&all) {
            for delivery in follower.next().await.unwrap() {
                let message = delivery.decode().unwrap();
                all.push((delivery, message));
            }
        }
    };
    let timed_out = timeout(LIMIT, wait).await.is_err();
    assert!(!timed_out, "{subject}: not enough in {} messages", all.len());
    all
}

/// What the candles follow from: made once more from the log, without any process.
fn from_the_log(ticks: &[(Delivery, TickBatch)]) -> Vec<Candle> {
    let mut bars = Bars::new(&BarsConfig::default());
    let mut told = Vec::new();
    let mut boundary = ticks[0].0.stored_at;
    for (delivery, batch) in ticks {
        while boundary.next_boundary(STEP) <= delivery.stored_at {
            boundary = boundary.next_boundary(STEP);
            bars.tick(boundary, &mut told);
        }
        bars.apply(delivery.stored_at, batch, &mut told);
    }
    told
}

#[tokio::test]
async fn killed_restarted_and_robbed_of_its_checkpoint_it_stores_each_revision_of_a_candle_once() {
    let broker = TestBroker::start().await;
    let (feed, operator) = (broker.bus("feed").await, broker.bus("operator").await);
    let config = Config { backfill: false, ..Config::default() };
    let subject = subject::candle(Venue::Binance, "BTCUSDT", TimeFrame::M1);
    let batches = recording(150);
    let thirds = batches.chunks(batches.len().div_ceil(3));
    for (turn, third) in thirds.enumerate() {
        let candles = Candles::start(&broker, config.clone()).await;
        for batch in third {
            feed.publish(&subject::ticks(Venue::Binance, "BTCUSDT"), batch, Meta::default()).await.unwrap();
        }
        read::<Candle>(&operator, &subject, |all| all.len() >= [2, 5, 10][turn]).await;
        if turn < 2 {
            candles.kill().await;
        } else {
            candles.stop().await;
        }
        if turn == 1 {
            std::fs::remove_dir_all(broker.dir().join("data/candles/bars")).unwrap();
        }
    }
    let ticks = read::<TickBatch>(&operator, subject::TICKS, |all| all.len() == batches.len()).await;
    let want = from_the_log(&ticks);
    let stored = read::<Candle>(&operator, subject::CANDLES, |all| all.len() >= want.len()).await;
    let of = |candles: &[Candle], length| {
        let of_length: Vec<Candle> = candles.iter().filter(|candle| candle.timeframe == length).cloned().collect();
        of_length
    };
    let got: Vec<Candle> = stored.iter().map(|(_, candle)| candle.clone()).collect();
    for length in TimeFrame::ALL {
        // The timer may have closed more by the wall clock since.
        assert_eq!(of(&got, length)[..of(&want, length).len()], of(&want, length), "{length}");
    }
    let keys: BTreeSet<_> = got.iter().map(|candle| (candle.timeframe, candle.open_time, candle.revision)).collect();
    assert_eq!(keys.len(), got.len(), "a revision is there twice");
    assert_eq!(of(&got, TimeFrame::D1)[0].trades, 9_738, "trades of 2024-08-08 by the venue's clock");
}

#[tokio::test]
async fn a_recording_through_the_feed_gives_the_exchanges_own_candles() {
    let broker = TestBroker::start().await;
    let operator = broker.bus("operator").await;
    let files = ["20240808", "20240809"].map(|day| data(&format!("ws_raw/btcusdt_{day}.gz"))).to_vec();
    let mut sim = spark_exchange_sim::Config::default();
    sim.replay.files = files;
    let sim = spark_exchange_sim::start(sim).await.unwrap();
    let rest_url = format!("http://{}", sim.binance_addr);
    let mut config = Config::default();
    config.binance.rest_url.clone_from(&rest_url);
    config.timeframes.insert(0, TimeFrame::S1);
    let candles = Candles::start(&broker, config).await;
    let mut feeding = spark_feed::Config::default();
    feeding.binance.ws_url = format!("ws://{}", sim.binance_addr);
    feeding.binance.rest_url.clone_from(&rest_url);
    feeding.binance.symbols = vec!["BTCUSDT".to_owned()];
    feeding.binance.from_oldest = true;
    feeding.btcturk.enabled = false;
    let service = broker.service("feed").await;
    let feed_stop = service.shutdown.clone();
    let feed = tokio::spawn(spark_feed::run(service, feeding));
    // The last whole minute of the recording is closed by the first trade of the next one; the first minute, of which Spark
    // cannot know that it has all of it, is replaced.
    let minutes = subject::candle(Venue::Binance, "BTCUSDT", TimeFrame::M1);
    let last: Timestamp = Timestamp::parse("2024-08-09T00:04:00Z").unwrap();
    let told = read::<Candle>(&operator, &minutes, |all| {
        let is_whole = all.iter().any(|(_, candle)| candle.open_time == last);
        is_whole && all.iter().any(|(_, candle)| candle.source == CandleSource::Exchange)
    });
    told.await;
    candles.stop().await;
    feed_stop.cancel();
    timeout(LIMIT, feed).await.unwrap().unwrap().unwrap();

    let exchange = Binance::new(&ApiConfig::at(rest_url), None, std::sync::Arc::new(|_| {})).unwrap();
    let all = read::<Candle>(&operator, subject::CANDLES, |all| {
        all.iter().any(|(_, candle)| candle.open_time == last && candle.timeframe == TimeFrame::M1)
    });
    let all = all.await;
    let mut newest: BTreeMap<(TimeFrame, Timestamp), Candle> = BTreeMap::new();
    for (_, candle) in all {
        newest.insert((candle.timeframe, candle.open_time), candle);
    }
    let mut compared: BTreeMap<TimeFrame, usize> = BTreeMap::new();
    for length in TimeFrame::ALL {
        let klines = exchange.klines("BTCUSDT", length.as_str(), None, None, 1_000).await.unwrap();
        assert!(!klines.is_empty(), "{length}");
        for kline in klines {
            // After the last trade the exchange's clock and ours go separate ways.
            let Some(candle) = newest.get(&(length, Timestamp::from_millis(kline.open_time))) else { continue };
            let got = (candle.open, candle.high, candle.low, candle.close, candle.volume);
            assert_eq!(got, (kline.open, kline.high, kline.low, kline.close, kline.volume), "{length} {candle:?}");
            if candle.source == CandleSource::Ticks {
                assert_eq!((candle.quote_volume, candle.trades), (kline.quote_volume, kline.trades), "{length} {candle:?}");
            }
            *compared.entry(length).or_default() += 1;
        }
    }
    assert!(compared[&TimeFrame::S1] > 600 && compared[&TimeFrame::M1] >= 11, "{compared:?}");
    assert!(compared.len() >= 6, "{compared:?}: the day, its last hours and minutes ended within the recording");
}

#[tokio::test]
async fn a_start_has_the_past_within_seconds_and_an_exchange_that_fails_holds_nobody_up() {
    let broker = TestBroker::start().await;
    let (feed, operator) = (broker.bus("feed").await, broker.bus("operator").await);
    let sim = spark_exchange_sim::Config { history_hours: 6, ..Default::default() };
    let sim = spark_exchange_sim::start(sim).await.unwrap();
    let mut config = Config { backfill_candles: 200, ..Config::default() };
    config.btcturk.rest_url = format!("http://{}", sim.btcturk_addr);
    // Nobody answers there.
    config.binance.rest_url = "http://127.0.0.1:1".to_owned();
    let candles = Candles::start(&broker, config).await;
    let trade = |id: u64, at: Timestamp| Trade {
        trade_id: id,
        occurred_at: at,
        received_at: at,
        price: Fixed::parse("100").unwrap(),
        quantity: Fixed::parse("1").unwrap(),
        side: Side::Buy,
    };
    // Two minutes ago and one: the first one is not whole.
    let minute = now().as_millis().div_euclid(60_000) * 60_000;
    let at = |before: i64, ms: i64| Timestamp::from_millis(minute - before * 60_000 + ms);
    for (venue, symbol) in [(Venue::Binance, "BTCUSDT"), (Venue::Btcturk, "BTCTRY")] {
        let mut batch = TickBatch::new(venue, symbol);
        for trade in [trade(1, at(2, 30_000)), trade(2, at(1, 0)), trade(3, at(0, 0))] {
            batch.push(&trade).unwrap();
        }
        feed.publish(&subject::ticks(venue, symbol), &batch, Meta::default()).await.unwrap();
    }
    let past = read::<CandleHistory>(&operator, "market.history.btcturk.BTCTRY.*", |all| {
        all.iter().map(|(_, history)| history.timeframe).collect::<BTreeSet<_>>().len() >= 4
    });
    let past = past.await;
    let minutes = past.iter().find(|(_, history)| history.timeframe == TimeFrame::M1).unwrap().1.clone();
    assert_eq!(minutes.open_time.len(), 200);
    let steps: BTreeSet<i64> = minutes.open_time.windows(2).map(|pair| pair[1].since_ms(pair[0])).collect();
    assert_eq!(steps, BTreeSet::from([60_000]));
    let replaced = subject::candle(Venue::Btcturk, "BTCTRY", TimeFrame::M1);
    let replaced = read::<Candle>(&operator, &replaced, |all| all.last().is_some_and(|(_, last)| last.revision > 1)).await;
    let last = replaced.last().map(|(_, candle)| candle.clone()).unwrap();
    assert_eq!((last.source, last.complete, last.open_time), (CandleSource::Exchange, true, at(2, 0)));
    let binance = subject::candle(Venue::Binance, "BTCUSDT", TimeFrame::M1);
    let binance = read::<Candle>(&operator, &binance, |all| all.len() >= 2).await;
    assert_eq!((binance[0].1.complete, binance[1].1.complete), (false, true));
    let calls = read::<Call>(&operator, &subject::calls(Venue::Binance), |all| !all.is_empty()).await;
    assert_eq!((calls[0].1.service.as_str(), calls[0].1.ok), ("candles", false));
    candles.stop().await;
}
