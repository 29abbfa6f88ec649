//! How one exchange's REST interface is reached and how hard.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;

use crate::breaker::BreakerConfig;
use crate::retry::RetryConfig;

/// Settings of one exchange's client. What is not set has the exchange's own default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// `https://api.binance.com`, `https://api.btcturk.com`, or the simulator's address. No path, no trailing slash needed.
    pub base_url: Option<String>,
    /// BTCTurk alone: host of the candles, default `https://graph-api.btcturk.com`; with a `base_url` of its own it is that.
    pub graph_url: Option<String>,
    /// Most time one try may take, from connecting to the last byte, ms. Default 5 000.
    pub timeout_ms: u64,
    /// Most bytes (after decompression) of one answer; a longer one is a parse error. Default 16 MiB: Binance's
    /// `exchangeInfo` of all symbols has about 10.
    pub body_bytes_max: usize,
    /// Allowance: weight a minute at Binance (default 1 200), calls a minute at BTCTurk (default 600).
    pub per_minute: Option<u32>,
    /// Binance alone: how old a signed request may be when it arrives, ms. Default 5 000, at most 60 000.
    pub recv_window_ms: u64,
    /// Circuit breaker.
    pub breaker: BreakerConfig,
    /// Retries.
    pub retry: RetryConfig,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            base_url: None,
            graph_url: None,
            timeout_ms: 5_000,
            body_bytes_max: 16 * 1024 * 1024,
            per_minute: None,
            recv_window_ms: 5_000,
            breaker: BreakerConfig::default(),
            retry: RetryConfig::default(),
        }
    }
}

impl ApiConfig {
    /// The defaults with another address.
    #[must_use]
    pub fn at(base_url: impl Into<String>) -> Self {
        Self { base_url: Some(base_url.into()), ..Self::default() }
    }

    /// Where `venue` is called.
    #[must_use]
    pub fn base_url(&self, venue: Venue) -> &str {
        let default = match venue {
            Venue::Btcturk => "https://api.btcturk.com",
            Venue::Binance | Venue::Bist => "https://api.binance.com",
        };
        self.base_url.as_deref().unwrap_or(default).trim_end_matches('/')
    }

    /// Where BTCTurk's candles are.
    #[must_use]
    pub fn graph_url(&self) -> &str {
        let default = self.base_url.as_deref().unwrap_or("https://graph-api.btcturk.com");
        self.graph_url.as_deref().unwrap_or(default).trim_end_matches('/')
    }

    /// The allowance of `venue`.
    #[must_use]
    pub fn per_minute(&self, venue: Venue) -> u32 {
        self.per_minute.unwrap_or(match venue {
            Venue::Btcturk => 600,
            Venue::Binance | Venue::Bist => 1_200,
        })
    }

    /// Most time for one try.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// What is wrong with it, one sentence a key that names key, value and fix; `prefix` is the section's path.
    #[must_use]
    pub fn problems(&self, prefix: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (key, url) in [("base_url", &self.base_url), ("graph_url", &self.graph_url)] {
            if let Some(problem) = url.as_deref().and_then(url_problem) {
                // An address with a password in it must not be repeated into a log.
                let shown = url.as_deref().filter(|url| !url.contains('@')).unwrap_or("(not shown)");
                problems.push(format!("{prefix}.{key} = {shown:?}: {problem}"));
            }
        }
        range(&mut problems, prefix, "timeout_ms", self.timeout_ms, 10, 120_000, 5_000);
        range(&mut problems, prefix, "body_bytes_max", self.body_bytes_max as u64, 1_024, 256 * 1024 * 1024, 16 * 1024 * 1024);
        range(&mut problems, prefix, "recv_window_ms", self.recv_window_ms, 100, 60_000, 5_000);
        if let Some(per_minute) = self.per_minute {
            range(&mut problems, prefix, "per_minute", per_minute.into(), 1, 1_000_000, 600);
        }
        problems.extend(self.breaker.problems(&format!("{prefix}.breaker")));
        problems.extend(self.retry.problems(&format!("{prefix}.retry")));
        problems
    }
}

/// A key that is sent in clear text over a network can be read on the way; a loopback address has no way, and a bare host
/// name or a private address is the simulator in a neighbouring container.
pub(crate) fn url_problem(url: &str) -> Option<&'static str> {
    let Ok(parsed) = reqwest::Url::parse(url) else {
        return Some("not an address; write it like \"https://api.binance.com\" or \"http://127.0.0.1:9101\"");
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Some("must not hold a user name or password; keys go into the environment");
    }
    if parsed.query().is_some() || parsed.fragment().is_some() || parsed.path() != "/" {
        return Some("must be scheme, host and port alone, without a path; the paths are added here");
    }
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let near = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => !host.contains('.'),
    };
    match parsed.scheme() {
        "https" => None,
        "http" if near => None,
        "http" => Some("http would send the key in clear text; use https, or a loopback address for the simulator"),
        _ => Some("must begin with https:// (or http:// for a loopback address)"),
    }
}

/// Adds a sentence when `value` is outside `least..=most`.
pub fn range(problems: &mut Vec<String>, prefix: &str, key: &str, value: u64, least: u64, most: u64, example: u64) {
    if !(least..=most).contains(&value) {
        problems.push(format!("{prefix}.{key} = {value}: must be {least} to {most}, e.g. {example}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_belong_to_the_exchange() {
        let config = ApiConfig::default();
        assert_eq!(config.problems("portfolio.binance"), Vec::<String>::new());
        assert_eq!(config.base_url(Venue::Binance), "https://api.binance.com");
        assert_eq!(config.base_url(Venue::Btcturk), "https://api.btcturk.com");
        assert_eq!(config.graph_url(), "https://graph-api.btcturk.com");
        assert_eq!((config.per_minute(Venue::Binance), config.per_minute(Venue::Btcturk)), (1_200, 600));
        let simulated = ApiConfig::at("http://127.0.0.1:9/");
        assert_eq!((simulated.base_url(Venue::Btcturk), simulated.graph_url()), ("http://127.0.0.1:9", "http://127.0.0.1:9"));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_key_and_the_fix() {
        let check = |json: &str, parts: &[&str]| {
            let config: ApiConfig = serde_json::from_str(json).unwrap();
            let problems = config.problems("portfolio.binance");
            assert_eq!(problems.len(), 1, "{json}: {problems:?}");
            for part in parts {
                assert!(problems[0].contains(part), "{json}: {} lacks {part}", problems[0]);
            }
        };
        check(r#"{"timeout_ms":0}"#, &["portfolio.binance.timeout_ms = 0", "10 to 120000", "e.g. 5000"]);
        check(r#"{"base_url":"api.binance.com"}"#, &["portfolio.binance.base_url", "https://api.binance.com"]);
        check(r#"{"base_url":"http://api.binance.com"}"#, &["clear text"]);
        check(r#"{"base_url":"https://me:secret@api.binance.com"}"#, &["password", "(not shown)"]);
        check(r#"{"base_url":"https://api.binance.com/api/v3"}"#, &["without a path"]);
        check(r#"{"base_url":"ftp://127.0.0.1"}"#, &["https://"]);
        check(r#"{"recv_window_ms":60001}"#, &["recv_window_ms = 60001"]);
        check(r#"{"per_minute":0}"#, &["per_minute = 0"]);
        check(r#"{"breaker":{"failures_to_open":0}}"#, &["portfolio.binance.breaker.failures_to_open = 0"]);
        check(r#"{"retry":{"attempts_max":0}}"#, &["portfolio.binance.retry.attempts_max = 0"]);
        for local in
            ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1", "http://exchange-sim:1", "http://172.18.0.3:1"]
        {
            assert_eq!(ApiConfig::at(local).problems("x"), Vec::<String>::new(), "{local}");
        }
        let unknown = serde_json::from_str::<ApiConfig>(r#"{"timeout":5}"#).unwrap_err().to_string();
        assert!(unknown.contains("timeout") && unknown.contains("timeout_ms"), "{unknown}");
    }
}
