//! Candles of a whole system: the recorded day change gives what can be added up from the file.

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::candles::{Candle, TimeFrame};
use spark_bus_schema::subject::FEED;
use spark_bus_schema::{Decimal, Timestamp};
use spark_nats::{Follower, Start};
use spark_tests::recording;
use spark_tests::system::System;

/// The whole recording is through this soon, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);
const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");

/// Open, high, low, close, volume, quote volume, trades.
type Figures = ([Decimal; 6], u64);

/// Added up from the file, by length and open time in ms.
fn from_the_file() -> BTreeMap<(TimeFrame, i64), Figures> {
    let mut candles: BTreeMap<(TimeFrame, i64), Figures> = BTreeMap::new();
    for trade in recording::trades() {
        let price: Decimal = trade.price.parse().expect("a price");
        let quantity: Decimal = trade.quantity.parse().expect("a quantity");
        for length in TimeFrame::ALL {
            let ms = i64::try_from(length.duration().as_millis()).expect("a short time");
            let open = trade.time_ms.div_euclid(ms) * ms;
            let nothing = ([price, price, price, price, Decimal::ZERO, Decimal::ZERO], 0);
            let ([_, high, low, close, volume, amount], trades) = candles.entry((length, open)).or_insert(nothing);
            (*high, *low, *close) = ((*high).max(price), (*low).min(price), price);
            *volume += quantity;
            *amount += price * quantity;
            *trades += 1;
        }
    }
    candles
}

/// The last candles that the recording closes, both at 00:05. Its day ended at midnight.
const LAST: [(TimeFrame, &str); 2] = [(TimeFrame::M1, "2024-08-09T00:04:00Z"), (TimeFrame::M5, "2024-08-09T00:00:00Z")];

#[tokio::test]
async fn a_replayed_recording_gives_the_candles_that_its_file_adds_up_to() {
    let files = recording::files().map(|path| path.display().to_string()).join(",");
    // The exchange is not asked for its candles: what is told here comes from trades alone.
    let config = "[feed.binance]\nsymbols = [\"BTCUSDT\"]\n[feed.btcturk]\nenabled = false\n[candles]\nbackfill = false\n";
    let system = System::start(BINARY, config, &["--replay", &files, "--speed", "max"]).await;
    let bus = system.bus("operator").await;
    let subject = "market.candles.binance.BTCUSDT.*".to_owned();
    let mut follower = Follower::start(bus, "operator-candles", FEED, vec![subject], Start::Beginning);
    let mut told: BTreeMap<(TimeFrame, i64), Candle> = BTreeMap::new();
    let last = LAST.map(|(length, open)| (length, Timestamp::parse(open).expect("a time").as_millis()));
    while !last.iter().all(|key| told.contains_key(key)) {
        let batch = tokio::time::timeout(LIMIT, follower.next()).await;
        let batch = batch.unwrap_or_else(|_| panic!("only {:?}\n{}", told.keys(), system.printed())).expect("open");
        for delivery in batch {
            let candle: Candle = delivery.decode().expect("a candle");
            // Of later revisions, which a stalled machine may need, the last one counts.
            told.insert((candle.timeframe, candle.open_time.as_millis()), candle);
        }
    }
    let want = from_the_file();
    let mut counts: BTreeMap<TimeFrame, usize> = BTreeMap::new();
    for (key, candle) in &told {
        let Candle { open, high, low, close, volume, quote_volume, .. } = candle;
        let figures = ([*open, *high, *low, *close, *volume, *quote_volume], candle.trades);
        assert_eq!(Some(&figures), want.get(key), "{candle:?}");
        let begins_before = key.1 < 1_723_161_255_342;
        assert_eq!(candle.complete, !begins_before, "{candle:?}");
        *counts.entry(key.0).or_default() += 1;
    }
    let counts: Vec<(&str, usize)> = counts.iter().map(|(length, count)| (length.as_str(), *count)).collect();
    assert_eq!(counts, [("1m", 11), ("5m", 3), ("15m", 1), ("1h", 1), ("4h", 1), ("1d", 1)]);
}
