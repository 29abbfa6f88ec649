//! Outages inside: the broker or any process gone. Reading goes on and says what is missing, and all comes back by itself.

mod demo;

use std::time::Duration;

use demo::{LIMIT, account, config, reasons, refreshed, restarts, settled, start};
use spark_bus_schema::Venue;
use spark_bus_schema::subject::{self, FEED};
use spark_bus_schema::telemetry::Windows;
use spark_tests::stored;
use spark_tests::system::{System, signal};
use spark_tests::wait::until;

/// A process that was killed stays away for so long: longer than it takes to be missed.
const RESTART_PAUSE: Duration = Duration::from_secs(12);

/// Waits until the page says `DEGRADED` with this among the reasons; what was last known is still served.
async fn degraded(system: &System, reason: &str) {
    until(&format!("DEGRADED because of {reason:?}"), LIMIT, async || {
        let reasons = reasons(system).await?;
        if reasons.contains("DEGRADED") && reasons.contains(reason) { Ok(()) } else { Err(reasons) }
    })
    .await;
    for exchange in ["binance", "btcturk"] {
        let account = account(system, exchange).await.expect("the portfolio is served");
        assert!(account["balances"].as_array().is_some_and(|rows| !rows.is_empty()), "{account}");
    }
    for path in ["/health", "/api/healthz", "/api/alerts", "/api/prices", "/metrics"] {
        system.get(path).await.expect("reading works");
    }
}

/// Process id of the broker's server, which runs under a launcher.
fn server(system: &System) -> u32 {
    let tree = system.tree();
    let found = tree.iter().find(|(_, line)| line.contains("/nats-server --config"));
    found.unwrap_or_else(|| panic!("no server in {tree:?}")).0
}

#[tokio::test]
async fn with_the_broker_hung_or_dead_reading_works_and_says_degraded() {
    let system = start(&config(None)).await;
    // Hung: connections stay open and nothing comes.
    let hung = server(&system);
    signal(hung, "STOP");
    degraded(&system, "").await;
    signal(hung, "CONT");
    settled(&system).await;
    refreshed(&system, "binance").await;
    assert_eq!(restarts(&system), 0, "{}", system.run());
    // Dead: with its launcher held, nobody starts it again yet.
    let launcher = system.pid("nats-server").await;
    signal(launcher, "STOP");
    signal(server(&system), "KILL");
    degraded(&system, "broker: not connected").await;
    signal(launcher, "CONT");
    settled(&system).await;
    refreshed(&system, "btcturk").await;
    assert!(system.run()["processes"]["nats-server"]["restarts"].as_u64() >= Some(1), "{}", system.run());
}

/// Trades of both venues are stored from now on, and counted.
async fn trades_go_on(system: &System) {
    let since = spark_nats::now();
    let bus = system.bus("operator").await;
    let counted = async || stored::last::<Windows>(&bus, FEED, subject::WINDOWS).await.map(|windows| windows.trades_counted);
    let before = until("the guardrail counts", LIMIT, &counted).await;
    for (venue, symbol) in [(Venue::Binance, "BTCUSDT"), (Venue::Btcturk, "BTCTRY")] {
        let target = subject::ticks(venue, symbol);
        until(&format!("{target} goes on"), LIMIT, async || {
            let newest = bus.last(FEED, &target).await.map_err(|error| error.to_string())?;
            let newest = newest.map(|delivery| delivery.stored_at);
            let (key, now) = (format!("{venue}.{symbol}"), counted().await?);
            let goes_on = newest > Some(since) && now.get(&key) > before.get(&key);
            if goes_on { Ok(()) } else { Err(format!("newest {newest:?}, counted {now:?} after {before:?}")) }
        })
        .await;
    }
}

/// Kills processes one after the other: each is named while it is away, and all is well again afterwards.
async fn kill_each(processes: &[&str]) {
    let pause = RESTART_PAUSE.as_millis();
    let supervisor = format!("[supervisor]\nrestart_pause_ms = {pause}\nrestart_pause_max_ms = {pause}\n");
    let system = start(&(config(None) + &supervisor)).await;
    for process in processes {
        signal(system.pid(process).await, "KILL");
        degraded(&system, &format!("{process}: no heartbeat for")).await;
        system.pid(process).await;
        settled(&system).await;
        trades_go_on(&system).await;
    }
    refreshed(&system, "binance").await;
    refreshed(&system, "btcturk").await;
    assert_eq!(restarts(&system), processes.len() as u64, "{}", system.run());
}

#[tokio::test]
async fn without_the_feed_or_the_portfolio_the_page_says_so_and_they_come_back() {
    kill_each(&["feed", "portfolio"]).await;
}

#[tokio::test]
async fn without_the_guardrail_or_the_exchanges_the_page_says_so_and_they_come_back() {
    kill_each(&["guardrail", "exchange-sim"]).await;
}

#[tokio::test]
async fn the_gateway_comes_back_with_the_whole_picture() {
    let system = start(&config(None)).await;
    let before = account(&system, "binance").await.expect("an answer");
    system.kill("gateway").await;
    settled(&system).await;
    let after = account(&system, "binance").await.expect("an answer");
    assert_eq!(after["balances"].as_array().map(Vec::len), before["balances"].as_array().map(Vec::len), "{after}");
    assert_eq!(restarts(&system), 1, "{}", system.run());
}
