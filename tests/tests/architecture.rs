//! What DESIGN and ARCHITECTURE say about the shape of the workspace is true.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the workspace has failed, and its helpers with it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Workspace crate → the workspace crates it depends on (build and normal, not for tests).
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(|package| (name(package), dependencies(package))).collect()
}

fn name(package: &Value) -> String {
    package["name"].as_str().unwrap().trim_start_matches("spark-").to_owned()
}

fn dependencies(package: &Value) -> BTreeSet<String> {
    let dependencies = package["dependencies"].as_array().unwrap();
    dependencies.iter().filter(|dependency| dependency["kind"].is_null() && dependency["path"].is_string()).map(name).collect()
}

const PROCESSORS: &[&str] = &[
    "feed",
    "portfolio",
    "guardrail",
    "auditor",
    "risk",
    "executor",
    "candles",
    "strategy",
    "notifier",
    "reporter",
    "signal",
    "rollout",
    "backtest",
    "exchange-sim",
];

#[test]
fn dependency_arrows_point_only_where_the_design_says() {
    let allowed = |from: &str, to: &str| match from {
        "bus-schema" => false,
        "nats" | "exchanges" | "ledger" | "alerting" => to == "bus-schema",
        "exchange-sim" => false,
        "feed" | "portfolio" => matches!(to, "nats" | "bus-schema" | "exchanges"),
        "risk" => matches!(to, "nats" | "bus-schema" | "ledger"),
        "candles" => matches!(to, "nats" | "bus-schema" | "exchanges"),
        // One decision code: the backtest runs what runs live.
        "backtest" => {
            matches!(to, "nats" | "bus-schema" | "exchanges" | "ledger" | "candles" | "signal" | "strategy" | "risk" | "executor")
        }
        "gateway" => matches!(to, "nats" | "bus-schema" | "ledger" | "alerting"),
        "notifier" => matches!(to, "nats" | "bus-schema" | "alerting"),
        "executor" => matches!(to, "nats" | "bus-schema" | "ledger" | "exchanges"),
        from if PROCESSORS.contains(&from) => matches!(to, "nats" | "bus-schema"),
        "cli" => to != "tests",
        "tests" => true,
        other => panic!("{other} is a new crate: give it its arrows here, in ARCHITECTURE.md and in docs/adr"),
    };
    for (from, targets) in arrows() {
        for to in targets {
            assert!(allowed(&from, &to), "{from} must not depend on {to}");
        }
    }
}

#[test]
fn only_the_nats_crate_names_the_broker_client() {
    for folder in folders() {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        let normal = manifest.split("[dev-dependencies]").next().unwrap();
        assert!(folder == "nats" || !normal.contains("async-nats"), "{folder} depends on async-nats");
    }
}

#[test]
fn the_schema_crate_knows_no_clock_no_io_and_no_runtime() {
    let manifest = read("bus-schema/Cargo.toml");
    for word in ["tokio", "async-nats", "reqwest", "axum"] {
        assert!(!manifest.contains(word), "bus-schema depends on {word}");
    }
    for (path, text) in sources("bus-schema/src") {
        for word in ["SystemTime", "Instant::now", "std::fs", "std::net", "std::thread"] {
            assert!(!text.contains(word), "{path} uses {word}");
        }
    }
}

#[test]
fn the_ledger_crate_knows_no_clock_no_io_and_no_floats() {
    let manifest = read("ledger/Cargo.toml");
    for word in ["tokio", "async-nats", "spark-nats", "reqwest"] {
        assert!(!manifest.contains(word), "ledger depends on {word}");
    }
    for (path, text) in sources("ledger/src") {
        for word in ["SystemTime", "Instant::now", "std::fs", "std::net", "std::thread", "f64", "HashMap", "HashSet"] {
            assert!(!text.contains(word), "{path} uses {word}");
        }
    }
}

#[test]
fn decisions_know_no_clock_and_no_io() {
    let folders = [
        "guardrail/src",
        "risk/src",
        "candles/src",
        "strategy/src",
        "signal/src",
        "rollout/src",
        "backtest/src/engine",
        "notifier/src/machine",
    ];
    for folder in folders {
        for (path, text) in sources(&format!("processors/{folder}")) {
            let is_edge = path.ends_with("lib.rs") || path.ends_with("wiring.rs") || path.contains("/wiring/");
            if is_edge || path.contains("/tests") {
                continue;
            }
            for word in ["SystemTime", "Instant::now", "tokio::", "spark_nats::now", "std::net", "rand::"] {
                assert!(!text.contains(word), "{path} uses {word}");
            }
        }
    }
}

#[test]
fn decisions_about_money_know_no_floats_and_no_random_order() {
    for (path, text) in sources("processors/risk/src") {
        for word in ["f64", "f32", "HashMap", "HashSet"] {
            assert!(path.ends_with("wiring.rs") || !text.contains(word), "{path} uses {word}");
        }
    }
}

#[test]
fn one_name_everywhere() {
    let permissions: Value = toml_edit::de::from_str(&read("nats/permissions.toml")).unwrap();
    let users: BTreeSet<&str> =
        permissions["user"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
    let readme = read("README.md");
    let compose = read("compose.yaml");
    let help = Command::new(env!("CARGO_BIN_EXE_spark-under-test")).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for process in PROCESSORS.iter().chain(&["gateway"]) {
        assert!(users.contains(process), "{process} is not a user in nats/permissions.toml");
        assert!(readme.contains(&format!("`{process}`")), "{process} is not in the README's table");
        assert!(compose.contains(&format!("\n  {process}:")), "{process} is not a service in compose.yaml");
        assert!(help.contains(process), "{process} is not a subcommand of spark");
        let folder = if *process == "gateway" { "gateway".to_owned() } else { format!("processors/{process}") };
        assert!(root().join(&folder).is_dir(), "{folder} is missing");
    }
}

#[test]
fn runbooks_named_by_rules_exist() {
    for (path, text) in sources("processors/guardrail") {
        for runbook in text.split("docs/runbooks/").skip(1).filter_map(|rest| rest.split(['"', '#', ')', ' ']).next()) {
            assert!(root().join("docs/runbooks").join(runbook).exists(), "{path} names docs/runbooks/{runbook}");
        }
    }
}

fn folders() -> Vec<String> {
    let manifest: Value = toml_edit::de::from_str(&read("Cargo.toml")).unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    members.iter().map(|member| member.as_str().unwrap().to_owned()).collect()
}

/// Rust and TOML files below a folder with their text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}
