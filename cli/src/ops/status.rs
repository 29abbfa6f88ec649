//! `spark status`: processes and what is firing, as the bus tells it.

use std::time::Duration;

use serde_json::json;
use spark_bus_schema::alerts::{Alert, AlertState};
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
        if global.json {
            return output::line(&document(running.as_ref(), &beats, &alerts, parked).to_string());
        }
        if let Some(running) = &running {
            let mode = if running.demo { "DEMO" } else { "LIVE" };
            output::line(&format!("{} {mode}, `spark up` has pid {}", paint(&running.address, Style::Bold), running.pid))?;
        }
        let restarts =
            |name: &str| running.as_ref().and_then(|run| run.processes.get(name)).map_or(0, |process| process.restarts);
        let rows: Vec<Vec<String>> = beats.iter().map(|beat| row(beat, restarts(beat.name))).collect();
        output::table(&rows).iter().try_for_each(|line| output::line(line))?;
        for alert in &alerts {
            let text = format!("{} [{}] {:?}: {}", alert.name, scope(alert), alert.state, alert.summary);
            output::line(&paint(&visible(&text), if alert.state == AlertState::Firing { Style::Red } else { Style::Yellow }))?;
        }
        if alerts.is_empty() {
            output::line("no alert is pending or firing")?;
        }
        match parked {
            0 => Ok(()),
            count => output::line(&format!("{count} parked; `spark parked ls` shows them")),
        }
    })
}

fn row(beat: &Beat, restarts: u32) -> Vec<String> {
    let (state, detail) = match &beat.heartbeat {
        None => ("never seen".to_owned(), String::new()),
        Some(heartbeat) if heartbeat.state == ProcessState::Stopping => {
            (format!("stopped {} ago", age(beat.age_ms)), String::new())
        }
        Some(_) if beat.age_ms > HEARTBEAT_AGE_MAX_MS => (format!("silent for {}", age(beat.age_ms)), String::new()),
        Some(heartbeat) => {
            let detail = heartbeat.detail.clone().unwrap_or_default();
            let about = format!("pid {}, {} MiB, {restarts} restarts {detail}", heartbeat.pid, heartbeat.resident_bytes >> 20);
            (format!("{:?}", heartbeat.state).to_lowercase(), visible(about.trim_end()))
        }
    };
    vec![format!("  {}", beat.name), state, detail]
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

fn document(running: Option<&RunFile>, beats: &[Beat], alerts: &[Alert], parked: u64) -> serde_json::Value {
    let processes: Vec<_> = beats
        .iter()
        .map(|beat| {
            let alive = beat.heartbeat.as_ref().is_some_and(|last| last.state != ProcessState::Stopping && beat.age_ms <= HEARTBEAT_AGE_MAX_MS);
            json!({"name": beat.name, "alive": alive, "heartbeat_age_ms": beat.heartbeat.as_ref().map(|_| beat.age_ms), "heartbeat": beat.heartbeat})
        })
        .collect();
    json!({"run": running, "processes": processes, "alerts": alerts, "parked": parked})
}
