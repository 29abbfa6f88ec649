//! `spark tune` on a recorded history, with the real binary and a real broker.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use common::{spark, text};
use rusqlite::params;
use serde_json::Value;
use spark_bus_schema::actions::ThresholdsCommand;
use spark_bus_schema::subject;
use spark_nats::testing::TestBroker;
use spark_reporter::History;

const MINUTES: i64 = 1_500;
const RULE: &str = "portfolio_refresh_p95";

/// A minute's worst and last value, ms.
type Said = (f64, f64);

/// A noisy exchange: a spike in one minute of 97, an hour's worth of trouble in one of 311.
fn noisy(minute: i64) -> Said {
    match minute {
        minute if minute % 311 == 310 => (3_500.0, 3_400.0),
        minute if minute % 97 == 96 => (1_800.0, 300.0),
        minute => (200.0 + (minute * 37 % 400) as f64, 200.0),
    }
}

fn calm(minute: i64) -> Said {
    (100.0 + (minute * 13 % 50) as f64, 100.0)
}

/// An exchange's name, and what it said at each minute.
type Exchange = (&'static str, fn(i64) -> Said);

/// The exchanges' minutes, in the history's own file.
fn record(data: &Path, exchanges: &[Exchange], minutes: i64) {
    let path = spark_reporter::history::path_in(data);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(History::open(&path).unwrap());
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("BEGIN").unwrap();
    let begin = spark_nats::now().as_millis() / 60_000 * 60_000 - (minutes + 10) * 60_000;
    for (id, (exchange, said)) in (1_i64..).zip(exchanges) {
        let scope = format!("{{\"exchange\":\"{exchange}\"}}");
        let sql = "INSERT INTO series (id, rule, metric, scope, unit) VALUES (?1, ?2, 'refresh_latency_ms', ?3, 'ms')";
        database.execute(sql, params![id, RULE, scope]).unwrap();
        for minute in 0..minutes {
            let (high, last) = said(minute);
            let sql = "INSERT INTO minute VALUES (?1, ?2, ?3, 50, ?4, 0, 60, 0, 10, 1500, 3000, 0, 0)";
            database.execute(sql, params![id, begin + minute * 60_000, last, high]).unwrap();
        }
    }
    database.execute_batch("COMMIT").unwrap();
}

fn tune(folder: &Path, broker: Option<&TestBroker>, arguments: &[&str]) -> Output {
    let mut command = spark(folder);
    command.args(["tune", "--json", "--data", "data", "--rule", RULE]).args(arguments);
    if let Some(broker) = broker {
        command.args(["--url", &broker.url()]).env("SPARK_NKEY_SEED_FILE", broker.seed_file("operator"));
    } else {
        command.args(["--url", &format!("nats://127.0.0.1:{}", common::free_port())]);
    }
    command.output().unwrap()
}

fn document(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// The smallest value that at least this share of all does not exceed, by counting.
fn percentile(values: &[f64], share: f64) -> f64 {
    let enough = |value: f64| values.iter().filter(|other| **other <= value).count() as f64 >= share * values.len() as f64;
    values.iter().copied().filter(|value| enough(*value)).fold(f64::INFINITY, f64::min)
}

/// The smallest number of three digits that is not below.
fn three_digits(value: f64) -> f64 {
    let all = (-3..6).flat_map(|power| (100..1_000).map(move |digits| f64::from(digits) * 10_f64.powi(power)));
    all.filter(|candidate| *candidate >= value - 1e-9).fold(f64::INFINITY, f64::min)
}

/// Warning and critical as the documentation says, written down once more.
fn expected(values: &[f64]) -> (f64, f64) {
    let warning = three_digits(percentile(values, 0.99) * 1.25).max(1_500.0 / 4.0);
    let critical = three_digits(percentile(values, 0.999) * 1.5).max(3_000.0 / 4.0).max(warning);
    if critical > 3_000.0 { (warning.min(2_400.0), 3_000.0) } else { (warning, critical) }
}

/// Alerts, counted as episodes: an episode begins with a crossing and is over at a moment when it has not been crossed for 5 s.
fn naive(said: fn(i64) -> Said, warning: f64, critical: f64) -> (u64, u64) {
    let moments: Vec<(i64, f64)> =
        (0..MINUTES).flat_map(|minute| [(minute * 60, said(minute).0), (minute * 60 + 59, said(minute).1)]).collect();
    let begins = |threshold: f64| -> Vec<usize> {
        let (mut begins, mut open, mut clear) = (Vec::new(), false, None);
        for (index, (at, value)) in moments.iter().enumerate() {
            if *value > threshold {
                if !open {
                    begins.push(index);
                }
                (open, clear) = (true, None);
            } else if open && at - *clear.get_or_insert(*at) >= 5 {
                open = false;
            }
        }
        begins
    };
    let criticals = begins(critical);
    let warnings = begins(warning).into_iter().filter(|index| !criticals.contains(index)).count();
    (warnings as u64, criticals.len() as u64)
}

fn near(value: &Value, want: f64, what: &str) {
    assert!(value.as_f64().is_some_and(|value| (value - want).abs() < 1e-6), "{what}: {value}, expected {want}");
}

#[test]
fn proposals_and_simulated_alerts_are_what_a_recomputation_gives() {
    let folder = tempfile::tempdir().unwrap();
    let exchanges: [Exchange; 2] = [("binance", noisy), ("btcturk", calm)];
    record(&folder.path().join("data"), &exchanges, MINUTES);
    let found = document(&tune(folder.path(), None, &["--per-exchange"]), 0);
    assert_eq!(found["status"], "proposed");
    let rule = &found["rules"][0];
    let pooled: Vec<f64> = (0..MINUTES).flat_map(|minute| [noisy(minute).0, calm(minute).0]).collect();
    let (warning, critical) = expected(&pooled);
    near(&rule["all"]["thresholds"]["warning"], warning, "all, warning");
    near(&rule["all"]["thresholds"]["critical"], critical, "all, critical");
    let mut sum = (0, 0);
    for (row, (exchange, said)) in rule["scopes"].as_array().unwrap().iter().zip(exchanges) {
        assert_eq!(row["scope"]["exchange"], exchange);
        let values: Vec<f64> = (0..MINUTES).map(|minute| said(minute).0).collect();
        let (warning, critical) = expected(&values);
        near(&row["thresholds"]["warning"], warning, exchange);
        near(&row["thresholds"]["critical"], critical, exchange);
        let raised = |row: &Value| (row["warning"].as_u64().unwrap(), row["critical"].as_u64().unwrap());
        assert_eq!(raised(&row["before"]), naive(said, 1_500.0, 3_000.0), "{exchange} before");
        assert_eq!(raised(&row["after"]), naive(said, warning, critical), "{exchange} after");
        sum = (sum.0 + raised(&row["after"]).0, sum.1 + raised(&row["after"]).1);
    }
    assert_eq!((rule["all"]["after"]["warning"].as_u64().unwrap(), rule["all"]["after"]["critical"].as_u64().unwrap()), sum);
    assert!(naive(noisy, 1_500.0, 3_000.0).0 > naive(noisy, 2_250.0, 3_000.0).0, "the numbers tell something");
}

#[test]
fn the_files_hold_the_proposals_and_the_rule_file_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    record(&folder.path().join("data"), &[("binance", noisy), ("btcturk", calm)], MINUTES);
    document(&tune(folder.path(), None, &["--per-exchange", "--out", "tuned"]), 0);
    let toml = std::fs::read_to_string(folder.path().join("tuned/guardrail-tuned.toml")).unwrap();
    let rules = spark_guardrail::Rules::from_toml(&toml, "guardrail-tuned.toml").unwrap();
    assert_eq!(rules.len(), spark_guardrail::Rules::builtin().len() + 2, "complete, and a rule for each exchange");
    let thresholds = |id: &str| {
        let rule = rules.iter().find(|rule| rule.id == id).unwrap();
        (rule.filter.clone(), rule.limits.warning.unwrap().threshold, rule.limits.critical.unwrap().threshold)
    };
    let label = |exchange: &str| BTreeMap::from([("exchange".to_owned(), exchange.to_owned())]);
    assert_eq!(thresholds("portfolio_refresh_p95_binance"), (label("binance"), 2_250.0, 3_000.0));
    assert_eq!(thresholds("portfolio_refresh_p95_btcturk"), (label("btcturk"), 375.0, 750.0));
    let yaml = std::fs::read_to_string(folder.path().join("tuned/spark-portfolio-tuned.rules.yml")).unwrap();
    for part in [
        "job:spark_portfolio_latency_p95:5m{exchange=\"binance\"} > 2250\n",
        "or job:spark_portfolio_latency_p95:5m{exchange=\"btcturk\"} > 375\n",
        "or job:spark_portfolio_latency_p95:5m{exchange!~\"binance|btcturk\"} > ",
        "expr: job:spark_portfolio_staleness > 60\n",
    ] {
        assert!(yaml.contains(part), "{part}\n{yaml}");
    }
    // The file can be put in force, and then nothing is left to tune.
    std::fs::write(folder.path().join("spark.toml"), "[guardrail]\nrules = \"tuned/guardrail-tuned.toml\"\n").unwrap();
    assert!(common::run(folder.path(), &["config", "--check"]).status.success());
}

#[tokio::test]
async fn only_confirm_changes_thresholds_and_only_once() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let folder = tempfile::tempdir().unwrap();
    record(&folder.path().join("data"), &[("binance", noisy), ("btcturk", calm)], MINUTES);
    let last = async || bus.last(subject::LEDGER, subject::THRESHOLDS).await.unwrap();

    let proposed = document(&tune(folder.path(), Some(&broker), &["--per-exchange"]), 0);
    assert_eq!(proposed["status"], "proposed");
    assert!(last().await.is_none(), "nothing was said");

    let applied = document(&tune(folder.path(), Some(&broker), &["--per-exchange", "--confirm", "--reason", "a calm week"]), 0);
    assert_eq!(applied["status"], "applied");
    let found = last().await.unwrap();
    let command: ThresholdsCommand = found.decode().unwrap();
    assert_eq!((applied["sequence"].as_u64(), command.reason.as_str()), (Some(found.sequence), "a calm week"));
    assert_eq!(serde_json::to_value(&command.changes).unwrap(), proposed["changes"]);
    assert_eq!(command.changes.len(), 3, "{:?}", command.changes);

    let again = document(&tune(folder.path(), Some(&broker), &["--per-exchange", "--confirm"]), 0);
    assert_eq!(again["status"], "unchanged");
    assert_eq!(last().await.unwrap().sequence, found.sequence);

    // Without --per-exchange the exchanges' own thresholds give way to that for all.
    let one = document(&tune(folder.path(), Some(&broker), &["--confirm"]), 0);
    assert_eq!(one["status"], "applied");
    let command: ThresholdsCommand = last().await.unwrap().decode().unwrap();
    let warnings: Vec<Option<f64>> = command.changes.iter().map(|change| change.warning).collect();
    assert!(warnings.len() == 3 && warnings.iter().all(|warning| *warning == warnings[0]), "{:?}", command.changes);
}

#[test]
fn too_little_is_said_to_be_too_little_and_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let none = tune(folder.path(), None, &[]);
    assert_eq!(none.status.code(), Some(64), "{}", text(&none.stderr));
    assert!(text(&none.stderr).contains("--data"), "{}", text(&none.stderr));
    record(&folder.path().join("data"), &[("binance", noisy)], 100);
    let found = document(&tune(folder.path(), None, &[]), 0);
    assert_eq!((found["status"].as_str(), found["rules"][0]["all"]["outcome"].as_str()), (Some("unchanged"), Some("too_few")));
    let wrong = tune(folder.path(), None, &["--rule", "portfolio_refresh"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(text(&wrong.stderr).contains("portfolio_refresh_p95"), "{}", text(&wrong.stderr));
    let unreachable = tune(folder.path(), None, &["--confirm"]);
    assert_eq!(unreachable.status.code(), Some(69), "{}", text(&unreachable.stderr));
}
