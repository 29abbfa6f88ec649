//! Restarts that are asked for: by a person and by the guardrail, of processes that live, hang, or run under somebody else.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod common;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::{LIMIT, Up, freeze, run, signal, spark, text, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use spark_bus_schema::actions::{RestartCommand, RestartDone, RestartOutcome};
use spark_bus_schema::telemetry::Heartbeat;
use spark_bus_schema::{Message, subject};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, ConnectOptions, Credentials, Meta, now};

/// A process that hangs is given this long.
const STOP_LIMIT_MS: u64 = 1_000;

fn start(folder: &Path) -> Up {
    let config = format!("[supervisor]\nstop_limit_ms = {STOP_LIMIT_MS}\n");
    std::fs::write(folder.join("spark.toml"), config).unwrap();
    Up::start(folder, &[])
}

/// `spark restart …` as a script would: exit code and answer.
fn restart(folder: &Path, up: &Up, service: &str) -> (Option<i32>, Value, String) {
    let data = up.data.display().to_string();
    let output = run(folder, &["restart", service, "--reason", "no prices for a minute", "--json", "--data", &data]);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), text(&output.stderr))
}

async fn bus(up: &Up, user: &str) -> Bus {
    let url = up.run_file()["nats_url"].as_str().unwrap().to_owned();
    let credentials = Credentials::NkeySeedFile(up.data.join("keys").join(format!("{user}.nk")));
    let bus = Bus::connect(ConnectOptions { url, name: user.to_owned(), credentials }).await.unwrap();
    tokio::time::timeout(LIMIT, bus.wait_connected()).await.unwrap();
    bus
}

fn command(service: &str, attempt: u32) -> RestartCommand {
    RestartCommand {
        service: service.to_owned(),
        episode: Some("episode-1".to_owned()),
        attempt,
        actor: "guardrail".to_owned(),
        reason: "SparkUpMissing is critical".to_owned(),
        evidence: Vec::new(),
        at: now(),
    }
}

async fn ask(bus: &Bus, command: &RestartCommand) -> u64 {
    bus.publish(&subject::restart(&command.service), command, Meta::default()).await.unwrap()
}

/// Waits until the newest message of a subject is as wanted; the broker may be away for a moment.
async fn newest<T: Message + std::fmt::Debug>(bus: &Bus, stream: &'static str, on: &str, wanted: impl Fn(&T) -> bool) -> T {
    let mut seen = None;
    let waiting = async {
        loop {
            let found = bus.last(stream, on).await.ok().flatten().and_then(|delivery| delivery.decode::<T>().ok());
            match found {
                Some(found) if wanted(&found) => return found,
                Some(other) => seen = Some(other),
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, waiting).await;
    found.unwrap_or_else(|_| panic!("{on}: not as wanted within {LIMIT:?}; last seen: {seen:?}"))
}

async fn answer(bus: &Bus, service: &str, command: u64) -> RestartDone {
    newest(bus, subject::LEDGER, &subject::restarted(service), |done: &RestartDone| done.command == command).await
}

fn restarts(up: &Up, service: &str) -> u64 {
    up.run_file()["processes"][service]["restarts"].as_u64().unwrap()
}

#[test]
fn a_person_restarts_a_process_or_the_broker_and_is_told_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = start(folder.path());
    let feed = up.pid_of("feed", None);
    let (code, answer, said) = restart(folder.path(), &up, "feed");
    assert_eq!((code, &answer["outcome"]), (Some(0), &Value::from("restarted")), "{answer} {said}\n{}", up.said());
    let again = up.pid_of("feed", Some(feed));
    assert_eq!(answer["pid"], again);
    assert!(!common::is_alive(feed));
    assert_eq!(restarts(&up, "feed"), 1);
    let told = up.said();
    assert!(told.contains("feed | operator") && told.contains("asks for a restart: no prices for a minute (LEDGER:"), "{told}");
    assert!(told.contains(&format!("feed | started again, pid {again} (restart 1)")), "{told}");
    // It was stopped in order, not killed, and did not die.
    assert!(!told.contains("feed | killed") && !told.contains("feed | died"), "{told}");
    let (code, answer, _) = restart(folder.path(), &up, "feed");
    assert_eq!((code, &answer["outcome"]), (Some(1), &Value::from("refused")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("started again"), "{answer}");
    assert_eq!(answer["refusal"], "just_restarted", "{answer}");
    let (code, answer, said) = restart(folder.path(), &up, "feet");
    assert!(code == Some(64) && said.contains("`feet`") && said.contains("feed"), "{code:?} {answer} {said}");

    let broker = up.nats_pid(None);
    let (code, answer, said) = restart(folder.path(), &up, "nats-server");
    assert_eq!((code, &answer["outcome"]), (Some(0), &Value::from("restarted")), "{answer} {said}\n{}", up.said());
    up.nats_pid(Some(broker));
    // The supervisor follows the commands through the new broker.
    let (code, answer, said) = restart(folder.path(), &up, "candles");
    assert_eq!(code, Some(0), "{answer} {said}\n{}", up.said());
    up.remember();
    signal(i32::try_from(up.child.id()).unwrap(), Signal::SIGTERM);
    assert_eq!(up.wait().code(), Some(0), "{}", up.said());
    up.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_process_is_killed_and_comes_back_once_however_often_the_same_attempt_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = start(folder.path());
    let guardrail = bus(&up, "guardrail").await;
    let hung = up.pid_of("portfolio", None);
    // Its handler of SIGTERM is there when it is heard of.
    newest(&guardrail, subject::FEED, &subject::heartbeat("portfolio"), |beat: &Heartbeat| {
        i64::from(beat.pid) == i64::from(hung)
    })
    .await;
    freeze(hung);
    let asked = command("portfolio", 1);
    let sequence = ask(&guardrail, &asked).await;
    ask(&guardrail, &asked).await;
    let done = answer(&guardrail, "portfolio", sequence).await;
    assert_eq!((done.outcome, done.episode.as_deref()), (RestartOutcome::Restarted, Some("episode-1")), "{done:?}");
    assert!(done.took_ms >= STOP_LIMIT_MS, "{done:?}");
    assert_eq!(done.pid, u32::try_from(up.pid_of("portfolio", Some(hung))).ok());
    assert!(up.said().contains("portfolio | killed: it did not stop in time"), "{}", up.said());
    assert!(up.said().contains("episode episode-1 attempt 1"), "{}", up.said());
    ask(&guardrail, &asked).await;

    // Answers come in the order of the commands: after these, the repetitions have been read.
    for (service, part) in [("nats-server", "person"), ("elsewhere", "no such process")] {
        let sequence = ask(&guardrail, &command(service, 1)).await;
        let done = answer(&guardrail, service, sequence).await;
        let why = done.detail.unwrap_or_default();
        assert!(done.outcome == RestartOutcome::Refused && why.contains(part), "{why}");
        assert_eq!(done.refusal, None, "{why}");
    }
    assert_eq!((restarts(&up, "portfolio"), restarts(&up, "nats-server")), (1, 0), "{}", up.said());
    // A death afterwards is a death: told so, and started again after the first pause.
    signal(up.pid_of("portfolio", Some(hung)), Signal::SIGKILL);
    up.wait_said("portfolio | died: signal 9 (SIGKILL); starts again in 100ms");

    up.remember();
    signal(i32::try_from(up.child.id()).unwrap(), Signal::SIGTERM);
    assert_eq!(up.wait().code(), Some(0), "{}", up.said());
    // The commands are in the LEDGER still; another `spark up` does not carry them out.
    let up = Up::start(folder.path(), &[]);
    let guardrail = bus(&up, "guardrail").await;
    let sequence = ask(&guardrail, &command("candles", 1)).await;
    assert_eq!(answer(&guardrail, "candles", sequence).await.outcome, RestartOutcome::Restarted, "{}", up.said());
    assert_eq!((restarts(&up, "portfolio"), restarts(&up, "candles")), (0, 1), "{}", up.said());
}

/// A process without `spark up`, as in a container.
fn alone(broker: &TestBroker, folder: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = spark(folder);
    command.arg("portfolio").env("NATS_URL", broker.url()).env("SPARK_NKEY_SEED_FILE", broker.seed_file("portfolio"));
    command.env("SPARK_DATA", folder.join("data")).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_a_supervisor_ends_with_exit_code_85_and_its_next_run_does_not_heed_the_same_command() {
    let folder = tempfile::tempdir().unwrap();
    let broker = TestBroker::start().await;
    let guardrail = broker.bus("guardrail").await;
    let operator = broker.bus("operator").await;
    let heartbeats = subject::heartbeat("portfolio");
    let said = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();

    let mut first = alone(&broker, folder.path());
    let of = |pid: u32| move |beat: &Heartbeat| beat.pid == pid;
    let before = newest(&operator, subject::FEED, &heartbeats, of(first.id())).await;
    // Right after its start it does not heed anybody; asked again until it does.
    let mut given = Vec::new();
    let status = loop {
        given.push(command("portfolio", 1));
        ask(&guardrail, &given[given.len() - 1]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Some(status) = first.try_wait().unwrap() {
            break status;
        }
        assert!(given.len() < 300, "asked {} times; its log:\n{}", given.len(), said());
    };
    assert_eq!(status.code(), Some(85), "{}", said());
    assert!(said().contains("this run began") && said().contains("stopped to be started again"), "{}", said());
    let goodbye = newest(&operator, subject::FEED, &heartbeats, of(before.pid)).await;
    assert_eq!(format!("{:?}", goodbye.state), "Stopping", "{goodbye:?}");

    let mut second = alone(&broker, folder.path());
    let after = newest(&operator, subject::FEED, &heartbeats, of(second.id())).await;
    assert!(after.started_at > before.started_at, "{after:?}");
    // The guardrail that starts again says again what it has said.
    let repeated = given.last().unwrap();
    ask(&guardrail, repeated).await;
    wait_for("the repetition is refused", || {
        let said = said();
        if said.contains("it was given before this run began") { Ok(()) } else { Err(said) }
    });
    newest(&operator, subject::FEED, &heartbeats, |beat: &Heartbeat| beat.pid == second.id() && beat.sent_at > after.sent_at)
        .await;
    assert_eq!(second.try_wait().unwrap(), None);
    second.kill().unwrap();
    second.wait().unwrap();
}
