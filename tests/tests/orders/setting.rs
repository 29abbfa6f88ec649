//! What the tests of the order path have in common.

use std::time::Duration;

use serde_json::json;
use spark_bus_schema::Venue;
use spark_bus_schema::subject::{self, LEDGER};
use spark_tests::orders::Desk;
use spark_tests::system::System;
use spark_tests::wait::until;
use tokio::sync::{Mutex, MutexGuard};

/// Nothing that is waited for takes longer.
pub const LIMIT: Duration = Duration::from_secs(60);

/// No strategies of the demo, no bounds on requests of the one client that a test is. BTCTurk's tickers repeat a price that
/// holds, its book does not: on a market that a test holds still, only the former keep the mark fresh.
pub const QUIET: &str = "[strategy]\nenabled = false\n[feed.btcturk]\nquote_source = \"ticker\"\n[gateway]\nrate_per_second = 100000\nrate_burst = 100000\n";

/// Both exchanges take real orders: those of the simulator.
#[allow(dead_code, reason = "not every test file trades live")]
pub const LIVE: &str = "[executor.binance]\nmode = \"live\"\n[executor.btcturk]\nmode = \"live\"\n";

/// Heavy tests take turns: two cores carry one loaded system, not three.
#[allow(dead_code, reason = "not every test file has heavy tests")]
pub async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// A system with this configuration on top of [`QUIET`], once orders can be taken.
pub async fn system(config: &str) -> System {
    let system = System::start(env!("CARGO_BIN_EXE_spark-under-test"), &format!("{QUIET}{config}"), &[]).await;
    ready(&system).await;
    system
}

/// Waits until risk and executor hold their leases, filters are known, and prices and balances have come.
pub async fn ready(system: &System) {
    let bus = system.bus("operator").await;
    until("every part of the order path is there", LIMIT, async || {
        let prices = system.json("/api/prices").await?.to_string();
        let limits = system.json("/api/exec/limits").await?;
        let reconciliation = system.json("/api/exec/reconciliation").await?.to_string();
        let portfolio = system.json("/api/portfolio").await?;
        let seen = format!("{prices:.300} {limits} {reconciliation:.600} {}", portfolio["totals"]);
        let priced = prices.contains("BTCUSDT") && prices.contains("BTCTRY");
        let compared = ["binance", "btcturk"].iter().all(|venue| reconciliation.contains(venue));
        for venue in [Venue::Binance, Venue::Btcturk] {
            let filters = bus.last(LEDGER, &subject::instruments(venue)).await.map_err(|error| error.to_string())?;
            filters.ok_or_else(|| format!("no filters of {venue}"))?;
        }
        let is_ready = priced && compared && portfolio["accounts"].as_array().is_some_and(|accounts| accounts.len() == 2);
        if is_ready { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// Holds a market still at these prices, with as much as anyone could want on both sides.
pub async fn pin(system: &System, exchange: &str, symbol: &str, bid: &str, ask: &str) {
    let body = json!({
        "exchange": exchange, "symbol": symbol, "bid": bid, "bid_size": "1000000", "ask": ask, "ask_size": "1000000",
    });
    system.simulator(reqwest::Method::POST, "/sim/market", Some(body)).await;
}

/// The desk of a system.
pub fn desk(system: &System) -> Desk {
    Desk::of(system)
}
