//! HTTP over real sockets, without a broker.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Live, bounded, gateway, get, request, roomy, until};
use secrecy::SecretString;
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::control::BreakerMode;
use spark_bus_schema::market::{Quote, QuoteBatch, Side, TickBatch, Trade};
use spark_bus_schema::portfolio::{AssetBalance, Balances, PollError};
use spark_bus_schema::telemetry::{WindowValue, Windows};
use spark_bus_schema::{Decimal, Fixed, Timestamp, Venue};
use spark_gateway::app::Outgoing;
use spark_gateway::event::Event;
use spark_gateway::stream::BACKLOG_MAX;
use spark_gateway::{AdminToken, Config, Error};
use spark_nats::{Bus, ConnectOptions, Credentials, Service};
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn token() -> Option<AdminToken> {
    Some(AdminToken::new(&SecretString::from(TOKEN), "test").unwrap())
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn balances(exchange: Venue, updated_at: Option<Timestamp>, error: Option<&str>) -> Event {
    let row = AssetBalance {
        asset: "BTC".into(),
        free: decimal("0.50000000"),
        locked: decimal("0.00000001"),
        total: decimal("0.50000001"),
        usd_price: Some(decimal("61837.63")),
        usd_value: Some(decimal("30918.8156183763")),
        price_held: false,
    };
    let unpriced = AssetBalance { asset: "XYZ".into(), usd_price: None, usd_value: None, ..row.clone() };
    Event::Balances(Balances {
        exchange,
        currency: "USD".into(),
        polled_at: Timestamp::from_millis(1_800_000_060_000),
        updated_at,
        stale: error.is_some(),
        error: error.map(|kind| PollError { error_type: kind.into(), message: "key refused".into() }),
        balances: if updated_at.is_some() { vec![row, unpriced] } else { Vec::new() },
        total_usd: if updated_at.is_some() { decimal("30918.8156183763") } else { decimal("0") },
        unpriced: vec!["XYZ".into()],
        refresh_us: 1,
    })
}

fn quote(bid: &str) -> Event {
    let mut batch = QuoteBatch::new(Venue::Binance, "BTCUSDT");
    let bid = Fixed::parse(bid).unwrap();
    let received_at = spark_nats::now();
    batch
        .push(&Quote { update_id: 1, received_at, bid_price: bid, bid_quantity: bid, ask_price: bid, ask_quantity: bid })
        .unwrap();
    Event::Quotes(batch)
}

fn alert() -> Event {
    Event::Alert(Box::new(Alert {
        name: "WSStaleness".into(),
        rule: "ws_staleness".into(),
        revision: 1,
        scope: BTreeMap::from([("exchange".into(), "binance".into())]),
        state: AlertState::Firing,
        severity: Some(Severity::Critical),
        value: Some(31.0),
        threshold: Some(30.0),
        direction: "above".into(),
        unit: "s".into(),
        window_ms: 0,
        samples: 1,
        at: spark_nats::now(),
        since: None,
        summary: "s".into(),
        cause: "c".into(),
        first_action: "f".into(),
        permanent_fix: "p".into(),
        runbook: "r".into(),
    }))
}

fn windows(at: Timestamp) -> Event {
    let value = WindowValue {
        rule: "portfolio_refresh_p95".into(),
        metric: "refresh_latency_ms".into(),
        scope: BTreeMap::from([("exchange".into(), "binance".into())]),
        value: Some(212.5),
        samples: 60,
        window_ms: 300_000,
        unit: "ms".into(),
        warning: Some(1_500.0),
        critical: Some(3_000.0),
        state: AlertState::Inactive,
    };
    Event::Windows(Windows { at, values: vec![value], trades_counted: BTreeMap::new() })
}

/// A service whose broker is not there, what stops it, and its folder.
async fn service_without_broker(name: &str) -> (Service, CancellationToken, std::path::PathBuf) {
    let nowhere = spark_nats::server::free_port().unwrap();
    let options =
        ConnectOptions { url: format!("nats://127.0.0.1:{nowhere}"), name: "gateway".into(), credentials: Credentials::None };
    let dir = std::env::temp_dir().join(format!("spark-gateway-{name}-{}", std::process::id()));
    let stop = CancellationToken::new();
    let service = Service::start("gateway", Bus::connect(options).await.unwrap(), dir.clone(), stop.clone()).unwrap();
    (service, stop, dir)
}

#[tokio::test]
async fn without_any_broker_reading_answers_200_and_says_degraded() {
    let (service, stop, dir) = service_without_broker("down").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = tokio::spawn(spark_gateway::serve(listener, service, roomy()));
    for path in [
        "/api/portfolio",
        "/api/alerts",
        "/api/processes",
        "/api/prices",
        "/api/public/alert/last",
        "/api/public/metrics",
        "/api/public/smoke-last",
        "/api/ml/scores",
        "/api/ml/calibration",
        "/api/rollout",
        "/api/strategies",
        "/api/backtest",
        "/bist/snapshot",
    ] {
        let answer = get(address, path).await;
        assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("DEGRADED")), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
    for path in ["/metrics", "/api/public/metrics.prom"] {
        let answer = get(address, path).await;
        assert_eq!((answer.status, answer.header("x-spark-status")), (200, Some("DEGRADED")), "{path}");
        assert!(answer.body.contains("spark_up{environment=\"demo\",service=\"feed\"} 0\n"), "{}", answer.body);
    }
    assert_eq!(get(address, "/health").await.body, "{\"ok\":true}");
    assert_eq!(get(address, "/api/ml/version").await.json()["known"], false);
    stop.cancel();
    bounded("the gateway stops", running).await.unwrap().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn the_portfolio_has_the_agreed_shape_and_exact_numbers() {
    let gateway = gateway(roomy(), None).await;
    let at = Timestamp::from_millis(1_800_000_000_000);
    gateway.app.take_in(vec![
        (at, Ok(balances(Venue::Binance, Some(at), None))),
        (at, Ok(balances(Venue::Btcturk, None, Some("auth")))),
    ]);
    let answer = get(gateway.address, "/api/portfolio").await;
    let (body, age) = answer.body.rsplit_once("\"age_ms\":").unwrap();
    assert!(age.trim_end_matches('}').parse::<i64>().is_ok(), "{age}");
    assert_eq!(
        body,
        "{\"accounts\":[{\"exchange\":\"binance\",\"currency\":\"USD\",\"balances\":[\
         {\"asset\":\"BTC\",\"free\":0.5,\"locked\":0.00000001,\"total\":0.50000001,\"usdPrice\":61837.63,\"usdValue\":30918.8156183763},\
         {\"asset\":\"XYZ\",\"free\":0.5,\"locked\":0.00000001,\"total\":0.50000001,\"usdPrice\":null,\"usdValue\":null}],\
         \"totals\":{\"totalUsd\":30918.8156183763},\"updatedAt\":\"2027-01-15T08:00:00Z\",\"stale\":false,\"error\":null},\
         {\"exchange\":\"btcturk\",\"currency\":\"USD\",\"balances\":[],\"totals\":{\"totalUsd\":null},\"updatedAt\":null,\"stale\":true,\
         \"error\":{\"error_type\":\"auth\",\"message\":\"key refused\"}}],\
         \"totals\":{\"totalUsd\":30918.8156183763},\"updatedAt\":\"2027-01-15T08:00:00Z\",\"status\":\"DEGRADED\","
    );
    gateway.app.take_in(vec![(at, Ok(balances(Venue::Btcturk, Some(at), None)))]);
    let totals = get(gateway.address, "/api/portfolio").await.body;
    assert!(totals.contains("\"totals\":{\"totalUsd\":61837.6312367526},"), "new balances show at once: {totals}");
}

#[tokio::test]
async fn the_way_of_a_trade_from_the_socket_to_the_view_is_measured_without_what_was_stored_before_the_start() {
    let gateway = gateway(roomy(), None).await;
    let ticks = |received_at: Timestamp| {
        let one = Fixed::parse("1").unwrap();
        let mut batch = TickBatch::new(Venue::Binance, "BTCUSDT");
        let row = Trade { trade_id: 1, occurred_at: received_at, received_at, price: one, quantity: one, side: Side::Buy };
        batch.push(&row).unwrap();
        Event::Ticks(batch)
    };
    let now = spark_nats::now();
    let earlier = now - Duration::from_secs(60);
    gateway.app.take_in(vec![(earlier, Ok(ticks(earlier))), (now, Ok(ticks(now - Duration::from_secs(3))))]);
    gateway.app.take_in(vec![(now, Ok(ticks(now + Duration::from_secs(3_600))))]);
    let metrics = get(gateway.address, "/metrics").await.body;
    let labels = "{environment=\"demo\",service=\"gateway\"";
    for (line, why) in [
        ("# TYPE spark_tick_to_view_latency_seconds histogram\n".to_owned(), "declared"),
        (format!("spark_tick_to_view_latency_seconds_bucket{labels},le=\"0.0001\"}} 1\n"), "negative is zero"),
        (format!("spark_tick_to_view_latency_seconds_bucket{labels},le=\"2\"}} 1\n"), "three seconds are more than two"),
        (format!("spark_tick_to_view_latency_seconds_count{labels}}} 2\n"), "what was stored before the start is not counted"),
        (format!("spark_tick_to_view_latency_negative_total{labels}}} 1\n"), "and the negative one is told"),
    ] {
        assert!(metrics.contains(&line), "{why}: {line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn figures_and_series_come_from_the_guardrails_windows() {
    let gateway = gateway(roomy(), None).await;
    let now = spark_nats::now();
    gateway.app.take_in(vec![(now, Ok(windows(now - Duration::from_secs(30)))), (now, Ok(windows(now)))]);
    let figures = get(gateway.address, "/api/tools/get_metrics").await.body;
    assert_eq!(figures, "{\"p95_ms\":212.5,\"staleness_s\":null,\"error_rate\":null}");
    let series = get(gateway.address, "/api/tools/metrics/timeseries?window=5m").await.json();
    let rows = series["data"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{series}");
    assert_eq!(rows[1]["p95_ms"], 212.5);
    assert_eq!(rows[1]["ts"].as_i64().unwrap(), now.as_millis() / 1_000 * 1_000);
    let chart = get(gateway.address, "/api/chart?rule=portfolio_refresh_p95&window=15m").await.json();
    assert_eq!((chart["critical"].as_f64(), chart["series"][0]["scope"]["exchange"].as_str()), (Some(3_000.0), Some("binance")));
}

#[tokio::test]
async fn a_request_that_cannot_be_served_gets_a_problem_document_that_says_what_would_be_right() {
    let gateway = gateway(roomy(), token()).await;
    let bearer = format!("Bearer {TOKEN}");
    let check = async |line: &str, status: u16, slug: &str, says: &str| {
        let answer = request(gateway.address, line, &[("Authorization", &bearer)]).await;
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{line}");
        let problem = answer.json();
        assert_eq!(problem["type"], format!("urn:spark:problem:{slug}"), "{line}");
        assert_eq!(problem["status"], status, "{line}");
        assert!(problem["fix"].as_str().unwrap().contains(says), "{line}: {problem}");
    };
    check("GET /api/tools/metrics/timeseries?window=1", 400, "bad-value", "window=15m").await;
    check("GET /api/tools/metrics/timeseries?window=2w", 400, "bad-value", "window=15m").await;
    check("GET /api/tools/metrics/timeseries?windw=1h", 400, "bad-value", "window, exchange").await;
    check("GET /api/tools/metrics/timeseries?window=1h&window=2h", 400, "bad-value", "once").await;
    check("GET /api/tools/metrics/timeseries?exchange=kraken", 400, "bad-value", "exchange=binance").await;
    check("GET /nothing", 404, "unknown-route", "/api/portfolio").await;
    check("GET /api/nothing", 404, "unknown-route", "/api/portfolio").await;
    check("POST /api/portfolio", 405, "wrong-method", "GET").await;
    check("GET /api/tools/circuit-breaker", 405, "wrong-method", "POST").await;
    check("POST /api/tools/circuit-breaker?state=open", 400, "bad-value", "exchange=binance").await;
    check("POST /api/tools/circuit-breaker?exchange=binance", 400, "bad-value", "state=open").await;
    check("POST /api/tools/circuit-breaker?exchange=binance&state=ajar", 400, "bad-value", "state=auto").await;
    check("POST /api/tools/circuit-breaker?exchange=binance&state=open", 503, "not-confirmed", "try again").await;
    let large = request(gateway.address, "POST /api/tools/circuit-breaker", &[("Content-Length", "99999999")]).await;
    assert_eq!(large.status, 413);
}

#[tokio::test]
async fn commands_need_the_token_and_without_one_configured_they_are_switched_off() {
    const LINE: &str = "POST /api/tools/circuit-breaker?exchange=btcturk&state=open&reason=test";
    let closed = gateway(roomy(), None).await;
    let answer = request(closed.address, LINE, &[("Authorization", "Bearer x")]).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("gateway.admin_token_file") && answer.body.contains("SPARK_ADMIN_TOKEN"), "{}", answer.body);

    let mut open = gateway(roomy(), token()).await;
    open.app.view_mut().set_connected(true);
    for headers in [&[][..], &[("Authorization", "Bearer 0123456789abcdef0123456789abcdeX")], &[("Authorization", TOKEN)]] {
        let answer = request(open.address, LINE, headers).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"spark\"")));
        assert!(!answer.body.contains(TOKEN));
    }
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    let (answer, ()) = tokio::join!(request(open.address, LINE, &headers), async {
        let sent = open.commands.recv().await.unwrap();
        let Outgoing::Breaker(command) = &sent.command else { panic!("{:?}", sent.command) };
        assert_eq!((command.exchange, command.mode), (Venue::Btcturk, BreakerMode::Open));
        assert_eq!((command.actor.as_str(), command.reason.as_str()), ("operator", "test"));
        sent.done.send(Ok(42)).unwrap();
    });
    assert_eq!((answer.status, answer.json()["sequence"].as_u64()), (200, Some(42)), "{}", answer.body);
}

#[tokio::test]
async fn every_answer_carries_security_headers_and_the_page_asks_nothing_of_anybody_else() {
    let config = Config { build_sha: Some("74cb439".into()), ..roomy() };
    let gateway = gateway(config, None).await;
    for path in ["/", "/app.js", "/app.css", "/health", "/api/portfolio", "/nothing"] {
        let answer = get(gateway.address, path).await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("script-src 'self'") && !policy.contains("unsafe"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
    }
    let health = get(gateway.address, "/api/healthz").await;
    assert_eq!(health.header("x-build-sha"), Some("74cb439"));
    assert_eq!(health.json(), serde_json::json!({"ok": true, "buildSha": "74cb439", "version": env!("CARGO_PKG_VERSION")}));
    let page = get(gateway.address, "/").await.body;
    for (index, _) in page.match_indices("src=\"").chain(page.match_indices("href=\"")) {
        let path: String = page[index..].split('"').nth(1).unwrap().to_owned();
        if path.starts_with('/') {
            assert_eq!(get(gateway.address, &path).await.status, 200, "{path}");
        } else {
            assert!(path.starts_with('#'), "the page names {path}");
        }
    }
    assert!(!page.contains("<style") && !page.contains("style=") && !page.contains("onclick"), "the policy forbids inline parts");
}

#[tokio::test]
async fn one_request_too_many_is_told_when_to_come_back_and_health_and_metrics_are_never_limited() {
    let config = Config { rate_per_second: 1, rate_burst: 3, ..Config::default() };
    let gateway = gateway(config, None).await;
    let mut refused = None;
    for sent in 0..20 {
        let answer = get(gateway.address, "/api/prices").await;
        if answer.status == 429 {
            assert!(sent >= 3, "the burst is free");
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("20 requests at 1/s are too many");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(refused.json()["type"], "urn:spark:problem:rate-limit");
    for path in ["/health", "/metrics", "/", "/app.js"] {
        for _ in 0..5 {
            assert_eq!(get(gateway.address, path).await.status, 200, "{path}");
        }
    }
    let metrics = get(gateway.address, "/metrics").await.body;
    assert!(metrics.contains("http_requests_total{environment=\"demo\",service=\"gateway\",code=\"429\"} 1\n"), "{metrics}");
    assert!(metrics.contains("http_request_duration_seconds_bucket{environment=\"demo\",service=\"gateway\",le=\"+Inf\"}"));
}

#[tokio::test]
async fn the_live_stream_begins_with_the_whole_picture_and_goes_on_with_changes() {
    let gateway = gateway(roomy(), None).await;
    let now = spark_nats::now();
    gateway.app.take_in(vec![(now, Ok(quote("100"))), (now, Ok(windows(now)))]);
    let mut live = Live::connect(gateway.address, None).await;
    assert!(live.head.starts_with("HTTP/1.1 200") && live.head.contains("text/event-stream"), "{}", live.head);
    let first = live.next().await.unwrap();
    assert_eq!(first.event, "snapshot");
    assert_eq!(first.data["prices"][0]["bid"], 100);
    assert_eq!(first.data["system"]["status"], "DEGRADED");
    for part in ["portfolio", "alerts", "windows"] {
        assert!(first.data[part].is_object(), "{part}");
    }
    gateway.app.take_in(vec![(now, Ok(alert()))]);
    let event = live.next_of("alert").await;
    assert!(event.id > first.id);
    assert_eq!(event.data["first_action"], "f");
    for bid in 101..=150 {
        gateway.app.take_in(vec![(now, Ok(quote(&bid.to_string())))]);
    }
    let mut events = 0;
    loop {
        let event = live.next_of("prices").await;
        events += 1;
        assert_eq!(event.data["prices"].as_array().unwrap().len(), 1, "one row a symbol");
        if event.data["prices"][0]["bid"] == 150 {
            break;
        }
    }
    assert!(events < 50, "fifty changes at once are not fifty events");
    gateway.app.take_in(vec![(now, Ok(balances(Venue::Binance, Some(now), None))), (now, Ok(windows(now)))]);
    assert_eq!(live.next_of("portfolio").await.data["accounts"][0]["exchange"], "binance");
    assert_eq!(live.next_of("windows").await.data["values"][0]["value"], 212.5);
    assert_eq!(live.next_of("processes").await.data["processes"][0]["presence"], "unknown");
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_nobody_and_gets_the_whole_picture_when_it_reads_again() {
    let gateway = gateway(roomy(), None).await;
    let mut slow = Live::connect(gateway.address, Some(4_096)).await;
    let mut fast = Live::connect(gateway.address, None).await;
    assert_eq!(fast.next().await.unwrap().event, "snapshot");
    let large = "x".repeat(64 * 1_024);
    for number in 0..3 * BACKLOG_MAX {
        gateway.app.hub.send("test", &(number, &large));
        gateway.app.hub.flush();
        let got = fast.next_of("test").await;
        assert_eq!(got.data[0], number, "the fast client misses nothing");
    }
    gateway.app.take_in(vec![(spark_nats::now(), Ok(quote("7")))]);
    assert_eq!(slow.next().await.unwrap().event, "snapshot");
    let resync = slow.next_of("resync").await;
    assert_eq!(resync.data["prices"][0]["bid"], 7, "a resync is the whole picture");
    gateway.app.hub.send("test", &("after", ""));
    assert_eq!(slow.next_of("test").await.data[0], "after", "and the stream goes on");
}

#[tokio::test]
async fn a_client_that_leaves_is_forgotten() {
    let gateway = gateway(roomy(), None).await;
    let live = Live::connect(gateway.address, None).await;
    assert_eq!(gateway.app.hub.clients(), 1);
    drop(live);
    until("no clients", async || match gateway.app.hub.clients() {
        0 => Ok(()),
        clients => Err(format!("{clients} clients")),
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_the_address_and_the_flag() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap();
    let (service, stop, dir) = service_without_broker("taken").await;
    let error = spark_gateway::run(service, Config { listen, ..roomy() }, spark_gateway::Files::default()).await.unwrap_err();
    assert!(matches!(error, Error::Bind { .. }));
    let text = error.to_string();
    assert!(text.contains(&listen.to_string()) && text.contains("--port"), "{text}");
    stop.cancel();
    std::fs::remove_dir_all(dir).unwrap();
}
