//! The operator's day on a running system: smoke check, evidence, tuned thresholds.

#[allow(dead_code, reason = "each test file uses its part")]
mod demo;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::Command;

use demo::{LIMIT, config, start};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use spark_bus_schema::subject::{self, FEED};
use spark_bus_schema::telemetry::Windows;
use spark_tests::system::System;
use spark_tests::wait::until;

const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");

/// What a command printed on stdout, and its exit code.
fn spark(system: &System, arguments: &[&str]) -> (i32, Value) {
    let mut command = Command::new(BINARY);
    let output = command.args(arguments).arg("--json").arg("--data").arg(system.data()).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let document = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{arguments:?}: {error}: {text}{}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code().unwrap_or(-1), document)
}

fn failed(smoke: &Value) -> Vec<String> {
    let checks = smoke["checks"].as_array().expect("checks");
    let bad = checks.iter().filter(|check| check["ok"] != true);
    bad.map(|check| check["name"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn stored(system: &System, sequence: &Value) -> Value {
    assert!(sequence.as_u64().is_some(), "{sequence}");
    until("the gateway shows the outcome", LIMIT, async || {
        let last = system.json("/api/public/smoke-last").await?;
        // The reporter checks too: what is looked for is the outcome of this command.
        let ours = last["smoke"]["actor"].as_str().is_some_and(|actor| actor.starts_with("operator"));
        if ours { Ok(last["smoke"].clone()) } else { Err(last.to_string()) }
    })
    .await
}

#[tokio::test]
async fn a_system_that_is_well_passes_and_everybody_can_see_it() {
    let system = start(&config(None)).await;
    until("all six checks are good", LIMIT, async || {
        let (code, smoke) = spark(&system, &["smoke", "--no-store"]);
        if code == 0 && failed(&smoke).is_empty() { Ok(()) } else { Err(smoke["text"].to_string()) }
    })
    .await;
    let (code, smoke) = spark(&system, &["smoke"]);
    assert_eq!((code, &smoke["pass"]), (0, &json!(true)), "{smoke}");
    let last = stored(&system, &smoke["sequence"]).await;
    assert_eq!((&last["text"], &last["passed"]), (&smoke["text"], &smoke["passed"]));
}

#[tokio::test]
async fn an_outage_of_both_exchanges_fails_it() {
    let system = start(&config(None)).await;
    // One is slow, the other one refuses: two of six checks.
    system.fault(json!({"exchange": "binance", "kind": "delay", "ms": 2_000})).await;
    system.fault(json!({"exchange": "btcturk", "kind": "revoke_key"})).await;
    until("the check fails", LIMIT, async || {
        let (code, smoke) = spark(&system, &["smoke", "--no-store"]);
        if code == 1 && smoke["pass"] == false { Ok(()) } else { Err(format!("{code} {}", smoke["text"])) }
    })
    .await;
    let (code, smoke) = spark(&system, &["smoke"]);
    assert_eq!(code, 1, "{smoke}");
    let bad = failed(&smoke);
    assert!(["p95", "error_rate"].iter().all(|name| bad.iter().any(|bad| bad == name)), "{}", smoke["text"]);
    assert_eq!(stored(&system, &smoke["sequence"]).await["pass"], false);
    system.clear_faults().await;
}

/// Every entry of an archive.
fn entries(path: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).expect("the file")).expect("a ZIP");
    let count = archive.len();
    let read = |index: usize| {
        let mut entry = archive.by_index(index).expect("an entry");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        (String::from_utf8(entry.name_raw().to_vec()).expect("a name"), bytes)
    };
    (0..count).map(read).collect()
}

#[tokio::test]
async fn evidence_of_a_run_has_every_part_every_hash_right_and_the_whole_ledger() {
    let system = start(&config(None)).await;
    let (code, said) = system.spark(&["kill", "off", "--reason", "seen in the extract"]);
    assert_eq!(code, 0, "{said}");
    let folder = system.data().join("evidence");
    std::fs::create_dir_all(&folder).expect("folder");
    let mut tries = 0;
    // The report wants a first minute of history, the head a first word of the auditor.
    let (path, told) = until("a file in which nothing is missing", LIMIT, async || {
        tries += 1;
        let path = folder.join(format!("{tries}.zip"));
        let (code, told) = spark(&system, &["evidence", "--window", "1h", "--out", &path.display().to_string()]);
        let missing: Vec<&Value> = told["manifest"]["missing"].as_array().expect("a list").iter().collect();
        // Nobody has told thresholds.
        let fine = missing.iter().all(|row| row["name"] == "rules/thresholds.json")
            && told["manifest"]["ledger"]["chain_hash"].is_string();
        if code == 0 && fine { Ok((path, told)) } else { Err(format!("{code} {missing:?} {}", told["manifest"]["ledger"])) }
    })
    .await;
    let entries = entries(&path);
    let manifest: Value = serde_json::from_slice(&entries["manifest.json"]).expect("JSON");
    assert_eq!(manifest, told["manifest"]);
    let rows = manifest["entries"].as_array().expect("a list");
    assert_eq!(rows.len() + 1, entries.len(), "every entry but the manifest itself");
    for row in rows {
        let bytes = &entries[row["name"].as_str().expect("a name")];
        assert_eq!(row["sha256"], hex::encode(Sha256::digest(bytes)), "{row}");
        assert_eq!(row["bytes"].as_u64(), Some(bytes.len() as u64), "{row}");
    }
    let text = |name: &str| String::from_utf8(entries[name].clone()).expect("text");
    assert!(text("metrics.prom").contains("spark_up{") && text("report/report.html").contains("<svg"));
    assert!(entries.keys().any(|name| name.starts_with("charts/")), "{:?}", entries.keys());
    // The run is younger than the window: the extract is the LEDGER up to the head, without a hole.
    let extract = text("ledger/extract.jsonl");
    let sequences: Vec<u64> = extract
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["sequence"].as_u64().expect("a number"))
        .collect();
    let last = manifest["ledger"]["last_sequence"].as_u64().expect("a number");
    assert_eq!(sequences, (1..=last).collect::<Vec<u64>>());
    assert!(extract.contains("seen in the extract"));
    let (code, verified) = spark(&system, &["evidence", "verify", &path.display().to_string()]);
    assert_eq!((code, verified["good"].as_u64()), (0, Some(rows.len() as u64)), "{verified}");
}

#[tokio::test]
async fn confirmed_thresholds_are_in_force_at_once() {
    let system = start(&config(None)).await;
    let days = system.data().join("recorded");
    // Values of a calm exchange: the floors, a quarter of what is specified, are what is proposed.
    spark_tests::history::record(&days, &[("binance", |minute| 100.0 + (minute % 7) as f64)], 300);
    let mut command = Command::new(BINARY);
    command.args(["tune", "--json", "--rule", "portfolio_refresh_p95", "--confirm", "--url"]);
    command.arg(system.run()["nats_url"].as_str().expect("an address")).arg("--data").arg(&days).arg("--out").arg(&days);
    let output = command.env("SPARK_NKEY_SEED_FILE", system.data().join("keys/operator.nk")).output().expect("the binary runs");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert_eq!(told["status"], "applied", "{told} {}", String::from_utf8_lossy(&output.stderr));
    let bus = system.bus("operator").await;
    until("the guardrail judges by the new thresholds", LIMIT, async || {
        let found = bus.last(FEED, subject::WINDOWS).await.map_err(|error| error.to_string())?.ok_or("no windows")?;
        let windows: Windows = found.decode().map_err(|error| error.to_string())?;
        let row = windows.values.iter().find(|row| row.rule == "portfolio_refresh_p95" && row.scope.contains_key("exchange"));
        let thresholds = row.map(|row| (row.warning, row.critical));
        if thresholds == Some((Some(375.0), Some(750.0))) { Ok(()) } else { Err(format!("{thresholds:?}")) }
    })
    .await;
}
