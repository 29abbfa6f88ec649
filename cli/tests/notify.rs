//! `spark silence` and `spark notify` against the real notifier on a real broker, and what `spark config` says of a wrong one.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use common::{run, spark, text};
use serde_json::Value;
use spark_nats::testing::TestBroker;

/// Killed when the test ends, however it ends.
struct Notifier(Child);

impl Drop for Notifier {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn notifier(folder: &Path, broker: &TestBroker) -> Notifier {
    let mut command = spark(folder);
    command.args(["notifier", "--data", "data"]).env("NATS_URL", broker.url());
    command.env("SPARK_NKEY_SEED_FILE", broker.seed_file("notifier")).stdin(Stdio::piped());
    Notifier(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn operator(folder: &Path, broker: &TestBroker, arguments: &[&str]) -> Output {
    let mut command = spark(folder);
    command.args(arguments).args(["--data", "data", "--url", &broker.url()]);
    command.env("SPARK_NKEY_SEED_FILE", broker.seed_file("operator")).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A receiver that refuses everything, by hand: one connection after the other.
fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = [0; 65_536];
            let _ = stream.read(&mut bytes);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\nconnection: close\r\n\r\nno such hook");
        }
    });
    format!("http://{address}/hook")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_notification_takes_the_real_way_and_its_end_is_told() {
    let broker = TestBroker::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[[notifier.receiver]]\nname = \"out\"\ntype = \"file\"\npath = \"out.jsonl\"\n\
         [[notifier.receiver]]\nname = \"wrong\"\ntype = \"webhook\"\nurl = \"{}\"\n",
        refusing()
    );
    std::fs::write(folder.path().join("spark.toml"), config).unwrap();
    let _notifier = notifier(folder.path(), &broker);
    let told = json(&operator(folder.path(), &broker, &["notify", "test", "out", "--json"]));
    assert_eq!((&told["state"], &told["attempts"]), (&"delivered".into(), &1.into()), "{told}");
    let line = std::fs::read_to_string(folder.path().join("data/notifier/out.jsonl")).unwrap();
    assert!(line.contains("SparkTest") && line.contains("nothing is wrong"), "{line}");
    let refused = operator(folder.path(), &broker, &["notify", "test", "wrong"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("404: no such hook") && said.contains("spark parked ls") && !said.contains("/hook"), "{said}");
    let unknown = operator(folder.path(), &broker, &["notify", "test", "nobody"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(text(&unknown.stderr).contains("known are out, wrong"), "{}", text(&unknown.stderr));
    let listed = json(&operator(folder.path(), &broker, &["notify", "ls", "--json"]));
    let states: Vec<(&str, &str)> = listed["notifications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|told| (told["receiver"].as_str().unwrap(), told["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("wrong", "parked"), ("out", "delivered")]);
    let shown = text(&operator(folder.path(), &broker, &["notify", "ls"]).stdout);
    assert!(shown.contains("receiver") && shown.contains("parked") && shown.contains("ago"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_is_added_listed_and_ended() {
    let broker = TestBroker::start().await;
    let folder = tempfile::tempdir().unwrap();
    let list = |all: bool| {
        let arguments: &[&str] = if all { &["silence", "ls", "--all", "--json"] } else { &["silence", "ls", "--json"] };
        json(&operator(folder.path(), &broker, arguments))["silences"].as_array().unwrap().clone()
    };
    assert!(list(true).is_empty());
    let matchers =
        ["silence", "add", "alertname=WSStaleness", "venue=~\"btc.*\"", "--for", "2h", "--comment", "maintenance", "--json"];
    let added = json(&operator(folder.path(), &broker, &matchers));
    let id = added["id"].as_str().unwrap().to_owned();
    assert_eq!((list(false).len(), &list(false)[0]["state"]), (1, &"active".into()));
    assert_eq!(list(false)[0]["matchers"][1]["isRegex"], true);
    let shown = text(&operator(folder.path(), &broker, &["silence", "ls"]).stdout);
    assert!(shown.contains(&id) && shown.contains("venue=~\"btc.*\"") && shown.contains("maintenance"), "{shown}");
    let ended = operator(folder.path(), &broker, &["silence", "expire", &id[..8]]);
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    assert!(list(false).is_empty());
    assert_eq!(list(true)[0]["state"], "expired");
    let twice = operator(folder.path(), &broker, &["silence", "expire", &id]);
    assert_eq!(twice.status.code(), Some(1));
    let wrong = operator(folder.path(), &broker, &["silence", "add", "venue>1", "--for", "2h", "--comment", "x"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(text(&wrong.stderr).contains("=~"), "{}", text(&wrong.stderr));
}

#[test]
fn a_wrong_notifier_is_named_with_its_line_and_without_its_secrets_and_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let check = |config: &str, parts: &[&str]| {
        std::fs::write(folder.path().join("spark.toml"), config).unwrap();
        for arguments in [&["config", "--check"][..], &["notifier", "--url", "nats://127.0.0.1:9"]] {
            let output = run(folder.path(), arguments);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{config}: {said}");
            assert!(parts.iter().all(|part| said.contains(part)) && !said.contains("T0KEN"), "{parts:?}: {said}");
        }
    };
    let receiver = "[[notifier.receiver]]\nname = \"pager\"\ntype = \"webhook\"\n";
    check(
        &format!(
            "{receiver}url = \"https://hooks.example.com/T0KENT0KEN\"\n[[notifier.route]]\nmatchers = [\"a=b\"]\nreceiver = \"pagr\"\n"
        ),
        &["spark.toml:7", "notifier.route.0.receiver = \"pagr\"", "known are pager"],
    );
    check(&format!("{receiver}url = \"hooks/T0KENT0KEN\"\n"), &["spark.toml:4", "(hidden)", "https://"]);
    check(&format!("{receiver}urll = \"https://hooks.example.com/T0KENT0KEN\"\n"), &["spark.toml:4", "did you mean `url`"]);
    check(&format!("{receiver}url = [\"https://hooks.example.com/T0KENT0KEN\"]\n"), &["spark.toml:4", "expected"]);
    let shown = folder.path().join("spark.toml");
    std::fs::write(shown, format!("{receiver}url = \"https://hooks.example.com/T0KENT0KEN\"\n")).unwrap();
    let output = run(folder.path(), &["config", "--json"]);
    assert!(output.status.success() && !text(&output.stdout).contains("T0KEN"), "{}", text(&output.stdout));
    assert!(text(&run(folder.path(), &["silence", "add", "--help"]).stdout).contains("Examples"));
}
