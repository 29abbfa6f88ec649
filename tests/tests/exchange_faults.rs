//! An exchange misbehaves: the right alert, for that exchange alone, and the other one is served on.

use std::time::Duration;

use serde_json::{Value, json};
use spark_bus_schema::alerts::{Alert, AlertState};
use spark_bus_schema::subject::{self, FEED, LEDGER};
use spark_bus_schema::telemetry::FeedStatus;
use spark_bus_schema::{Timestamp, Venue};
use spark_nats::{Bus, Delivery, Follower, Start};
use spark_tests::system::System;
use spark_tests::wait::until;

const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");
/// What must happen has happened by then, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// The staleness threshold in [`RULES`].
const STALE_AFTER: Duration = Duration::from_secs(2);

const RULES: &str = r#"
[[rule]]
id = "portfolio_refresh_p95"
alert = "PortfolioRefreshLatencyHighP95"
metric = "refresh_latency_ms"
scope = ["exchange"]
aggregation = "quantile"
quantile = 0.95
window = "5s"
warning = 600
critical = 1200
unit = "ms"
summary = "{exchange} {value}"
cause = "the exchange answers slowly"
first_action = "lengthen the refresh interval"

[[rule]]
id = "ws_staleness"
alert = "WSStaleness"
metric = "market_data"
scope = ["venue"]
aggregation = "staleness"
warning = 2
unit = "s"
summary = "{venue} {value}"
cause = "frozen"
first_action = "look at the feed"
"#;

/// Polls are frequent, windows short; the feed's own time-outs are far longer than the staleness threshold.
async fn start() -> System {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let rules = std::env::temp_dir().join(format!("spark-rules-{}-{number}.toml", std::process::id()));
    std::fs::write(&rules, RULES).expect("rules");
    let config = format!(
        "[guardrail]\nrules = {:?}\n\
         [portfolio.binance]\npoll_interval_ms = 300\nauth_pause_ms_max = 500\n\
         [portfolio.btcturk]\npoll_interval_ms = 300\n\
         [feed.binance]\nidle_timeout_ms = 60000\n[feed.btcturk]\nidle_timeout_ms = 60000\n\
         [gateway]\nrate_per_second = 1000\nrate_burst = 1000\n",
        rules.display().to_string()
    );
    let system = System::start(BINARY, &config, &[]).await;
    until("both exchanges are polled", LIMIT, async || {
        let portfolio = system.json("/api/portfolio").await?;
        let fresh = accounts(&portfolio).iter().filter(|account| account["stale"] == false && account["error"].is_null()).count();
        if fresh == 2 { Ok(()) } else { Err(portfolio.to_string()) }
    })
    .await;
    system
}

fn accounts(portfolio: &Value) -> Vec<&Value> {
    portfolio["accounts"].as_array().map(|all| all.iter().collect()).unwrap_or_default()
}

fn account<'a>(portfolio: &'a Value, exchange: &str) -> &'a Value {
    accounts(portfolio).into_iter().find(|account| account["exchange"] == exchange).unwrap_or(&Value::Null)
}

/// Every alert of this name that was stored, in order.
async fn stored(bus: &Bus, name: &str) -> Vec<(Delivery, Alert)> {
    let subjects = vec![format!("alerts.changed.{name}.>")];
    let mut follower = Follower::start(bus.clone(), &format!("alerts-of-{name}"), LEDGER, subjects, Start::Beginning);
    let mut alerts = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(1), follower.next()).await;
        let Ok(Some(batch)) = next else { return alerts };
        alerts.extend(batch.into_iter().map(|delivery| {
            let alert = delivery.decode::<Alert>().expect("alerts are alerts");
            (delivery, alert)
        }));
    }
}

/// Waits for the newest state of one alert in one scope.
async fn reaches(bus: &Bus, name: &str, scope: &str, state: AlertState) -> (Delivery, Alert) {
    let target = format!("alerts.changed.{name}.{scope}");
    until(&format!("{name} of {scope} becomes {state:?}"), LIMIT, async || {
        let last = bus.last(LEDGER, &target).await.map_err(|error| error.to_string())?;
        let delivery = last.ok_or("nothing was said yet")?;
        let alert = delivery.decode::<Alert>().map_err(|error| error.to_string())?;
        if alert.state == state { Ok((delivery, alert)) } else { Err(format!("{alert:?}")) }
    })
    .await
}

fn assert_nothing_died(system: &System) {
    let run = system.run();
    for (name, process) in run["processes"].as_object().expect("processes") {
        assert_eq!(process["restarts"], 0, "{name} died:\n{}", system.printed());
    }
}

#[tokio::test]
async fn a_slow_exchange_raises_its_latency_alert_and_no_other() {
    let system = start().await;
    let bus = system.bus("operator").await;
    system.fault(json!({"exchange": "binance", "kind": "delay", "ms": 1500, "path": "/api/v3/account"})).await;
    let (_, alert) = reaches(&bus, "PortfolioRefreshLatencyHighP95", "binance", AlertState::Firing).await;
    assert!(alert.value.is_some_and(|value| value > 600.0), "{alert:?}");
    assert!(alert.threshold.is_some() && alert.samples > 0 && alert.window_ms == 5_000, "{alert:?}");
    assert_eq!(
        (alert.cause.as_str(), alert.first_action.as_str()),
        ("the exchange answers slowly", "lengthen the refresh interval")
    );
    until("the API shows it", LIMIT, async || {
        let alerts = system.json("/api/alerts").await?;
        let active = alerts["active"].as_array().cloned().unwrap_or_default();
        let shown =
            active.iter().any(|one| one["name"] == "PortfolioRefreshLatencyHighP95" && one["scope"]["exchange"] == "binance");
        if shown { Ok(()) } else { Err(alerts.to_string()) }
    })
    .await;
    system.clear_faults().await;
    let ended = until("the alert ends", LIMIT, async || {
        let last = bus.last(LEDGER, "alerts.changed.PortfolioRefreshLatencyHighP95.binance").await.ok().flatten();
        let alert = last.and_then(|delivery| delivery.decode::<Alert>().ok()).ok_or("no alert".to_owned())?;
        if alert.state == AlertState::Resolved { Ok(alert) } else { Err(format!("{alert:?}")) }
    })
    .await;
    assert!(ended.revision > alert.revision);
    let others: Vec<Alert> = stored(&bus, "PortfolioRefreshLatencyHighP95")
        .await
        .into_iter()
        .map(|(_, alert)| alert)
        .filter(|alert| alert.scope["exchange"] != "binance" && alert.state == AlertState::Firing)
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert_nothing_died(&system);
}

#[tokio::test]
async fn a_frozen_socket_is_stale_half_a_second_after_the_threshold_though_it_stays_open() {
    let system = start().await;
    let bus = system.bus("operator").await;
    until("btcturk sends", LIMIT, async || newest_market_data(&bus).await.ok_or("nothing yet")).await;
    system.fault(json!({"exchange": "btcturk", "kind": "freeze"})).await;
    let (stored, alert) = reaches(&bus, "WSStaleness", "btcturk", AlertState::Firing).await;
    // The socket is frozen, so what was stored last before the alert is the last thing that came.
    let last = newest_market_data(&bus).await.expect("market data was stored");
    assert!(last < stored.stored_at, "data came after the alert");
    let silence = stored.stored_at.saturating_since(last);
    assert!(silence >= STALE_AFTER, "{silence:?} is too early: {alert:?}");
    assert!(silence <= STALE_AFTER + Duration::from_millis(500), "{silence:?} is too late: {alert:?}");
    let feed = bus.last(FEED, &subject::feed_status(Venue::Btcturk)).await.unwrap().expect("the feed tells its state");
    assert_eq!(feed.decode::<FeedStatus>().unwrap().reconnects, 0, "the connection was never lost");
    let sockets = system.simulator(reqwest::Method::GET, "/sim/state", None).await;
    assert!(sockets.to_string().contains("btcturk"), "{sockets}");

    system.clear_faults().await;
    reaches(&bus, "WSStaleness", "btcturk", AlertState::Resolved).await;
    let binance = bus.last(LEDGER, "alerts.changed.WSStaleness.binance").await.unwrap();
    let fired = binance.is_some_and(|delivery| delivery.decode::<Alert>().unwrap().state == AlertState::Firing);
    assert!(!fired, "binance was not frozen");
    assert_nothing_died(&system);
}

/// When the broker stored the newest trade or quote of `BtcTurk`.
async fn newest_market_data(bus: &Bus) -> Option<Timestamp> {
    let mut newest = None;
    for pattern in ["market.ticks.btcturk.>", "market.quotes.btcturk.>"] {
        let last = bus.last(FEED, pattern).await.ok().flatten();
        newest = newest.max(last.map(|delivery| delivery.stored_at));
    }
    newest
}

#[tokio::test]
async fn a_revoked_key_is_an_auth_error_and_the_other_exchange_is_served_on() {
    let system = start().await;
    system.fault(json!({"exchange": "binance", "kind": "revoke_key"})).await;
    let refused = until("binance is refused", LIMIT, async || {
        let portfolio = system.json("/api/portfolio").await?;
        if account(&portfolio, "binance")["error"]["error_type"] == "auth" { Ok(portfolio) } else { Err(portfolio.to_string()) }
    })
    .await;
    let binance = account(&refused, "binance");
    assert_eq!(binance["stale"], true, "{binance}");
    assert!(binance["balances"].as_array().is_some_and(|rows| !rows.is_empty()), "the last good balances are shown: {binance}");
    until("the metric tells", LIMIT, async || {
        let metrics = system.get("/metrics").await?;
        let lines: Vec<&str> = metrics.lines().filter(|line| line.starts_with("spark_exchange_api_error_total")).collect();
        let told = lines
            .iter()
            .any(|line| line.contains("exchange=\"binance\"") && line.contains("error_type=\"auth\"") && !line.ends_with(" 0"));
        if told { Ok(()) } else { Err(lines.join("\n")) }
    })
    .await;
    let before = account(&refused, "btcturk")["updatedAt"].clone();
    until("btcturk is served on", LIMIT, async || {
        let portfolio = system.json("/api/portfolio").await?;
        let btcturk = account(&portfolio, "btcturk");
        let served = btcturk["error"].is_null() && btcturk["updatedAt"] != before;
        if served { Ok(()) } else { Err(portfolio.to_string()) }
    })
    .await;
    system.clear_faults().await;
    until("binance is back", LIMIT, async || {
        let portfolio = system.json("/api/portfolio").await?;
        let binance = account(&portfolio, "binance");
        if binance["error"].is_null() && binance["stale"] == false { Ok(()) } else { Err(binance.to_string()) }
    })
    .await;
    assert_nothing_died(&system);
    // No key and no secret of the demo is in any log.
    for entry in std::fs::read_dir(system.data().join("logs")).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        assert!(!text.contains("SecretReadOnly"), "{} holds a secret", entry.path().display());
    }
}

#[tokio::test]
async fn reading_goes_on_and_says_degraded_while_the_broker_and_each_process_is_down() {
    let system = start().await;
    for victim in ["feed", "portfolio", "guardrail", "nats-server"] {
        let pid = system.pid(victim).await;
        // Stopped, not killed: it stays down until it is woken.
        let sleeper = if victim == "nats-server" { spark_tests::system::child_of(pid).unwrap_or(pid) } else { pid };
        spark_tests::system::signal(sleeper, "STOP");
        until(&format!("DEGRADED without {victim}"), LIMIT, async || {
            let status = system.json("/api/public/metrics").await?;
            if status["status"] == "DEGRADED" { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        for path in [
            "/health",
            "/api/healthz",
            "/api/portfolio",
            "/api/alerts",
            "/api/public/alert/last",
            "/api/public/metrics.prom",
            "/metrics",
        ] {
            system.get(path).await.unwrap_or_else(|error| panic!("without {victim}: {error}"));
        }
        spark_tests::system::signal(sleeper, "CONT");
        until(&format!("all is well again after {victim}"), LIMIT, async || {
            let status = system.json("/api/public/metrics").await?;
            if status["status"] == "DEMO" { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }
}
