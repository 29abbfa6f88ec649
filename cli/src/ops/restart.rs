//! `spark restart`: one process is stopped in order and started again, by whoever supervises it.

use std::time::{Duration, Instant};

use serde_json::json;
use spark_bus_schema::actions::{RestartCommand, RestartDone, RestartOutcome};
use spark_bus_schema::telemetry::Heartbeat;
use spark_bus_schema::{Timestamp, subject};
use spark_nats::{Bus, Meta};

use super::commands::reason;
use super::orders::actor;
use crate::args::{Global, RestartArgs};
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, visible};
use crate::system;
use crate::up::RESTARTABLE;

/// How long the answer is waited for: a hung process is given its stop limit before it is killed.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked for.
const ANSWER_POLL: Duration = Duration::from_millis(100);
/// A process that is not supervised by `spark up` says nothing: its new run is the answer, unless a supervisor's comes this
/// soon behind it.
const GRACE: Duration = Duration::from_secs(3);

/// What became of it.
enum Seen {
    /// The supervisor's word.
    Answer(RestartDone),
    /// A new run that nobody has spoken of.
    NewRun(Heartbeat),
}

/// Publishes the command and waits for what becomes of it.
///
/// # Errors
/// Exit 64: no such process or no reason; 1: refused, or it did not come back; 69: no broker, or nobody answers.
pub fn run(arguments: &RestartArgs, global: &Global) -> Result<(), Failure> {
    let service = arguments.service.as_str();
    if !RESTARTABLE.contains(&service) {
        let known = RESTARTABLE.join(", ");
        return Err(Failure::usage(format!("there is no process `{}`; there are {known}", visible(service))));
    }
    let reason = reason(&arguments.reason)?;
    let config = Config::load(global.config.as_deref())?;
    system::block_on(async {
        let bus = system::operator(global, &config).await?;
        let at = spark_nats::now();
        let command = RestartCommand {
            service: service.to_owned(),
            episode: None,
            attempt: 1,
            actor: actor(),
            reason,
            evidence: Vec::new(),
            at,
        };
        let sequence = publish(&bus, &command).await?;
        let waited = tokio::time::timeout(ANSWER_LIMIT, outcome(&bus, service, sequence, at)).await;
        let seen = waited.map_err(|_| {
            Failure::unavailable(format!(
                "nobody answers within {ANSWER_LIMIT:?}, and {service} has not begun a new run (LEDGER:{sequence}); `spark status` shows what runs"
            ))
        })?;
        told(seen, service, sequence, global)
    })
}

async fn publish(bus: &Bus, command: &RestartCommand) -> Result<u64, Failure> {
    let on = subject::restart(&command.service);
    let meta = Meta { msg_id: Some(format!("operator:{on}:{}", command.at.as_nanos())), cause: None };
    let sent = tokio::time::timeout(system::CONNECT_LIMIT, bus.publish(&on, command, meta)).await;
    let sent = sent.map_err(|_| Failure::unavailable("the broker went away; nothing is certain, look with `spark status`"))?;
    sent.map_err(|error| Failure::unavailable(format!("publish {on}: {}", chain(&error))))
}

/// Looks until there is an answer, or a run that began after `at` and that no answer came behind.
async fn outcome(bus: &Bus, service: &str, sequence: u64, at: Timestamp) -> Seen {
    let (answers, heartbeats) = (subject::restarted(service), subject::heartbeat(service));
    let mut heard: Option<(Instant, Heartbeat)> = None;
    loop {
        // While the broker itself is restarted it cannot be asked; it is asked again.
        let answer = bus.last(subject::LEDGER, &answers).await.ok().flatten();
        let answer = answer.and_then(|delivery| delivery.decode::<RestartDone>().ok());
        if let Some(answer) = answer.filter(|answer| answer.command == sequence) {
            return Seen::Answer(answer);
        }
        if let Some((since, beat)) = &heard {
            if since.elapsed() > GRACE {
                return Seen::NewRun(beat.clone());
            }
        } else {
            let newest = bus.last(subject::FEED, &heartbeats).await.ok().flatten();
            let newest = newest.and_then(|delivery| delivery.decode::<Heartbeat>().ok());
            heard = newest.filter(|beat| beat.started_at >= at).map(|beat| (Instant::now(), beat));
        }
        tokio::time::sleep(ANSWER_POLL).await;
    }
}

fn told(seen: Seen, service: &str, sequence: u64, global: &Global) -> Result<(), Failure> {
    let (document, text) = match seen {
        Seen::NewRun(beat) => (
            json!({"service": service, "outcome": "restarted", "pid": beat.pid, "sequence": sequence, "answered": false}),
            Ok(format!("{service} runs again, pid {}, without a supervisor's word (LEDGER:{sequence})", beat.pid)),
        ),
        Seen::Answer(done) => {
            let document = json!({"service": service, "outcome": done.outcome, "pid": done.pid, "tookMs": done.took_ms,
                "detail": done.detail, "refusal": done.refusal, "sequence": sequence, "answered": true});
            let why = visible(done.detail.as_deref().unwrap_or("no reason given"));
            let text = match (done.outcome, done.pid) {
                (RestartOutcome::Restarted, pid) => {
                    let pid = pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
                    Ok(format!("{service} runs again{pid}, after {} ms (LEDGER:{sequence})", done.took_ms))
                }
                (RestartOutcome::Refused, _) => Err(format!("{service} was not restarted: {why} (LEDGER:{sequence})")),
                (RestartOutcome::Failed, _) => Err(format!("{service} did not come back: {why} (LEDGER:{sequence})")),
            };
            (document, text)
        }
    };
    if global.json {
        output::line(&document.to_string())?;
        return text.map(|_| ()).map_err(|_| Failure::no(""));
    }
    output::line(&text.map_err(Failure::no)?)
}
