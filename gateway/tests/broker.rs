//! The gateway on the real broker, with the rights it has in production.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::collections::BTreeMap;

use common::running::begin as start;
use common::{Live, bounded, get, request, roomy};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::control::{BreakerCommand, BreakerMode};
use spark_bus_schema::market::{Quote, QuoteBatch};
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::telemetry::{FeedState, FeedStatus, Windows};
use spark_bus_schema::{Fixed, Venue, subject};
use spark_gateway::Config;
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Meta};

fn quote(symbol: &str, bid: &str) -> QuoteBatch {
    let mut batch = QuoteBatch::new(Venue::Binance, symbol);
    let bid = Fixed::parse(bid).unwrap();
    let received_at = spark_nats::now();
    let row = Quote { update_id: 1, received_at, bid_price: bid, bid_quantity: bid, ask_price: bid, ask_quantity: bid };
    batch.push(&row).unwrap();
    batch
}

async fn publish_quote(feed: &Bus, symbol: &str, bid: &str) {
    feed.publish(&subject::quotes(Venue::Binance, symbol), &quote(symbol, bid), Meta::default()).await.unwrap();
}

fn live() -> FeedStatus {
    FeedStatus {
        venue: Venue::Binance,
        state: FeedState::Live,
        since: spark_nats::now(),
        symbols: Vec::new(),
        reconnects: 0,
        trades_missing: 0,
        trades_filled: 0,
        frames_rejected: 0,
        detail: None,
    }
}

fn alert(revision: u64, state: AlertState) -> Alert {
    Alert {
        name: "WSStaleness".into(),
        rule: "ws_staleness".into(),
        revision,
        scope: BTreeMap::from([("exchange".into(), "binance".into())]),
        state,
        severity: Some(Severity::Critical),
        value: Some(31.0),
        threshold: Some(30.0),
        direction: "above".into(),
        unit: "s".into(),
        window_ms: 0,
        samples: 1,
        at: spark_nats::now(),
        since: None,
        summary: String::new(),
        cause: String::new(),
        first_action: String::new(),
        permanent_fix: String::new(),
        runbook: String::new(),
    }
}

fn balances(total: &str) -> Balances {
    Balances {
        exchange: Venue::Binance,
        currency: "USD".into(),
        polled_at: spark_nats::now(),
        updated_at: Some(spark_nats::now()),
        stale: false,
        error: None,
        balances: Vec::new(),
        total_usd: total.parse().unwrap(),
        unpriced: Vec::new(),
        refresh_us: 1,
    }
}

/// What other processes would have said before and while the gateway runs.
#[tokio::test]
async fn what_was_stored_before_the_start_and_what_comes_after_are_both_in_the_view() {
    let broker = TestBroker::start().await;
    let (feed, guardrail, portfolio) = (broker.bus("feed").await, broker.bus("guardrail").await, broker.bus("portfolio").await);
    publish_quote(&feed, "BTCUSDT", "61837.62").await;
    feed.publish(&subject::feed_status(Venue::Binance), &live(), Meta::default()).await.unwrap();
    portfolio.publish(&subject::balances(Venue::Binance), &balances("12.5"), Meta::default()).await.unwrap();
    for revision in 1..=2 {
        let alert = alert(revision, AlertState::Firing);
        guardrail.publish(&subject::alert(&alert.name, &alert.scope), &alert, Meta::default()).await.unwrap();
    }
    let windows = Windows {
        at: spark_nats::now(),
        values: Vec::new(),
        trades_counted: BTreeMap::from([("binance.BTCUSDT".into(), 19_904)]),
    };
    guardrail.publish(subject::WINDOWS, &windows, Meta::default()).await.unwrap();

    let gateway = start(&broker, Config { expected: vec!["gateway".into()], ..roomy() }).await;
    gateway.see("/api/prices", |answer| answer.body.contains("\"bid\":61837.62")).await;
    gateway.see("/api/portfolio", |answer| answer.body.contains("\"totals\":{\"totalUsd\":12.5}")).await;
    let alerts = gateway.see("/api/alerts", |answer| answer.json()["recent"].as_array().unwrap().len() == 2).await.json();
    assert_eq!(alerts["active"][0]["revision"], 2, "the history is there, and the newest state counts");
    gateway.see("/metrics", |answer| answer.body.contains("spark_dlq_size{environment=\"demo\",service=\"guardrail\"} 0")).await;
    gateway.see("/metrics", |answer| answer.body.contains("symbol=\"BTCUSDT\"} 19904\n")).await;
    gateway.see("/api/processes", |answer| answer.json()["status"] == "DEMO").await;

    let mut stream = Live::connect(gateway.address, None).await;
    assert_eq!(stream.next().await.unwrap().event, "snapshot");
    publish_quote(&feed, "BTCUSDT", "61900").await;
    assert_eq!(stream.next_of("prices").await.data["prices"][0]["bid"], 61_900);
    let resolved = alert(3, AlertState::Resolved);
    guardrail.publish(&subject::alert(&resolved.name, &resolved.scope), &resolved, Meta::default()).await.unwrap();
    assert_eq!(stream.next_of("alert").await.data["state"], "resolved");
    gateway.stop().await;
}

#[tokio::test]
async fn garbage_is_counted_and_its_neighbours_are_shown() {
    let broker = TestBroker::start().await;
    let operator = broker.bus("operator").await;
    let gateway = start(&broker, roomy()).await;
    for (index, on) in
        ["market.quotes.binance.BTCUSDT", "telemetry.windows", "portfolio.balances.binance", "alerts.changed.X.all"]
            .iter()
            .enumerate()
    {
        operator.raw_client().publish(*on, vec![0xc1; 64].into()).await.unwrap();
        publish_quote(&operator, &format!("S{index}"), "5").await;
    }
    operator.raw_client().flush().await.unwrap();
    let counted = "spark_gateway_unreadable_total{environment=\"demo\",service=\"gateway\",reason=\"missing_kind\"} 4
";
    gateway.see("/metrics", |answer| answer.body.contains(counted)).await;
    gateway.see("/api/prices", |answer| answer.json()["prices"].as_array().unwrap().len() == 4).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_broker_goes_and_comes_and_reading_never_stops() {
    let mut broker = TestBroker::start().await;
    let feed = broker.bus("feed").await;
    let gateway = start(&broker, Config { expected: Vec::new(), ..roomy() }).await;
    publish_quote(&feed, "BTCUSDT", "1").await;
    feed.publish(&subject::feed_status(Venue::Binance), &live(), Meta::default()).await.unwrap();
    gateway.see("/api/prices", |answer| answer.json()["status"] == "DEMO" && answer.body.contains("\"bid\":1,")).await;
    broker.kill();
    let answer = gateway.see("/api/prices", |answer| answer.json()["status"] == "DEGRADED").await;
    assert!(answer.status == 200 && answer.body.contains("\"bid\":1,"), "the last picture stays: {}", answer.body);
    assert!(get(gateway.address, "/api/public/metrics").await.body.contains("broker: not connected"));
    broker.restart().await;
    bounded("publish", publish_quote(&feed, "BTCUSDT", "2")).await;
    gateway.see("/api/prices", |answer| answer.json()["status"] == "DEMO" && answer.body.contains("\"bid\":2,")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_breaker_command_is_in_the_ledger_when_it_is_confirmed() {
    let broker = TestBroker::start().await;
    let file = broker.dir().join("token");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let gateway = start(&broker, Config { admin_token_file: Some(file), ..roomy() }).await;
    gateway.see("/api/processes", |answer| answer.json()["broker_connected"] == true).await;
    let line = "POST /api/tools/circuit-breaker?exchange=binance&state=open&reason=maintenance";
    let answer = request(gateway.address, line, &[("Authorization", "Bearer 0123456789abcdef0123456789abcdef")]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let operator = broker.bus("operator").await;
    let stored = operator.last(subject::LEDGER, &subject::breaker(Venue::Binance)).await.unwrap().expect("a command");
    assert_eq!(answer.json()["sequence"], stored.sequence);
    let command: BreakerCommand = stored.decode().unwrap();
    assert_eq!((command.mode, command.reason.as_str()), (BreakerMode::Open, "maintenance"));
    gateway.stop().await;
}
