//! The demo with polls of a test's pace, and what the page says of it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use spark_tests::system::System;
use spark_tests::wait::until;

/// Whatever is waited for comes within this time, also on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);
const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");

/// A configuration: polls twice a second, a breaker that tries again soon, and a gateway that does not mind being asked often.
pub fn config(rules: Option<&Path>) -> String {
    let exchange = |name: &str| {
        format!(
            "[portfolio.{name}]\npoll_interval_ms = 500\nauth_pause_ms_max = 1000\nper_minute = 5000\n\
             [portfolio.{name}.breaker]\nopen_ms = 500\n"
        )
    };
    let rules = rules.map(|path| format!("[guardrail]\nrules = {:?}\n", path.display().to_string())).unwrap_or_default();
    let gateway = "[gateway]\nrate_per_second = 1000\nrate_burst = 1000\n";
    format!("{}{}{gateway}{rules}", exchange("binance"), exchange("btcturk"))
}

/// Starts it and waits until all is well.
pub async fn start(config: &str) -> System {
    let system = System::start(BINARY, config, &[]).await;
    settled(&system).await;
    system
}

/// Waits until the page says `DEMO`, all markets have prices and both exchanges are served.
pub async fn settled(system: &System) {
    until("all is well", LIMIT, async || {
        let metrics = system.json("/api/public/metrics").await?;
        if metrics["status"] != "DEMO" {
            return Err(metrics.to_string());
        }
        for exchange in ["binance", "btcturk"] {
            let account = account(system, exchange).await?;
            if !is_fresh(&account) {
                return Err(account.to_string());
            }
        }
        let prices = system.json("/api/prices").await?;
        let rows = prices["prices"].as_array().map_or(0, Vec::len);
        if rows >= 4 { Ok(()) } else { Err(prices.to_string()) }
    })
    .await;
}

/// An exchange's row of `/api/portfolio`.
pub async fn account(system: &System, exchange: &str) -> Result<Value, String> {
    let portfolio = system.json("/api/portfolio").await?;
    let found = portfolio["accounts"].as_array().and_then(|rows| rows.iter().find(|row| row["exchange"] == exchange));
    found.cloned().ok_or_else(|| portfolio.to_string())
}

/// Whether a row is of a good poll.
pub fn is_fresh(account: &Value) -> bool {
    account["stale"] == false && account["error"].is_null() && account["updatedAt"].is_string()
}

/// Waits until an exchange was read once more, and returns its row.
pub async fn refreshed(system: &System, exchange: &str) -> Value {
    let before = until("the portfolio answers", LIMIT, async || account(system, exchange).await).await;
    until(&format!("{exchange} is read again"), LIMIT, async || {
        let account = account(system, exchange).await?;
        let again = account["updatedAt"].is_string() && account["updatedAt"] != before["updatedAt"];
        if again { Ok(account) } else { Err(account.to_string()) }
    })
    .await
}

/// The status word and its reasons, as `/api/public/metrics` tells them with status 200.
///
/// # Errors
/// It does not answer so.
pub async fn reasons(system: &System) -> Result<String, String> {
    let metrics = system.json("/api/public/metrics").await?;
    Ok(format!("{} {}", metrics["status"], metrics["reasons"]))
}

/// How often any process was started again.
pub fn restarts(system: &System) -> u64 {
    let run = system.run();
    run["processes"].as_object().map_or(0, |all| all.values().filter_map(|one| one["restarts"].as_u64()).sum())
}
