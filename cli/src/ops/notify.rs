//! `spark notify`: who was told what, whether it arrived, and a try.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use spark_alerting::{Labels, fingerprint};
use spark_bus_schema::notify::{Delivery as Outcome, DeliveryOutcome, Notification, NotifiedAlert, NotifyReason};
use spark_bus_schema::{Timestamp, subject};
use spark_nats::{Bus, Delivery, Follower, Meta, Start};

use super::age;
use crate::args::Global;
use crate::args::notify::NotifyCommand;
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, Style, paint, visible};
use crate::system;

/// How long a test notification may take to arrive.
const TEST_LIMIT: Duration = Duration::from_secs(30);
/// Reading ends with an error when nothing came for this long.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked whether the end is reached while nothing arrives.
const PAUSE: Duration = Duration::from_millis(10);

/// Lists, or tries.
///
/// # Errors
/// Exit 64 for a receiver that is not configured; 1 when the test did not arrive; 69 without a broker.
pub fn run(command: &NotifyCommand, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    system::block_on(async {
        match command {
            NotifyCommand::Ls { limit } => list(&system::operator(global, &config).await?, global, *limit).await,
            NotifyCommand::Test { receiver } => {
                known(&config, receiver)?;
                test(&system::operator(global, &config).await?, global, receiver).await
            }
        }
    })
}

/// The newest message on each of some subjects of LEDGER, in order.
///
/// # Errors
/// Exit 69: the broker went away.
pub async fn newest(bus: &Bus, purpose: &str, subjects: Vec<String>) -> Result<Vec<Delivery>, Failure> {
    let name = format!("operator-{purpose}-{}", std::process::id());
    let mut follower = Follower::start(bus.clone(), &name, subject::LEDGER, subjects, Start::LastPerSubject);
    let (mut newest, mut heard) = (BTreeMap::new(), tokio::time::Instant::now());
    while !follower.is_caught_up() {
        tokio::select! {
            batch = follower.next() => {
                heard = tokio::time::Instant::now();
                for delivery in batch.unwrap_or_default() {
                    newest.insert(delivery.subject.clone(), delivery);
                }
            }
            () = tokio::time::sleep(PAUSE) => {}
        }
        if heard.elapsed() > SILENCE_LIMIT {
            return Err(Failure::unavailable(format!("the LEDGER was not read to its end: nothing came for {SILENCE_LIMIT:?}")));
        }
    }
    let mut all: Vec<Delivery> = newest.into_values().collect();
    all.sort_by_key(|delivery| delivery.sequence);
    Ok(all)
}

fn known(config: &Config, receiver: &str) -> Result<(), Failure> {
    let names: Vec<&str> = config.notifier.receiver.iter().map(|receiver| receiver.name.as_str()).collect();
    if names.contains(&receiver) {
        return Ok(());
    }
    Err(Failure::usage(format!("no receiver is called `{}`; known are {}", visible(receiver), names.join(", "))))
}

/// A notification and the last word about it.
struct Told {
    notification: Notification,
    outcome: Option<Outcome>,
}

async fn list(bus: &Bus, global: &Global, limit: usize) -> Result<(), Failure> {
    let subjects = vec![subject::NOTIFICATIONS.to_owned(), subject::DELIVERIES.to_owned()];
    let stored = newest(bus, "notify", subjects).await?;
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    let mut told: Vec<(u64, Told)> = Vec::new();
    for delivery in &stored {
        if let Some(group) = delivery.subject.strip_prefix("alerts.delivery.") {
            outcomes.extend(delivery.decode().ok().map(|outcome| (group.to_owned(), outcome)));
        }
    }
    for delivery in &stored {
        let Some(group) = delivery.subject.strip_prefix("alerts.notification.") else { continue };
        let Ok(notification) = delivery.decode::<Notification>() else { continue };
        // A word about an earlier revision says nothing of this one.
        let outcome = outcomes.remove(group).filter(|outcome| outcome.notification == delivery.sequence);
        told.push((delivery.sequence, Told { notification, outcome }));
    }
    told.sort_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
    told.truncate(limit);
    let now = spark_nats::now();
    if global.json {
        let documents: Vec<Value> = told.iter().map(|(sequence, told)| document(*sequence, told)).collect();
        return output::line(&json!({ "notifications": documents }).to_string());
    }
    if told.is_empty() {
        return output::line("nobody was told anything yet");
    }
    let mut rows = vec![["receiver", "group", "alerts", "why", "state", "tries", "when", "detail"].map(str::to_owned).to_vec()];
    rows.extend(told.iter().map(|(_, told)| row(told, now)));
    for (index, line) in output::table(&rows).iter().enumerate() {
        output::line(&if index == 0 { paint(line, Style::Bold) } else { line.clone() })?;
    }
    Ok(())
}

fn state(outcome: Option<&Outcome>) -> &'static str {
    match outcome.map(|outcome| outcome.outcome) {
        None => "waiting",
        Some(DeliveryOutcome::Delivered) => "delivered",
        Some(DeliveryOutcome::Retrying) => "retrying",
        Some(DeliveryOutcome::Parked) => "parked",
    }
}

const fn why(reason: NotifyReason) -> &'static str {
    match reason {
        NotifyReason::New => "new",
        NotifyReason::Changed => "changed",
        NotifyReason::Repeat => "repeat",
        NotifyReason::Resolved => "resolved",
    }
}

fn row(told: &Told, now: Timestamp) -> Vec<String> {
    let (notification, outcome) = (&told.notification, told.outcome.as_ref());
    let firing = notification.alerts.iter().filter(|alert| alert.firing).count();
    let group: Vec<&str> = notification.group_labels.values().map(String::as_str).collect();
    let cells = [
        notification.receiver.clone(),
        group.join(" "),
        format!("{firing} firing, {} over", notification.alerts.len() - firing),
        why(notification.reason).to_owned(),
        state(outcome).to_owned(),
        outcome.map_or(0, |outcome| outcome.attempts).to_string(),
        format!("{} ago", age(now.since_ms(notification.at))),
        outcome.and_then(|outcome| outcome.detail.clone()).unwrap_or_default(),
    ];
    cells.map(|cell| visible(&cell)).to_vec()
}

fn document(sequence: u64, told: &Told) -> Value {
    json!({
        "sequence": sequence,
        "receiver": told.notification.receiver,
        "groupKey": told.notification.group_key,
        "groupLabels": told.notification.group_labels,
        "revision": told.notification.revision,
        "reason": told.notification.reason,
        "alerts": told.notification.alerts,
        "at": told.notification.at.to_string(),
        "state": state(told.outcome.as_ref()),
        "attempts": told.outcome.as_ref().map_or(0, |outcome| outcome.attempts),
        "httpStatus": told.outcome.as_ref().and_then(|outcome| outcome.http_status),
        "tookMs": told.outcome.as_ref().map(|outcome| outcome.took_ms),
        "detail": told.outcome.as_ref().and_then(|outcome| outcome.detail.clone()),
    })
}

async fn test(bus: &Bus, global: &Global, receiver: &str) -> Result<(), Failure> {
    let now = spark_nats::now();
    let group = format!("test-{}-{}", now.as_nanos(), std::process::id());
    let on = subject::notification(receiver, &group);
    let words = subject::delivery(receiver, &group);
    let name = format!("operator-notify-test-{}", std::process::id());
    let mut follower = Follower::start(bus.clone(), &name, subject::LEDGER, vec![words], Start::Since(now));
    let meta = Meta { msg_id: Some(format!("operator:{on}")), cause: None };
    let sent = tokio::time::timeout(system::CONNECT_LIMIT, bus.publish(&on, &marked(receiver, &group, now), meta)).await;
    let sent = sent.map_err(|_| Failure::unavailable("the broker went away; nothing is certain, try again"))?;
    let sequence = sent.map_err(|error| Failure::unavailable(format!("publish {on}: {}", chain(&error))))?;
    let mut last: Option<Outcome> = None;
    let settled = async {
        while let Some(batch) = follower.next().await {
            for outcome in batch.iter().filter_map(|delivery| delivery.decode::<Outcome>().ok()) {
                let is_over = outcome.outcome != DeliveryOutcome::Retrying;
                last = Some(outcome);
                if is_over {
                    return;
                }
            }
        }
    };
    let _ = tokio::time::timeout(TEST_LIMIT, settled).await;
    let told = Told { notification: marked(receiver, &group, now), outcome: last };
    if global.json {
        output::line(&document(sequence, &told).to_string())?;
    }
    verdict(receiver, told.outcome.as_ref(), global.json)
}

fn verdict(receiver: &str, outcome: Option<&Outcome>, as_json: bool) -> Result<(), Failure> {
    let said = |outcome: &Outcome| visible(outcome.detail.as_deref().unwrap_or("no reason given"));
    match outcome {
        Some(outcome) if outcome.outcome == DeliveryOutcome::Delivered => {
            let status = outcome.http_status.map(|status| format!(", HTTP {status}")).unwrap_or_default();
            let text = format!("{receiver} took it after {} ms ({} tries{status})", outcome.took_ms, outcome.attempts);
            if as_json { Ok(()) } else { output::line(&text) }
        }
        Some(outcome) if outcome.outcome == DeliveryOutcome::Parked => {
            Err(Failure::no(format!("{receiver} refuses it: {}; it is parked, see `spark parked ls`", said(outcome))))
        }
        Some(outcome) => Err(Failure::no(format!("{receiver} has not taken it yet: {}; the notifier tries on", said(outcome)))),
        None => Err(Failure::unavailable(format!(
            "nobody said what became of it within {TEST_LIMIT:?}: the notifier does not run, or earlier notifications wait for \
             {receiver}; see `spark status` and `spark notify ls`"
        ))),
    }
}

/// Nobody can take it for an alert.
fn marked(receiver: &str, group: &str, now: Timestamp) -> Notification {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let labels = Labels::from([pair("alertname", "SparkTest"), pair("severity", "warning"), pair("test", "true")]);
    let summary = "this is a test of the notifications, asked for by `spark notify test`: nothing is wrong";
    Notification {
        receiver: receiver.to_owned(),
        group_key: group.to_owned(),
        group_labels: Labels::from([pair("alertname", "SparkTest")]),
        revision: 1,
        reason: NotifyReason::New,
        alerts: vec![NotifiedAlert {
            fingerprint: fingerprint(&labels),
            labels,
            annotations: Labels::from([pair("summary", summary)]),
            // Over already: nothing waits for its end.
            firing: false,
            starts_at: now,
            ends_at: Some(now),
        }],
        truncated: 0,
        at: now,
    }
}
