//! Every route with every processor and the broker down: after they were there, and when they never were.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::collections::BTreeSet;

use common::running::{Running, TOKEN, begin};
use common::{Answer, get, roomy, send};
use spark_bus_schema::orders::{MANUAL, OrderId};
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::{Venue, subject};
use spark_gateway::Config;
use spark_gateway::http::table;
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, ConnectOptions, Credentials, Meta, Service};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What a route answers when it cannot ask or tell anybody.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    /// 200, and says `DEGRADED` where it says how the system is.
    View,
    /// 200; always.
    Open,
    /// 503 with this problem: nothing was done, and it says what to do.
    Unavailable(&'static str),
    /// 404: what it does not know, and need not ask anybody for.
    Unknown,
    /// 503 as a text: what Alertmanager's clients read.
    Text,
    /// 503 with an answer that nobody may trade on.
    Advisory,
    /// A live stream that begins.
    Stream,
}

/// Every route with a request that is right but for the outage.
fn requests() -> Vec<(&'static str, String, &'static str, Expected)> {
    use Expected::{Advisory, Open, Stream, Text, Unavailable, Unknown, View};
    let order = OrderId::derive(MANUAL, "never-asked");
    let silence = r#"{"matchers":[{"name":"alertname","value":"X","isRegex":false}],"startsAt":"2020-01-01T00:00:00Z","endsAt":"2099-01-01T00:00:00Z","createdBy":"a","comment":"c"}"#;
    let candle = r#"{"feature":{"ts":"2026-11-21T09:00:00Z","symbol":"BTCUSDT","tf":"1m","o":1,"h":1,"l":1,"c":1,"v":1}}"#;
    let view = |path: &'static str| (path, format!("GET {path}"), "", View);
    let unavailable = |path: &'static str, line: &str, body: &'static str, slug| (path, line.to_owned(), body, Unavailable(slug));
    vec![
        ("/health", "GET /health".into(), "", Open),
        ("/api/healthz", "GET /api/healthz".into(), "", Open),
        ("/api/whoami", "GET /api/whoami".into(), "", Open),
        ("/metrics", "GET /metrics".into(), "", Open),
        ("/api/public/metrics.prom", "GET /api/public/metrics.prom".into(), "", Open),
        view("/api/portfolio"),
        view("/api/alerts"),
        view("/api/processes"),
        view("/api/prices"),
        ("/api/chart", "GET /api/chart".into(), "", Open),
        view("/api/public/alert/last"),
        view("/api/public/metrics"),
        view("/api/public/smoke-last"),
        ("/api/tools/metrics/timeseries", "GET /api/tools/metrics/timeseries?window=1h".into(), "", Open),
        ("/api/tools/get_metrics", "GET /api/tools/get_metrics".into(), "", Open),
        unavailable(
            "/api/tools/circuit-breaker",
            "POST /api/tools/circuit-breaker?exchange=binance&state=open",
            "",
            "not-confirmed",
        ),
        unavailable(
            "/api/exec/order",
            "POST /api/exec/order",
            r#"{"exchange":"binance","symbol":"BTCUSDT","side":"buy","type":"limit","quantity":"0.001","price":"60000"}"#,
            "not-stored",
        ),
        ("/api/exec/orders", "GET /api/exec/orders".into(), "", Open),
        ("/api/exec/orders/{id}", format!("GET /api/exec/orders/{order}"), "", Unavailable("ledger-away")),
        (
            "/api/exec/orders/{id}/cancel",
            format!("POST /api/exec/orders/{order}/cancel"),
            r#"{"reason":"r"}"#,
            Unavailable("ledger-away"),
        ),
        ("/api/exec/positions", "GET /api/exec/positions".into(), "", Open),
        unavailable("/api/exec/start", "POST /api/exec/start", r#"{"strategy":"sma-cross","reason":"r"}"#, "not-confirmed"),
        unavailable("/api/exec/stop", "POST /api/exec/stop", r#"{"strategy":"sma-cross","reason":"r"}"#, "not-confirmed"),
        ("/api/exec/strategies", "GET /api/exec/strategies".into(), "", Open),
        ("/api/exec/kill-switch", "GET /api/exec/kill-switch".into(), "", Open),
        unavailable("/api/exec/kill-switch", "POST /api/exec/kill-switch", r#"{"on":true,"reason":"r"}"#, "not-confirmed"),
        ("/api/exec/limits", "GET /api/exec/limits".into(), "", Open),
        unavailable(
            "/api/exec/limits",
            "POST /api/exec/limits",
            r#"{"limits":{"default":{"notional_usd_max":"5000"}},"reason":"r","confirm":true}"#,
            "not-confirmed",
        ),
        unavailable(
            "/api/exec/resume",
            "POST /api/exec/resume",
            r#"{"scope":"binance","reason":"r","confirm":true}"#,
            "not-confirmed",
        ),
        ("/api/exec/reconciliation", "GET /api/exec/reconciliation".into(), "", Open),
        ("/api/audit/list", "POST /api/audit/list".into(), "{}", Open),
        ("/api/actions", "POST /api/actions".into(), r#"{"action":"/tools/get_status"}"#, Open),
        view("/api/actions/log"),
        view("/api/notifications"),
        unavailable(
            "/api/processes/{service}/restart",
            "POST /api/processes/feed/restart",
            r#"{"reason":"r","confirm":true}"#,
            "not-confirmed",
        ),
        ("/api/v2/alerts", "GET /api/v2/alerts".into(), "", Open),
        ("/api/v2/alerts/groups", "GET /api/v2/alerts/groups".into(), "", Open),
        ("/api/v2/receivers", "GET /api/v2/receivers".into(), "", Open),
        ("/api/v2/status", "GET /api/v2/status".into(), "", Open),
        ("/api/v2/silences", "GET /api/v2/silences".into(), "", Open),
        ("/api/v2/silences", "POST /api/v2/silences".into(), silence, Text),
        ("/api/v2/silence/{id}", "GET /api/v2/silence/x".into(), "", Unknown),
        ("/api/v2/silence/{id}", "DELETE /api/v2/silence/x".into(), "", Unknown),
        ("/api/ml/score", "POST /api/ml/score".into(), candle, Advisory),
        view("/api/ml/scores"),
        view("/api/ml/version"),
        view("/api/ml/calibration"),
        view("/api/rollout"),
        unavailable("/api/rollout", "POST /api/rollout", r#"{"verb":"pause","reason":"r","confirm":true}"#, "not-confirmed"),
        view("/api/strategies"),
        unavailable(
            "/api/strategies",
            "POST /api/strategies",
            r#"{"name":"sma-1","kind":"sma_cross","params":{"fast":"10","slow":"30"},"exchange":"binance","symbol":"BTCUSDT","timeframe":"1m","cash":"1000","reason":"r"}"#,
            "not-confirmed",
        ),
        unavailable("/api/strategies/{name}/promote", "POST /api/strategies/sma-1/promote", r#"{"reason":"r"}"#, "not-confirmed"),
        unavailable("/api/strategies/{name}/start", "POST /api/strategies/sma-1/start", r#"{"reason":"r"}"#, "not-confirmed"),
        unavailable("/api/strategies/{name}/stop", "POST /api/strategies/sma-1/stop", r#"{"reason":"r"}"#, "not-confirmed"),
        view("/api/backtest"),
        unavailable(
            "/api/backtest",
            "POST /api/backtest",
            r#"{"kind":"sma_cross","params":{"fast":"10","slow":"30"},"exchange":"binance","symbol":"BTCUSDT","timeframe":"1h","data":{"csv":{"path":"/data/btcusdt-1h.csv"}},"cash":"10000","commissionPct":"0.1","reason":"first look"}"#,
            "queue-away",
        ),
        unavailable("/api/backtest/compare", "GET /api/backtest/compare?ids=bt-1,bt-2", "", "queue-away"),
        unavailable("/api/backtest/{id}", "GET /api/backtest/bt-1", "", "queue-away"),
        unavailable("/api/backtest/{id}/cancel", "POST /api/backtest/bt-1/cancel", r#"{"reason":"r"}"#, "queue-away"),
        unavailable("/api/backtest/{id}/report", "GET /api/backtest/bt-1/report", "", "queue-away"),
        view("/bist/snapshot"),
        ("/api/stream", "GET /api/stream".into(), "", Stream),
    ]
}

/// Routes that this file looks at elsewhere or that ask nobody: the API's own document, and the WebSocket, whose handshake
/// has its own tests.
const ELSEWHERE: [&str; 2] = ["/api/openapi.json", "/api/ws"];

fn problem(answer: &Answer) -> String {
    answer.json()["type"].as_str().unwrap_or_default().trim_start_matches("urn:spark:problem:").to_owned()
}

/// `known`: whether the LEDGER was read to its end before it went away.
async fn walk(gateway: &Running, known: bool) {
    let bearer = format!("Bearer {TOKEN}");
    let mut walked = BTreeSet::new();
    for (path, line, body, expected) in requests() {
        walked.insert((line.split(' ').next().unwrap().to_owned(), path));
        if expected == Expected::Stream {
            let mut stream = common::Live::connect(gateway.address, None).await;
            let first = stream.next().await.unwrap();
            assert_eq!((first.event.as_str(), first.data["system"]["status"].as_str()), ("snapshot", Some("DEGRADED")));
            continue;
        }
        let headers = [("Authorization", bearer.as_str()), ("X-Idempotency-Key", "k-1"), ("Content-Type", "application/json")];
        let answer = send(gateway.address, &line, &headers, body).await;
        let told = format!("{line}: {} {}", answer.status, answer.body);
        match expected {
            Expected::View => {
                assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("DEGRADED")), "{told}");
            }
            Expected::Open => assert_eq!(answer.status, 200, "{told}"),
            Expected::Unknown => assert_eq!(answer.status, 404, "{told}"),
            Expected::Unavailable(slug) => {
                // What it would change is not known before the ledger was read: nothing is decided on that.
                let slugs: &[&str] = if known { &[slug] } else { &[slug, "not-read"] };
                assert!(answer.status == 503 && slugs.contains(&problem(&answer).as_str()), "{told}");
                let fix = answer.json()["fix"].as_str().unwrap_or_default().to_owned();
                assert!(!fix.is_empty(), "{told}");
            }
            Expected::Text => assert!(answer.status == 503 && answer.json().is_string(), "{told}"),
            Expected::Advisory => {
                let body = answer.json();
                assert!(answer.status == 503 && body["advisory"] == true && body["score"].is_null(), "{told}");
            }
            Expected::Stream => unreachable!(),
        }
    }
    let all: BTreeSet<(String, &str)> = table()
        .into_iter()
        .filter(|(_, path, _)| !ELSEWHERE.contains(path))
        .map(|(method, path, _)| (method.to_string(), path))
        .collect();
    assert_eq!(walked, all, "every route is asked");
    for path in ["/", "/app.js", "/app.css"] {
        assert_eq!(get(gateway.address, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn with_nobody_there_from_the_beginning_everything_is_answered() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let folder = std::env::temp_dir().join(format!("spark-alone-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let options = ConnectOptions { url: format!("nats://{address}"), name: "gateway".into(), credentials: Credentials::None };
    let shutdown = CancellationToken::new();
    let service = Service::start("gateway", Bus::connect(options).await.unwrap(), folder.clone(), shutdown.clone()).unwrap();
    let file = folder.join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config { admin_token_file: Some(file), ..roomy() };
    let task = tokio::spawn(spark_gateway::serve(listener, service, config));
    let gateway = Running { address, stop: shutdown, task };
    gateway.see("/health", |answer| answer.status == 200).await;
    walk(&gateway, false).await;
    gateway.stop().await;
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn with_everybody_gone_it_shows_what_was_and_says_how_old_it_is() {
    let mut broker = TestBroker::start().await;
    let portfolio = broker.bus("portfolio").await;
    let balances = Balances {
        exchange: Venue::Binance,
        currency: "USD".into(),
        polled_at: spark_nats::now(),
        updated_at: Some(spark_nats::now()),
        stale: false,
        error: None,
        balances: Vec::new(),
        total_usd: "12.5".parse().unwrap(),
        unpriced: Vec::new(),
        refresh_us: 1,
    };
    portfolio.publish(&subject::balances(Venue::Binance), &balances, Meta::default()).await.unwrap();
    let file = broker.dir().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let gateway = begin(&broker, Config { admin_token_file: Some(file), ..roomy() }).await;
    gateway.see("/api/exec/orders", |answer| answer.json()["complete"] == true).await;
    let total = |answer: &Answer| answer.json()["totals"]["totalUsd"] == 12.5;
    gateway.see("/api/portfolio", total).await;
    broker.kill();
    gateway.see("/api/processes", |answer| answer.json()["broker_connected"] == false).await;
    walk(&gateway, true).await;
    let answer = get(gateway.address, "/api/portfolio").await.json();
    assert_eq!(answer["totals"]["totalUsd"], 12.5, "what was known is still shown: {answer}");
    assert!(answer["accounts"][0]["updatedAt"].is_string(), "with its time: {answer}");
    gateway.stop().await;
}
