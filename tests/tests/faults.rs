//! Faults of the exchanges, end to end: seen where they are, told with figures, and none of the other exchange's business.

mod demo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use demo::{LIMIT, account, config, is_fresh, reasons, refreshed, restarts, settled, start};
use serde_json::{Value, json};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::market::{QuoteBatch, TickBatch};
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::subject::{self, FEED, LEDGER};
use spark_bus_schema::telemetry::{Call, FeedState, FeedStatus, REFRESH};
use spark_bus_schema::{Timestamp, Venue};
use spark_nats::Bus;
use spark_tests::system::System;
use spark_tests::wait::until;
use spark_tests::{rules, stored};

/// How much later than its threshold an alert may be stored; the issue's own figure.
const ALERT_DELAY_MAX: Duration = Duration::from_millis(500);

fn rules_file(name: &str, changes: &[(&str, &str, &str)]) -> PathBuf {
    rules::shipped_with(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), changes)
}

fn scope(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Waits until the newest stored alert of a scope is as wanted.
async fn alert(bus: &Bus, name: &str, scope: &BTreeMap<String, String>, state: AlertState, severity: Option<Severity>) -> Alert {
    let target = subject::alert(name, scope);
    until(&format!("{target} is {state:?} {severity:?}"), LIMIT, async || {
        let newest: Alert = stored::last(bus, LEDGER, &target).await?;
        let wanted = newest.state == state && newest.severity == severity;
        if wanted { Ok(newest) } else { Err(format!("{newest:?}")) }
    })
    .await
}

/// The row of an alert in one of the lists of `/api/alerts`.
fn row<'a>(alerts: &'a Value, list: &str, name: &str, exchange: &str) -> Option<&'a Value> {
    alerts[list].as_array()?.iter().find(|row| row["name"] == name && row["scope"]["exchange"] == exchange)
}

/// What an alert must tell, in the message and on `/api/alerts` alike.
fn check_latency_alert(alert: &Alert, row: &Value, threshold: f64) {
    let value = alert.value.expect("a value");
    assert!(value > threshold && value < 10_000.0, "{alert:?}");
    assert_eq!((alert.threshold, alert.window_ms, alert.unit.as_str()), (Some(threshold), 8_000, "ms"), "{alert:?}");
    assert!(alert.samples >= 1, "{alert:?}");
    for text in [&alert.summary, &alert.cause, &alert.first_action] {
        assert!(!text.is_empty() && !text.contains('{'), "{text:?} in {alert:?}");
    }
    assert!(alert.summary.contains("binance") && alert.cause.contains("binance"), "{alert:?}");
    let shown = serde_json::to_value(alert).expect("JSON");
    for key in ["value", "threshold", "window_ms", "samples", "cause", "first_action", "severity", "state"] {
        assert_eq!(row[key], shown[key], "{key} in {row}");
    }
}

#[tokio::test]
async fn latency_of_one_exchange_raises_its_alert_alone_and_resolves() {
    const NAME: &str = "PortfolioRefreshLatencyHighP95";
    // Thresholds as shipped; a window of seconds, so that the slow refreshes leave it soon.
    let rules = rules_file("latency.toml", &[("portfolio_refresh_p95", "window", "\"8s\"")]);
    let system = start(&config(Some(&rules))).await;
    let bus = system.bus("operator").await;
    let binance = scope(&[("exchange", "binance")]);
    for (ms, severity, threshold) in [(2_000, Severity::Warning, 1_500.0), (3_600, Severity::Critical, 3_000.0)] {
        system.clear_faults().await;
        system.fault(json!({"exchange": "binance", "kind": "delay", "path": "/api/v3/account", "ms": ms})).await;
        let told = alert(&bus, NAME, &binance, AlertState::Firing, Some(severity)).await;
        until("/api/alerts shows it", LIMIT, async || {
            let alerts = system.json("/api/alerts").await?;
            let row = row(&alerts, "active", NAME, "binance").filter(|row| row["revision"] == told.revision);
            let row = row.ok_or_else(|| alerts.to_string())?;
            check_latency_alert(&told, row, threshold);
            Ok::<_, String>(())
        })
        .await;
    }
    system.clear_faults().await;
    alert(&bus, NAME, &binance, AlertState::Resolved, None).await;
    until("/api/alerts shows the end", LIMIT, async || {
        let alerts = system.json("/api/alerts").await?;
        let newest = row(&alerts, "recent", NAME, "binance");
        let over = row(&alerts, "active", NAME, "binance").is_none() && newest.is_some_and(|row| row["state"] == "resolved");
        if over { Ok(()) } else { Err(alerts.to_string()) }
    })
    .await;
    let told: Vec<(Timestamp, Alert)> = stored::all(&bus, LEDGER, &[subject::ALERTS]).await;
    let told: Vec<&Alert> = told.iter().map(|(_, alert)| alert).filter(|alert| alert.name == NAME).collect();
    assert!(told.iter().all(|alert| alert.scope == binance), "the other exchange was alerted too: {told:?}");
    let revisions: Vec<u64> = told.iter().map(|alert| alert.revision).collect();
    assert_eq!(revisions, (1..=told.len() as u64).collect::<Vec<_>>(), "{told:?}");
}

/// Sockets of Binance that are open, and that ever were.
async fn sockets(system: &System) -> (u64, u64) {
    let state = system.simulator(reqwest::Method::GET, "/sim/state", None).await;
    let binance = &state["exchanges"]["binance"];
    (binance["sockets"].as_u64().expect("sockets"), binance["sockets_opened"].as_u64().expect("sockets_opened"))
}

/// When market data of Binance was stored, with its symbol, in order.
async fn market_data(bus: &Bus) -> Vec<(Timestamp, String)> {
    let ticks: Vec<(Timestamp, TickBatch)> = stored::all(bus, FEED, &["market.ticks.binance.>"]).await;
    let quotes: Vec<(Timestamp, QuoteBatch)> = stored::all(bus, FEED, &["market.quotes.binance.>"]).await;
    let ticks = ticks.into_iter().map(|(at, batch)| (at, batch.symbol));
    let mut all: Vec<_> = ticks.chain(quotes.into_iter().map(|(at, batch)| (at, batch.symbol))).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_frozen_socket_raises_staleness_within_half_a_second_of_the_threshold_and_resolves() {
    const NAME: &str = "WSStaleness";
    // The feed itself would notice after 45 s of silence: it is the guardrail that tells.
    let limits = ["ws_staleness", "ws_staleness_venue"].map(|rule| [(rule, "warning", "2"), (rule, "critical", "4")]).concat();
    let system = start(&config(Some(&rules_file("staleness.toml", &limits)))).await;
    let bus = system.bus("operator").await;
    let scopes = [scope(&[("venue", "binance")]), scope(&[("venue", "binance"), ("symbol", "BTCUSDT")])];
    let before = sockets(&system).await;
    assert!(before.0 > 0, "{before:?}");
    let froze_at = spark_nats::now();
    system.fault(json!({"exchange": "binance", "kind": "freeze"})).await;
    for severity in [Severity::Warning, Severity::Critical] {
        for scope in &scopes {
            alert(&bus, NAME, scope, AlertState::Firing, Some(severity)).await;
        }
        assert_eq!(sockets(&system).await, before, "the connection is as it was");
    }
    system.clear_faults().await;
    for scope in &scopes {
        alert(&bus, NAME, scope, AlertState::Resolved, None).await;
    }
    assert_eq!(sockets(&system).await, before, "data came again on the connection that had been frozen");

    // Measured by the broker's clock: from the last data stored before an alert to the alert.
    let data = market_data(&bus).await;
    let told: Vec<(Timestamp, Alert)> = stored::all(&bus, LEDGER, &[subject::ALERTS]).await;
    let fired = told.iter().filter(|(at, alert)| {
        *at > froze_at && alert.name == NAME && alert.state == AlertState::Firing && alert.scope["venue"] == "binance"
    });
    let mut measured = 0;
    for (stored_at, alert) in fired {
        let symbol = alert.scope.get("symbol");
        let newest = data.iter().rfind(|(at, of)| at < stored_at && symbol.is_none_or(|symbol| symbol == of));
        let (newest, _) = newest.unwrap_or_else(|| panic!("no data before {alert:?}"));
        let late = stored_at.saturating_since(*newest);
        let threshold = Duration::from_secs_f64(alert.threshold.expect("a threshold"));
        assert!(late > threshold && late <= threshold + ALERT_DELAY_MAX, "{late:?} after the last data: {alert:?}");
        assert!(alert.value.is_some_and(|value| (value - late.as_secs_f64()).abs() < 0.5), "{late:?}: {alert:?}");
        measured += 1;
    }
    assert!(measured >= 2 * scopes.len(), "{measured} alerts in {told:?}");
}

/// Values of `spark_exchange_api_error_total` by exchange and type.
async fn errors(system: &System) -> BTreeMap<(String, String), f64> {
    let text = system.get("/metrics").await.expect("/metrics answers");
    let label = |line: &str, name: &str| Some(line.split(&format!("{name}=\"")).nth(1)?.split('"').next()?.to_owned());
    text.lines()
        .filter(|line| line.starts_with("spark_exchange_api_error_total{"))
        .filter_map(|line| {
            let value = line.rsplit_once(' ')?.1.parse().ok()?;
            Some(((label(line, "exchange")?, label(line, "error_type")?), value))
        })
        // Series begin at zero.
        .filter(|(_, count)| *count > 0.0)
        .collect()
}

/// Waits until an exchange's row has an error of this type, and the last good balances marked stale.
async fn failing(system: &System, exchange: &str, error_type: &str) {
    until(&format!("{exchange} shows {error_type}"), LIMIT, async || {
        let account = account(system, exchange).await?;
        let shown = account["error"]["error_type"] == error_type
            && account["stale"] == true
            && account["updatedAt"].is_string()
            && account["balances"].as_array().is_some_and(|rows| !rows.is_empty());
        if shown { Ok(()) } else { Err(account.to_string()) }
    })
    .await;
}

/// The other exchange is read again and again, each time without an error.
async fn served(system: &System, exchange: &str) {
    for _ in 0..3 {
        let account = refreshed(system, exchange).await;
        assert!(is_fresh(&account), "{account}");
    }
}

/// No call to BtcTurk failed, from the start on.
async fn check_untouched(system: &System, bus: &Bus) {
    let calls: Vec<(Timestamp, Call)> = stored::all(bus, FEED, &[&subject::calls(Venue::Btcturk)]).await;
    let failed: Vec<&Call> = calls.iter().map(|(_, call)| call).filter(|call| !call.ok).collect();
    assert!(!calls.is_empty() && failed.is_empty(), "{failed:?}");
    let errors = errors(system).await;
    assert!(errors.keys().all(|(exchange, _)| exchange != "btcturk"), "{errors:?}");
    let polls: Vec<(Timestamp, Balances)> = stored::all(bus, LEDGER, &[&subject::balances(Venue::Btcturk)]).await;
    assert!(polls.iter().all(|(_, poll)| poll.error.is_none() && !poll.stale), "{polls:?}");
}

#[tokio::test]
async fn a_revoked_key_is_an_auth_error_of_its_exchange_and_nothing_crashes() {
    let system = start(&config(None)).await;
    let bus = system.bus("operator").await;
    system.fault(json!({"exchange": "binance", "kind": "revoke_key"})).await;
    failing(&system, "binance", "auth").await;
    served(&system, "btcturk").await;
    until("the error is counted", LIMIT, async || {
        let errors = errors(&system).await;
        let auth = errors.get(&("binance".to_owned(), "auth".to_owned())).copied();
        if auth.is_some_and(|count| count >= 1.0) { Ok(()) } else { Err(format!("{errors:?}")) }
    })
    .await;
    let reasons = reasons(&system).await.expect("an answer");
    assert!(reasons.contains("DEGRADED") && reasons.contains("binance: balances cannot be read (auth)"), "{reasons}");
    check_untouched(&system, &bus).await;
    system.clear_faults().await;
    refreshed(&system, "binance").await;
    settled(&system).await;
    assert_eq!(restarts(&system), 0, "{}", system.run());
}

#[tokio::test]
async fn refusals_and_outages_of_one_exchange_leave_the_other_alone() {
    const RETRY_AFTER_S: u64 = 2;
    let system = start(&config(None)).await;
    let bus = system.bus("operator").await;
    let busy = json!({"exchange": "binance", "kind": "status", "code": 429, "retry_after": RETRY_AFTER_S,
        "path": "/api/v3/account"});
    system.fault(busy).await;
    failing(&system, "binance", "ratelimit").await;
    served(&system, "btcturk").await;
    system.clear_faults().await;
    refreshed(&system, "binance").await;
    // While the exchange asks to wait, it is not asked.
    let calls: Vec<(Timestamp, Call)> = stored::all(&bus, FEED, &[&subject::calls(Venue::Binance)]).await;
    let refused: Vec<Timestamp> = calls
        .iter()
        .filter(|(_, call)| call.http_status == Some(429) && call.operation != REFRESH)
        .map(|(_, call)| call.started_at)
        .collect();
    assert!(refused.len() >= 2, "{calls:?}");
    let gap_min = refused.windows(2).map(|pair| pair[1].saturating_since(pair[0])).min();
    assert!(gap_min >= Some(Duration::from_secs(RETRY_AFTER_S)), "{gap_min:?} between {refused:?}");

    for code in [500, 503] {
        system.fault(json!({"exchange": "binance", "kind": "status", "code": code, "body": "<html>down</html>"})).await;
        failing(&system, "binance", "server").await;
        served(&system, "btcturk").await;
        system.clear_faults().await;
        refreshed(&system, "binance").await;
    }
    let errors = errors(&system).await;
    for error_type in ["ratelimit", "server"] {
        assert!(errors.contains_key(&("binance".to_owned(), error_type.to_owned())), "{errors:?}");
    }
    check_untouched(&system, &bus).await;
    settled(&system).await;
    assert_eq!(restarts(&system), 0, "{}", system.run());
}

#[tokio::test]
async fn a_skewed_clock_of_an_exchange_is_corrected_and_balances_keep_coming() {
    let system = start(&config(None)).await;
    let bus = system.bus("operator").await;
    // Far beyond what a signed request may be off; then the other way round; then right again.
    for skews in [[("binance", 8_000), ("btcturk", -60_000)], [("binance", -8_000), ("btcturk", 60_000)]] {
        for (exchange, ms) in skews {
            system.fault(json!({"exchange": exchange, "kind": "clock_skew", "ms": ms})).await;
        }
        for (exchange, _) in skews {
            served(&system, exchange).await;
        }
        system.clear_faults().await;
        for (exchange, _) in skews {
            served(&system, exchange).await;
        }
    }
    for venue in [Venue::Binance, Venue::Btcturk] {
        let calls: Vec<(Timestamp, Call)> = stored::all(&bus, FEED, &[&subject::calls(venue)]).await;
        let refused = calls.iter().filter(|(_, call)| !call.ok).count();
        // Each of the four jumps was noticed by a refusal, unless a regular look at the clock came first.
        assert!(refused >= 2, "{venue} never refused a timestamp: {calls:?}");
        let polls: Vec<(Timestamp, Balances)> = stored::all(&bus, LEDGER, &[&subject::balances(venue)]).await;
        let failed: Vec<_> = polls.iter().filter_map(|(_, poll)| poll.error.as_ref()).collect();
        assert!(failed.is_empty(), "{venue}: {failed:?}");
    }
    assert_eq!(restarts(&system), 0, "{}", system.run());
}

/// Trade ids of Binance's BTCUSDT in the order of FEED.
async fn trade_ids(bus: &Bus) -> Vec<u64> {
    let batches: Vec<(Timestamp, TickBatch)> = stored::all(bus, FEED, &[&subject::ticks(Venue::Binance, "BTCUSDT")]).await;
    batches.into_iter().flat_map(|(_, batch)| batch.trade_id).collect()
}

#[tokio::test]
async fn after_cut_sockets_and_skipped_frames_no_trade_is_missing() {
    let system = start(&config(None)).await;
    let bus = system.bus("operator").await;
    let status = async || stored::last::<FeedStatus>(&bus, FEED, &subject::feed_status(Venue::Binance)).await;
    // Frames that the exchange never sent on an open connection …
    system.fault(json!({"exchange": "binance", "kind": "skip", "stream": "btcusdt@trade", "n": 25})).await;
    until("the skipped trades are fetched", LIMIT, async || {
        let status = status().await?;
        let filled = status.trades_filled >= 25 && status.state == FeedState::Live;
        if filled { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    // … and those of the time without a connection.
    for round in 1..=2 {
        system.fault(json!({"exchange": "binance", "kind": "cut", "for_ms": 1_500})).await;
        until("the feed connects again", LIMIT, async || {
            let status = status().await?;
            let back = status.reconnects >= round && status.state == FeedState::Live;
            if back { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }
    system.clear_faults().await;
    let newest = async || {
        let state = system.simulator(reqwest::Method::GET, "/sim/state", None).await;
        let markets = state["exchanges"]["binance"]["markets"].as_array().expect("markets").clone();
        let market = markets.iter().find(|market| market["symbol"] == "BTCUSDT").expect("BTCUSDT");
        market["last_trade_id"].as_u64().expect("an id")
    };
    let want = newest().await;
    until("trades after the faults are stored", LIMIT, async || {
        let got: TickBatch = stored::last(&bus, FEED, &subject::ticks(Venue::Binance, "BTCUSDT")).await?;
        let last = got.trade_id.last().copied().unwrap_or(0);
        if last >= want { Ok(()) } else { Err(format!("{last} of {want}")) }
    })
    .await;
    let ids = trade_ids(&bus).await;
    let breaks: Vec<_> = ids.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(ids.len() > 25 && breaks.is_empty(), "{} ids; not followed by the next: {breaks:?}", ids.len());
    settled(&system).await;
    assert_eq!(restarts(&system), 0, "{}", system.run());
}
