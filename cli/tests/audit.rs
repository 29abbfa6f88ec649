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

#[test]
fn a_store_that_lost_its_end_is_told_and_accepted_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    let data = up.data.clone();
    let audit = |arguments: &[&str]| {
        let data = data.display().to_string();
        let all: Vec<&str> = ["audit"].iter().chain(arguments).copied().chain(["--data", &data]).collect();
        let output = run(folder.path(), &all);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let listed = |action: &str| {
        let (code, said, error) = audit(&["list", "--json", "--action", action]);
        if code != Some(0) {
            return Err(error);
        }
        let document: Value = serde_json::from_str(&said).unwrap();
        let items = document["items"].as_array().unwrap().clone();
        if items.is_empty() { Err(format!("no {action}")) } else { Ok(items) }
    };
    wait_for("balances in the record", || listed("portfolio.balances"));
    signal(i32::try_from(up.child.id()).unwrap(), Signal::SIGINT);
    assert_eq!(up.wait().code(), Some(0), "{}", up.said());
    let ledger = data.join("nats-server/store/jetstream/$G/streams/LEDGER/msgs");
    let block = std::fs::read_dir(ledger).unwrap().map(|entry| entry.unwrap().path());
    let block = block.filter(|path| path.extension().is_some_and(|extension| extension == "blk")).max().unwrap();
    let size = std::fs::metadata(&block).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&block).unwrap().set_len(size / 2).unwrap();

    let mut up = Up::start(folder.path(), &[]);
    wait_for("the damage in the status", || {
        let status = run(folder.path(), &["status", "--data", &data.display().to_string()]);
        let said = text(&status.stdout);
        if said.contains("the LEDGER is damaged from message") { Ok(()) } else { Err(said + &text(&status.stderr)) }
    });
    let (code, said, _) = audit(&["verify"]);
    assert!(code == Some(1) && said.contains("BROKEN: the LEDGER, from message"), "{said}");
    let (code, said, error) = audit(&["accept", "--reason", "a test cut the file"]);
    assert!(code == Some(0) && said.contains("in era 2") && said.contains("trading may resume"), "{said}{error}");
    let resumed = wait_for("the command in the record", || listed("control.resume"));
    assert_eq!(resumed[0]["payload"]["reason"], "a test cut the file");
    let (code, said, error) = audit(&["verify"]);
    assert!(code == Some(0) && said.contains("operator accepted \"a test cut the file\""), "{said}{error}");
    signal(i32::try_from(up.child.id()).unwrap(), Signal::SIGINT);
    assert_eq!(up.wait().code(), Some(0), "{}", up.said());
}
