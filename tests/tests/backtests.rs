//! Backtests by real processes: a worker that is killed takes no job with it, and none is done twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part has failed, and its helpers with it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use spark_bus_schema::backtests::{BacktestDone, BacktestJob, DataSource, FillAt, JobProgress, JobState};
use spark_bus_schema::strategies::StrategyKind;
use spark_bus_schema::subject::{self, FEED, JOBS, LEDGER};
use spark_bus_schema::{Decimal, Timestamp, Venue};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, From, Meta};
use spark_tests::wait::until;

const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");
const LIMIT: Duration = Duration::from_secs(120);
const ACK_WAIT_S: u64 = 2;

/// A worker process; killed when the test ends.
struct Worker(Child);

impl Worker {
    fn start(broker: &TestBroker, folder: &str) -> Self {
        let log = std::fs::File::create(broker.dir().join(format!("{folder}.log"))).unwrap();
        let child = Command::new(BINARY)
            .args(["backtest", "--url", &broker.url(), "--data"])
            .arg(broker.dir().join(folder))
            .env("SPARK_NKEY_SEED_FILE", broker.seed_file("backtest"))
            .env("SPARK_BACKTEST__ACK_WAIT_S", ACK_WAIT_S.to_string())
            .env("SPARK_LOG", "info")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// kill -9.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// The start of the names of its workers.
    fn name(&self) -> String {
        format!("{}/", self.0.id())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have been killed by the test already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bars(folder: &Path, count: i64) -> String {
    let mut text = String::from("open_time,open,high,low,close,volume\n");
    for n in 0..count {
        let price = 1_000 + (n * 37 % 101) + (n / 50 % 7) * 20;
        writeln!(text, "{},{price},{},{},{price},1", 1_700_000_000_000 + n * 60_000, price + 1, price - 1).unwrap();
    }
    let path = folder.join(format!("bars-{count}.csv"));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// `fasts` times 20 combinations.
fn job(id: &str, path: &str, fasts: u32) -> BacktestJob {
    let values = |from: u32, to: u32| (from..to).map(|value| value.to_string()).collect::<Vec<_>>();
    BacktestJob {
        id: id.to_owned(),
        strategy: None,
        kind: StrategyKind::SmaCross,
        params: BTreeMap::new(),
        sweep: BTreeMap::from([("fast".to_owned(), values(2, 2 + fasts)), ("slow".to_owned(), values(200, 220))]),
        walk_forward: None,
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: None,
        data: DataSource::Csv { path: path.to_owned() },
        cash: Decimal::from(10_000),
        commission_pct: Decimal::new(1, 1),
        fill_at: FillAt::Close,
        limits: None,
        actor: "test".to_owned(),
        reason: "test".to_owned(),
        at: spark_nats::now(),
    }
}

async fn submit(bus: &Bus, job: &BacktestJob) {
    bus.publish(&subject::backtest(&job.id), job, Meta::default()).await.unwrap();
}

async fn end(bus: &Bus, id: &str) -> BacktestDone {
    until(&format!("job {id} ends"), LIMIT, async || {
        let found = bus.last(LEDGER, &subject::backtest_done(id)).await.map_err(|error| error.to_string())?;
        found.map(|found| found.decode().unwrap()).ok_or_else(|| "no end".to_owned())
    })
    .await
}

#[tokio::test]
async fn a_job_whose_worker_is_killed_ends_once_with_the_same_result() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let path = bars(broker.dir(), 20_000);
    let mut first = Worker::start(&broker, "first");
    submit(&bus, &job("killed", &path, 20)).await;
    let progress = until("the first worker is in the middle of it", LIMIT, async || {
        let found = bus.last(FEED, &subject::job_progress("killed")).await.map_err(|error| error.to_string())?.ok_or("none")?;
        let progress: JobProgress = found.decode().unwrap();
        if progress.done > 0 { Ok(progress) } else { Err(format!("{progress:?}")) }
    })
    .await;
    assert!(progress.worker.starts_with(&first.name()), "{progress:?}");
    first.kill();
    assert!(bus.last(LEDGER, &subject::backtest_done("killed")).await.unwrap().is_none(), "it was killed in the middle");

    let second = Worker::start(&broker, "second");
    let done = end(&bus, "killed").await;
    assert_eq!((done.state, done.attempts), (JobState::Done, 2), "{done:?}");
    submit(&bus, &job("whole", &path, 20)).await;
    let whole = end(&bus, "whole").await;
    assert_eq!((&done.trades_hash, &done.params, &done.metrics), (&whole.trades_hash, &whole.params, &whole.metrics));
    assert_eq!(whole.attempts, 1);
    until("the queue is empty", LIMIT, async || match bus.message_count(JOBS).await {
        Ok(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let ends = bus.page(LEDGER, subject::BACKTESTS_DONE, From::Sequence(1)).await.unwrap();
    assert_eq!(ends.len(), 2, "each ended once");
    let store =
        spark_backtest::store::Store::open_read_only(&spark_backtest::store::path_in(&broker.dir().join("second"))).unwrap();
    let kept = store.get("killed").unwrap().unwrap();
    assert_eq!((kept.summary.state, kept.summary.worker.starts_with(&second.name())), (JobState::Done, true));
    assert!(store.report_path("killed").is_file());
}

#[tokio::test]
async fn a_hundred_jobs_are_done_once_each_although_a_worker_is_killed() {
    const COUNT: usize = 100;
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let path = bars(broker.dir(), 500);
    for n in 0..COUNT {
        submit(&bus, &BacktestJob { at: Timestamp::from_millis(n.try_into().unwrap()), ..job(&format!("job-{n}"), &path, 1) })
            .await;
    }
    let (mut first, _second) = (Worker::start(&broker, "first"), Worker::start(&broker, "second"));
    until("some are done", LIMIT, async || {
        let ends = bus.page(LEDGER, subject::BACKTESTS_DONE, From::Sequence(1)).await.map_err(|error| error.to_string())?;
        if ends.len() >= 10 { Ok(()) } else { Err(format!("{} of them", ends.len())) }
    })
    .await;
    first.kill();
    let mut hashes = std::collections::BTreeSet::new();
    for n in 0..COUNT {
        let done = end(&bus, &format!("job-{n}")).await;
        assert_eq!(done.state, JobState::Done, "{done:?}");
        hashes.insert(done.trades_hash);
    }
    assert_eq!(hashes.len(), 1);
    let ends = bus.page(LEDGER, subject::BACKTESTS_DONE, From::Sequence(1)).await.unwrap();
    assert_eq!(ends.len(), COUNT, "one end each");
}

/// What the command line says about a file, and with which exit code.
fn run(folder: &Path, file: &str) -> (i32, String) {
    let output = Command::new(BINARY)
        .args(["backtest", "run", "--strategy", "sma_cross", "--fast", "2", "--slow", "3", "--data", file])
        .current_dir(folder)
        .env_remove("SPARK_DATA")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), printed.into_owned())
}

#[test]
fn a_file_is_run_without_a_broker_and_each_bad_one_is_told_with_its_line() {
    let folder = std::env::temp_dir().join(format!("spark-backtest-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let header = "open_time,open,high,low,close,volume";
    let line = |minute: u32, rest: &str| format!("{},{rest}", 1_700_000_000_000_u64 + u64::from(minute) * 60_000);
    let good = "10,12,9,11,5";
    let cases: [(&str, Vec<String>, &str); 11] = [
        ("nan.csv", vec![header.into(), line(0, good), line(1, "10,12,9,NaN,5")], "line 3: column 5 (close)"),
        ("null.csv", vec![header.into(), line(0, "10,12,,11,5")], "line 2: column 4 (low)"),
        ("infinite.csv", vec![header.into(), line(0, "inf,12,9,11,5")], "line 2: column 2 (open)"),
        ("negative.csv", vec![header.into(), line(0, "10,12,9,11,-5")], "line 2: volume"),
        ("one.csv", vec![header.into(), line(0, good)], "give the time frame"),
        ("header.csv", vec![header.into()], "there is no bar in it"),
        ("empty.csv", Vec::new(), "there is no bar in it"),
        ("unsorted.csv", vec![header.into(), line(1, good), line(0, good)], "line 3: open time"),
        ("twice.csv", vec![header.into(), line(0, good), line(0, good)], "line 3: open time"),
        ("columns.csv", vec!["when,price".into(), "1,2".into()], "no column open_time"),
        ("short.csv", vec![header.into(), "1700000000000,10,12".into()], "line 2: 3 columns"),
    ];
    for (name, lines, says) in &cases {
        std::fs::write(folder.join(name), lines.join("\n")).unwrap();
        let (code, printed) = run(&folder, name);
        assert_eq!(code, 64, "{name}: {printed}");
        assert!(printed.contains(says) && printed.contains(name), "{name}: {printed}");
    }
    let (code, printed) = run(&folder, "nowhere.csv");
    assert!(code == 64 && printed.contains("nowhere.csv"), "{code}: {printed}");

    // Zero volume is a quiet minute, no mistake.
    let lines: Vec<String> = std::iter::once(header.to_owned()).chain((0..50).map(|n| line(n, "10,12,9,11,0"))).collect();
    std::fs::write(folder.join("quiet.csv"), lines.join("\n")).unwrap();
    let (code, printed) = run(&folder, "quiet.csv");
    assert_eq!(code, 0, "{printed}");
    for part in ["total return", "max drawdown", "trades hash", "none: the same guards", ".spark/backtest/reports/"] {
        assert!(printed.contains(part), "{part} is missing: {printed}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
