//! `spark evidence`, `spark runbook` and `spark smoke` with the real binary and a real broker.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod common;

use std::io::Read as _;
use std::path::Path;
use std::process::Output;

use common::{spark, text};
use serde_json::Value;
use spark_bus_schema::control::KillSwitch;
use spark_bus_schema::subject;
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Meta};

const SECRET: &str = "recognisable-planted-secret-7f3a";

fn evidence(folder: &Path, broker: &TestBroker, out: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = spark(folder);
    command.args(["evidence", "--json", "--data", "data", "--out", out, "--url", &broker.url()]);
    command.env("SPARK_NKEY_SEED_FILE", broker.seed_file("operator"));
    command.env("SPARK_GATEWAY_URL", format!("http://127.0.0.1:{}", common::free_port()));
    command.envs(environment.iter().copied()).output().unwrap()
}

async fn said(bus: &Bus, reason: &str) -> u64 {
    let at = spark_nats::now();
    let command = KillSwitch { on: false, cancel_open: false, actor: "operator".into(), reason: reason.into(), at };
    let meta = Meta { msg_id: Some(format!("test:{reason}:{}", at.as_nanos())), cause: None };
    bus.publish(subject::KILL_SWITCH, &command, meta).await.unwrap()
}

fn entry(file: &Path, name: &str) -> String {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(file).unwrap()).unwrap();
    let mut text = String::new();
    archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn a_file_holds_what_can_be_had_says_what_is_missing_and_verifies() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let folder = tempfile::tempdir().unwrap();
    let sequences = [said(&bus, "first").await, said(&bus, "second").await];
    let output = evidence(folder.path(), &broker, "e.zip", &[("SPARK_BINANCE_API_KEY", SECRET)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = folder.path().join("e.zip");
    let lines: Vec<Value> =
        entry(&file, "ledger/extract.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<(u64, &str)> =
        lines.iter().map(|line| (line["sequence"].as_u64().unwrap(), line["message"]["reason"].as_str().unwrap())).collect();
    assert_eq!(found, [(sequences[0], "first"), (sequences[1], "second")]);
    assert_eq!(entry(&file, "rules/guardrail.toml"), spark_guardrail::rule::BUILTIN);
    let missing: Vec<&str> =
        told["manifest"]["missing"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(missing, ["charts", "metrics.prom", "report", "rules/limits.json", "rules/thresholds.json"]);
    assert_eq!(told["manifest"]["ledger"]["last_sequence"].as_u64(), Some(sequences[1]));

    let verify = |name: &str| common::run(folder.path(), &["evidence", "verify", name, "--json"]);
    let good: Value = serde_json::from_slice(&verify("e.zip").stdout).unwrap();
    assert_eq!((good["wrong"].as_array().unwrap().len(), good["sha256"].as_str()), (0, told["sha256"].as_str()));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(folder.path().join("changed.zip"), bytes).unwrap();
    std::fs::write(folder.path().join("none.zip"), "PK\u{3}\u{4} no").unwrap();
    let codes = ["e.zip", "changed.zip", "none.zip", "nowhere.zip"].map(|name| verify(name).status.code());
    assert_eq!(codes, [Some(0), Some(1), Some(2), Some(2)]);

    let second = evidence(folder.path(), &broker, "e.zip", &[]);
    assert_eq!(second.status.code(), Some(64), "evidence is not replaced: {}", text(&second.stdout));
}

#[tokio::test]
async fn a_secret_in_ledger_or_configuration_keeps_the_file_from_being_written() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let folder = tempfile::tempdir().unwrap();
    let refused = |output: &Output, entry: &str| {
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(entry) && told.contains("SPARK_PLANTED_TOKEN") && !told.contains(SECRET), "{told}");
        assert!(!folder.path().join("e.zip").exists());
    };
    let environment = [("SPARK_PLANTED_TOKEN", SECRET)];
    // In the configuration, under a key that does not say that it is a secret.
    std::fs::write(folder.path().join("spark.toml"), format!("[portfolio.binance]\nbase_url = \"https://{SECRET}.example\"\n"))
        .unwrap();
    refused(&evidence(folder.path(), &broker, "e.zip", &environment), "config/effective.toml");
    std::fs::remove_file(folder.path().join("spark.toml")).unwrap();
    assert_eq!(evidence(folder.path(), &broker, "without.zip", &environment).status.code(), Some(0));
    // In the LEDGER, because somebody wrote it into a reason.
    said(&bus, &format!("the key is {SECRET}")).await;
    refused(&evidence(folder.path(), &broker, "e.zip", &environment), "ledger/extract.jsonl");
    // A file of the data folder's keys.
    std::fs::create_dir_all(folder.path().join("data/keys")).unwrap();
    std::fs::write(folder.path().join("data/keys/admin.token"), SECRET).unwrap();
    let output = evidence(folder.path(), &broker, "e.zip", &[]);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("admin.token") && !told.contains(SECRET), "{told}");
}

#[test]
fn the_runbook_is_printed_written_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let printed = common::run(folder.path(), &["runbook", "--check"]);
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    assert!(text(&printed.stdout).contains("### Refresh latency\n"), "{}", text(&printed.stdout));
    assert!(common::run(folder.path(), &["runbook", "--out", "r.md"]).stdout.is_empty());
    assert_eq!(std::fs::read_to_string(folder.path().join("r.md")).unwrap().trim_end(), text(&printed.stdout).trim_end());
    std::fs::write(folder.path().join("d.json"), r#"{"title":"T","panels":[{"type":"stat","title":"Bare"}]}"#).unwrap();
    let bare = common::run(folder.path(), &["runbook", "--dashboard", "d.json", "--check"]);
    assert_eq!(bare.status.code(), Some(1));
    assert!(text(&bare.stderr).contains("d.json: panel \"Bare\": no SLO"), "{}", text(&bare.stderr));
    assert_eq!(common::run(folder.path(), &["runbook", "--dashboard", "d.json"]).status.code(), Some(0));
    assert_eq!(common::run(folder.path(), &["runbook", "--dashboard", "nowhere.json"]).status.code(), Some(64));
}

#[test]
fn a_smoke_check_without_a_gateway_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("http://127.0.0.1:{}", common::free_port());
    let output = spark(folder.path()).args(["smoke", "--data", "data"]).env("SPARK_GATEWAY_URL", &address).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains(&address) && output.stdout.is_empty(), "{}", text(&output.stderr));
}
