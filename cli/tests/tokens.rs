//! Tokens as a person makes, lists and revokes them, with no gateway running.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::{run, text};

#[test]
fn a_token_is_shown_once_and_alone_and_only_its_hash_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let token = |arguments: &[&str]| run(folder.path(), &[&["token"], arguments].concat());
    let made = token(&["create", "ayse", "--role", "operator", "--for", "30d"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let secret = text(&made.stdout).trim().to_owned();
    assert!(
        secret.strip_prefix("spark_").is_some_and(|rest| rest.len() == 40 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    );
    let note = text(&made.stderr);
    assert!(note.contains("shown once") && note.contains("ayse") && !note.contains(&secret), "{note}");
    let path = folder.path().join(".spark/keys/tokens.json");
    assert!(!std::fs::read_to_string(&path).unwrap().contains(&secret));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let made: serde_json::Value = serde_json::from_slice(&token(&["create", "ci", "--role", "viewer", "--json"]).stdout).unwrap();
    assert!(
        made["token"].as_str().unwrap().starts_with("spark_") && made["role"] == "viewer" && made["expires"].is_null(),
        "{made}"
    );
    let list = text(&token(&["ls"]).stdout);
    assert!(list.contains("ayse") && list.contains("operator") && list.contains("never") && !list.contains("spark_"), "{list}");
    let rows: serde_json::Value = serde_json::from_slice(&token(&["ls", "--json"]).stdout).unwrap();
    assert_eq!(rows["tokens"].as_array().unwrap().len(), 2, "{rows}");

    let id = made["id"].as_str().unwrap();
    assert!(text(&token(&["revoke", id]).stdout).contains("ci"));
    let gone = token(&["revoke", id]);
    assert_eq!(gone.status.code(), Some(1), "{}", text(&gone.stderr));
    assert!(text(&gone.stderr).contains(id) && text(&gone.stderr).contains("spark token ls"));
}

#[test]
fn what_cannot_be_a_token_is_refused_with_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], part: &str| {
        let output = run(folder.path(), &[&["token", "create"], arguments].concat());
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(text(&output.stderr).contains(part), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    };
    check(&["x"], "--role");
    check(&["x", "--role", "owner"], "viewer, operator, admin");
    check(&["x y", "--role", "viewer"], "cannot be a name");
    check(&["x", "--role", "viewer", "--for", "30"], "5m");
    check(&["x", "--role", "viewer", "--for", "0d"], "30d");
    std::fs::create_dir_all(folder.path().join(".spark/keys")).unwrap();
    std::fs::write(folder.path().join(".spark/keys/tokens.json"), "[").unwrap();
    check(&["x", "--role", "viewer"], "tokens.json");
}
