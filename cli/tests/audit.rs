//! `spark audit` on a running system, on a stopped one, and on one that somebody changed.

mod common;

use common::{Up, run, signal, text, wait_for};
use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::Value;

#[test]
fn the_record_holds_through_a_kill_and_a_change_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    let data = up.data.display().to_string();
    let audit = |arguments: &[&str]| {
        let all: Vec<&str> = ["audit"].iter().chain(arguments).copied().chain(["--data", &data]).collect();
        let output = run(folder.path(), &all);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let listed = |action: &str| {
        let (code, said, error) = audit(&["list", "--json", "--action", action, "--limit", "1000"]);
        let document: Value = if code == Some(0) { serde_json::from_str(&said).unwrap() } else { Value::Null };
        (document["items"].as_array().cloned().unwrap_or_default(), error)
    };
    let balances = |wanted: usize| {
        wait_for(&format!("{wanted} balances in the record"), || {
            let (items, error) = listed("portfolio.balances");
            if items.len() >= wanted { Ok(items) } else { Err(format!("{} {error}", items.len())) }
        })
    };
    let first = balances(2);
    assert_eq!((&first[0]["actor"], &first[0]["action"]), (&"portfolio".into(), &"portfolio.balances".into()));
    let pid = up.pid_of("auditor", None);
    signal(pid, Signal::SIGKILL);
    up.pid_of("auditor", Some(pid));
    balances(first.len() + 1);
    wait_for("a second verification", || {
        let (items, error) = listed("audit.verified");
        if items.len() >= 2 { Ok(()) } else { Err(format!("{} {error}", items.len())) }
    });
    let (code, said, error) = audit(&["verify"]);
    assert_eq!(code, Some(0), "{said}{error}");
    assert!(said.contains("clean") && said.contains("messages of the LEDGER compared"), "{said}");
    let (code, _, error) = audit(&["accept", "--reason", "nothing is wrong"]);
    assert!(code == Some(1) && error.contains("nothing to accept"), "{error}");
    signal(i32::try_from(up.child.id()).unwrap(), Signal::SIGINT);
    assert_eq!(up.wait().code(), Some(0), "{}", up.said());

    let (code, said, _) = audit(&["verify", "--offline", "--json"]);
    let document: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &document["broken"]), (Some(0), &Value::Null), "{said}");
    let (code, _, error) = audit(&["verify", "--url", "nats://127.0.0.1:1"]);
    assert!(code == Some(2) && error.contains("--offline"), "{error}");
    let path = up.data.join("auditor/audit.sqlite");
    Connection::open(&path).unwrap().execute("UPDATE entry SET stored_at = stored_at + 1 WHERE position = 3", []).unwrap();
    let (code, said, _) = audit(&["verify", "--offline"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("BROKEN: the audit database, from message 3 on"), "{said}");
    std::fs::remove_file(&path).unwrap();
    for arguments in [&["verify", "--offline"][..], &["list"], &["accept", "--reason", "x", "--keep-halted"]] {
        let (code, _, error) = audit(arguments);
        assert!(code == Some(2) && error.contains("spark up"), "{arguments:?}: {error}");
    }
    let (code, _, error) = audit(&["list", "--from", "yesterday"]);
    assert!(code == Some(64) && error.contains("--from"), "{error}");
}
