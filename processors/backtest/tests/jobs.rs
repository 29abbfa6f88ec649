//! Jobs on a real broker: each ends once, whatever is wrong with it and whoever has it.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part has failed, and its helpers with it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use spark_backtest::store::{DATABASE, Page, Store};
use spark_backtest::{Config, Live};
use spark_bus_schema::backtests::{BacktestDone, BacktestJob, DataSource, FillAt, JobCancel, JobProgress, JobState};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::strategies::StrategyKind;
use spark_bus_schema::subject::{self, FEED, JOBS, LEDGER, PARKED};
use spark_bus_schema::{Message, Timestamp, Venue};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, From, Meta, Queue, queue};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

/// Workers that run in this process.
struct Workers {
    stop: CancellationToken,
    task: JoinHandle<Result<(), spark_backtest::Error>>,
    results: PathBuf,
}

impl Workers {
    async fn start(broker: &TestBroker, folder: &str, config: Config) -> Self {
        let service = broker.service_in("backtest", folder).await;
        let (stop, results) = (service.shutdown.clone(), service.data_dir.join(DATABASE));
        Self { stop, task: tokio::spawn(spark_backtest::run(service, config, Live::default())), results }
    }

    fn store(&self) -> Store {
        Store::open_read_only(&self.results).unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("it stops").unwrap().unwrap();
    }
}

fn config() -> Config {
    Config { ack_wait_s: 2, ..Config::default() }
}

/// Bars of a minute that go up and down.
fn bars(broker: &TestBroker, count: i64) -> String {
    let mut text = String::from("open_time,open,high,low,close,volume\n");
    for n in 0..count {
        let price = 1_000 + (n * 37 % 101) + (n / 50 % 7) * 20;
        writeln!(text, "{},{price},{},{},{price},1", 1_700_000_000_000 + n * 60_000, price + 1, price - 1).unwrap();
    }
    let path = broker.dir().join(format!("bars-{count}.csv"));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn job(id: &str, path: &str) -> BacktestJob {
    BacktestJob {
        id: id.to_owned(),
        strategy: None,
        kind: StrategyKind::SmaCross,
        params: BTreeMap::from([("fast", "3"), ("slow", "7")].map(|(key, value)| (key.to_owned(), value.to_owned()))),
        sweep: BTreeMap::new(),
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

/// One that takes minutes.
fn long_job(id: &str, path: &str) -> BacktestJob {
    let values = |from: u32, to: u32| (from..to).map(|value| value.to_string()).collect::<Vec<_>>();
    let sweep = BTreeMap::from([("fast".to_owned(), values(2, 102)), ("slow".to_owned(), values(200, 300))]);
    BacktestJob { sweep, ..job(id, path) }
}

async fn submit(bus: &Bus, job: &BacktestJob) {
    bus.publish(&subject::backtest(&job.id), job, Meta::default()).await.unwrap();
}

async fn cancel(bus: &Bus, id: &str) {
    let command =
        JobCancel { id: id.to_owned(), actor: "test".to_owned(), reason: "changed my mind".to_owned(), at: Timestamp::ZERO };
    bus.publish(&subject::job_cancel(id), &command, Meta::default()).await.unwrap();
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) => assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}; last seen: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn end(bus: &Bus, id: &str) -> BacktestDone {
    until(&format!("job {id} ends"), async || {
        let found = bus.last(LEDGER, &subject::backtest_done(id)).await.map_err(|error| error.to_string())?;
        Ok(found.ok_or("no end")?.decode().unwrap())
    })
    .await
}

async fn empty(bus: &Bus) {
    until("the queue is empty", async || match bus.message_count(JOBS).await.map_err(|error| error.to_string())? {
        0 => Ok(()),
        left => Err(format!("{left} jobs")),
    })
    .await;
}

async fn runs(bus: &Bus, id: &str) {
    until(&format!("job {id} is under way"), async || {
        let found = bus.last(FEED, &subject::job_progress(id)).await.map_err(|error| error.to_string())?.ok_or("no progress")?;
        let progress: JobProgress = found.decode().unwrap();
        if progress.state == JobState::Running && progress.done > 0 { Ok(()) } else { Err(format!("{progress:?}")) }
    })
    .await;
}

async fn parked(bus: &Bus) -> Vec<Parked> {
    let found = bus.page(PARKED, "parked.backtest.>", From::Sequence(1)).await.unwrap();
    found.iter().map(|delivery| delivery.decode().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_ends_once_with_its_figures_in_ledger_database_and_report() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let workers = Workers::start(&broker, "backtest", config()).await;
    let path = bars(&broker, 2_000);
    for id in ["first", "again"] {
        submit(&bus, &job(id, &path)).await;
    }
    let (first, again) = (end(&bus, "first").await, end(&bus, "again").await);
    assert_eq!((first.state, first.attempts, first.error.as_deref()), (JobState::Done, 1, None));
    assert!(first.metrics.as_ref().is_some_and(|metrics| metrics.trades > 0 && metrics.bars == 2_000), "{first:?}");
    assert_eq!((&first.trades_hash, &first.data_hash, &first.metrics), (&again.trades_hash, &again.data_hash, &again.metrics));
    empty(&bus).await;

    let detail = workers.store().get("first").unwrap().unwrap();
    let kept = detail.summary.metrics.as_ref().unwrap();
    assert_eq!(kept.final_equity, first.metrics.as_ref().unwrap().final_equity);
    assert_eq!(detail.trades.len() as u64, first.metrics.as_ref().unwrap().trades);
    let report = std::fs::read_to_string(workers.store().report_path("first")).unwrap();
    assert!(report.contains(first.trades_hash.as_deref().unwrap()));

    // The same job once more: it has its end already.
    submit(&bus, &job("first", "/nowhere.csv")).await;
    empty(&bus).await;
    assert_eq!(end(&bus, "first").await, first);
    assert_eq!(workers.store().get("first").unwrap().unwrap(), detail);
    assert_eq!(parked(&bus).await.len(), 0);
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_be_run_fails_at_once_and_says_why() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let folder = broker.dir().canonicalize().unwrap();
    let workers = Workers::start(&broker, "backtest", Config { csv_folders: vec![folder.clone()], ..config() }).await;
    let missing = folder.join("missing.csv").display().to_string();
    let good = bars(&broker, 100);
    let wrong = folder.join("wrong.csv");
    std::fs::write(&wrong, "open_time,open,high,low,close,volume\n1700000000000,1,1,1,NaN,1\n").unwrap();
    let with = |id: &str, change: &dyn Fn(&mut BacktestJob)| {
        let mut job = job(id, &good);
        change(&mut job);
        job
    };
    let csv = |path: &str| DataSource::Csv { path: path.to_owned() };
    let cases = [
        (with("missing", &|job| job.data = csv(&missing)), "missing.csv"),
        (with("nan", &|job| job.data = csv(&wrong.display().to_string())), "line 2"),
        (with("folder", &|job| job.data = csv(&folder.display().to_string())), "not a regular file"),
        (with("relative", &|job| job.data = csv("bars.csv")), "absolute path"),
        (with("outside", &|job| job.data = csv("/etc/passwd")), "csv_folders"),
        (with("parameter", &|job| drop(job.params.insert("speed".to_owned(), "1".to_owned()))), "slow"),
        (with("external", &|job| job.kind = StrategyKind::External), "external"),
        (with("recorded", &|job| job.data = DataSource::Feed { from: None, to: None }), "timeframe"),
    ];
    for (job, _) in &cases {
        submit(&bus, job).await;
    }
    empty(&bus).await;
    for (job, says) in &cases {
        let done = end(&bus, &job.id).await;
        assert_eq!((done.state, done.attempts), (JobState::Failed, 1), "{done:?}");
        let error = done.error.unwrap();
        assert!(error.contains(says), "{}: {error}", job.id);
        assert_eq!(workers.store().summary_of(&job.id).unwrap().unwrap().error.as_deref(), Some(error.as_str()));
    }
    assert_eq!(parked(&bus).await.len(), 0, "a mistake in a job is no message for the parking place");
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_parked_with_its_reason_and_its_neighbours_go_on() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let path = bars(&broker, 100);
    // One that took every worker with it: handed out and never finished.
    submit(&bus, &job("deadly", &path)).await;
    let attempts = config().attempts;
    let settings = queue::Settings { ack_wait: Duration::from_secs(2), deliveries_max: attempts + 10 };
    let mut dying = Queue::new(broker.bus("backtest").await, "backtest", JOBS, subject::BACKTESTS, settings);
    for attempt in 1..=attempts {
        let task = tokio::time::timeout(LIMIT, dying.next()).await.unwrap();
        assert_eq!(task.attempt, attempt);
        task.give_back().await.unwrap();
    }
    drop(dying);
    // What nobody can read, and what speaks of another job.
    bus.store_kind("jobs.backtest.garbage", BacktestJob::KIND, b"\xc1nonsense".as_slice().into(), Meta::default()).await.unwrap();
    bus.publish("jobs.backtest.a.b", &job("else", &path), Meta::default()).await.unwrap();
    submit(&bus, &job("good", &path)).await;

    let workers = Workers::start(&broker, "backtest", config()).await;
    assert_eq!(end(&bus, "good").await.state, JobState::Done);
    for (id, says) in [("deadly", "3 workers had it"), ("garbage", "parked (malformed)"), ("a_b", "speaks of another job")] {
        let done = end(&bus, id).await;
        assert_eq!(done.state, JobState::Failed);
        assert!(done.error.as_deref().is_some_and(|error| error.contains(says)), "{done:?}");
    }
    empty(&bus).await;
    let mut reasons: Vec<(String, String)> =
        parked(&bus).await.into_iter().map(|parked| (parked.subject, parked.reason)).collect();
    reasons.sort();
    let want = [("a.b", "wrong_subject"), ("deadly", "attempts"), ("garbage", "malformed")];
    assert_eq!(reasons, want.map(|(id, reason)| (format!("jobs.backtest.{id}"), reason.to_owned())));
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_taken_back_while_they_wait_and_while_they_run() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let path = bars(&broker, 100_000);
    // Before any worker is there.
    submit(&bus, &job("early", &path)).await;
    cancel(&bus, "early").await;
    let workers = Workers::start(&broker, "backtest", config()).await;
    assert_eq!(end(&bus, "early").await.state, JobState::Cancelled);

    submit(&bus, &long_job("long", &path)).await;
    runs(&bus, "long").await;
    submit(&bus, &job("waits", &path)).await;
    cancel(&bus, "waits").await;
    let waits = end(&bus, "waits").await;
    assert_eq!((waits.state, waits.attempts), (JobState::Cancelled, 0), "no worker had it");
    assert!(
        bus.last(LEDGER, &subject::backtest_done("long")).await.unwrap().is_none(),
        "the only worker is still at the other one"
    );

    cancel(&bus, "long").await;
    let long = end(&bus, "long").await;
    assert_eq!((long.state, long.attempts), (JobState::Cancelled, 1));
    assert!(long.error.unwrap().contains("changed my mind"));
    empty(&bus).await;
    let mut ids: Vec<(String, JobState)> = workers
        .store()
        .list(&Page { limit: 10, after: None })
        .unwrap()
        .jobs
        .into_iter()
        .map(|one| (one.job.id, one.state))
        .collect();
    ids.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(ids, ["early", "long", "waits"].map(|id| (id.to_owned(), JobState::Cancelled)));
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_in_order_hands_its_job_to_the_next_one_at_once() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let path = bars(&broker, 100_000);
    let slow_to_notice = Config { ack_wait_s: 3_600, ..config() };
    let first = Workers::start(&broker, "first", slow_to_notice.clone()).await;
    submit(&bus, &long_job("long", &path)).await;
    runs(&bus, "long").await;
    first.stop().await;
    assert!(bus.last(LEDGER, &subject::backtest_done("long")).await.unwrap().is_none(), "stopping is no end");
    let second = Workers::start(&broker, "second", slow_to_notice).await;
    until("the next worker has it", async || {
        let found = bus.last(FEED, &subject::job_progress("long")).await.map_err(|error| error.to_string())?.ok_or("nothing")?;
        let progress: JobProgress = found.decode().unwrap();
        if progress.attempt == 2 { Ok(()) } else { Err(format!("{progress:?}")) }
    })
    .await;
    cancel(&bus, "long").await;
    assert_eq!(end(&bus, "long").await.state, JobState::Cancelled);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_jobs_over_two_processes_are_done_once_each() {
    const JOBS_COUNT: usize = 100;
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let path = bars(&broker, 300);
    for n in 0..JOBS_COUNT {
        submit(&bus, &job(&format!("job-{n}"), &path)).await;
    }
    let both = [
        Workers::start(&broker, "first", Config { workers: 2, ..config() }).await,
        Workers::start(&broker, "second", Config { workers: 2, ..config() }).await,
    ];
    let mut hashes = std::collections::BTreeSet::new();
    for n in 0..JOBS_COUNT {
        let done = end(&bus, &format!("job-{n}")).await;
        assert_eq!((done.state, done.attempts), (JobState::Done, 1), "{done:?}");
        hashes.insert(done.trades_hash.unwrap());
    }
    assert_eq!(hashes.len(), 1, "the same job has the same trades");
    empty(&bus).await;
    let ends = bus.page(LEDGER, subject::BACKTESTS_DONE, From::Sequence(1)).await.unwrap();
    assert_eq!(ends.len(), JOBS_COUNT, "one end each");
    let shares = both.each_ref().map(|workers| workers.store().list(&Page { limit: 200, after: None }).unwrap().jobs.len());
    assert_eq!(shares[0] + shares[1], JOBS_COUNT, "{shares:?}");
    assert!(shares.iter().all(|share| *share > 0), "both had some: {shares:?}");
    for workers in both {
        workers.stop().await;
    }
}
