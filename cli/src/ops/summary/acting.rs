//! Readable lines for what the guardrail does about criticals and how people are told.

use spark_bus_schema::actions::{
    Action, ActionStage, RestartCommand, RestartDone, RestartOutcome, RollbackCommand, RollbackStep, ThresholdsCommand,
};
use spark_bus_schema::notify::{Delivery, DeliveryOutcome, Notification, Silence};
use spark_bus_schema::smoke::Smoke;
use spark_bus_schema::telemetry::ApiRequests;

use crate::output::Style;

pub fn api_requests(requests: &ApiRequests) -> String {
    let statuses: Vec<String> = requests.statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
    let statuses = if statuses.is_empty() { "none".to_owned() } else { statuses.join(", ") };
    format!("{} answered within a second: {statuses}", requests.service)
}

pub fn restart(command: &RestartCommand) -> String {
    let episode = command.episode.as_deref().map(|episode| format!(" ({episode}, attempt {})", command.attempt));
    let episode = episode.unwrap_or_default();
    format!("restart of {} asked for by {}{episode}: {}", command.service, command.actor, command.reason)
}

pub fn restarted(done: &RestartDone) -> String {
    let pid = done.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let detail = done.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{} {:?} after {} ms{pid} on LEDGER:{}{detail}", done.service, done.outcome, done.took_ms, done.command)
}

pub fn restarted_style(done: &RestartDone) -> Style {
    match done.outcome {
        RestartOutcome::Restarted => Style::Green,
        RestartOutcome::Refused => Style::Yellow,
        RestartOutcome::Failed => Style::Red,
    }
}

pub fn rollback(command: &RollbackCommand) -> String {
    let step = |step: &RollbackStep| match step {
        RollbackStep::FeaturesOff { strategies } => format!("{} off", strategies.join(", ")),
        RollbackStep::RolloutBack => "rollout one stage back".to_owned(),
        RollbackStep::ConfigurationBack { revision: Some(revision), .. } => format!("limits of LEDGER:{revision}"),
        RollbackStep::ConfigurationBack { revision: None, .. } => "limits of the beginning".to_owned(),
        RollbackStep::KillSwitch { cancel_open: true } => "kill switch on, open orders cancelled".to_owned(),
        RollbackStep::KillSwitch { cancel_open: false } => "kill switch on".to_owned(),
    };
    let steps: Vec<String> = command.steps.iter().map(step).collect();
    format!("rollback of {} by {}: {}; {}", command.episode, command.actor, steps.join(", "), command.reason)
}

pub fn action(action: &Action) -> String {
    let wrong: Vec<&str> = action.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
    let wrong = if wrong.is_empty() { String::new() } else { format!("; not as it should be: {}", wrong.join(", ")) };
    format!("{} {:?}: {}{wrong}", action.episode, action.stage, action.summary)
}

pub fn action_style(action: &Action) -> Style {
    match action.stage {
        ActionStage::RestartFailed | ActionStage::RollbackAsked | ActionStage::RollbackUnverified => Style::Red,
        ActionStage::Began | ActionStage::RestartAsked => Style::Yellow,
        ActionStage::RestartHelped | ActionStage::RollbackVerified | ActionStage::Ended => Style::Green,
    }
}

pub fn thresholds(command: &ThresholdsCommand) -> String {
    let value = |value: Option<f64>| value.map_or_else(|| "as it is".to_owned(), |value| value.to_string());
    let changes: Vec<String> = command
        .changes
        .iter()
        .map(|change| {
            let scope: Vec<&str> = change.scope.values().map(String::as_str).collect();
            let (warning, critical) = (value(change.warning), value(change.critical));
            format!("{} [{}] warning {warning}, critical {critical}", change.rule, scope.join(" "))
        })
        .collect();
    let reset = if command.reset { "back to the rules' own; " } else { "" };
    format!("thresholds by {}: {reset}{}: {}", command.actor, changes.join("; "), command.reason)
}

pub fn silence(silence: &Silence) -> String {
    let matcher = |matcher: &spark_bus_schema::notify::Matcher| {
        let sign = match (matcher.is_equal, matcher.is_regex) {
            (true, false) => "=",
            (true, true) => "=~",
            (false, false) => "!=",
            (false, true) => "!~",
        };
        format!("{}{sign}{:?}", matcher.name, matcher.value)
    };
    let matchers: Vec<String> = silence.matchers.iter().map(matcher).collect();
    let (id, from, to) = (&silence.id, silence.starts_at, silence.ends_at);
    format!("silence {id} of {{{}}} from {from} to {to} by {}: {}", matchers.join(", "), silence.created_by, silence.comment)
}

pub fn notification(notification: &Notification) -> String {
    let firing = notification.alerts.iter().filter(|alert| alert.firing).count();
    let labels: Vec<String> = notification.group_labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (receiver, revision, reason) = (&notification.receiver, notification.revision, notification.reason);
    let resolved = notification.alerts.len() - firing;
    format!("{receiver} is told of {{{}}}, {firing} firing, {resolved} resolved ({reason:?}, {revision})", labels.join(", "))
}

pub fn delivery(delivery: &Delivery) -> String {
    let detail = delivery.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!(
        "{} {:?} after {} ms and {} tries, LEDGER:{}{detail}",
        delivery.receiver, delivery.outcome, delivery.took_ms, delivery.attempts, delivery.notification
    )
}

pub fn delivery_style(delivery: &Delivery) -> Style {
    match delivery.outcome {
        DeliveryOutcome::Delivered => Style::Green,
        DeliveryOutcome::Retrying => Style::Yellow,
        DeliveryOutcome::Parked => Style::Red,
    }
}

pub fn smoke(smoke: &Smoke) -> String {
    let failed: Vec<&str> = smoke.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
    let failed = if failed.is_empty() { String::new() } else { format!("; not good: {}", failed.join(", ")) };
    let verdict = if smoke.pass { "PASS" } else { "FAIL" };
    format!("smoke {verdict}: {} of {} good{failed}, asked by {}", smoke.passed, smoke.checks.len(), smoke.actor)
}
