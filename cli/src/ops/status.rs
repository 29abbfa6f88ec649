//! `spark status`: processes and what is firing, as the bus tells it.

use std::time::Duration;

use serde_json::json;
use spark_bus_schema::alerts::{Alert, AlertState};
use spark_bus_schema::control::KillSwitch;
use spark_bus_schema::subject;
use spark_bus_schema::telemetry::{Heartbeat, PROCESSES, ProcessState};
use spark_nats::{Bus, Follower, Start};

use super::age;
use crate::args::Global;
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{self, Style, paint, visible};
use crate::system;
use crate::up::run_file::RunFile;

/// A heartbeat older than this is no sign of life.
pub const HEARTBEAT_AGE_MAX_MS: i64 = 3_500;
/// How long the alerts' last states are waited for.
const ALERTS_LIMIT: Duration = Duration::from_secs(5);

/// The newest heartbeat of a process, and its age in ms.
pub struct Beat {
    /// Process.
    pub name: &'static str,
    /// Its newest heartbeat.
    pub heartbeat: Option<Heartbeat>,
    /// How old it is, by the broker's time.
    pub age_ms: i64,
}

impl Beat {
    /// Whether it lives: heard of lately, and not on its way out.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.heartbeat.as_ref().is_some_and(|last| last.state != ProcessState::Stopping && self.age_ms <= HEARTBEAT_AGE_MAX_MS)
    }
}

/// The heartbeats of every process that Spark knows.
///
/// # Errors
/// The broker is away.
pub async fn beats(bus: &Bus) -> Result<Vec<Beat>, Failure> {
    let mut beats = Vec::new();
    for name in PROCESSES {
        let found = bus.last(subject::FEED, &subject::heartbeat(name)).await?;
        let age_ms = found.as_ref().map_or(0, |delivery| spark_nats::now().since_ms(delivery.stored_at).max(0));
        let heartbeat = found.and_then(|delivery| delivery.decode::<Heartbeat>().ok());
        beats.push(Beat { name, heartbeat, age_ms });
    }
    Ok(beats)
}

/// Shows the state.
///
/// # Errors
/// Exit 69 without a broker.
pub fn run(global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let running = RunFile::read(&global.data);
    system::block_on(async {
        let bus = system::operator(global, &config).await?;
        let beats = beats(&bus).await?;
        let alerts = alerts(&bus).await?;
        let parked = bus.message_count(subject::PARKED).await?;
        let kill = bus.last(subject::LEDGER, subject::KILL_SWITCH).await?.and_then(|last| last.decode::<KillSwitch>().ok());
        if global.json {
            return output::line(&document(running.as_ref(), &beats, &alerts, parked, kill.as_ref()).to_string());
        }
        head(running.as_ref(), &beats)?;
        kill_switch(kill.as_ref())?;
        output::line("")?;
        table(running.as_ref(), &beats)?;
        output::line("")?;
        alerts.iter().try_for_each(tell)?;
        if alerts.is_empty() {
            output::line(&paint("no alert is pending or firing", Style::Green))?;
        }
        match parked {
            0 => Ok(()),
            count => {
                let text = format!("{count} messages could not be handled; `spark parked ls` shows them");
                output::line(&paint(&text, Style::Yellow))
            }
        }
    })
}

/// Where it is, whether money is real, how long it has run, how much of it is up.
fn head(running: Option<&RunFile>, beats: &[Beat]) -> Result<(), Failure> {
    // What runs elsewhere is known by its heartbeats alone.
    let belongs = |beat: &Beat| running.map_or(beat.heartbeat.is_some(), |run| run.processes.contains_key(beat.name));
    let expected = |beat: &&Beat| beat.is_alive() || belongs(beat);
    let all = beats.iter().filter(expected).count();
    let up = beats.iter().filter(|beat| beat.is_alive()).count();
    let count = format!("{up} of {all} processes up");
    let count = paint(&count, if up == all && up > 0 { Style::Green } else { Style::Red });
    match running {
        None => output::line(&count),
        Some(run) => {
            let (mode, style) = if run.demo { ("DEMO", Style::Yellow) } else { ("LIVE", Style::Red) };
            let since = age(spark_nats::now().since_ms(run.started_at).max(0));
            let address = paint(&run.address, Style::Bold);
            output::line(&format!(
                "{address}  {}  {count}  spark up has pid {} and runs for {since}",
                paint(mode, style),
                run.pid
            ))
        }
    }
}

fn kill_switch(kill: Option<&KillSwitch>) -> Result<(), Failure> {
    match kill {
        Some(switch) if switch.on => {
            let text = format!("the kill switch is ON: {} ({}); `spark kill off` lets orders pass", switch.reason, switch.actor);
            output::line(&paint(&visible(&text), Style::Red))
        }
        _ => Ok(()),
    }
}

fn table(running: Option<&RunFile>, beats: &[Beat]) -> Result<(), Failure> {
    let restarts = |name: &str| running.and_then(|run| run.processes.get(name)).map(|process| process.restarts);
    let first = ["PROCESS", "STATE", "HEARD", "PID", "MEMORY", "RESTARTS", ""].map(ToOwned::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(first).chain(beats.iter().map(|beat| row(beat, restarts(beat.name)))).collect();
    for (at, line) in output::table(&rows).iter().enumerate() {
        let style = match at.checked_sub(1).map(|at| &beats[at]) {
            None => Some(Style::Bold),
            Some(beat) if !beat.is_alive() => Some(if beat.heartbeat.is_none() { Style::Dim } else { Style::Red }),
            Some(beat) => beat.heartbeat.as_ref().and_then(|last| last.detail.as_ref()).map(|_| Style::Yellow),
        };
        output::line(&style.map_or_else(|| line.clone(), |style| paint(line, style)))?;
    }
    Ok(())
}

fn row(beat: &Beat, restarts: Option<u32>) -> Vec<String> {
    let nothing = || "–".to_owned();
    let Some(heartbeat) = &beat.heartbeat else {
        return vec![beat.name.to_owned(), "never seen".to_owned()];
    };
    let state = match heartbeat.state {
        ProcessState::Stopping => "stopped".to_owned(),
        _ if !beat.is_alive() => "silent".to_owned(),
        state => format!("{state:?}").to_lowercase(),
    };
    vec![
        beat.name.to_owned(),
        state,
        age(beat.age_ms),
        heartbeat.pid.to_string(),
        format!("{} MiB", heartbeat.resident_bytes >> 20),
        restarts.map_or_else(nothing, |restarts| restarts.to_string()),
        visible(heartbeat.detail.as_deref().unwrap_or_default()),
    ]
}

/// One alert: how bad, what, since when, and what to do first.
fn tell(alert: &Alert) -> Result<(), Failure> {
    let severity = alert.severity.map(|severity| format!("{severity:?}").to_lowercase()).unwrap_or_default();
    let firing = alert.state == AlertState::Firing;
    let scope = Some(scope(alert)).filter(|scope| !scope.is_empty()).map(|scope| format!(" [{scope}]")).unwrap_or_default();
    let since = alert.since.map(|since| format!(" for {}", age(spark_nats::now().since_ms(since).max(0)))).unwrap_or_default();
    let text = format!("{severity:<9}{}{scope}{since}: {}", alert.name, alert.summary);
    output::line(&paint(&visible(&text), if firing { Style::Red } else { Style::Yellow }))?;
    output::line(&paint(&visible(&format!("         first: {}", alert.first_action)), Style::Dim))
}

fn scope(alert: &Alert) -> String {
    alert.scope.values().cloned().collect::<Vec<_>>().join(" ")
}

/// Alerts that are pending, firing or without data.
async fn alerts(bus: &Bus) -> Result<Vec<Alert>, Failure> {
    let name = format!("operator-status-{}", std::process::id());
    let mut follower =
        Follower::start(bus.clone(), &name, subject::LEDGER, vec![subject::ALERTS.to_owned()], Start::LastPerSubject);
    let mut alerts = Vec::new();
    let deadline = tokio::time::Instant::now() + ALERTS_LIMIT;
    const POLL: Duration = Duration::from_millis(20);
    while !follower.is_caught_up() {
        tokio::select! {
            batch = follower.next() => {
                let batch = batch.unwrap_or_default();
                alerts.extend(batch.iter().filter_map(|delivery| delivery.decode::<Alert>().ok()));
            }
            () = tokio::time::sleep(POLL) => {}
            () = tokio::time::sleep_until(deadline) => {
                return Err(Failure::unavailable(format!("the alerts' states did not come within {ALERTS_LIMIT:?}")));
            }
        }
    }
    alerts.retain(|alert| matches!(alert.state, AlertState::Pending | AlertState::Firing));
    Ok(alerts)
}

fn document(
    running: Option<&RunFile>,
    beats: &[Beat],
    alerts: &[Alert],
    parked: u64,
    kill: Option<&KillSwitch>,
) -> serde_json::Value {
    let processes: Vec<_> = beats
        .iter()
        .map(|beat| {
            json!({"name": beat.name, "alive": beat.is_alive(), "heartbeat_age_ms": beat.heartbeat.as_ref().map(|_| beat.age_ms), "heartbeat": beat.heartbeat})
        })
        .collect();
    json!({"run": running, "processes": processes, "alerts": alerts, "parked": parked, "kill_switch": kill})
}
