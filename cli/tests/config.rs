//! Mistakes in the configuration: file, line, key, value and the fix, all at once, exit 64.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod common;

use common::{run, spark, text};

fn check(toml: &str, environment: &[(&str, &str)], parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spark.toml"), toml).unwrap();
    let output = spark(folder.path()).args(["config", "--check"]).envs(environment.iter().copied()).output().unwrap();
    let said = text(&output.stderr);
    let want = if parts.is_empty() { 0 } else { 64 };
    assert_eq!(output.status.code(), Some(want), "{toml}: {said}{}", text(&output.stdout));
    for part in parts {
        assert!(said.contains(part), "{toml}: {said} lacks {part}");
    }
}

#[test]
fn mistakes_name_file_line_key_value_and_fix() {
    check("[supervisor]\nrestart_pause_ms = 50\n", &[], &[]);
    check("[supervisor]\n\nrestart_pause = 5\n", &[], &["spark.toml:3", "supervisor.restart_pause = 5", "`restart_pause_ms`"]);
    check("[fede]\n", &[], &["spark.toml:1", "fede", "`feed`"]);
    check("feed = 5\n", &[], &["spark.toml:1", "[feed]"]);
    check("[feed.binance]\nsymbols = 5\n", &[], &["spark.toml:2", "feed.binance.symbols = 5", "a whole number"]);
    check("[feed.binance]\nsymbols = [\"DOGEUSDT\"]\n", &[], &["spark.toml:2", "DOGEUSDT", "[[instrument]]"]);
    check(
        "[feed.binance]\nidle_timeout_ms = \"45s\"\n",
        &[],
        &["spark.toml:2", "feed.binance.idle_timeout_ms = \"45s\"", "text"],
    );
    check("[gateway]\nrate_burst = -1\n", &[], &["spark.toml:2", "gateway.rate_burst = -1"]);
    check("[gateway]\nrate_burst = 0\n", &[], &["spark.toml:2", "gateway.rate_burst = 0", "would be right"]);
    check("[guardrail]\nrules = \"missing.toml\"\n", &[], &["spark.toml:2", "guardrail.rules", "missing.toml"]);
    check("[nats]\nurl = \"http://x\"\n", &[], &["spark.toml:2", "nats.url", "nats://127.0.0.1:4222"]);
    check("[exchange-sim]\ntime_scale = 0.0\n", &[], &["spark.toml:2", "exchange-sim.time_scale", "above 0"]);
    check("[exchange-sim.replay]\nspede = 1\n", &[], &["spark.toml:2", "exchange-sim.replay.spede = 1", "`speed`"]);
    check("[nats\n", &[], &["spark.toml:1"]);
    check("[nats]\nurl = \"nats://a\"\nurl = \"nats://b\"\n", &[], &["spark.toml:3", "duplicate"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let toml = "[gateway]\nrate_bust = 1\nrate_per_second = \"many\"\n[supervisor]\nlog_bytes_max = 1\n";
    check(
        toml,
        &[("SPARK_PORTFOLIO__PRICE_TTL_MS", "0")],
        &["spark.toml:2", "spark.toml:3", "spark.toml:5", "environment SPARK_PORTFOLIO__PRICE_TTL_MS"],
    );
}

#[test]
fn the_environment_overrides_the_file_and_its_mistakes_name_the_variable() {
    check("", &[("SPARK_GATEWAY__RATE_BURTS", "5")], &["environment SPARK_GATEWAY__RATE_BURTS", "`rate_burst`"]);
    check("", &[("SPARK_GATWAY__RATE_BURST", "5")], &["environment SPARK_GATWAY__RATE_BURST", "`gateway`"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other.toml"), "[gateway]\nrate_burst = 7\nrate_per_second = 8\n").unwrap();
    let mut command = spark(folder.path());
    // A number where text is wanted was text: names and keys may be made of digits.
    command.env("SPARK_GATEWAY__RATE_BURST", "9").env("SPARK_GATEWAY__BUILD_SHA", "1234567");
    let output = command.args(["config", "--json", "--config", "other.toml"]).output().unwrap();
    let effective: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert_eq!(effective["gateway"]["rate_burst"], 9);
    assert_eq!(effective["gateway"]["rate_per_second"], 8);
    assert_eq!(effective["gateway"]["build_sha"], "1234567");
}

#[test]
fn what_is_printed_can_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run(folder.path(), &["config"]);
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    std::fs::write(folder.path().join("again.toml"), &printed.stdout).unwrap();
    let again = run(folder.path(), &["config", "--config", "again.toml"]);
    assert_eq!(text(&again.stdout), text(&printed.stdout), "{}", text(&again.stderr));
}

fn said(folder: &std::path::Path, arguments: &[&str], code: i32) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_file_that_init_writes_lints_clean_and_is_the_defaults_and_is_never_replaced_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let before = said(folder.path(), &["config"], 0);
    assert_eq!(said(folder.path(), &["config", "init"], 0).trim(), "spark.toml");
    assert!(said(folder.path(), &["config", "lint"], 0).contains("spark.toml: the configuration is right"));
    assert_eq!(said(folder.path(), &["config", "echo"], 0), before);
    assert!(said(folder.path(), &["config", "diff"], 0).contains("nothing differs from the defaults"));
    let file = folder.path().join("spark.toml");
    std::fs::write(&file, "[gateway]\nrate_burst = 7\n").unwrap();
    let again = run(folder.path(), &["config", "init"]);
    assert_eq!(again.status.code(), Some(64));
    assert!(text(&again.stderr).contains("--force"), "{}", text(&again.stderr));
    assert!(std::fs::read_to_string(&file).unwrap().contains("rate_burst = 7"));
    said(folder.path(), &["config", "init", "--force"], 0);
    assert!(std::fs::read_to_string(&file).unwrap().contains("#rate_burst = 20"));
    assert_eq!(said(folder.path(), &["config", "init", "--out", "-"], 0), std::fs::read_to_string(&file).unwrap());
}

#[test]
fn echo_names_where_a_value_comes_from_and_diff_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spark.toml"), "[gateway]\nrate_burst = 7\n").unwrap();
    std::fs::write(folder.path().join("other.toml"), "[gateway]\nrate_burst = 8\n").unwrap();
    let on = |arguments: &[&str]| {
        let output = spark(folder.path()).args(arguments).env("SPARK_GATEWAY__RATE_PER_SECOND", "30").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let echo = on(&["config", "echo"]);
    assert!(echo.contains("rate_burst = 7  # spark.toml:2"), "{echo}");
    assert!(echo.contains("rate_per_second = 30  # environment SPARK_GATEWAY__RATE_PER_SECOND"), "{echo}");
    assert_eq!(echo.matches('#').count(), 2, "{echo}");
    let document: serde_json::Value = serde_json::from_str(&on(&["config", "echo", "--json"])).unwrap();
    assert_eq!(document["values"]["gateway"]["rate_burst"], 7);
    assert_eq!(document["sources"]["gateway.rate_burst"], "spark.toml:2");
    let diff: serde_json::Value = serde_json::from_str(&on(&["config", "diff", "--json"])).unwrap();
    let keys: Vec<_> = diff.as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["gateway.rate_burst", "gateway.rate_per_second"]);
    assert!((&diff[0]["value"], &diff[0]["other"]) == (&7.into(), &20.into()), "{diff}");
    let diff = on(&["config", "diff", "other.toml"]);
    assert!(diff.contains("gateway.rate_burst\n  - 8\n  + 7  # spark.toml:2"), "{diff}");
}

#[test]
fn lint_tells_programs_each_mistake_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spark.toml"), "[gateway]\nrate_bust = 7\n[fede]\n").unwrap();
    let document: serde_json::Value = serde_json::from_str(&said(folder.path(), &["config", "lint", "--json"], 64)).unwrap();
    assert_eq!(document["ok"], false);
    let problems = document["problems"].as_array().unwrap();
    let bust = problems.iter().find(|problem| problem["key"] == "gateway.rate_bust").unwrap_or_else(|| panic!("{document}"));
    assert!(bust["line"] == 2 && bust["what"].as_str().unwrap().contains("rate_burst"), "{bust}");
    assert_eq!(problems.len(), 2, "{document}");
}
