//! An alert reaches people, end to end: a fault in the simulated exchanges, the guardrail, the notifier, and a real HTTP
//! server at the far end.

#[path = "../actions/stage.rs"]
#[allow(dead_code, reason = "these tests read no actions")]
mod stage;

mod receiver;

use serde_json::{Value, json};
use spark_bus_schema::notify::{Delivery, DeliveryOutcome, Notification};
use spark_bus_schema::subject;
use spark_tests::orders::{is, ledger};
use spark_tests::system::System;
use spark_tests::wait::until;

use receiver::{Receiver, Taken};
use stage::{LIMIT, read, rules_file, system};

const ERRORS: &str = "ExchangeApiErrorRateHigh";
const STALE: &str = "WSStaleness";

/// Both exchanges' errors in one group, staleness in another; nothing is repeated within the test.
async fn start(name: &str, receiver: &Receiver) -> System {
    let changes = [
        ("exchange_error_rate", "window", "\"8s\""),
        ("exchange_error_rate", "keep_firing_for", "\"1s\""),
        ("ws_staleness_venue", "warning", "2"),
        ("ws_staleness_venue", "critical", "60"),
    ];
    let rules = rules_file(name, &["exchange_error_rate", "ws_staleness_venue"], &changes);
    let address = receiver.address();
    system(&format!(
        "[guardrail]\nrules = {rules:?}\n[guardrail.rollback]\nenabled = false\n[guardrail.restart]\nenabled = false\n\
         [notifier]\ngroup_by = [\"alertname\"]\ngroup_wait = \"3s\"\ngroup_interval = \"1s\"\nretry_pause = \"100ms\"\n\
         retry_pause_max = \"500ms\"\nroute = []\n\
         [[notifier.receiver]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"http://{address}/hook/with-a-secret-token\"\n"
    ))
    .await
}

/// Notifications about one alert.
fn about(taken: &[Taken], name: &str) -> Vec<Value> {
    let named = taken.iter().filter(|taken| taken.body["groupLabels"]["alertname"] == name);
    named.map(|taken| taken.body.clone()).collect()
}

/// Waits until the newest notification about an alert is as wanted, and returns all about it.
async fn told(receiver: &Receiver, what: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    until(what, LIMIT, async || {
        let all = about(&receiver.taken(), name);
        let holds = all.last().is_some_and(&wanted);
        if holds { Ok(all) } else { Err(format!("{all:?}")) }
    })
    .await
}

fn alerts(body: &Value, status: &str) -> usize {
    body["alerts"].as_array().map_or(0, |alerts| alerts.iter().filter(|alert| alert["status"] == status).count())
}

async fn revoke(system: &System) {
    for exchange in ["binance", "btcturk"] {
        system.fault(json!({"exchange": exchange, "kind": "revoke_key"})).await;
    }
}

#[tokio::test]
async fn alerts_reach_a_webhook_in_one_group_are_told_once_whatever_is_killed_and_resolved_when_they_are_over() {
    let receiver = Receiver::start().await;
    let system = start("notify-once.toml", &receiver).await;
    let bus = system.bus("operator").await;
    revoke(&system).await;
    let firing = told(&receiver, "both alerts in one notification", ERRORS, |body| alerts(body, "firing") == 2).await;
    let body = firing.last().expect("just seen");
    assert_eq!(
        (body["version"].as_str(), body["status"].as_str(), body["receiver"].as_str()),
        (Some("4"), Some("firing"), Some("hook"))
    );
    for alert in body["alerts"].as_array().expect("a list") {
        assert!(alert["labels"]["severity"].is_string() && alert["startsAt"].is_string(), "{alert}");
        for text in ["summary", "cause", "first_action", "runbook"] {
            assert!(alert["annotations"][text].as_str().is_some_and(|text| !text.is_empty()), "{text} in {alert}");
        }
    }
    until("the delivery is told", LIMIT, async || {
        let all = ledger(&bus).await;
        let deliveries: Vec<Delivery> = all.iter().filter(|one| is(one, subject::DELIVERIES)).map(read).collect();
        let done = deliveries.len() == firing.len() && deliveries.iter().all(|one| one.outcome == DeliveryOutcome::Delivered);
        if done { Ok(()) } else { Err(format!("{deliveries:?}")) }
    })
    .await;

    // The notifier dies. What it tells next is new, not what it has told.
    system.kill("notifier").await;
    system.fault(json!({"exchange": "binance", "kind": "freeze"})).await;
    told(&receiver, "a new alert after the restart", STALE, |body| alerts(body, "firing") >= 1).await;
    assert_eq!(about(&receiver.taken(), ERRORS).len(), firing.len(), "{:?}", receiver.taken());

    system.clear_faults().await;
    for name in [ERRORS, STALE] {
        let over = |body: &Value| body["status"] == "resolved" && alerts(body, "firing") == 0;
        told(&receiver, "the end is told", name, over).await;
    }
    // Each decision of the LEDGER reached the receiver once.
    let all = ledger(&bus).await;
    let decided: Vec<Notification> = all.iter().filter(|one| is(one, subject::NOTIFICATIONS)).map(read).collect();
    assert_eq!(decided.len(), receiver.taken().len(), "{decided:?}");
    assert!(receiver.taken().iter().all(|taken| taken.path == "/hook/with-a-secret-token"));
    // The address is a secret: it is nowhere in the record.
    assert!(all.iter().all(|one| !String::from_utf8_lossy(&one.payload).contains("secret-token")));
}

#[tokio::test]
async fn what_a_receiver_that_is_down_should_have_been_told_is_delivered_once_when_it_is_back() {
    let receiver = Receiver::start().await;
    let system = start("notify-down.toml", &receiver).await;
    let bus = system.bus("operator").await;
    let address = receiver.stop().await;
    revoke(&system).await;
    let outcomes = async || {
        let all = ledger(&bus).await;
        all.iter().filter(|one| is(one, subject::DELIVERIES)).map(read).collect::<Vec<Delivery>>()
    };
    until("it is told that delivery is tried again", LIMIT, async || {
        let told = outcomes().await;
        if told.iter().any(|one| one.outcome == DeliveryOutcome::Retrying) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    // Not even when the notifier dies meanwhile.
    system.kill("notifier").await;
    let receiver = Receiver::on(address).await;
    let got = told(&receiver, "it is delivered", ERRORS, |body| alerts(body, "firing") == 2).await;
    let delivered = until("the delivery is told", LIMIT, async || {
        let told = outcomes().await;
        let delivered = told.iter().find(|one| one.outcome == DeliveryOutcome::Delivered).cloned();
        delivered.ok_or_else(|| format!("{told:?}"))
    })
    .await;
    assert!(delivered.took_ms > 0 && delivered.http_status == Some(200), "{delivered:?}");
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(outcomes().await.iter().all(|one| one.outcome != DeliveryOutcome::Parked));
}
