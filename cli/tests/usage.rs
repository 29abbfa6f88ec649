//! What a person mistypes: exit 64, and a message that says what would be right.

mod common;

use std::net::TcpListener;

use common::{run, spark, text};

#[test]
fn every_command_explains_itself() {
    let folder = tempfile::tempdir().unwrap();
    let commands = [
        "up",
        "feed",
        "portfolio",
        "guardrail",
        "auditor",
        "risk",
        "executor",
        "candles",
        "strategy",
        "audit",
        "gateway",
        "exchange-sim",
        "tail",
        "parked",
        "schema",
        "doctor",
        "status",
        "config",
        "sim",
        "breaker",
    ];
    for command in commands {
        let output = run(folder.path(), &[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = text(&output.stdout);
        assert!(help.contains("Usage: spark"), "{command}: {help}");
    }
    assert!(text(&run(folder.path(), &["up", "--help"]).stdout).contains("spark up --live"));
    assert!(text(&run(folder.path(), &["--help"]).stdout).contains("64  the command line"));
}

#[test]
fn a_wrong_command_line_exits_64_and_names_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.gz"), "<html>").unwrap();
    let check = |arguments: &[&str], parts: &[&str]| {
        let output = run(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?}: {said} lacks {part}");
        }
    };
    check(&["upp"], &["upp", "up"]);
    check(&["up", "--prot", "1"], &["--prot", "--port"]);
    check(&["up", "--port", "70000"], &["70000"]);
    check(&["up", "--replay", "missing.gz"], &["--replay missing.gz", "recorded file"]);
    check(&["up", "--replay", "page.gz"], &["--replay page.gz", "no recorded frames"]);
    check(&["up", "--replay", "page.gz", "--speed", "0"], &["--speed 0", "positive"]);
    check(&["up", "--live", "--replay", "page.gz"], &["--live", "--replay"]);
    check(&["tail", "--since", "5"], &["--since", "5m"]);
    check(&["tail", "nothing.here"], &["nothing.here", "market"]);
    check(&["breaker", "bist", "open", "--reason", "x"], &["bist", "binance and btcturk"]);
    check(&["breaker", "binance", "open", "--reason", " "], &["--reason"]);
    check(&["parked", "replay"], &["<ID>"]);
    check(&["config", "--config", "missing.toml"], &["missing.toml", "cannot be read", "--config"]);
}

#[test]
fn a_taken_port_is_named_with_its_flag_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(folder.path(), &["up", "--port", &port]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
    assert!(!folder.path().join(".spark/nats-server").exists());
}

#[test]
fn commands_without_a_running_system_say_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["sim", "fault", "ls"][..], &["status", "--url", "nats://127.0.0.1:1"]] {
        let output = run(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert!(said.contains("spark up"), "{said}");
    }
    let output = run(folder.path(), &["doctor", "--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let broker = findings.as_array().unwrap().iter().find(|finding| finding["check"] == "broker").unwrap();
    assert!(broker["fix"].as_str().unwrap().contains("spark up"), "{broker}");
    assert!(!folder.path().join(".spark").exists(), "doctor only looks");
}

#[test]
fn a_closed_pipe_is_no_error_and_schemas_are_written_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["schema", "--out", "schemas"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document = std::fs::read_to_string(folder.path().join("schemas/asyncapi.json")).unwrap();
    assert!(document.contains("\"asyncapi\": \"3.0.0\""));
    assert!(folder.path().join("schemas/tick_batch.v1.schema.json").exists());
    let mut child = spark(folder.path()).arg("schema").stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().code().is_some(), "ended by itself, not by a signal");
}
