//! What is kept of a message beside its bytes: what it did and who did it, and how it is shown to people.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use spark_bus_schema::catalogue::{Entry, entries};
use spark_bus_schema::{header, subject};

/// Longest actor that is kept, in characters: the field of a message that anybody may have written.
const ACTOR_CHARS_MAX: usize = 64;

struct Known {
    entry: Entry,
    /// The payload says who acted: top-level `actor`.
    names_actor: bool,
}

static KNOWN: LazyLock<HashMap<String, Known>> = LazyLock::new(|| {
    let known = |entry: Entry| {
        let sample = (entry.to_json)(&(entry.sample)()).unwrap_or_default();
        let names_actor = sample.get("actor").is_some();
        (entry.kind.to_string(), Known { entry, names_actor })
    };
    entries().into_iter().map(known).collect()
});

/// What a message did: the first two tokens of its subject, in the singular where that is the custom (`order.intent`,
/// `risk.verdict`, `order.event`, `control.kill_switch`, `portfolio.balances`, `audit.anchor`), and `alert` for alerts.
#[must_use]
pub fn action(subject_name: &str) -> String {
    let mut tokens = subject_name.split('.');
    let (first, second) = (tokens.next().unwrap_or_default(), tokens.next().unwrap_or_default());
    match (first, second) {
        ("alerts", "changed") => "alert".to_owned(),
        ("orders", second) => format!("order.{second}"),
        (first, "") => first.to_owned(),
        (first, second) => format!("{first}.{second}"),
    }
}

/// Who acted: the payload's `actor`, else the only process that may publish the kind, else `unknown`.
#[must_use]
pub fn actor(subject_name: &str, kind: Option<&str>, payload: &[u8]) -> String {
    let Some(known) = kind.and_then(|kind| KNOWN.get(kind)) else { return publisher(subject_name) };
    if known.names_actor
        && let Ok(value) = (known.entry.to_json)(payload)
        && let Some(name) = value.get("actor").and_then(Value::as_str).filter(|name| !name.is_empty())
    {
        return name.chars().take(ACTOR_CHARS_MAX).collect();
    }
    match known.entry.publishers {
        [only] if *only != "*" => (*only).to_owned(),
        _ => publisher(subject_name),
    }
}

/// By the subject alone, for kinds that this build does not know.
fn publisher(subject_name: &str) -> String {
    let owner = KNOWN.values().find_map(|known| match known.entry.publishers {
        [only] if *only != "*" && subject::matches(known.entry.subject, subject_name) => Some(*only),
        _ => None,
    });
    owner.unwrap_or("unknown").to_owned()
}

/// The message's kind among its canonical headers.
#[must_use]
pub fn kind_of(headers: &[(String, String)]) -> Option<&str> {
    headers.iter().find(|(name, _)| name == header::KIND).map(|(_, value)| value.as_str())
}

/// The payload for people; what this build cannot read is described, not shown.
#[must_use]
pub fn payload_json(kind: Option<&str>, payload: &[u8]) -> Value {
    let Some(known) = kind.and_then(|kind| KNOWN.get(kind)) else {
        return json!({"unreadable": "unknown kind", "kind": kind, "bytes": payload.len()});
    };
    match (known.entry.to_json)(payload) {
        Ok(value) => value,
        Err(error) => json!({"unreadable": error.reason(), "kind": kind, "bytes": payload.len()}),
    }
}

/// Whether a message is the auditor's own: those do not call for another anchor.
#[must_use]
pub fn is_own(subject_name: &str) -> bool {
    subject_name.starts_with("audit.")
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::catalogue;

    use super::*;

    #[test]
    fn actions_and_actors_are_named_as_people_name_them() {
        let check = |subject_name: &str, kind: &str, want: (&str, &str)| {
            let payload = catalogue::find(kind).map(|entry| (entry.sample)()).unwrap_or_default();
            assert_eq!(
                (action(subject_name).as_str(), actor(subject_name, Some(kind), &payload).as_str()),
                want,
                "{subject_name}"
            );
        };
        check("alerts.changed.WSStaleness.binance", "alert.v1", ("alert", "guardrail"));
        check("portfolio.balances.binance", "balances.v1", ("portfolio.balances", "portfolio"));
        check("control.breaker.btcturk", "breaker_command.v1", ("control.breaker", "operator"));
        check("audit.anchor", "audit_anchor.v1", ("audit.anchor", "auditor"));
        check("risk.verdict.x", "verdict.v1", ("risk.verdict", "risk"));
        check("orders.event.x", "order_event.v1", ("order.event", "executor"));
        check("orders.event.x", "order_event.v99", ("order.event", "executor"));
        check("control.unheard_of", "nothing.v1", ("control.unheard_of", "unknown"));
        check("portfolio", "nothing.v1", ("portfolio", "unknown"));
    }

    #[test]
    fn what_cannot_be_read_is_described_and_not_shown() {
        assert_eq!(payload_json(Some("alert.v1"), b"secret")["unreadable"], "malformed");
        assert_eq!(payload_json(None, b"secret"), json!({"unreadable": "unknown kind", "kind": null, "bytes": 6}));
        let alert = (catalogue::find("alert.v1").unwrap().sample)();
        assert_eq!(payload_json(Some("alert.v1"), &alert)["name"], "PortfolioRefreshLatencyHighP95");
    }
}
