//! The same past gives the same trades: what the live processes traded on paper, while being killed, and what a backtest over
//! the FEED that this run recorded trades, by the same code.

use std::collections::BTreeMap;
use std::time::Duration;

use spark_backtest::engine::line;
use spark_backtest::store::{self, Store};
use spark_bus_schema::Timestamp;
use spark_bus_schema::backtests::BacktestDone;
use spark_bus_schema::orders::{OrderEvent, OrderIntent};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::subject::{self, LEDGER};
use spark_nats::{Bus, Follower, Start, now};
use spark_tests::recording;
use spark_tests::system::System;
use spark_tests::wait::until;

const LIMIT: Duration = Duration::from_secs(90);
const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");

/// Eleven minutes of BTCUSDT in some thirty seconds. The slow mean is warm after eight of them: by then everybody is there.
const SPEED: &str = "20";
const FAST: &str = "2";
const SLOW: &str = "160";

const CONFIG: &str = r#"
[feed.binance]
symbols = ["BTCUSDT"]
[feed.btcturk]
enabled = false
[candles]
timeframes = ["1s", "1m"]
always = ["binance.BTCUSDT"]
backfill = false
grace_ms = 700
[executor.binance]
taker_fee_pct = "0.075"
latency_ms = 40
[risk.default]
notional_usd_max = "100000"
exposure_usd_max = "1000000"
orders_per_minute_max = 10000
collar_pct_max = "50"
mark_age_ms_max = 60000
[[strategy.run]]
name = "cross"
kind = "sma_cross"
exchange = "binance"
symbol = "BTCUSDT"
fast = 2
slow = 160
timeframe = "1s"
quantity = "0.01"
"#;

/// What the LEDGER says was traded and refused.
#[derive(Debug, Default)]
struct Live {
    decided: BTreeMap<String, Timestamp>,
    lines: Vec<(Timestamp, String)>,
    refused: Vec<String>,
    ended: Vec<String>,
}

async fn live(bus: &Bus) -> Live {
    let subjects = [subject::INTENTS, subject::VERDICTS, subject::ORDER_EVENTS].map(str::to_owned).to_vec();
    let mut follower = Follower::start(bus.clone(), "operator-same-trades", LEDGER, subjects, Start::Beginning);
    let mut live = Live::default();
    while !follower.is_caught_up() {
        let Ok(batch) = tokio::time::timeout(Duration::from_secs(2), follower.next()).await else { continue };
        for delivery in batch.expect("open") {
            if subject::matches(subject::INTENTS, &delivery.subject) {
                let intent: OrderIntent = delivery.decode().expect("an intent");
                live.decided.insert(intent.order.to_string(), intent.decided_at.expect("it decides on candles"));
            } else if subject::matches(subject::VERDICTS, &delivery.subject) {
                let verdict: Verdict = delivery.decode().expect("a verdict");
                if !verdict.approved {
                    live.refused.push(verdict.reason);
                }
            } else {
                let event: OrderEvent = delivery.decode().expect("an order event");
                let decided_at = live.decided[event.order.as_str()];
                for step in &event.steps {
                    if let Some(fill) = &step.fill {
                        let line = line(&event.symbol, event.side, fill.quantity, fill.price, fill.fee, decided_at);
                        live.lines.push((decided_at, line));
                    } else if let Some(reason) = &step.reason {
                        live.ended.push(format!("{}: {reason}", step.state));
                    }
                }
            }
        }
    }
    live
}

async fn trades(bus: &Bus, at_least: usize) {
    until(&format!("{at_least} trades"), LIMIT, async || {
        let live = live(bus).await;
        if live.lines.len() >= at_least { Ok(()) } else { Err(format!("{live:?}")) }
    })
    .await;
}

/// What a worker of the same system says that the same strategy trades over what FEED holds. Venue's steps, fees, latency
/// and grace are not in the job: the worker knows them.
fn backtest(system: &System, to: Timestamp) -> Vec<String> {
    let mut arguments = vec!["backtest", "run", "--queue", "--json", "--feed", "--name", "cross", "--strategy", "sma_cross"];
    arguments.extend(["--fast", FAST, "--slow", SLOW, "--param", "quantity=0.01", "--timeframe", "1s"]);
    let until = to.to_string();
    arguments.extend(["--to", until.as_str()]);
    let (code, printed) = system.spark(&arguments);
    assert_eq!(code, 0, "{printed}");
    let done: BacktestDone = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    let results = Store::open_read_only(&store::path_in(&system.data())).expect("the worker's results");
    let detail = results.get(&done.id).expect("they can be read").expect("the job is in them");
    let lines = detail.trades.iter().map(|it| line("BTCUSDT", it.side, it.quantity, it.price, it.fee, it.at));
    let lines: Vec<String> = lines.collect();
    assert_eq!(done.trades_hash, Some(hash(&lines)));
    assert_eq!(done.metrics.expect("it has traded").refused, 0);
    lines
}

fn hash(lines: &[String]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(lines.concat()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_of_what_was_recorded_trades_what_was_traded_on_paper_also_when_processes_are_killed() {
    let files = recording::files().map(|path| path.display().to_string()).join(",");
    let mut system = System::start(BINARY, CONFIG, &["--replay", &files, "--speed", SPEED]).await;
    let bus = system.bus("operator").await;
    trades(&bus, 2).await;
    system.kill("strategy").await;
    trades(&bus, 4).await;
    system.kill("executor").await;
    until("the recording is sent", LIMIT, async || {
        let progress = system.simulator(reqwest::Method::GET, "/sim/replay", None).await;
        if progress["finished"] == true { Ok(()) } else { Err(progress) }
    })
    .await;
    let to = now();
    let want = backtest(&system, to);
    assert!(want.len() >= 8, "so few trades say little: {want:#?}");
    until("the LEDGER has the same trades", Duration::from_secs(40), async || {
        let live = live(&bus).await;
        assert_eq!(live.refused, Vec::<String>::new());
        let got: Vec<String> = live.lines.iter().filter(|(at, _)| *at < to).map(|(_, line)| line.clone()).collect();
        if hash(&got) == hash(&want) {
            return Ok(());
        }
        let first = got.iter().zip(&want).position(|(got, want)| got != want);
        Err(format!("{} of {}, differing at {first:?}\n{got:#?}\n{want:#?}\n{:?}", got.len(), want.len(), live.ended))
    })
    .await;
    system.stop().await;
}
