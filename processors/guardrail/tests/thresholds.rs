//! Thresholds changed at run time, on a real broker: in force at once, kept when the state is lost, parked when they cannot be.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::actions::{ThresholdChange, ThresholdsCommand};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::subject::{self, FEED, PARKED};
use spark_bus_schema::telemetry::{Call, REFRESH, Windows};
use spark_bus_schema::{Message, Venue};
use spark_guardrail::{Config, run};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Meta, Start, now};

const LIMIT: Duration = Duration::from_secs(20);
const RULES: &str = r#"[[rule]]
id = "refresh"
alert = "Slow"
metric = "refresh_latency_ms"
scope = ["exchange"]
aggregation = "quantile"
quantile = 0.95
window = "1m"
warning = 1000
critical = 3000
summary = "s"
cause = "c"
first_action = "f"
"#;

/// The first message that is looked for.
async fn find<T: Message, R>(bus: &Bus, stream: &'static str, on: &str, start: Start, look: impl Fn(T) -> Option<R>) -> R {
    let mut follower =
        Follower::start(bus.clone(), &format!("operator-{}", T::KIND.name.replace('_', "-")), stream, vec![on.to_owned()], start);
    let found = tokio::time::timeout(LIMIT, async {
        loop {
            for delivery in follower.next().await.expect("open") {
                if let Some(found) = look(delivery.decode().unwrap()) {
                    return found;
                }
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("no such {} within {LIMIT:?}", T::KIND))
}

async fn shows(bus: &Bus, warning: f64, critical: f64) {
    find(bus, FEED, subject::WINDOWS, Start::New, |windows: Windows| {
        windows.values.iter().any(|value| (value.warning, value.critical) == (Some(warning), Some(critical))).then_some(())
    })
    .await;
}

async fn command(bus: &Bus, rule: &str, warning: f64) {
    let change = ThresholdChange { rule: rule.into(), scope: BTreeMap::new(), warning: Some(warning), critical: None };
    let command =
        ThresholdsCommand { changes: vec![change], reset: false, actor: "operator".into(), reason: "a test".into(), at: now() };
    bus.publish(subject::THRESHOLDS, &command, Meta::default()).await.unwrap();
}

#[tokio::test]
async fn a_changed_threshold_outlives_the_state_and_an_impossible_one_is_parked() {
    let broker = TestBroker::start().await;
    let operator = broker.bus("operator").await;
    let rules = broker.dir().join("rules.toml");
    std::fs::write(&rules, RULES).unwrap();
    let call = Call {
        exchange: Venue::Binance,
        service: "portfolio".into(),
        operation: REFRESH.into(),
        started_at: now(),
        latency_us: 1_000,
        ok: true,
        error_type: None,
        http_status: None,
        attempt: 1,
    };
    operator.publish(&subject::calls(Venue::Binance), &call, Meta::default()).await.unwrap();
    for folder in ["first", "second"] {
        // The second run has no state: what was commanded is read from the broker.
        let service = broker.service_in("guardrail", folder).await;
        let shutdown = service.shutdown.clone();
        let config = Config { rules: Some(rules.clone()), ..Config::default() };
        let task = tokio::spawn(run(service, config));
        if folder == "first" {
            shows(&operator, 1_000.0, 3_000.0).await;
            command(&operator, "refresh", 2_000.0).await;
            command(&operator, "refresh", 4_000.0).await;
            command(&operator, "refesh", 5.0).await;
            let details = ["reached before the warning of 4000; swap them", "unknown rule; did you mean `refresh`?"];
            for detail in details {
                let parked = find(&operator, PARKED, subject::PARKED_ALL, Start::Beginning, |parked: Parked| {
                    parked.detail.contains(detail).then_some(parked)
                });
                assert_eq!(parked.await.subject, subject::THRESHOLDS);
            }
        }
        shows(&operator, 2_000.0, 3_000.0).await;
        shutdown.cancel();
        task.await.unwrap().unwrap();
    }
}
