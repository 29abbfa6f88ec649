//! A gateway without a broker, and what the guardrail, the notifier and people would have told it.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::Value;
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::notify::{Matcher, Silence};
use spark_bus_schema::telemetry::{Heartbeat, ProcessState, WindowValue, Windows};
use spark_bus_schema::{Message, Timestamp, encode};
use spark_gateway::AdminToken;
use spark_gateway::app::Outgoing;
use spark_gateway::event::Event;
use spark_gateway::record::{Entry, Record};

use super::{Answer, Gateway, gateway, roomy, send};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub async fn start() -> Gateway {
    let token = AdminToken::new(&SecretString::from(TOKEN), "test").unwrap();
    let gateway = gateway(roomy(), Some(token)).await;
    gateway.app.view_mut().set_connected(true);
    gateway.app.view_mut().trading.set_complete();
    gateway
}

pub fn entry<T: Message>(sequence: u64, message: &T, record: Record) -> Event {
    Event::Ledger(Box::new(Entry { sequence, kind: T::KIND.to_string(), payload: encode(message).into(), record }))
}

pub fn put(gateway: &Gateway, event: Event) {
    gateway.app.take_in(vec![(spark_nats::now(), Ok(event))]);
}

pub fn alert(name: &str, exchange: &str, severity: Severity, at: Timestamp) -> Alert {
    Alert {
        name: name.into(),
        rule: format!("{}_rule", name.to_lowercase()),
        revision: 1,
        scope: BTreeMap::from([("exchange".into(), exchange.into())]),
        state: AlertState::Firing,
        severity: Some(severity),
        value: Some(31.5),
        threshold: Some(30.0),
        direction: "above".into(),
        unit: "s".into(),
        window_ms: 0,
        samples: 1,
        at,
        since: None,
        summary: "31.5 s is more than 30 s".into(),
        cause: "the venue is silent".into(),
        first_action: "look at the feed".into(),
        permanent_fix: String::new(),
        runbook: "docs/runbooks/ws-staleness.md".into(),
    }
}

pub fn silence(id: &str, name: &str, value: &str, ends_at: Timestamp) -> Silence {
    Silence {
        id: id.into(),
        matchers: vec![Matcher { name: name.into(), value: value.into(), is_regex: false, is_equal: true }],
        starts_at: Timestamp::from_millis(1_000),
        ends_at,
        created_by: "ayse".into(),
        comment: "maintenance".into(),
        at: Timestamp::from_millis(1_000),
    }
}

pub fn windows(at: Timestamp) -> Windows {
    let value = |exchange: &str| WindowValue {
        rule: "portfolio_refresh_p95".into(),
        metric: "refresh_latency_ms".into(),
        scope: BTreeMap::from([("exchange".into(), exchange.into())]),
        value: Some(212.5),
        samples: 60,
        window_ms: 300_000,
        unit: "ms".into(),
        warning: Some(1_500.0),
        critical: Some(3_000.0),
        state: AlertState::Inactive,
    };
    Windows { at, values: vec![value("binance"), value("btcturk")], trades_counted: BTreeMap::new() }
}

pub fn beat(service: &str) -> Event {
    let now = spark_nats::now();
    Event::Heartbeat(Heartbeat {
        service: service.into(),
        pid: 7,
        version: "0".into(),
        started_at: now,
        sent_at: now,
        state: ProcessState::Running,
        detail: None,
        resident_bytes: 0,
        counters: BTreeMap::from([("spark_bus_publish_ack_us_total".into(), 1_500_000)]),
    })
}

pub async fn call(gateway: &Gateway, line: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {TOKEN}");
    send(gateway.address, line, &[("Authorization", &bearer)], &body.to_string()).await
}

/// A call whose command the bus stores at that place; what it was.
pub async fn stored(gateway: &mut Gateway, line: &str, body: &Value, sequence: u64) -> (Answer, Outgoing) {
    let bearer = format!("Bearer {TOKEN}");
    let (text, headers) = (if body.is_null() { String::new() } else { body.to_string() }, [("Authorization", bearer.as_str())]);
    let address = gateway.address;
    let (answer, command) = tokio::join!(send(address, line, &headers, &text), async {
        let sent = gateway.commands.recv().await.unwrap();
        sent.done.send(Ok(sequence)).unwrap();
        sent.command
    });
    (answer, command)
}
