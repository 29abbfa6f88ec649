//! The smoke check: six questions to the gateway, as a person would ask them, and one text that says what came of it.
//!
//! | check | source | good when |
//! |---|---|---|
//! | `portfolio_answers` | `GET /api/portfolio` | the status is 200 |
//! | `accounts` | the same answer | at least one account that was ever read, and a total above 0 USD |
//! | `metrics` | `GET /metrics` | every family of [`FAMILIES`] has a sample |
//! | `p95` | `GET /api/tools/get_metrics`, `p95_ms` of the worst exchange | below [`P95_MS_LIMIT`] |
//! | `staleness` | the same, `staleness_s` | below [`STALENESS_S_LIMIT`] |
//! | `error_rate` | the same, `error_rate` | below [`ERROR_RATE_LIMIT`] |
//!
//! It passes with [`PASS_AT`] good ones. A figure that nobody knows is not good: what is silent is not well. Uptime is shown
//! and decides nothing. [`look`] asks, [`judge`] decides; [`check`] is both.

mod judge;
mod look;
#[cfg(test)]
mod tests;
mod uptime;

use spark_bus_schema::Timestamp;
pub use spark_bus_schema::smoke::{PASS_AT, Smoke, SmokeCheck};

pub use judge::judge;
pub use look::{Answer, Seen, look};
pub use uptime::uptime;

/// Refresh latency, p95 of the worst exchange, ms: below this is good.
pub const P95_MS_LIMIT: f64 = 1_500.0;
/// Age of the balances of the worst exchange, s: below this is good.
pub const STALENESS_S_LIMIT: f64 = 60.0;
/// Failed calls a second of the worst exchange: below this is good.
pub const ERROR_RATE_LIMIT: f64 = 0.01;
/// The metrics that must have a sample.
pub const FAMILIES: [&str; 4] = [
    "spark_portfolio_refresh_latency_ms",
    "spark_portfolio_total_value_usd",
    "spark_portfolio_asset_count",
    "spark_portfolio_last_update_timestamp",
];

/// Why there is no outcome at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens there. A gateway that answers badly, or not in time, is an outcome and no error.
    #[error("no gateway answers at {base_url}")]
    NoGateway {
        /// Where it was looked for.
        base_url: String,
        /// What the connection said.
        #[source]
        source: reqwest::Error,
    },
}

/// Asks the gateway at `base_url` (`http://127.0.0.1:4001`) and decides. `uptime` is the share of the last 24 h in which every
/// process was heard of, 0 to 1, where it is known; `at` is when it is asked.
///
/// # Errors
/// See [`Error`].
pub async fn check(
    client: &reqwest::Client,
    base_url: &str,
    uptime: Option<f64>,
    actor: &str,
    at: Timestamp,
) -> Result<Smoke, Error> {
    let base_url = base_url.trim_end_matches('/');
    Ok(judge(&look(client, base_url).await?, base_url, uptime, actor, at))
}
