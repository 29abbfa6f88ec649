//! `spark report` and `spark health weekly` with the real binary, on a history that nobody writes any more.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod common;

use std::path::Path;
use std::process::Output;

use common::{spark, text};
use rusqlite::params;
use serde_json::Value;
use spark_reporter::History;

const END: &str = "2026-11-20T12:00:00Z";
const MINUTE_MS: i64 = 60_000;

/// Two hours up to [`END`]: heartbeats of one process in every second of the last `present` minutes, and two polls.
fn record(folder: &Path, present: i64) {
    let path = spark_reporter::history::path_in(&folder.join("data"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(History::open(&path).unwrap());
    let database = rusqlite::Connection::open(&path).unwrap();
    let end = spark_bus_schema::Timestamp::parse(END).unwrap().as_millis();
    let presence = "INSERT INTO presence VALUES ('feed', ?1, ?2, 0)";
    database.execute(presence, params![end - 120 * MINUTE_MS, (1_i64 << 60) - 1]).unwrap();
    for minute in 1..=present {
        database.execute(presence, params![end - minute * MINUTE_MS, (1_i64 << 60) - 1]).unwrap();
    }
    for (second, latency) in [(10, 120_000), (20, 340_000)] {
        let sql = "INSERT INTO call VALUES (?1, 'binance', 'portfolio', 'refresh', ?2, 1, NULL)";
        database.execute(sql, params![end - second * 1_000, latency]).unwrap();
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    spark(folder).args(arguments).args(["--data", "data"]).output().unwrap()
}

fn check(output: &Output, code: i32, said: &str) {
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{all}");
    assert!(all.contains(said), "{all}");
}

#[test]
fn a_report_is_written_read_by_programs_and_its_exit_code_says_red() {
    let folder = tempfolder("report");
    record(&folder, 60);
    let output = run(&folder, &["report", "--window", "1h", "--to", END, "--out", "out"]);
    check(&output, 0, "GREEN");
    let page = std::fs::read_to_string(folder.join("out/report-20261120T120000Z.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("binance"));
    assert!(
        std::fs::read_to_string(folder.join("out/report-20261120T120000Z.md"))
            .unwrap()
            .contains("| binance | 2 | 0 | 120 ms | 340 ms |")
    );
    let output = run(&folder, &["report", "--window", "1h", "--to", END, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["refresh"][0]["p50_ms"], &report["uptime"]["overall"]), (&Value::from(120.0), &Value::from(1.0)));
    assert!(!folder.join("data/reports").exists(), "with --json files are written only when asked for");
    // Two hours, of which half an hour is missing.
    check(&run(&folder, &["report", "--window", "2h", "--to", END, "--md-only"]), 1, "uptime");
    let names: Vec<_> = std::fs::read_dir(folder.join("data/reports")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["report-20261120T120000Z.md"]);
    let output = run(&folder, &["health", "weekly", "--to", END, "--json"]);
    let week: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), week["days"].as_array().unwrap().len()), (Some(1), 7));
    assert_eq!(week["days"][0]["verdict"], Value::Null, "nothing is known of that day");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn mistakes_are_told_with_what_would_be_right() {
    let folder = tempfolder("report-mistakes");
    check(&run(&folder, &["report"]), 69, "no history at data/reporter/history.sqlite");
    check(&run(&folder, &["report", "--window", "yesterday"]), 64, "e.g. 24h");
    check(&run(&folder, &["report", "--to", "noon"]), 64, "e.g. 2026-11-21T00:00:00Z");
    check(&run(&folder, &["report", "--html-only", "--md-only"]), 64, "cannot be used with");
    record(&folder, 60);
    check(&run(&folder, &["report", "--to", "2026-10-01T00:00:00Z"]), 69, "it reaches from 2026-11-20T10:00:00Z");
    for command in [&["report", "--help"][..], &["health", "weekly", "--help"]] {
        check(&run(&folder, command), 0, "Examples:");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn tempfolder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("spark-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
