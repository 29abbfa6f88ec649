//! The history alone, with explicit time: what counts once, what is forgotten and when, and the week.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use spark_bus_schema::alerts::AlertState;
use spark_bus_schema::telemetry::{Call, Heartbeat, ProcessState, REFRESH, WindowValue, Windows};
use spark_bus_schema::{Message, Timestamp, Venue, encode, subject};
use spark_nats::Delivery;
use spark_reporter::background::write_due;
use spark_reporter::history::{self, History};
use spark_reporter::record::{Keep, ROWS_PER_PASS, Recorder, decode};
use spark_reporter::report::Verdict;
use spark_reporter::{Window, weekly};

const DAY: Duration = Duration::from_secs(86_400);

/// A folder that is removed when the test went well.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("spark-history-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join(history::DATABASE)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A message as a stream would hand it over.
fn stored<T: Message>(sequence: u64, stored_at: Timestamp, subject: String, message: &T) -> Delivery {
    let kind = format!("{}.v{}", T::KIND.name, T::KIND.version);
    Delivery {
        stream: subject::FEED,
        sequence,
        stored_at,
        subject,
        kind: Some(kind),
        headers: Vec::new(),
        payload: encode(message).into(),
        pending: 0,
    }
}

fn call(sequence: u64, at: Timestamp, latency_us: u64) -> Delivery {
    let call = Call {
        exchange: Venue::Binance,
        service: "portfolio".to_owned(),
        operation: REFRESH.to_owned(),
        started_at: at,
        latency_us,
        ok: true,
        error_type: None,
        http_status: None,
        attempt: 1,
    };
    stored(sequence, at, subject::calls(Venue::Binance), &call)
}

fn windows(sequence: u64, at: Timestamp, value: f64) -> Delivery {
    let value = WindowValue {
        rule: "portfolio_refresh_p95".to_owned(),
        metric: "refresh_latency_ms".to_owned(),
        scope: BTreeMap::from([("exchange".to_owned(), "binance".to_owned())]),
        value: Some(value),
        samples: 1,
        window_ms: 300_000,
        unit: "ms".to_owned(),
        warning: Some(1_500.0),
        critical: Some(3_000.0),
        state: AlertState::Inactive,
    };
    let windows = Windows { at, values: vec![value], trades_counted: BTreeMap::new() };
    stored(sequence, at, subject::WINDOWS.to_owned(), &windows)
}

fn beat(sequence: u64, at: Timestamp) -> Delivery {
    let beat = Heartbeat {
        service: "feed".to_owned(),
        pid: 1,
        version: "0.1.0".to_owned(),
        started_at: at,
        sent_at: at,
        state: ProcessState::Running,
        detail: None,
        resident_bytes: 0,
        counters: BTreeMap::new(),
    };
    stored(sequence, at, subject::heartbeat("feed"), &beat)
}

fn record(recorder: &mut Recorder, batch: &[Delivery]) -> u64 {
    let batch: Vec<_> = batch.iter().map(|delivery| (delivery.clone(), decode(delivery).unwrap())).collect();
    recorder.record(&batch).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn always() -> Window {
    Window { from: Timestamp::ZERO, to: at("2100-01-01T00:00:00Z") }
}

fn calls(history: &History) -> Vec<u64> {
    let mut latencies = Vec::new();
    history.each_call(always(), |call| latencies.push(call.latency_us)).unwrap();
    latencies
}

#[test]
fn a_message_that_comes_again_counts_once_and_one_with_an_old_number_after_a_lost_end_counts() {
    let folder = Folder::new();
    let begin = at("2026-11-01T00:00:00Z");
    let later = |seconds| begin + Duration::from_secs(seconds);
    let batch = [call(5, later(0), 1), call(6, later(1), 2)];
    let mut recorder = Recorder::open(&folder.path()).unwrap();
    assert_eq!(record(&mut recorder, &batch), 2);
    assert_eq!(record(&mut recorder, &batch), 0);
    drop(recorder);
    let mut recorder = Recorder::open(&folder.path()).unwrap();
    assert_eq!(recorder.cursor(subject::FEED).map(|cursor| cursor.sequence), Some(6));
    assert_eq!(record(&mut recorder, &batch), 0);
    // The stream lost 6 and gave the number to another message.
    assert_eq!(record(&mut recorder, &[call(6, later(9), 3)]), 1);
    assert_eq!(calls(recorder.history()), [1, 2, 3]);
}

#[test]
fn a_boundary_that_a_restarted_guardrail_says_again_counts_once() {
    let folder = Folder::new();
    let begin = at("2026-11-01T00:00:00Z");
    let mut recorder = Recorder::open(&folder.path()).unwrap();
    record(&mut recorder, &[windows(1, begin, 10.0), windows(2, begin + Duration::from_secs(1), 30.0)]);
    drop(recorder);
    let mut recorder = Recorder::open(&folder.path()).unwrap();
    record(&mut recorder, &[windows(3, begin + Duration::from_secs(1), 99.0), windows(4, begin + Duration::from_secs(2), 20.0)]);
    let history = recorder.history();
    let minutes = history.minutes(history.series().unwrap()[0].id, always()).unwrap();
    assert_eq!(minutes.len(), 1);
    let minute = &minutes[0];
    assert_eq!((minute.low, minute.high, minute.last), (Some(10.0), Some(30.0), Some(20.0)));
    assert_eq!((minute.boundaries, minute.total, minute.warning), (3, 60.0, Some(1_500.0)));
}

#[test]
fn a_clock_that_runs_ahead_writes_nothing_into_the_future() {
    let folder = Folder::new();
    let now = at("2026-11-01T00:00:30Z");
    let mut recorder = Recorder::open(&folder.path()).unwrap();
    let ahead = Delivery { stored_at: now, ..beat(1, now + DAY) };
    record(&mut recorder, &[ahead]);
    let presence = recorder.history().presence(always()).unwrap();
    assert_eq!((presence[0].minute, presence[0].heard), (at("2026-11-01T00:00:00Z"), 1 << 30));
}

#[test]
fn what_is_older_than_it_is_to_be_kept_goes_a_bounded_number_of_rows_at_a_time() {
    let folder = Folder::new();
    let now = at("2026-11-21T00:00:00Z");
    let mut recorder = Recorder::open(&folder.path()).unwrap();
    let rows = u64::try_from(ROWS_PER_PASS).unwrap() + 700;
    let old: Vec<Delivery> = (1..=rows).map(|n| call(n, now - DAY * 9 + Duration::from_millis(n), n)).collect();
    record(&mut recorder, &old);
    record(&mut recorder, &[windows(rows + 1, now - DAY * 36, 1.0), windows(rows + 2, now - DAY * 34, 2.0)]);
    record(&mut recorder, &[beat(rows + 3, now - DAY * 36 + Duration::from_secs(9)), call(rows + 4, now - DAY * 7, 77)]);
    let keep = Keep { history: DAY * 35, calls: DAY * 8 };
    assert!(recorder.forget(now, &keep).unwrap(), "there is more than one pass takes");
    assert_eq!(calls(recorder.history()).len(), 701);
    assert!(!recorder.forget(now, &keep).unwrap());
    let history = recorder.history();
    assert_eq!(calls(history), [77]);
    let minutes = history.minutes(history.series().unwrap()[0].id, always()).unwrap();
    assert_eq!(minutes.iter().map(|minute| minute.last).collect::<Vec<_>>(), [Some(2.0)]);
    assert_eq!(history.presence(always()).unwrap(), []);
    assert_eq!(history.runs(always()).unwrap(), []);
    // The place in the stream stays: nothing that was forgotten is read again.
    assert_eq!(recorder.cursor(subject::FEED).map(|cursor| cursor.sequence), Some(rows + 4));
}

/// Two weeks from a Monday: a heartbeat every five seconds, except an hour of the second Wednesday; slower in the second week.
fn two_weeks(folder: &Folder, monday: Timestamp) {
    let mut recorder = Recorder::open(&folder.path()).unwrap();
    let away = monday + DAY * 9 + Duration::from_secs(10 * 3_600);
    let mut sequence = 0;
    for day in 0..14 {
        let mut batch = Vec::new();
        for step in 0..86_400 / 5 {
            let now = monday + DAY * day + Duration::from_secs(step * 5);
            let is_away = away <= now && now < away + Duration::from_secs(3_600);
            sequence += 1;
            if !is_away {
                batch.push(beat(sequence, now));
            }
            if step % 120 == 0 {
                let week = u64::from(day / 7);
                sequence += 2;
                batch.push(windows(sequence - 1, now, 100.0 + 50.0 * week as f64));
                batch.push(call(sequence, now, 100_000 + step + week * 900_000));
            }
        }
        record(&mut recorder, &batch);
    }
}

#[test]
fn a_week_has_its_days_its_trend_and_its_error_budget_and_is_written_once() {
    let folder = Folder::new();
    let monday = at("2026-11-09T00:00:00Z");
    two_weeks(&folder, monday);
    let history = History::open_read_only(&folder.path()).unwrap();
    let (from, to) = (monday + DAY * 7, monday + DAY * 14);
    let week = weekly::build(&history, Window { from, to }, to).unwrap();
    let verdicts: Vec<_> = week.days.iter().map(|day| day.verdict.unwrap()).collect();
    // The last sign of life, at 09:59:55, lasts through 10:00:00.
    let wednesday = 1.0 - 3_599.0 / 86_400.0;
    assert!((week.days[2].uptime.unwrap() - wednesday).abs() < 1e-9, "{:?}", week.days[2]);
    let mut want = vec![Verdict::Green; 7];
    want[2] = Verdict::Yellow;
    assert_eq!(verdicts, want);
    assert!((week.budget.allowed_s - 604_800.0 * 0.005).abs() < 1e-6);
    assert!((week.budget.used_s - 3_599.0).abs() < 1e-6, "{:?}", week.budget);
    assert_eq!(week.verdict, Verdict::Red, "3 599 of 3 024 seconds: {}", week.rule);
    assert!(week.work[0].starts_with("The error budget is spent"), "{:?}", week.work);
    let trend = week.trends.iter().find(|trend| trend.what.starts_with("refresh p95")).unwrap();
    assert_eq!((trend.now, trend.before, trend.change), (Some(150.0), Some(100.0), Some(50.0)));
    assert_eq!((week.slow[0].count, week.slow[0].p50_ms), (144 * 7, 1_008.52));
    let reports = folder.0.join("reports");
    let after = to + Duration::from_secs(3_600);
    assert_eq!(write_due(&folder.path(), &reports, after, 1).unwrap(), ["daily-2026-11-22", "weekly-2026-11-16"]);
    assert_eq!(write_due(&folder.path(), &reports, after, 1).unwrap(), [""; 0], "once only");
    write_due(&folder.path(), &reports, after - DAY, 1).unwrap();
    let mut names: Vec<String> =
        std::fs::read_dir(&reports).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let want = ["daily-2026-11-22.html", "daily-2026-11-22.md", "weekly-2026-11-16.html", "weekly-2026-11-16.md"];
    assert_eq!(names, want, "the newest one of each kind is kept");
}
