//! What is done about alerts and who is told, on the real broker, with the rights that the gateway has in production.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::running::{Running, TOKEN, ready};
use common::{Answer, bounded, get, send};
use serde_json::{Value, json};
use spark_bus_schema::actions::{RestartCommand, ThresholdsCommand};
use spark_bus_schema::notify::Silence;
use spark_bus_schema::smoke::Smoke;
use spark_bus_schema::subject::{self, FEED, LEDGER};
use spark_bus_schema::telemetry::ApiRequests;
use spark_nats::testing::TestBroker;
use spark_nats::{Follower, Meta, Start};

async fn start(broker: &TestBroker) -> Running {
    ready(broker, vec!["feed".into()]).await
}

impl Running {
    async fn call(&self, line: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        send(self.address, line, &[("Authorization", &bearer)], &body.to_string()).await
    }

    /// Both calls of an action that must be confirmed.
    async fn act(&self, mut body: Value) -> Answer {
        let first = self.call("POST /api/actions", &body).await;
        assert_eq!(first.status, 202, "{}", first.body);
        body["confirm"] = first.json()["confirm"].clone();
        self.call("POST /api/actions", &body).await
    }
}

#[tokio::test]
async fn a_silence_is_answered_when_it_is_in_the_ledger_and_known_again_after_a_restart() {
    let broker = TestBroker::start().await;
    let (gateway, operator) = (start(&broker).await, broker.bus("operator").await);
    let ends_at = (spark_nats::now() + Duration::from_secs(3_600)).to_string();
    let posted = json!({
        "matchers": [{"name": "alertname", "value": "WSStaleness", "isRegex": false}],
        "startsAt": spark_nats::now().to_string(), "endsAt": ends_at, "createdBy": "ayse", "comment": "maintenance",
    });
    let answer = gateway.call("POST /api/v2/silences", &posted).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let id = answer.json()["silenceID"].as_str().unwrap().to_owned();
    let stored = operator.last(LEDGER, &subject::silence(&id)).await.unwrap().expect("it is stored");
    assert_eq!(stored.decode::<Silence>().unwrap().comment, "maintenance");
    gateway.stop().await;
    let gateway = start(&broker).await;
    let path = format!("/api/v2/silence/{id}");
    assert_eq!(get(gateway.address, &path).await.json()["status"]["state"], "active");
    assert_eq!(gateway.call(&format!("DELETE {path}"), &json!({})).await.status, 200);
    let stored = operator.last(LEDGER, &subject::silence(&id)).await.unwrap().unwrap();
    assert!(stored.decode::<Silence>().unwrap().ends_at <= spark_nats::now());
    gateway.stop().await;
}

#[tokio::test]
async fn confirmed_actions_are_commands_of_the_ledger_with_who_and_why() {
    let broker = TestBroker::start().await;
    let (gateway, operator) = (start(&broker).await, broker.bus("operator").await);
    let restart = json!({"action": "/guardrail/restart", "params": {"service": "feed"}, "reason": "no data"});
    let done = gateway.act(restart).await;
    let stored = operator.last(LEDGER, &subject::restart("feed")).await.unwrap().expect("it is stored");
    let command: RestartCommand = stored.decode().unwrap();
    assert_eq!((done.status, done.json()["sequence"].as_u64()), (200, Some(stored.sequence)), "{}", done.body);
    assert_eq!((command.actor.as_str(), command.reason.as_str(), command.attempt), ("operator", "no data", 1));
    let change = json!({"changes": [{"rule": "parked", "warning": 3}]});
    let done = gateway.act(json!({"action": "/guardrail/set_thresholds", "params": change, "reason": "quieter"})).await;
    assert_eq!(done.status, 200, "{}", done.body);
    let stored = operator.last(LEDGER, subject::THRESHOLDS).await.unwrap().expect("it is stored");
    assert_eq!(stored.decode::<ThresholdsCommand>().unwrap().changes[0].warning, Some(3.0));
    let log = gateway.see("/api/actions/log", |answer| answer.json()["items"][0]["what"] == "restart").await.json();
    assert_eq!(log["items"][0]["service"], "feed");
    let smoke = Smoke {
        checks: Vec::new(),
        passed: 0,
        pass: false,
        text: "nothing was checked".into(),
        uptime: None,
        actor: "operator".into(),
        at: spark_nats::now(),
    };
    operator.publish(subject::SMOKE, &smoke, Meta::default()).await.unwrap();
    gateway.see("/api/public/smoke-last", |answer| answer.json()["smoke"]["text"] == "nothing was checked").await;
    gateway.stop().await;
}

#[tokio::test]
async fn every_api_request_is_told_to_the_bus_once_and_no_page_or_live_stream() {
    let broker = TestBroker::start().await;
    let gateway = start(&broker).await;
    let guardrail = broker.bus("guardrail").await;
    let mut told = Follower::start(guardrail, "guardrail", FEED, vec![subject::API_REQUESTS.to_owned()], Start::Beginning);
    for _ in 0..30 {
        assert_eq!(get(gateway.address, "/api/nothing").await.status, 404);
        assert_eq!(get(gateway.address, "/nothing").await.status, 404);
        assert_eq!(get(gateway.address, "/api/stream?no=such").await.status, 400);
    }
    assert_eq!(common::request(gateway.address, "POST /api/portfolio", &[]).await.status, 405, "the last one");
    let (mut statuses, mut latencies) = (BTreeMap::<u16, u64>::new(), 0);
    bounded("the last one is told", async {
        while !statuses.contains_key(&405) {
            for delivery in told.next().await.unwrap() {
                let one: ApiRequests = delivery.decode().unwrap();
                assert_eq!((delivery.subject.as_str(), one.service.as_str()), ("telemetry.api.gateway", "gateway"));
                latencies += one.latencies_us.len() as u64;
                one.statuses.into_iter().for_each(|(status, count)| *statuses.entry(status).or_default() += count);
            }
        }
    })
    .await;
    assert_eq!(latencies, statuses.values().sum::<u64>(), "each with its latency");
    // The start has asked for orders until they were there.
    statuses.remove(&200);
    assert_eq!(statuses, BTreeMap::from([(404, 30), (405, 1)]));
    let metrics = get(gateway.address, "/metrics").await.body;
    assert!(metrics.contains("http_requests_total{environment=\"demo\",service=\"gateway\",code=\"404\"} 60\n"), "{metrics}");
    gateway.stop().await;
}

#[tokio::test]
async fn how_full_streams_are_and_how_far_their_readers_have_come_is_told_by_the_broker() {
    let broker = TestBroker::start().await;
    let (operator, slow) = (broker.bus("operator").await, broker.bus("reporter").await);
    // A reader that does not take what it is given.
    let _reader = Follower::start(slow, "reporter", LEDGER, vec![subject::SMOKE.to_owned()], Start::Beginning);
    let gateway = start(&broker).await;
    operator.raw_client().publish("market.ticks.binance.BTCUSDT", vec![0xc1; 8].into()).await.unwrap();
    operator.raw_client().flush().await.unwrap();
    let wanted = [
        "spark_stream_messages{environment=\"demo\",service=\"nats\",stream=\"FEED\"} ",
        "spark_stream_bytes{environment=\"demo\",service=\"nats\",stream=\"LEDGER\"} 0\n",
        "spark_consumer_lag_messages{environment=\"demo\",service=\"nats\",stream=\"LEDGER\",consumer=\"reporter\"} 0\n",
        "spark_consumer_redelivered_messages{environment=\"demo\",service=\"nats\",stream=\"FEED\",consumer=\"gateway\"} 0\n",
        "spark_bus_publish_ack_seconds_total{environment=\"demo\",service=\"gateway\"} ",
        "spark_bus_publishes_total{environment=\"demo\",service=\"gateway\"} ",
    ];
    gateway.see("/metrics", |answer| wanted.iter().all(|line| answer.body.contains(line))).await;
    gateway.stop().await;
}

#[tokio::test]
async fn parked_messages_are_counted_by_the_process_that_could_not_handle_them() {
    let broker = TestBroker::start().await;
    let guardrail = broker.bus("guardrail").await;
    let gateway = start(&broker).await;
    let operator = broker.bus("operator").await;
    operator.raw_client().publish("telemetry.calls.binance", vec![0xc1; 8].into()).await.unwrap();
    operator.raw_client().flush().await.unwrap();
    let mut calls = Follower::start(guardrail.clone(), "guardrail", FEED, vec![subject::CALLS.to_owned()], Start::Beginning);
    let delivery = bounded("the call", calls.next()).await.unwrap().remove(0);
    let (stream, sequence) = (delivery.stream, delivery.sequence);
    let error = delivery.decode::<spark_bus_schema::telemetry::Call>().unwrap_err();
    spark_nats::park(&guardrail, "guardrail", &delivery, error.reason(), &error.to_string()).await.unwrap();
    let line = "spark_parked_messages{environment=\"demo\",service=\"nats\",process=\"guardrail\"} ";
    gateway
        .see("/metrics", |answer| {
            answer.body.contains(&format!("{line}1\n"))
                && answer.body.contains("spark_dlq_size{environment=\"demo\",service=\"guardrail\"} 1\n")
        })
        .await;
    let parked = operator.last(subject::PARKED, &subject::parked("guardrail", stream, sequence)).await.unwrap().unwrap();
    operator.delete(subject::PARKED, parked.sequence).await.unwrap();
    gateway.see("/metrics", |answer| answer.body.contains(&format!("{line}0\n"))).await;
    gateway.stop().await;
}
