use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rust_decimal::Decimal;
use spark_bus_schema::backtests::{BacktestDone, BacktestJob, BacktestMetrics, DataSource, FillAt, JobState, WalkForward};
use spark_bus_schema::market::Side;
use spark_bus_schema::strategies::StrategyKind;
use spark_bus_schema::{Timestamp, Venue};

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("spark-results-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("backtest").join(DATABASE)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn at(n: i64) -> Timestamp {
    Timestamp::from_millis(1_000 * n)
}

fn job(id: &str, submitted: i64) -> BacktestJob {
    BacktestJob {
        id: id.to_owned(),
        strategy: None,
        kind: StrategyKind::SmaCross,
        params: BTreeMap::from([("fast".to_owned(), "10".to_owned())]),
        sweep: BTreeMap::new(),
        walk_forward: Some(WalkForward { train_bars: 2, test_bars: 1 }),
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: None,
        data: DataSource::Csv { path: "/x.csv".to_owned() },
        cash: Decimal::from(10_000),
        commission_pct: Decimal::new(1, 1),
        fill_at: FillAt::Close,
        limits: None,
        actor: "test".to_owned(),
        reason: "test".to_owned(),
        at: at(submitted),
    }
}

fn metrics(total_return_pct: f64) -> BacktestMetrics {
    BacktestMetrics {
        total_return_pct,
        sharpe: Some(1.0),
        max_drawdown_pct: 2.0,
        win_rate_pct: None,
        profit_factor: None,
        trades: 2,
        refused: 0,
        bars: 3,
        final_equity: Decimal::from(10_100),
    }
}

fn result() -> super::Result {
    let trade = |number, side, profit| TradeRow {
        number,
        at: at(1),
        side,
        quantity: Decimal::new(15, 1),
        price: Decimal::from(100),
        fee: Decimal::new(1, 1),
        fee_in_base: false,
        profit,
    };
    super::Result {
        params: BTreeMap::from([("fast".to_owned(), "12".to_owned())]),
        metrics: Some(metrics(1.0)),
        trades_hash: Some("aa".to_owned()),
        data_hash: Some("bb".to_owned()),
        range: Some((at(1), at(3))),
        took_ns: 1_500_000,
        combinations: 2,
        equity: vec![EquityPoint { at: at(1), equity: 10_000.0, drawdown_pct: 0.0, close: 100.0 }],
        trades: vec![trade(1, Side::Buy, None), trade(2, Side::Sell, Some(Decimal::from(100)))],
        sweep: vec![
            SweepRow { params: BTreeMap::new(), metrics: Some(metrics(1.0)), error: None },
            SweepRow { params: BTreeMap::new(), metrics: None, error: Some("fast is not below slow".to_owned()) },
        ],
        walk: vec![WindowRow {
            train_from: at(1),
            test_from: at(2),
            test_to: at(3),
            params: BTreeMap::new(),
            train: metrics(2.0),
            test: metrics(-1.0),
        }],
        walk_return_pct: Some(-1.0),
    }
}

fn done(id: &str, state: JobState) -> BacktestDone {
    let is_done = state == JobState::Done;
    BacktestDone {
        id: id.to_owned(),
        state,
        strategy: None,
        kind: StrategyKind::SmaCross,
        params: BTreeMap::from([("fast".to_owned(), "12".to_owned())]),
        metrics: is_done.then(|| metrics(1.0)),
        trades_hash: is_done.then(|| "aa".to_owned()),
        data_hash: is_done.then(|| "bb".to_owned()),
        error: (state == JobState::Failed).then(|| "line 3".to_owned()),
        attempts: 2,
        at: at(9),
    }
}

#[test]
fn what_is_kept_is_read_again_also_when_it_is_written_twice() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.file()).unwrap();
    for attempt in 1..=2 {
        store.begin(&job("a", 1), attempt, "7/1", at(2)).unwrap();
        store.keep("a", &result()).unwrap();
        store.settle(&done("a", JobState::Done)).unwrap();
    }
    let reader = Store::open_read_only(&folder.file()).unwrap();
    let detail = reader.get("a").unwrap().unwrap();
    let want = result();
    assert_eq!((detail.equity, detail.trades, detail.sweep, detail.walk), (want.equity, want.trades, want.sweep, want.walk));
    let summary = detail.summary;
    assert_eq!((summary.state, summary.attempts, summary.finished_at), (JobState::Done, 2, Some(at(9))));
    assert_eq!((summary.job, summary.params), (job("a", 1), want.params));
    assert_eq!((summary.metrics, summary.range, summary.took_ms), (want.metrics, want.range, Some(1.5)));
    assert_eq!(reader.get("b").unwrap(), None);
    assert_eq!(reader.report_path("../../x").file_name().unwrap(), "______x.html", "an id is no path");
}

#[test]
fn a_result_that_lost_against_a_cancellation_is_not_shown() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.file()).unwrap();
    store.begin(&job("a", 1), 1, "7/1", at(2)).unwrap();
    store.keep("a", &result()).unwrap();
    store.settle(&done("a", JobState::Cancelled)).unwrap();
    let detail = store.get("a").unwrap().unwrap();
    assert_eq!((detail.summary.state, detail.summary.metrics, detail.summary.trades_hash), (JobState::Cancelled, None, None));
    assert!(detail.trades.is_empty() && detail.equity.is_empty() && detail.sweep.is_empty() && detail.walk.is_empty());
}

#[test]
fn pages_follow_each_other_newest_first_and_old_jobs_are_forgotten_but_none_that_runs() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.file()).unwrap();
    for (id, submitted) in [("a", 1), ("b", 2), ("c", 2), ("d", 3), ("e", 4)] {
        store.begin(&job(id, submitted), 1, "7/1", at(5)).unwrap();
        if id != "b" {
            store.keep(id, &result()).unwrap();
            store.settle(&done(id, JobState::Done)).unwrap();
        }
    }
    let mut pages = Vec::new();
    let mut page = Page { limit: 2, after: None };
    loop {
        let listing = store.list(&page).unwrap();
        pages.push(listing.jobs.iter().map(|summary| summary.job.id.clone()).collect::<Vec<_>>().join(""));
        page.after = listing.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["ed", "cb", "a"]);

    let day = Duration::from_secs(86_400);
    assert_eq!(store.forget(at(4), Duration::from_secs(2), 100).unwrap(), ["a"], "too old");
    assert_eq!(store.forget(at(4), day, 1).unwrap(), ["c", "d"], "too many; b runs");
    let left: i64 = store.database.query_row("SELECT count(*) FROM trade", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 2, "what belonged to them went with them");
}

#[test]
fn a_file_that_is_not_there_or_of_another_build_is_named() {
    let folder = Folder::new();
    let missing = Store::open_read_only(&folder.file()).err().unwrap().to_string();
    assert!(missing.contains("spark backtest run"), "{missing}");
    let store = Store::open(&folder.file()).unwrap();
    store.database.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let other = Store::open(&folder.file()).err().unwrap().to_string();
    assert!(other.contains("layout 99"), "{other}");
}
