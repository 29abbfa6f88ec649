//! The main job on real input: the recorded BTCUSDT day change of 2024-08-08 through the whole system.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use spark_bus_schema::market::{Side, TickBatch};
use spark_bus_schema::subject::{self, FEED};
use spark_bus_schema::telemetry::Windows;
use spark_bus_schema::{Decimal, Venue};
use spark_nats::{Bus, Follower, Start};
use spark_tests::recording::{self, RecordedTrade};
use spark_tests::system::System;
use spark_tests::wait::until;

/// The whole recording is through this soon, also on a busy machine and with processes dying.
const LIMIT: Duration = Duration::from_secs(90);
const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");

async fn start(speed: &str) -> System {
    let files = recording::files().map(|path| path.display().to_string()).join(",");
    // BTCUSDT alone: what is not recorded would come from the seeded market and only cost time.
    let config = "[feed.binance]\nsymbols = [\"BTCUSDT\"]\n[feed.btcturk]\nenabled = false\n";
    System::start(BINARY, config, &["--replay", &files, "--speed", speed]).await
}

/// Every trade of BTCUSDT in FEED, in the order of the stream, as the recording would write it.
async fn stored_trades(bus: &Bus) -> Vec<RecordedTrade> {
    let target = subject::ticks(Venue::Binance, "BTCUSDT");
    let mut follower = Follower::start(bus.clone(), "replay-test", FEED, vec![target], Start::Beginning);
    let mut trades = Vec::new();
    while !follower.is_caught_up() || trades.is_empty() {
        let batch = tokio::time::timeout(LIMIT, follower.next()).await.expect("FEED can be read").expect("open");
        for delivery in batch {
            let ticks: TickBatch = delivery.decode().expect("only tick batches are here");
            trades.extend(ticks.rows().map(|row| RecordedTrade {
                id: row.trade_id,
                price: row.price.to_decimal().normalize().to_string(),
                quantity: row.quantity.to_decimal().normalize().to_string(),
                time_ms: row.occurred_at.as_millis(),
                buyer_is_maker: row.side == Side::Sell,
            }));
        }
    }
    trades
}

/// The recording with its padding zeros dropped: the value is compared, not the spelling.
fn recorded_trades() -> Vec<RecordedTrade> {
    let plain = |text: &str| text.parse::<Decimal>().expect("a decimal").normalize().to_string();
    recording::trades()
        .into_iter()
        .map(|trade| RecordedTrade { price: plain(&trade.price), quantity: plain(&trade.quantity), ..trade })
        .collect()
}

async fn counted(bus: &Bus) -> u64 {
    let last = bus.last(FEED, subject::WINDOWS).await.ok().flatten();
    let windows = last.and_then(|delivery| delivery.decode::<Windows>().ok());
    windows.and_then(|windows| windows.trades_counted.get("binance.BTCUSDT").copied()).unwrap_or(0)
}

/// Waits until the simulator has sent everything and the guardrail has counted everything, then compares.
async fn check(system: &System) {
    let want = recorded_trades();
    assert_eq!(want.len(), 19_904);
    let progress = system.simulator(reqwest::Method::GET, "/sim/replay", None).await;
    assert_eq!(progress["trades_total"], 19_904, "{progress}");
    until("the recording is sent", LIMIT, async || {
        let progress = system.simulator(reqwest::Method::GET, "/sim/replay", None).await;
        if progress["finished"] == true { Ok(()) } else { Err(progress) }
    })
    .await;
    let bus = system.bus("operator").await;
    until("the guardrail counts every trade", LIMIT, async || match counted(&bus).await {
        19_904.. => Ok(()),
        count => Err(format!("{count} of 19904\n{}", system.printed())),
    })
    .await;

    let got = stored_trades(&bus).await;
    let mut times = BTreeMap::new();
    for trade in &got {
        *times.entry(trade.id).or_insert(0) += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).take(5).collect();
    assert!(twice.is_empty(), "stored more than once: {twice:?}");
    let missing: Vec<u64> = want.iter().map(|trade| trade.id).filter(|id| !times.contains_key(id)).take(5).collect();
    assert!(missing.is_empty(), "missing: {missing:?}, {} of {}", got.len(), want.len());
    assert!(got == want, "every trade is stored in order with the recorded values");
    assert_eq!(counted(&bus).await, 19_904, "the guardrail counted the same number");

    let want = recording::last_quote().map(|text| text.parse::<Decimal>().expect("a decimal").normalize());
    until("the last recorded bid and ask are in the view", LIMIT, async || {
        let prices = system.json("/api/prices").await?;
        let row = find(&prices, "BTCUSDT").ok_or_else(|| prices.to_string())?;
        let got = ["bid", "bid_quantity", "ask", "ask_quantity"].map(|key| decimal(&row[key]));
        if got == want.map(Some) { Ok(()) } else { Err(format!("{row} instead of {want:?}")) }
    })
    .await;
}

fn find<'a>(prices: &'a Value, symbol: &str) -> Option<&'a Value> {
    match prices {
        Value::Object(object) if object.get("symbol").is_some_and(|value| value == symbol) => Some(prices),
        Value::Object(object) => object.values().find_map(|value| find(value, symbol)),
        Value::Array(items) => items.iter().find_map(|value| find(value, symbol)),
        _ => None,
    }
}

/// The JSON number as it was written.
fn decimal(value: &Value) -> Option<Decimal> {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    text.parse::<Decimal>().ok().map(|decimal| decimal.normalize())
}

#[tokio::test]
async fn both_recorded_files_at_full_speed_are_stored_once_counted_once_and_seen() {
    let system = start("max").await;
    check(&system).await;
    let run = system.run();
    let restarts: Vec<u64> =
        run["processes"].as_object().expect("processes").values().filter_map(|process| process["restarts"].as_u64()).collect();
    assert!(restarts.iter().all(|&restarts| restarts == 0), "{run}");
}

#[tokio::test]
async fn the_same_holds_while_processes_and_the_broker_are_killed() {
    // 40 times the recorded pace: long enough for every kill to strike in the middle.
    let system = start("40").await;
    let victims = [
        "feed",
        "guardrail",
        "nats-server",
        "gateway",
        "feed",
        "nats-server",
        "guardrail",
        "feed",
        "gateway",
        "nats-server",
        "guardrail",
        "gateway",
        "feed",
    ];
    for victim in victims {
        let before = system.simulator(reqwest::Method::GET, "/sim/replay", None).await;
        let sent = before["sent_frames"].as_u64().unwrap_or(0);
        system.kill(victim).await;
        until("the recording goes on", LIMIT, async || {
            let now = system.simulator(reqwest::Method::GET, "/sim/replay", None).await;
            let moved = now["sent_frames"].as_u64().unwrap_or(0) > sent + 1_000 || now["finished"] == true;
            if moved { Ok(()) } else { Err(format!("{now} after the death of {victim}")) }
        })
        .await;
    }
    check(&system).await;
}

#[tokio::test]
async fn at_full_speed_the_feed_and_the_broker_may_die_too() {
    let system = start("max").await;
    for victim in ["feed", "nats-server", "feed", "guardrail", "nats-server", "gateway", "feed"] {
        system.kill(victim).await;
    }
    check(&system).await;
}
