//! The life of a registered strategy on a whole system: registered, backtested, on paper, stopped; every refusal on the way.

use std::time::Duration;

use serde_json::Value;
use spark_bus_schema::backtests::{BacktestDone, JobState};
use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::orders::OrderEvent;
use spark_bus_schema::strategies::{StrategyKind, StrategyRegistered};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Message, encode};
use spark_nats::{AppendError, Bus, Follower, Meta, Start, SubjectWriter};
use spark_tests::system::System;
use spark_tests::wait::until;

const LIMIT: Duration = Duration::from_secs(60);
const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");

const CONFIG: &str = r#"
[feed.binance]
symbols = ["BTCUSDT"]
[feed.btcturk]
enabled = false
[candles]
timeframes = ["1s"]
[strategy]
enabled = true
run = []
"#;

fn sample<T: Message>() -> T {
    decode_payload(&(find(&T::KIND.to_string()).expect("a kind").sample)()).expect("a sample")
}

/// Runs `spark …`, with this exit code and these words in what it printed.
fn spark(system: &System, arguments: &[&str], code: i32, words: &str) -> String {
    let (got, printed) = system.spark(arguments);
    assert!(got == code && printed.contains(words), "{arguments:?}: exit {got}, {printed}");
    printed
}

/// Fills of the strategy so far.
async fn fills(bus: &Bus) -> usize {
    let subjects = vec![subject::ORDER_EVENTS.to_owned()];
    let mut follower = Follower::start(bus.clone(), "operator-fills", LEDGER, subjects, Start::Beginning);
    let mut fills = 0;
    while !follower.is_caught_up() {
        let Ok(batch) = tokio::time::timeout(Duration::from_secs(1), follower.next()).await else { continue };
        for delivery in batch.expect("open") {
            let event: OrderEvent = delivery.decode().expect("an order event");
            assert_eq!(event.strategy, "cross");
            fills += event.steps.iter().filter(|step| step.fill.is_some()).count();
        }
    }
    fills
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_is_registered_backtested_traded_on_paper_and_stopped_and_nothing_skips_a_step() {
    let mut system = System::start(BINARY, CONFIG, &[]).await;
    let bus = system.bus("operator").await;
    let create = |slow: &'static str| {
        ["strategy", "create", "cross", "--kind", "sma_cross", "--param", "fast=1", "--param", slow, "--symbol", "BTCUSDT"]
            .into_iter()
            .chain(["--timeframe", "1s", "--quantity", "0.001", "--reason", "a first try"])
            .collect::<Vec<_>>()
    };
    let promote = ["strategy", "promote", "cross", "--reason", "it is good"];
    spark(&system, &["strategy", "ls"], 0, "no strategy is registered");
    spark(&system, &promote, 1, "no strategy `cross` is registered");
    spark(&system, &create("slow=1"), 64, "not below slow = 1");
    spark(&system, &create("slow=2"), 0, "cross is draft, revision 1");
    spark(&system, &create("slow=2"), 1, "nothing changes");
    spark(&system, &create("slow=3"), 0, "cross is draft, revision 2");
    spark(&system, &["strategy", "start", "cross", "--reason", "now"], 1, "promote it on a backtest first");
    spark(&system, &promote, 1, "none is known");

    // A backtest of other parameters, then one of these.
    let worker = system.bus("backtest").await;
    let done = |id: &str, slow: &str| BacktestDone {
        id: id.to_owned(),
        state: JobState::Done,
        strategy: Some("cross".to_owned()),
        kind: StrategyKind::SmaCross,
        params: [("fast", "1"), ("slow", slow)].map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        error: None,
        ..sample()
    };
    for (id, slow, code, words) in [("b1", "2", 1, "backtest b1 had"), ("b2", "3", 0, "cross is backtested, revision 3")] {
        worker.publish(&subject::backtest_done(id), &done(id, slow), Meta::default()).await.expect("stored");
        spark(&system, &promote, code, words);
    }
    assert_eq!(fills(&bus).await, 0, "it does not trade yet");
    spark(&system, &promote, 0, "cross is paper, revision 4");
    until("it trades on paper", LIMIT, async || {
        let fills = fills(&bus).await;
        if fills >= 2 { Ok(()) } else { Err(format!("{fills} fills\n{}", system.printed())) }
    })
    .await;

    spark(&system, &create("slow=9"), 1, "it trades; stop it first");
    spark(&system, &promote, 1, "confirm");
    let shown = spark(&system, &["strategy", "show", "cross", "--json"], 0, "\"paper\"");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((shown["revision"].as_u64(), shown["backtest"].as_str()), (Some(4), Some("b2")));
    // Somebody who saw revision 3 cannot change revision 4.
    let subject = subject::registry("cross");
    let seen = bus.last(LEDGER, &subject).await.expect("LEDGER").expect("registered").sequence - 1;
    let mut late = SubjectWriter::at(bus.clone(), LEDGER, subject, seen);
    let old: StrategyRegistered = sample();
    let refused = late.append(StrategyRegistered::KIND, encode(&old).into(), "late").await;
    assert!(matches!(refused, Err(AppendError::Conflict)), "{refused:?}");

    spark(&system, &["strategy", "stop", "cross", "--reason", "enough"], 0, "cross is stopped, revision 5");
    spark(&system, &["strategy", "ls"], 0, "stopped");
    spark(&system, &["strategy", "start", "cross", "--reason", "again"], 0, "cross is paper, revision 6");
    let before = fills(&bus).await;
    until("it trades again", LIMIT, async || {
        let fills = fills(&bus).await;
        if fills > before { Ok(()) } else { Err(format!("{fills} fills\n{}", system.printed())) }
    })
    .await;
    spark(&system, &["strategy", "promote", "cross", "--reason", "a long time", "--confirm"], 0, "cross is live, revision 7");
    system.stop().await;
}
