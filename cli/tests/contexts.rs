//! Contexts of the NATS command line, with real brokers: named, chosen, wrong, and what goes before them.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use common::{spark, text};
use spark_nats::server;
use spark_nats::testing::{TestBroker, tools_dir};

fn context(folder: &Path, name: &str, json: &serde_json::Value) {
    let contexts = folder.join("nats/context");
    std::fs::create_dir_all(&contexts).unwrap();
    std::fs::write(contexts.join(format!("{name}.json")), json.to_string()).unwrap();
}

fn on(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = spark(folder);
    let output: Output =
        command.args(arguments).env("XDG_CONFIG_HOME", folder).envs(environment.iter().copied()).output().unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_names_the_broker_and_who_to_be_unless_somebody_says_otherwise() {
    let broker = TestBroker::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = broker.url();
    context(folder.path(), "spark", &serde_json::json!({"url": url, "nkey": broker.seed_file("supervisor")}));
    context(folder.path(), "away", &serde_json::json!({"url": "nats://127.0.0.1:1"}));
    let streams =
        |arguments: &[&str], environment: &[(&str, &str)]| on(folder.path(), &[&["topology"], arguments].concat(), environment);
    let check = |(code, said): (Option<i32>, String)| assert!(code == Some(1) || code == Some(0), "{said}");
    check(streams(&["--context", "spark"], &[]));
    check(streams(&[], &[("NATS_CONTEXT", "spark")]));
    // A variable goes before what was chosen, a flag before the variable.
    std::fs::write(folder.path().join("nats/context.txt"), "away").unwrap();
    check(streams(&["--context", "spark"], &[("NATS_CONTEXT", "away")]));
    std::fs::write(folder.path().join("nats/context.txt"), "spark\n").unwrap();
    check(streams(&[], &[]));
    let seed = broker.seed_file("supervisor").display().to_string();
    check(streams(&["--url", &url], &[("NATS_CONTEXT", ""), ("SPARK_NKEY_SEED_FILE", &seed)]));
    let (code, said) = streams(&["--context", "away"], &[]);
    assert!(code == Some(69) && said.contains("NATS context away"), "{said}");
    let (code, said) = streams(&["--context", "other"], &[]);
    assert!(code == Some(64) && said.contains("known: away, spark"), "{said}");
    context(folder.path(), "strange", &serde_json::json!({"url": url, "user_jwt": "eyJ0geheim"}));
    let (code, said) = streams(&["--context", "strange"], &[]);
    assert!(code == Some(64) && said.contains("user_jwt") && !said.contains("geheim"), "{said}");
}

/// A broker with one user who has a password, killed on drop.
struct WithPassword(Child);

impl Drop for WithPassword {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password_of_a_context_are_used_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let binary = server::obtain(&tools_dir(), &mut |line| eprintln!("{line}")).await.unwrap();
    let port = server::free_port().unwrap();
    let broker = Command::new(binary)
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "--user", "u", "--pass", "geheim-1", "-js", "-l", "nats.log", "-sd"])
        .arg(folder.path().join("store"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let _broker = WithPassword(broker);
    server::wait_ready(port, Duration::from_secs(20)).await.unwrap();
    let url = format!("nats://127.0.0.1:{port}");
    context(folder.path(), "right", &serde_json::json!({"url": url, "user": "u", "password": "geheim-1"}));
    context(folder.path(), "wrong", &serde_json::json!({"url": url, "user": "u", "password": "geheim-2"}));
    let (code, said) = on(folder.path(), &["topology", "--context", "right"], &[]);
    assert!(code == Some(1) && said.contains("stream LEDGER differs: missing"), "{said}");
    let (code, said) = on(folder.path(), &["topology", "--context", "wrong"], &[]);
    assert!(code == Some(69) && !said.contains("geheim"), "{said}");
}
