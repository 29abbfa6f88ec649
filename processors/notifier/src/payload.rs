//! What receivers are sent. Pure: a notification in, JSON out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use spark_alerting::Labels;
use spark_alerting::labels::{ALERTNAME, SEVERITY};
use spark_bus_schema::Timestamp;
use spark_bus_schema::notify::{Notification, NotifiedAlert, NotifyReason};

/// What Alertmanager writes for "not over".
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Alerts that a message of Slack's shape spells out; the rest is counted.
const SLACK_ALERTS_MAX: usize = 10;
/// Slack cuts longer texts itself, in the middle of a word.
const SLACK_TEXT_MAX: usize = 2_000;

/// Alertmanager's webhook payload, version 4.
#[must_use]
pub fn webhook(notification: &Notification, external_url: &str) -> Value {
    let alerts = &notification.alerts;
    json!({
        "version": "4",
        "groupKey": notification.group_key,
        "truncatedAlerts": notification.truncated,
        "status": status(is_firing(notification)),
        "receiver": notification.receiver,
        "groupLabels": notification.group_labels,
        "commonLabels": common(alerts.iter().map(|alert| &alert.labels)),
        "commonAnnotations": common(alerts.iter().map(|alert| &alert.annotations)),
        "externalURL": external_url,
        "alerts": alerts.iter().map(|alert| webhook_alert(alert, external_url)).collect::<Vec<_>>(),
    })
}

fn webhook_alert(alert: &NotifiedAlert, external_url: &str) -> Value {
    json!({
        "status": status(alert.firing),
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": alert.starts_at.to_string(),
        "endsAt": alert.ends_at.map_or_else(|| NEVER.to_owned(), |at| at.to_string()),
        "generatorURL": format!("{external_url}/"),
        "fingerprint": alert.fingerprint,
    })
}

/// The webhook's payload with what a reader of a file wants besides: when, why, which revision.
#[must_use]
pub fn line(notification: &Notification, external_url: &str) -> String {
    let mut document = webhook(notification, external_url);
    document["at"] = json!(notification.at.to_string());
    document["reason"] = json!(notification.reason);
    document["revision"] = json!(notification.revision);
    document.to_string()
}

/// A message as Slack's incoming webhooks take it, and what imitates them.
#[must_use]
pub fn slack(notification: &Notification, external_url: &str) -> Value {
    let firing = notification.alerts.iter().filter(|alert| alert.firing).count();
    let by = |name: &str| notification.group_labels.get(name).cloned();
    let name = by(ALERTNAME)
        .or_else(|| notification.alerts.first().and_then(|alert| alert.labels.get(ALERTNAME).cloned()))
        .unwrap_or_else(|| "alerts".to_owned());
    let place: Vec<String> =
        notification.group_labels.iter().filter(|(label, _)| *label != ALERTNAME).map(|(_, value)| value.clone()).collect();
    let head = if firing > 0 { format!("[FIRING:{firing}]") } else { "[RESOLVED]".to_owned() };
    let again = if notification.reason == NotifyReason::Repeat { " (still)" } else { "" };
    let title = format!("{head} {name} {}", place.join(" ")).trim_end().to_owned() + again;
    let hidden = notification.alerts.len().saturating_sub(SLACK_ALERTS_MAX) as u64 + notification.truncated;
    let mut attachments: Vec<Value> =
        notification.alerts.iter().take(SLACK_ALERTS_MAX).map(|alert| attachment(alert, external_url)).collect();
    if hidden > 0 {
        attachments.push(json!({"color": "#808080", "text": format!("and {hidden} more"), "title_link": external_url}));
    }
    json!({"text": escaped(&title), "attachments": attachments})
}

fn attachment(alert: &NotifiedAlert, external_url: &str) -> Value {
    let annotation = |name: &str| alert.annotations.get(name).map(String::as_str).unwrap_or_default();
    let severity = alert.labels.get(SEVERITY).map_or("warning", String::as_str);
    let colour = match (alert.firing, severity) {
        (false, _) => "#2eb886",
        (true, "critical") => "#d00000",
        (true, _) => "#daa038",
    };
    let mut text = annotation("summary").to_owned();
    if alert.firing && !annotation("first_action").is_empty() {
        text = format!("{text}\nFirst: {}", annotation("first_action"));
    }
    let title = format!(
        "{}: {}",
        if alert.firing { severity } else { "resolved" },
        alert.labels.get(ALERTNAME).map_or("", String::as_str)
    );
    let mut fields: Vec<Value> = alert
        .labels
        .iter()
        .filter(|(name, _)| ![ALERTNAME, SEVERITY, "rule"].contains(&name.as_str()))
        .map(|(name, value)| json!({"title": escaped(name), "value": escaped(value), "short": true}))
        .collect();
    if !annotation("cause").is_empty() && alert.firing {
        fields.push(json!({"title": "Probable cause", "value": escaped(annotation("cause")), "short": false}));
    }
    if !annotation("runbook").is_empty() {
        fields.push(json!({"title": "Runbook", "value": escaped(annotation("runbook")), "short": false}));
    }
    json!({
        "color": colour,
        "title": escaped(&title),
        "title_link": external_url,
        "text": escaped(&text.chars().take(SLACK_TEXT_MAX).collect::<String>()),
        "fallback": escaped(annotation("summary")),
        "fields": fields,
        "footer": "Spark",
        "ts": alert.ends_at.unwrap_or(alert.starts_at).as_millis() / 1_000,
    })
}

/// What `POST /api/v2/alerts` takes: what fires ends `resolve_timeout` from now unless it is sent again; what the receiver
/// was told before (`before`) and fires no more ends now.
#[must_use]
pub fn alertmanager(
    notification: &Notification,
    before: Option<&Notification>,
    external_url: &str,
    now: Timestamp,
    resolve_timeout: Duration,
) -> Value {
    let mut all: BTreeMap<&str, Value> = BTreeMap::new();
    for alert in before.into_iter().flat_map(|before| &before.alerts).filter(|alert| alert.firing) {
        all.insert(&alert.fingerprint, posted(alert, now, external_url));
    }
    for alert in &notification.alerts {
        let ends_at = if alert.firing { now + resolve_timeout } else { alert.ends_at.unwrap_or(now) };
        all.insert(&alert.fingerprint, posted(alert, ends_at, external_url));
    }
    all.into_values().collect()
}

fn posted(alert: &NotifiedAlert, ends_at: Timestamp, external_url: &str) -> Value {
    // Alertmanager refuses an alert that ends before it starts, and labels and annotations without a value.
    let given = |labels: &Labels| -> Labels {
        labels.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    json!({
        "labels": given(&alert.labels),
        "annotations": given(&alert.annotations),
        "startsAt": alert.starts_at.to_string(),
        "endsAt": ends_at.max(alert.starts_at).to_string(),
        "generatorURL": format!("{external_url}/"),
    })
}

/// Whether any of its alerts fires.
#[must_use]
pub fn is_firing(notification: &Notification) -> bool {
    notification.alerts.iter().any(|alert| alert.firing)
}

const fn status(firing: bool) -> &'static str {
    if firing { "firing" } else { "resolved" }
}

/// What all have in common.
fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let Some(mut common) = all.next().cloned() else { return Labels::new() };
    for labels in all {
        common.retain(|name, value| labels.get(name) == Some(value));
    }
    common
}

/// Slack's three special characters.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
