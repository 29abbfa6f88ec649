//! Replays of the recorded frames.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use spark_exchange_sim::{Config, Replay, Sim, Speed, start as start_sim};
use support::*;

const FIRST_ID: u64 = 3_735_683_259;
const LAST_ID: u64 = 3_735_703_162;

async fn replaying(files: Vec<PathBuf>, speed: Speed) -> Sim {
    start(Config { replay: Replay { files, speed }, ..config() }).await
}

async fn report(sim: &Sim) -> Value {
    get(sim.admin_addr, "/sim/replay").await.json()
}

fn recorded_trades() -> Vec<(u64, String, String)> {
    let csv = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/data/binance/trades/BTCUSDT_trades_2024-08-08_09.csv"
    ))
    .unwrap();
    let row = |line: &str| {
        let mut cells = line.split(',');
        let mut cell = || cells.next().unwrap().to_owned();
        (cell().parse().unwrap(), cell(), cell())
    };
    csv.lines().skip(1).map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_trade_arrives_once_and_the_last_touch_is_the_recordings() {
    let sim = replaying(recordings(), Speed::Max).await;
    let before = report(&sim).await;
    assert_eq!((&before["trades_total"], &before["sent_frames"], &before["started"]), (&json!(19_904), &json!(0), &json!(false)));
    let price = get(sim.binance_addr, "/api/v3/ticker/price?symbol=BTCUSDT").await.json();
    assert_eq!(price["price"], "61837.63000000", "known before the first subscriber");

    let mut socket = connect(sim.binance_addr, "/stream?streams=btcusdt@trade/btcusdt@bookTicker").await;
    let (mut trades, mut last_top, mut tops) = (Vec::new(), Value::Null, 0);
    while trades.len() < 19_904 || tops < 28_040 + 45_134 {
        let frame = socket.json("a recorded frame").await;
        let data = &frame["data"];
        if frame["stream"] == "btcusdt@trade" {
            trades.push((
                data["t"].as_u64().unwrap(),
                data["p"].as_str().unwrap().to_owned(),
                data["q"].as_str().unwrap().to_owned(),
            ));
        } else {
            tops += 1;
            last_top = data.clone();
        }
    }
    assert!(trades == recorded_trades(), "trades differ from the recording");
    let begin = std::time::Instant::now();
    let after = loop {
        let report = report(&sim).await;
        if report["finished"] == true {
            break report;
        }
        assert!(begin.elapsed() < SOON, "{report}");
    };
    assert_eq!((&after["last_bid"], &after["last_ask"], &after["trades_sent"]), (&last_top["b"], &last_top["a"], &json!(19_904)));
    assert_eq!(after["sent_frames"], after["total_frames"]);
    let book = get(sim.binance_addr, "/api/v3/ticker/bookTicker?symbol=BTCUSDT").await.json();
    assert_eq!((&book["bidPrice"], &book["askPrice"], &book["bidQty"]), (&last_top["b"], &last_top["a"], &last_top["B"]));
    // The book that was rebuilt from the recorded changes has the touch that was recorded beside them.
    let depth = get(sim.binance_addr, "/api/v3/depth?symbol=BTCUSDT&limit=5").await.json();
    assert_eq!((&depth["bids"][0][0], &depth["asks"][0][0]), (&last_top["b"], &last_top["a"]));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_missed_is_served_over_rest() {
    let sim = replaying(recordings(), Speed::Max).await;
    let mut ids = BTreeSet::new();
    // Three clients that each break off somewhere.
    for frames in [500, 3_000, 7_000] {
        let mut socket = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
        for _ in 0..frames {
            ids.insert(socket.json("a trade").await["t"].as_u64().unwrap());
        }
    }
    let mut socket = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    while ids.last() != Some(&LAST_ID) {
        ids.insert(socket.json("a trade").await["t"].as_u64().unwrap());
    }
    let missing: Vec<u64> = (FIRST_ID..=LAST_ID).filter(|id| !ids.contains(id)).collect();
    assert!(!missing.is_empty(), "breaking off lost nothing: the test shows nothing");
    let mut wanted = FIRST_ID;
    while wanted <= LAST_ID {
        let page =
            get(sim.binance_addr, &format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={wanted}&limit=1000")).await.json();
        for row in page.as_array().unwrap() {
            assert_eq!(row["id"].as_u64(), Some(wanted));
            ids.insert(wanted);
            wanted += 1;
        }
    }
    assert_eq!(ids.len(), 19_904);
    let aggregates = get(sim.binance_addr, "/api/v3/aggTrades?symbol=BTCUSDT&fromId=1&limit=1000").await.json();
    assert_eq!(aggregates[0]["f"].as_u64(), Some(FIRST_ID));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replay_waits_for_its_slowest_client_and_without_any() {
    let sim = replaying(recordings(), Speed::Max).await;
    let mut quick = connect(sim.binance_addr, "/ws/btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms").await;
    let slow = connect(sim.binance_addr, "/ws/btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms").await;
    // The one that does not read holds the cursor although the other reads all it gets.
    let stuck = async { while !matches!(quick.next("frames").await, Came::Broken(_)) {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), stuck).await;
    let held = report(&sim).await;
    assert!(held["finished"] == false && held["sent_frames"].as_u64() < held["total_frames"].as_u64(), "{held}");
    let fifth = held["sent_frames"].as_u64().unwrap();
    assert!(fifth > 0, "{held}");
    // Other symbols go on.
    let mut other = connect(sim.binance_addr, "/ws/ethusdt@trade").await;
    other.json("a trade of the seeded market").await;
    drop((slow, quick));
    sim.stop().await;
}

#[tokio::test]
async fn a_paced_replay_starts_with_its_first_subscriber() {
    let path = std::env::temp_dir().join(format!("spark-sim-paced-{}.gz", std::process::id()));
    let frame = |index: u64| {
        let data = format!(
            r#"{{"e":"trade","E":1,"s":"BTCUSDT","t":{index},"p":"100.00","q":"1.00","T":{},"m":true,"M":true}}"#,
            1_000 * index
        );
        format!("{} {{\"stream\":\"btcusdt@trade\",\"data\":{data}}}\n", 1_000_000_000 * index)
    };
    let mut gzip = GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast());
    for index in 1..=4 {
        gzip.write_all(frame(index).as_bytes()).unwrap();
    }
    gzip.finish().unwrap();
    let sim = replaying(vec![path.clone()], Speed::Times(10.0)).await;
    let begin = std::time::Instant::now();
    let mut socket = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    for index in 1..=4 {
        assert_eq!(socket.json("a trade").await["t"], index);
    }
    // Three recorded seconds at ten times the speed cannot take less.
    assert!(begin.elapsed() >= std::time::Duration::from_millis(300));
    sim.stop().await;
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_bad_recording_is_refused_with_file_and_line() {
    let refused = |files: Vec<PathBuf>| async {
        let error = start_sim(Config { replay: Replay { files, speed: Speed::Max }, ..config() }).await.unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    };
    let missing = refused(vec!["/nowhere/x.gz".into()]).await;
    assert!(missing.contains("/nowhere/x.gz") && missing.contains("No such file"), "{missing}");
    let path = std::env::temp_dir().join(format!("spark-sim-bad-{}.gz", std::process::id()));
    let write = |text: &str| {
        let mut gzip = GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap();
    };
    let top = |symbol: &str| {
        format!(r#"1 {{"stream":"{symbol}@bookTicker","data":{{"u":1,"s":"X","b":"1","B":"1","a":"2","A":"1"}}}}"#)
    };
    write(&format!("{}\nnonsense\n", top("btcusdt")));
    let bad = refused(vec![path.clone()]).await;
    assert!(bad.contains("line 2") && bad.contains("no space"), "{bad}");
    write(&top("dogeusdt"));
    let unknown = refused(vec![path.clone()]).await;
    assert!(unknown.contains("DOGEUSDT") && unknown.contains("markets"), "{unknown}");
    write("");
    assert!(refused(vec![path.clone()]).await.contains("no frames"));
    std::fs::remove_file(path).unwrap();
}
