//! A model goes live in stages, and back: the demonstration as a person runs it, with every process and a real broker, and
//! the commands of `spark rollout` beside it.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use spark_tests::system::signal;

const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");
/// A command of `spark rollout` may find the system busy, or the stage gone by.
const LIMIT: Duration = Duration::from_secs(30);

/// `spark demo rollout` with temporary files in a folder of the test.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    folder: PathBuf,
}

impl Demo {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("spark-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temporary folder");
        let mut child = Command::new(BINARY)
            .args(["demo", "rollout", "--json"])
            .env("TMPDIR", &folder)
            .env("SPARK_TOOLS_DIR", spark_nats::testing::tools_dir())
            // What a caller has set for its own system is none of the demonstration's.
            .env("SPARK_ROLLOUT__SCALE", "1.0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines, folder }
    }

    /// The next thing that it says.
    fn next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.expect("text");
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    /// The folder of the system that it runs.
    fn system(&self) -> PathBuf {
        self.folder.join(format!("spark-demo-{}", self.child.id()))
    }

    /// Waits for its end: exit code.
    fn end(&mut self) -> Option<i32> {
        self.child.wait().expect("a child").code()
    }

    /// Nothing is left: no file, no process.
    fn check_gone(&self) {
        let left: Vec<_> = std::fs::read_dir(&self.folder).expect("folder").flatten().map(|entry| entry.path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new());
        let output = Command::new("ps").args(["-e", "-o", "args="]).output().expect("ps runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let marker = self.folder.display().to_string();
        let alive: Vec<&str> = text.lines().filter(|line| line.contains(&marker)).collect();
        assert_eq!(alive, Vec::<&str>::new());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Another command on the demonstration's system: exit code, stdout as JSON, stderr.
fn spark(system: &Path, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = Command::new(BINARY)
        .args(arguments)
        .arg("--json")
        .arg("--data")
        .arg(system.join("data"))
        .arg("--config")
        .arg(system.join("spark.toml"))
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let document = serde_json::from_str(&text).unwrap_or(Value::Null);
    (output.status.code(), document, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A word about the rollout is asked about first, refused when it cannot be, and answered when it is meant.
fn check_commands(system: &Path) {
    let (code, status, said) = spark(system, &["rollout", "status"]);
    assert_eq!((code, &status["rollout"]["phase"]), (Some(0), &Value::from("running")), "{status} {said}");
    let (code, asked, said) = spark(system, &["rollout", "pause", "--reason", "a look"]);
    assert_eq!((code, &asked["status"]), (Some(1), &Value::from("confirmation_required")), "{asked} {said}");
    assert!(
        asked["would"].as_str().unwrap_or_default().starts_with("paused at ") && said.contains("--confirm"),
        "{asked} {said}"
    );
    let (code, refused, said) = spark(system, &["rollout", "resume", "--reason", "a look", "--confirm"]);
    assert_eq!((code, &refused["status"]), (Some(1), &Value::from("refused")), "{refused} {said}");
    let (code, _, said) = spark(system, &["rollout", "pause", "--reason", "a look", "--model", "another", "--confirm"]);
    assert!(code == Some(1) && said.contains("--model another"), "{said}");
    for (verb, phase) in [("pause", "paused"), ("resume", "running")] {
        let began = Instant::now();
        loop {
            // A stage that ends in between makes the word one about another state: then it is said again.
            let (code, told, said) = spark(system, &["rollout", verb, "--reason", "a look", "--confirm"]);
            if code == Some(0) {
                assert_eq!(told["rollout"]["phase"], phase, "{told}");
                assert_eq!(told["rollout"]["command"], told["sequence"], "{told}");
                break;
            }
            assert!(began.elapsed() < LIMIT, "{verb}: {told} {said}");
        }
    }
    let (code, history, said) = spark(system, &["rollout", "history", "--limit", "2"]);
    let phases: Vec<&str> = history.as_array().into_iter().flatten().filter_map(|row| row["rollout"]["phase"].as_str()).collect();
    assert!(code == Some(0) && phases.len() == 2 && phases.contains(&"running"), "{history} {said}");
}

#[test]
fn a_good_model_goes_to_100_percent_and_a_bad_one_is_rolled_back() {
    let mut demo = Demo::start("rollout-story");
    let mut places: Vec<(String, String)> = Vec::new();
    let mut models = Vec::new();
    let mut last = Value::Null;
    let mut is_asked = false;
    while let Some(said) = demo.next() {
        if said["event"] != "rollout" {
            continue;
        }
        let word = |key: &str| said["rollout"][key].as_str().unwrap_or_default().to_owned();
        places.push((word("stage"), word("phase")));
        models.push(said["rollout"]["model"]["hash"].clone());
        if word("stage") == "preview" && !is_asked {
            is_asked = true;
            check_commands(&demo.system());
        }
        last = said;
    }
    assert_eq!(demo.end(), Some(0), "{last:#}");
    demo.check_gone();
    places.dedup();
    places.retain(|(_, phase)| phase != "paused");
    places.dedup();
    let places: Vec<(&str, &str)> = places.iter().map(|(stage, phase)| (stage.as_str(), phase.as_str())).collect();
    let want = [
        ("preview", "running"),
        ("10", "running"),
        ("50", "running"),
        ("100", "running"),
        ("100", "promoted"),
        ("off", "rolled_back"),
        ("preview", "running"),
        ("off", "rolled_back"),
    ];
    assert_eq!(places, want);
    assert_ne!(models.first(), models.last());
    let gates = last["rollout"]["gates"].as_array().cloned().unwrap_or_default();
    let failed: Vec<&Value> = gates.iter().filter(|gate| gate["state"] == "failed").collect();
    assert!(!failed.is_empty() && last["rollout"]["actor"] == "rollout", "{last:#}");
}

#[test]
fn ctrl_c_stops_and_removes_everything() {
    let mut demo = Demo::start("rollout-interrupted");
    let first = demo.next().expect("it says something");
    assert_eq!(first["event"], "said");
    demo.next().expect("the system runs");
    assert!(demo.system().is_dir());
    signal(demo.child.id(), "INT");
    assert_eq!(demo.end(), Some(1));
    demo.check_gone();
}
