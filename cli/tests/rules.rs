//! `spark rules`: what is wrong with rule files, whether tests hold, and when rules would have fired on what was recorded.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{run, spark, text};
use serde_json::Value;
use spark_bus_schema::alerts::{Alert, AlertState};
use spark_bus_schema::telemetry::{Call, REFRESH};
use spark_bus_schema::{Venue, subject};
use spark_guardrail::Config;
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Meta, Start, now};

const RULES: &str = r#"[[rule]]
id = "refresh"
alert = "Slow"
metric = "refresh_latency_ms"
scope = ["exchange"]
aggregation = "quantile"
quantile = 0.95
window = "5s"
warning = 1000
critical = 3000
summary = "{exchange} {value}"
cause = "c"
first_action = "f"
runbook = "docs/runbooks/slow.md"
"#;

const TEST: &str = r#"rules = "my.toml"
[[test]]
name = "slow"
[[test.input]]
metric = "refresh_latency_ms"
labels = { exchange = "binance" }
values = "100x5 4000x5"
[[test.expect]]
at = "8s"
alert = "Slow"
scope = { exchange = "binance" }
state = "firing"
severity = "critical"
"#;

fn shipped(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../processors/guardrail").join(name).display().to_string()
}

#[test]
fn each_command_explains_itself_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["lint", "test", "replay"] {
        let help = text(&run(folder.path(), &["rules", command, "--help"]).stdout);
        assert!(help.contains(&format!("  spark rules {command}")), "{help}");
    }
}

#[test]
fn lint_names_every_mistake_and_the_process_says_the_same_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    let good = run(folder.path(), &["rules", "lint", &shipped("guardrail.toml")]);
    assert!(good.status.success() && text(&good.stdout).contains("no mistake"), "{}", text(&good.stdout));
    assert!(!text(&good.stdout).contains("warning"), "{}", text(&good.stdout));
    assert!(run(folder.path(), &["rules", "lint"]).status.success(), "the built-in rules");
    std::fs::write(folder.path().join("spark.toml"), "[guardrail]\nrules = \"my.toml\"\n").unwrap();
    let check = |replace: &str, with: &str, parts: &[&str]| {
        std::fs::write(&path, RULES.replace(replace, with)).unwrap();
        let lint = run(folder.path(), &["rules", "lint", "my.toml"]);
        assert_eq!(lint.status.code(), Some(64), "{with}");
        let start = run(folder.path(), &["guardrail"]);
        assert_eq!(start.status.code(), Some(64), "{with}: {}", text(&start.stderr));
        for part in parts {
            assert!(text(&lint.stdout).contains(part), "lint lacks `{part}`: {}", text(&lint.stdout));
            // The colon between file and line is the configuration's own there.
            let part = part.trim_start_matches("my.toml:");
            assert!(text(&start.stderr).contains(part), "the start lacks `{part}`: {}", text(&start.stderr));
        }
    };
    check("refresh_latency_ms", "refresh_latency", &["my.toml:4", "did you mean `refresh_latency_ms`"]);
    check("[\"exchange\"]", "[\"venue\"]", &["my.toml:5", "metric refresh_latency_ms has no label `venue`"]);
    check("critical = 3000", "critical = 300", &["my.toml:10", "reached before the warning of 1000; swap them"]);
    check("{exchange} {value}", "{exchnge} {value}", &["my.toml:11", "unknown placeholder {exchnge}; did you mean `exchange`"]);
    check("id = \"refresh\"", "id = \"refresh\"\nrestart = \"fed\"", &["my.toml:3", "did you mean `feed`"]);

    std::fs::write(&path, RULES.replace("critical = 3000", "critical = 300").replace("\"5s\"", "5")).unwrap();
    let lint = run(folder.path(), &["rules", "lint", "my.toml", "missing.toml", "--json"]);
    assert_eq!(lint.status.code(), Some(64));
    let document: Value = serde_json::from_str(&text(&lint.stdout)).unwrap();
    let mistakes = document["files"][0]["mistakes"].as_array().unwrap();
    let lines: Vec<&Value> = mistakes.iter().map(|mistake| &mistake["line"]).collect();
    assert_eq!(lines, [8, 10], "{document}");
    assert_eq!(mistakes[0]["fix"], "write \"5s\" for seconds or \"5ms\" for milliseconds");
    assert!(document["files"][1]["mistakes"][0]["what"].as_str().unwrap().contains("No such file"), "{document}");
}

#[test]
fn a_runbook_that_does_not_exist_is_warned_of_where_there_are_runbooks() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("my.toml"), RULES).unwrap();
    let said = || {
        let output = run(folder.path(), &["rules", "lint", "my.toml"]);
        assert!(output.status.success());
        text(&output.stdout)
    };
    assert!(!said().contains("warning"), "no folder of runbooks: {}", said());
    std::fs::create_dir_all(folder.path().join("docs/runbooks")).unwrap();
    assert!(
        said().contains("warning my.toml:14: rule.refresh.runbook = \"docs/runbooks/slow.md\": there is no such file"),
        "{}",
        said()
    );
    std::fs::write(folder.path().join("docs/runbooks/slow.md"), "x").unwrap();
    assert!(!said().contains("warning"), "{}", said());
}

#[test]
fn tests_pass_fail_with_values_or_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = run(folder.path(), &["rules", "test", &shipped("rules.test.toml")]);
    assert!(shipped.status.success(), "{}", text(&shipped.stdout));
    std::fs::write(folder.path().join("my.toml"), RULES).unwrap();
    let check = |test: &str, code: i32, parts: &[&str]| {
        std::fs::write(folder.path().join("my.test.toml"), test).unwrap();
        let output = run(folder.path(), &["rules", "test", "my.test.toml"]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}{}", text(&output.stderr));
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
    };
    check(TEST, 0, &["ok      slow", "my.test.toml: 1 passed, 0 failed"]);
    check(
        &TEST.replace("at = \"8s\"", "at = \"3s\""),
        1,
        &[
            "FAILED  slow",
            "my.test.toml:8",
            "expected Slow{exchange=\"binance\"} firing (critical) at 3s",
            "inactive at 3s; value 100 ms, 4 samples, warning 1000, critical 3000",
            "changes  5s firing (critical)",
        ],
    );
    check(&TEST.replace("alert = \"Slow\"", "alert = \"Slo\""), 64, &["my.test.toml:10", "did you mean `Slow`"]);
    check(&TEST.replace("my.toml", "other.toml"), 64, &["other.toml", "name a readable TOML file"]);
    std::fs::write(folder.path().join("my.test.toml"), TEST.replace("at = \"8s\"", "at = \"3s\"")).unwrap();
    let output = run(folder.path(), &["rules", "test", "my.test.toml", "--json"]);
    let document: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(document["files"][0]["tests"][0]["failures"][0]["line"], 8, "{document}");
}

async fn refresh(bus: &Bus, latency_ms: u64) {
    let call = Call {
        exchange: Venue::Binance,
        service: "portfolio".into(),
        operation: REFRESH.into(),
        started_at: now(),
        latency_us: latency_ms * 1_000,
        ok: true,
        error_type: None,
        http_status: None,
        attempt: 1,
    };
    bus.publish(&subject::calls(Venue::Binance), &call, Meta::default()).await.unwrap();
}

/// Waits for an alert in a state.
async fn said(alerts: &mut Follower, state: AlertState) -> Alert {
    let found = tokio::time::timeout(common::LIMIT, async {
        loop {
            for delivery in alerts.next().await.expect("open") {
                let alert: Alert = delivery.decode().unwrap();
                if alert.state == state {
                    return alert;
                }
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("no alert {state:?} within {:?}", common::LIMIT))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_fires_when_the_guardrail_did_and_other_rules_do_not() {
    let broker = TestBroker::start().await;
    let operator = broker.bus("operator").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    std::fs::write(&path, RULES).unwrap();
    let service = broker.service("guardrail").await;
    let shutdown = service.shutdown.clone();
    let config = Config { rules: Some(path), ..Config::default() };
    let guardrail = tokio::spawn(spark_guardrail::run(service, config));
    let alerts = vec![subject::ALERTS.to_owned()];
    let mut alerts = Follower::start(operator.clone(), "operator-alerts", subject::LEDGER, alerts, Start::Beginning);
    refresh(&operator, 4_000).await;
    let fired = said(&mut alerts, AlertState::Firing).await;
    // It leaves the window by itself. What comes later tells the replay that time has passed.
    let resolved = said(&mut alerts, AlertState::Resolved).await;
    refresh(&operator, 100).await;
    shutdown.cancel();
    guardrail.await.unwrap().unwrap();

    let replay = |arguments: &[&str]| {
        let mut command = spark(folder.path());
        command.args(["rules", "replay", "--json", "--url", &broker.url()]).args(arguments);
        command.env("SPARK_NKEY_SEED_FILE", broker.seed_file("operator"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_str::<Value>(&text(&output.stdout)).unwrap()
    };
    let same = replay(&["--rules", "my.toml", "--from", "1h", "--compare"]);
    let changes = same["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{same}");
    assert_eq!((&changes[0]["severity"], &changes[0]["at"]), (&"critical".into(), &fired.at.to_string().into()), "{same}");
    assert!(changes[0]["recorded_at"].is_string() && changes[1]["recorded_at"].is_string(), "{same}, resolved {resolved:?}");
    assert_eq!(same["only_recorded"].as_array().unwrap().len(), 0, "{same}");

    std::fs::write(folder.path().join("lax.toml"), RULES.replace("1000", "8000").replace("3000", "9000")).unwrap();
    let lax = replay(&["--rules", "lax.toml", "--compare"]);
    assert_eq!(lax["changes"].as_array().unwrap().len(), 0, "{lax}");
    assert_eq!(lax["only_recorded"].as_array().unwrap().len(), 2, "{lax}");

    let before = fired.at - Duration::from_secs(1);
    let none = replay(&["--rules", "my.toml", "--to", &before.to_string()]);
    assert_eq!((&none["messages"], none["changes"].as_array().unwrap().len()), (&0.into(), 0), "{none}");
    let builtin = replay(&["--from", "1h"]);
    let slow = builtin["changes"].as_array().unwrap().iter().any(|change| change["alert"] == "PortfolioRefreshLatencyHighP95");
    assert!(slow, "{builtin}");

    let mut wrong = spark(folder.path());
    wrong.args(["rules", "replay", "--from", "yesterday", "--url", &broker.url()]);
    let wrong = wrong.output().unwrap();
    assert!(wrong.status.code() == Some(64) && text(&wrong.stderr).contains("--from"), "{}", text(&wrong.stderr));
}
