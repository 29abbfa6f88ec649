//! Commands about orders: what a person mistypes, what is missing, and the whole way on a running system.

#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::process::Stdio;

use common::{Up, get, run, spark, text, wait_for};
use serde_json::Value;

#[test]
fn every_command_about_orders_explains_itself_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["order", "orders", "positions", "kill", "limits", "strategy", "resume", "explain", "whatif"] {
        let output = run(folder.path(), &[command, "--help"]);
        let help = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(
            help.contains("Usage: spark") && help.contains("Examples:") && help.contains(&format!("spark {command}")),
            "{help}"
        );
    }
    for command in [&["order", "buy"][..], &["order", "cancel"], &["limits", "set"], &["strategy", "start"]] {
        let output = run(folder.path(), &[command, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0), "{command:?}");
    }
}

#[test]
fn a_wrong_command_about_orders_exits_64_and_names_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("zero.toml"), "[default]\nnotional_usd_max = 0\n").unwrap();
    std::fs::write(folder.path().join("typo.toml"), "[default]\nnotional = 5\n").unwrap();
    let check = |arguments: &[&str], parts: &[&str]| {
        let output = run(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?}: {said} lacks {part}");
        }
    };
    check(&["order", "buy", "BTCUSDT"], &["<QUANTITY>"]);
    check(&["order", "hold", "BTCUSDT", "1"], &["hold"]);
    check(&["order", "buy", "BTCUSDT", "1", "--tif", "day"], &["gtc", "fok"]);
    check(&["order", "buy", "BTCUSDT", "1"], &["admin.token", "SPARK_TOKEN", "spark up"]);
    check(&["order", "show", "17"], &["`17`", "26 characters", "spark orders"]);
    check(&["order", "cancel", "spark-aaaaaaaaaaaaaaaaaaaaaaaaaa"], &["--reason"]);
    check(&["order", "cancel", "spark-aaaaaaaaaaaaaaaaaaaaaaaaaa", "--reason", " "], &["--reason is empty"]);
    check(&["orders", "--open", "--state", "filled"], &["--open", "--state"]);
    check(&["kill", "on"], &["--reason"]);
    check(&["kill", "maybe", "--reason", "x"], &["maybe", "on, off"]);
    check(&["kill", "off", "--cancel-open", "--reason", "x"], &["--cancel-open", "cancels nothing"]);
    check(&["kill", "on", "--reason", ""], &["--reason is empty"]);
    check(&["limits", "set", "missing.toml", "--reason", "x"], &["missing.toml", "cannot be read", "spark limits show"]);
    check(&["limits", "set", "zero.toml", "--reason", "x"], &["zero.toml", "above 0"]);
    check(&["limits", "set", "typo.toml", "--reason", "x"], &["typo.toml", "notional_usd_max"]);
    check(&["strategy", "start", "a b", "--reason", "x"], &["letters, digits"]);
    check(&["strategy", "start", "a", "--reason", "x", "--symbols", "BTC"], &["binance.BTCUSDT"]);
    check(&["resume", "kraken", "--reason", "x"], &["kraken", "ledger, binance or btcturk"]);
    check(&["explain", "x"], &["26 characters"]);
    check(&["whatif"], &["--limits"]);
    check(&["whatif", "--limits", "zero.toml"], &["above 0"]);
    std::fs::write(folder.path().join("fine.toml"), "").unwrap();
    check(&["whatif", "--limits", "fine.toml", "--from", "yesterday"], &["--from", "2h"]);
}

#[test]
fn without_a_system_they_say_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let id = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
    std::fs::write(folder.path().join("fine.toml"), "").unwrap();
    let commands = [
        &["kill", "on", "--reason", "x"][..],
        &["limits"],
        &["resume", "ledger", "--reason", "x"],
        &["strategy", "stop", "a", "--reason", "x"],
        &["explain", id],
        &["whatif", "--limits", "fine.toml"],
        &["orders"],
        &["positions"],
        &["order", "show", id],
    ];
    // At once: each of them waits for seconds before it gives up.
    let children = commands.map(|arguments| {
        let mut command = spark(folder.path());
        // Nobody listens there: the usual ports may be somebody's.
        command.args(arguments).args(["--url", "nats://127.0.0.1:1"]).env("SPARK_GATEWAY_URL", "http://127.0.0.1:1");
        (arguments, command.stderr(Stdio::piped()).spawn().unwrap())
    });
    for (arguments, child) in children {
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {said}");
        assert!(said.contains("spark up"), "{arguments:?}: {said}");
    }
}

struct Desk<'a> {
    up: &'a Up,
    folder: &'a std::path::Path,
}

impl Desk<'_> {
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = spark(self.folder).args(arguments).arg("--data").arg(&self.up.data).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        get(self.up.port, path).and_then(|body| serde_json::from_str(&body).map_err(|error| error.to_string()))
    }

    fn json(&self, arguments: &[&str], code: i32) -> Value {
        let (got, out, error) = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(got, Some(code), "{arguments:?}: {out}{error}");
        serde_json::from_str(&out).unwrap_or_else(|problem| panic!("{arguments:?}: {problem}: {out}"))
    }
}

#[test]
fn an_order_is_placed_once_listed_explained_and_stopped_on_a_running_system() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spark.toml"), "[gateway]\nrate_per_second = 10000\nrate_burst = 10000\n").unwrap();
    let up = Up::start(folder.path(), &[]);
    let desk = Desk { up: &up, folder: folder.path() };
    // Before that risk refuses, and its word on a key is final.
    wait_for("the exchanges' rules are known and they agree with the ledger", || {
        let told = desk.get("/api/exec/reconciliation")?;
        // The demo's own strategy asks every few seconds.
        let listed = desk.get("/api/exec/orders?exchange=binance&limit=1")?;
        let ready = told["missing"].as_array().is_some_and(Vec::is_empty) && listed["orders"][0]["approved"] == true;
        if ready { Ok(()) } else { Err(format!("{told} {listed}")) }
    });
    // It takes what is offered and waits for the rest: the best offer alone may be less.
    let limit = ["--limit", "64000", "--tif", "gtc"];
    let words = ["order", "buy", "BTCUSDT", "0.01", "--key", "test-1", "--reason", "a test", "--wait", "final"];
    let buy = [&words[..], &limit].concat();
    let first = desk.json(&buy, 0);
    assert_eq!((first["approved"].as_bool(), first["filled"].to_string().as_str()), (Some(true), "0.01"), "{first}");
    let again = desk.json(&buy, 0);
    assert_eq!(again["order"], first["order"], "one key, one order");
    let (code, _, error) = desk.run(&[&["order", "buy", "BTCUSDT", "0.02", "--key", "test-1"][..], &limit].concat());
    assert!(code == Some(1) && error.contains("quantity was 0.01"), "{error}");
    let (code, out, _) = desk.run(&["order", "buy", "BTCUSDT", "100"]);
    assert!(code == Some(1) && out.contains("refused by notional"), "{out}");

    let order = first["order"].as_str().unwrap();
    let (code, story, error) = desk.run(&["explain", order]);
    assert_eq!(code, Some(0), "{error}");
    for part in ["a test", "guard notional", "approved: ", "byte for byte", "filled by", "LEDGER:", "0.01 of 0.01 filled"] {
        assert!(story.contains(part), "{part} is not in\n{story}");
    }
    assert!(!story.contains('\u{1b}'), "no colours into a pipe");
    let told = desk.json(&["explain", order], 0);
    assert_eq!((told["recomputed"]["result"].as_str(), told["filled"].as_str()), (Some("identical"), Some("0.01")));
    assert_eq!(told["verdict"]["message"]["order"], order);

    let listed = desk.json(&["orders", "--strategy", "manual", "--limit", "2"], 0);
    assert_eq!(listed["orders"].as_array().unwrap().len(), 2, "{listed}");
    let positions = desk.json(&["positions"], 0);
    let own = positions["positions"].as_array().unwrap().iter().find(|row| row["strategy"] == "manual").unwrap().clone();
    assert_eq!(own["symbol"], "BTCUSDT");

    let resting = desk.json(&["order", "sell", "ETHUSDT", "0.1", "--limit", "9000"], 0);
    assert_eq!(resting["state"], "submitted", "{resting}");
    let id = resting["clientOrderId"].as_str().unwrap();
    assert_eq!(desk.run(&["order", "cancel", id, "--reason", "enough"]).0, Some(0));
    wait_for("it is cancelled", || {
        let shown = desk.json(&["order", "show", id], 0);
        if shown["state"] == "cancelled" { Ok(()) } else { Err(shown.to_string()) }
    });
    assert_eq!(desk.run(&["order", "cancel", id, "--reason", "enough"]).0, Some(1), "it is over");

    assert_eq!(desk.json(&["kill", "on", "--cancel-open", "--reason", "drill"], 0)["on"], true);
    let refused = desk.json(&["order", "buy", "BTCUSDT", "0.001"], 1);
    assert_eq!(refused["guard"], "kill_switch", "{refused}");
    assert_eq!(desk.run(&["kill", "off", "--reason", "drill is over"]).0, Some(0));
    assert_eq!(desk.json(&["order", "buy", "BTCUSDT", "0.001"], 0)["approved"], true);

    let file = folder.path().join("limits.toml");
    let (_, shown, _) = desk.run(&["limits", "show"]);
    std::fs::write(&file, shown.replace("notional_usd_max = \"10000\"", "notional_usd_max = 500")).unwrap();
    let name = file.display().to_string();
    let whatif = desk.json(&["whatif", "--limits", &name], 0);
    let changed = whatif["orders"].as_array().unwrap();
    assert!(changed.iter().any(|row| row["order"] == order && row["supposed"]["guard"] == "notional"), "{whatif}");
    let (code, out, error) = desk.run(&["limits", "set", &name, "--reason", "smaller"]);
    assert!(code == Some(1) && out.contains("default.notional_usd_max  10000") && error.contains("--confirm"), "{out}{error}");
    assert_eq!(desk.run(&["limits", "set", &name, "--reason", "smaller", "--confirm"]).0, Some(0));
    let refused = desk.json(&["order", "buy", "BTCUSDT", "0.01"], 1);
    assert_eq!(refused["guard"], "notional", "{refused}");
    // What was decided under the old limits still follows from the ledger, now that there are new ones.
    assert_eq!(desk.json(&["explain", order], 0)["recomputed"]["result"], "identical");
}
