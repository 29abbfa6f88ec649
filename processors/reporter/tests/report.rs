//! A recorded run with outages, through a reporter that is killed meanwhile: the figures of its report are those of the streams.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod support;

use rusqlite::Connection;
use spark_bus_schema::subject;
use spark_nats::Delivery;
use spark_nats::testing::TestBroker;
use spark_reporter::history::{self, History};
use spark_reporter::report::{self, Format, Report, Verdict};
use spark_reporter::{Window, smoke};
use support::run::Run;
use support::{LIMIT, Reporter, naive, stored, until};

/// Messages that the reporter takes in before it is killed each time.
const BETWEEN_KILLS: u64 = 700;

fn near(what: &str, got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-9 * want.abs().max(1.0), "{what}: {got} instead of {want}");
}

/// Publishes the run through a reporter that is killed again and again, and reads back both streams.
async fn recorded(broker: &TestBroker, run: &Run) -> (Vec<Delivery>, Vec<Delivery>) {
    let publishing = run.publish(broker);
    tokio::pin!(publishing);
    let mut kills = 0;
    let ends = loop {
        let reporter = Reporter::start(broker).await;
        let alive = until("some messages are taken in", async || {
            if reporter.recorded() >= BETWEEN_KILLS { Ok(()) } else { Err(format!("{} messages", reporter.recorded())) }
        });
        let ends = tokio::select! {
            ends = &mut publishing => Some(ends),
            () = alive => None,
        };
        reporter.kill().await;
        kills += 1;
        if let Some(ends) = ends {
            break ends;
        }
    };
    assert!(kills >= 3, "killed only {kills} times: the run is too short for what it shall show");
    let reporter = Reporter::start(broker).await;
    let path = history::path_in(&broker.dir().join("data"));
    let reads = |stream: &str| {
        let found: i64 = Connection::open(&path)
            .and_then(|database| database.query_row("SELECT sequence FROM cursor WHERE stream = ?1", [stream], |row| row.get(0)))
            .unwrap_or(0);
        found.cast_unsigned()
    };
    until("everything is taken in", async || {
        let reached = (reads(subject::FEED), reads(subject::LEDGER));
        if reached.0 >= ends.0 && reached.1 >= ends.1 { Ok(()) } else { Err(format!("{reached:?} of {ends:?}")) }
    })
    .await;
    reporter.stop().await;
    let bus = broker.bus("operator").await;
    (stored(&bus, subject::FEED, &["telemetry.>"]).await, stored(&bus, subject::LEDGER, &[">"]).await)
}

fn calls_agree(report: &Report, feed: &[Delivery], window: Window) {
    assert_eq!((report.refresh.len(), report.calls.len()), (2, 2));
    for row in &report.refresh {
        let (latencies, failed, _) = naive::calls(feed, window, &row.exchange, true);
        assert_eq!((row.count, row.failed), (latencies.len() as u64, failed));
        for (q, got) in [(50, row.p50_ms), (95, row.p95_ms), (99, row.p99_ms), (100, row.max_ms)] {
            near(&format!("refresh p{q} of {}", row.exchange), got, naive::percentile(&latencies, q) as f64 / 1_000.0);
        }
    }
    for row in &report.calls {
        let (latencies, failed, by_error) = naive::calls(feed, window, &row.exchange, false);
        assert_eq!((row.count, row.failed, &row.by_error), (latencies.len() as u64, failed, &by_error));
        near("errors a second", row.errors_per_s, failed as f64 / window.seconds());
        near("error ratio", row.error_ratio, failed as f64 / latencies.len() as f64);
        near("p95 of calls", row.p95_ms, naive::percentile(&latencies, 95) as f64 / 1_000.0);
    }
    let (requests, latencies, bad) = naive::api(feed, window);
    assert_eq!(report.api.requests, requests);
    near("API p95", report.api.p95_ms.unwrap(), naive::percentile(&latencies, 95) as f64 / 1_000.0);
    near("5xx", report.api.ratio_5xx.unwrap(), bad as f64 / requests as f64);
    assert_eq!(report.staleness.len(), 2);
    for row in &report.staleness {
        let (last, mean, max) = naive::staleness(feed, window, &row.exchange);
        near("last age", row.last_s.unwrap(), last);
        near("mean age", row.mean_s.unwrap(), mean);
        near("largest age", row.max_s.unwrap(), max);
    }
}

fn uptime_agrees(report: &Report, history: &History, feed: &[Delivery], window: Window) {
    let (processes, together, observed) = naive::uptime(feed, window);
    assert_eq!(report.uptime.observed_s, observed);
    near("uptime", report.uptime.overall.unwrap(), together as f64 / observed as f64);
    assert_eq!(report.uptime.processes.len(), processes.len());
    for row in &report.uptime.processes {
        assert_eq!((row.up_s, row.degraded_s), processes[&row.service], "{}", row.service);
        let starts = if row.service == "feed" { 1 } else { 2 };
        assert_eq!(row.starts, starts, "{}", row.service);
    }
    assert!(report.uptime.processes.iter().any(|row| row.uptime < 0.95), "the run has outages");
    let as_smoke_says = smoke::uptime(&history.presence(window).unwrap(), window);
    near("uptime as the smoke check has it", report.uptime.overall.unwrap(), as_smoke_says.unwrap());
}

fn breaches_agree(report: &Report, ledger: &[Delivery], window: Window) {
    let want = naive::breaches(ledger, window);
    assert_eq!(report.alerts.breaches, want.len() as u64);
    let got = |breach: &report::Breach| {
        let second = |at: spark_bus_schema::Timestamp| at.as_millis() / 1_000;
        (
            breach.alert.clone(),
            breach.scope["exchange"].clone(),
            breach.severity,
            second(breach.from),
            second(breach.to),
            breach.open,
        )
    };
    assert_eq!(report.alerts.top.iter().map(got).collect::<Vec<_>>(), want[..3]);
    let open: Vec<_> = want.iter().filter(|breach| breach.5).cloned().collect();
    assert_eq!(report.alerts.firing.iter().map(got).collect::<Vec<_>>(), open);
    let seconds: f64 = report.alerts.by_alert.iter().map(|row| row.seconds).sum();
    near("seconds of firing", seconds, want.iter().map(|breach| (breach.4 - breach.3) as f64).sum());
    let changes = naive::all::<spark_bus_schema::alerts::Alert>(ledger).iter().filter(|alert| window.contains(alert.at)).count();
    assert_eq!(report.alerts.changes, changes as u64);
}

fn trading_agrees(report: &Report, ledger: &[Delivery], window: Window) {
    let (approved, by_guard, states) = naive::orders(ledger, window);
    assert_eq!((report.orders.approved, &report.orders.by_guard, &report.orders.states), (approved, &by_guard, &states));
    assert_eq!(report.orders.refused, by_guard.values().sum::<u64>());
    assert_eq!(report.values.len(), 2);
    for row in &report.values {
        let got = (row.first_usd, row.last_usd, row.low_usd, row.high_usd, row.polls, row.failed);
        assert_eq!(got, naive::value(ledger, window, &row.exchange), "{}", row.exchange);
    }
    let deliveries = report.deliveries.iter();
    let got = deliveries.map(|(name, row)| (name.clone(), (row.delivered, row.retrying, row.parked, row.slowest_ms))).collect();
    assert_eq!(naive::deliveries(ledger, window), got);
    let smokes = naive::all::<spark_bus_schema::smoke::Smoke>(ledger).iter().filter(|smoke| window.contains(smoke.at)).count();
    assert_eq!(report.smoke.runs, smokes as u64);
}

fn scores_agree(report: &Report, ledger: &[Delivery], window: Window) {
    let (want, brier) = naive::scores(ledger, window);
    let rows = report.scores.series.iter();
    let got = rows.map(|row| (row.series.clone(), (row.count, row.failed, row.by_bucket.clone()))).collect();
    assert_eq!(want, got);
    assert_eq!((report.scores.cardinality, want.len()), (2, 2));
    assert!(brier.is_some());
    assert_eq!(report.scores.series[0].brier, brier);
    assert_eq!(report.scores.series[1].brier, None, "of the other time frame there is no calibration");
    assert!(report.scores.said.starts_with("360 scores of 2 series, "), "{}", report.scores.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_figures_of_a_report_are_those_of_the_streams_however_often_the_reporter_is_killed() {
    let broker = TestBroker::start().await;
    let run = Run::new();
    let (feed, ledger) = recorded(&broker, &run).await;
    let history = History::open_read_only(&history::path_in(&broker.dir().join("data"))).unwrap();
    let report = report::build(&history, run.window, spark_nats::now()).unwrap();
    calls_agree(&report, &feed, run.window);
    uptime_agrees(&report, &history, &feed, run.window);
    breaches_agree(&report, &ledger, run.window);
    trading_agrees(&report, &ledger, run.window);
    assert_eq!(report.judgement.verdict, Verdict::Red);
    assert!(report.judgement.rule.starts_with("ExchangeDown (exchange=btcturk)"), "{}", report.judgement.rule);
    scores_agree(&report, &ledger, run.window);
    let bus = broker.bus("operator").await;
    assert_eq!(bus.message_count(subject::PARKED).await.unwrap(), 1, "the message that makes no sense is parked once");
    written_files_hold_the_same(&broker, &report);
}

/// The page asks for nothing, is whole, and its script reads the very figures.
fn written_files_hold_the_same(broker: &TestBroker, report: &Report) {
    let formats = [Format::Markdown, Format::Html, Format::Json];
    let paths = report::write(report, &broker.dir().join("out"), "r", &formats).unwrap();
    let [markdown, page, document] = [0, 1, 2].map(|index: usize| std::fs::read_to_string(&paths[index]).unwrap());
    assert_eq!(document, serde_json::to_string(report).unwrap());
    assert!(markdown.contains("RED") && markdown.contains("ExchangeDown"), "{markdown}");
    for reference in ["src=", "href=", "url(", "@import", "fetch(", "XMLHttpRequest", "<link", "<iframe", "http"] {
        let without_data = page.split("<script type=\"application/json\"").next().unwrap();
        assert!(!without_data.contains(reference), "{reference}");
        assert!(!page.rsplit("<script>").next().unwrap().contains(reference), "{reference}");
    }
    let inside = page.split("id=\"report\">").nth(1).unwrap().split("</script>").next().unwrap();
    assert_eq!(inside.replace("\\u003c", "<"), document);
    well_formed(&page);
    for chart in &report.charts {
        assert!(page.contains(&format!("id=\"chart-{}\"", chart.id)));
    }
    let drawn: usize = report.charts.iter().map(|chart| chart.lines.len()).sum();
    assert_eq!(page.matches("<path class=\"line").count(), drawn);
    assert!(drawn >= 4, "there is something to see");
}

/// Every element is closed by its own end tag, in order.
fn well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>").unwrap();
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag that does not end");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closes what is not open");
        } else if !tag.ends_with('/') {
            open.push(name);
            if name == "script" || name == "style" {
                rest = &rest[rest.find(&format!("</{name}>")).expect("it ends")..];
            }
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_says_when_there_is_no_history_and_when_it_knows_nothing_of_the_time() {
    let broker = TestBroker::start().await;
    let path = history::path_in(&broker.dir().join("data"));
    let missing = History::open_read_only(&path).err().unwrap().to_string();
    assert!(missing.contains("no history at") && missing.contains("reporter"), "{missing}");
    let reporter = Reporter::start(&broker).await;
    tokio::time::timeout(LIMIT, async {
        until("its own heartbeat is taken in", async || if reporter.recorded() > 0 { Ok(()) } else { Err("none".to_owned()) })
            .await;
    })
    .await
    .unwrap();
    // Read while it writes.
    let history = History::open_read_only(&path).unwrap();
    let now = spark_nats::now();
    let hour = std::time::Duration::from_secs(3_600);
    let known = report::build(&history, Window::ending(now + hour, hour * 2), now).unwrap();
    assert_eq!(known.uptime.processes.len(), 1);
    assert!(known.known_from.is_some());
    let nothing = report::build(&history, Window::ending(now - hour * 48, hour), now).unwrap_err().to_string();
    assert!(nothing.contains("knows nothing between") && nothing.contains("reaches from"), "{nothing}");
    reporter.stop().await;
}
