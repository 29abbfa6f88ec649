//! `[portfolio]`: what is polled, how often, and where the keys come from. Keys themselves are never in it.

use std::path::PathBuf;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_exchanges::config::range;
use spark_exchanges::{ApiConfig, BreakerConfig, RetryConfig};

use crate::keys::KeySource;

/// `[portfolio]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long prices are used before they are read again, ms. Default 30 000.
    pub price_ttl_ms: u64,
    /// A price that moves by more than this, percent, is held back until a second source or reading confirms it. Default 20.
    pub price_step_pct_max: u32,
    /// `[portfolio.binance]`.
    pub binance: ExchangeConfig,
    /// `[portfolio.btcturk]`.
    pub btcturk: ExchangeConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            price_ttl_ms: 30_000,
            price_step_pct_max: 20,
            binance: ExchangeConfig::default(),
            btcturk: ExchangeConfig::default(),
        }
    }
}

/// One exchange. What is not set has the exchange's own default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExchangeConfig {
    /// Whether it is polled at all. Default true; without a key it is left out with one warning.
    pub enabled: bool,
    /// Address, default `https://api.binance.com` or `https://api.btcturk.com`.
    pub base_url: Option<String>,
    /// Environment variable with the API key, default `SPARK_BINANCE_API_KEY` or `SPARK_BTCTURK_API_KEY`.
    pub api_key_env: Option<String>,
    /// Environment variable with the API secret, default `SPARK_BINANCE_API_SECRET` or `SPARK_BTCTURK_API_SECRET`.
    pub api_secret_env: Option<String>,
    /// File with the API key alone; wins over the variable and is read again whenever the key is refused.
    pub api_key_file: Option<PathBuf>,
    /// File with the API secret alone; wins over the variable.
    pub api_secret_file: Option<PathBuf>,
    /// Time from the beginning of one poll to the beginning of the next, ms. Default 60 000.
    pub poll_interval_ms: u64,
    /// Longest pause between polls while the key is refused, ms; pauses double up to it. Default 300 000.
    pub auth_pause_ms_max: u64,
    /// Most time one try of one call may take, ms. Default 5 000.
    pub timeout_ms: u64,
    /// Allowance: weight a minute at Binance (default 1 200), calls a minute at BTCTurk (default 600).
    pub per_minute: Option<u32>,
    /// Binance alone: how old a signed request may be when it arrives, ms. Default 5 000.
    pub recv_window_ms: u64,
    /// Circuit breaker.
    pub breaker: BreakerConfig,
    /// Retries.
    pub retry: RetryConfig,
}

impl Default for ExchangeConfig {
    fn default() -> Self {
        let api = ApiConfig::default();
        Self {
            enabled: true,
            base_url: None,
            api_key_env: None,
            api_secret_env: None,
            api_key_file: None,
            api_secret_file: None,
            poll_interval_ms: 60_000,
            auth_pause_ms_max: 300_000,
            timeout_ms: api.timeout_ms,
            per_minute: None,
            recv_window_ms: api.recv_window_ms,
            breaker: api.breaker,
            retry: api.retry,
        }
    }
}

impl Config {
    /// What cannot work, a sentence each: key, value, what is wrong, what would be right.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut own = |key: &str, value: u64, least: u64, most: u64, example: u64| {
            if !(least..=most).contains(&value) {
                problems.push(format!("{key} = {value}: must be {least} to {most}, e.g. {example}"));
            }
        };
        own("price_ttl_ms", self.price_ttl_ms, 1, 600_000, 30_000);
        own("price_step_pct_max", self.price_step_pct_max.into(), 1, 1_000, 20);
        problems.extend(self.binance.problems("binance"));
        problems.extend(self.btcturk.problems("btcturk"));
        problems
    }

    /// The section of one exchange. BIST has no portfolio and gets Binance's, which nothing asks for.
    #[must_use]
    pub fn exchange(&self, venue: Venue) -> &ExchangeConfig {
        match venue {
            Venue::Btcturk => &self.btcturk,
            Venue::Binance | Venue::Bist => &self.binance,
        }
    }

    /// The step limit as a fraction: 0.20.
    #[must_use]
    pub fn price_step_max(&self) -> Decimal {
        Decimal::new(i64::from(self.price_step_pct_max), 2)
    }

    /// How long prices are used.
    #[must_use]
    pub fn price_ttl(&self) -> Duration {
        Duration::from_millis(self.price_ttl_ms)
    }
}

impl ExchangeConfig {
    /// Settings of the REST client.
    #[must_use]
    pub fn api(&self) -> ApiConfig {
        ApiConfig {
            base_url: self.base_url.clone(),
            timeout_ms: self.timeout_ms,
            per_minute: self.per_minute,
            recv_window_ms: self.recv_window_ms,
            breaker: self.breaker,
            retry: self.retry,
            ..ApiConfig::default()
        }
    }

    /// Where this exchange's key comes from.
    #[must_use]
    pub fn keys(&self, venue: Venue) -> KeySource {
        let variable = |given: &Option<String>, what: &str| {
            given.clone().unwrap_or_else(|| format!("SPARK_{}_API_{what}", venue.as_str().to_ascii_uppercase()))
        };
        KeySource {
            key_env: variable(&self.api_key_env, "KEY"),
            secret_env: variable(&self.api_secret_env, "SECRET"),
            key_file: self.api_key_file.clone(),
            secret_file: self.api_secret_file.clone(),
        }
    }

    fn problems(&self, prefix: &str) -> Vec<String> {
        let mut problems = self.api().problems(prefix);
        range(&mut problems, prefix, "poll_interval_ms", self.poll_interval_ms, 100, 86_400_000, 60_000);
        range(&mut problems, prefix, "auth_pause_ms_max", self.auth_pause_ms_max, 100, 86_400_000, 300_000);
        for (key, name) in [("api_key_env", &self.api_key_env), ("api_secret_env", &self.api_secret_env)] {
            let plain =
                |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            if name.as_deref().is_some_and(|name| !plain(name)) {
                // Not shown: it may be the key itself.
                problems.push(format!(
                    "{prefix}.{key}: not the name of an environment variable (A-Z, 0-9, _), e.g. \"SPARK_BINANCE_API_KEY\"; \
                     the key itself must not be in the configuration"
                ));
            }
        }
        let one_file = match (&self.api_key_file, &self.api_secret_file) {
            (Some(_), None) => Some(("api_key_file", "api_secret_file")),
            (None, Some(_)) => Some(("api_secret_file", "api_key_file")),
            _ => None,
        };
        if let Some((given, missing)) = one_file {
            problems.push(format!("{prefix}.{given} is set but {prefix}.{missing} is not; name both files or neither"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_keys_come_from_the_exchanges_own_variables() {
        let config = Config::default();
        assert_eq!(config.validate(), Vec::<String>::new());
        let keys = config.btcturk.keys(Venue::Btcturk);
        assert_eq!((keys.key_env.as_str(), keys.secret_env.as_str()), ("SPARK_BTCTURK_API_KEY", "SPARK_BTCTURK_API_SECRET"));
        assert_eq!(config.price_step_max().to_string(), "0.20");
    }

    #[test]
    fn wrong_values_are_named_with_key_value_and_fix_and_keys_are_not_shown() {
        let check = |json: &str, parts: &[&str]| {
            let problems = serde_json::from_str::<Config>(json).unwrap().validate();
            assert_eq!(problems.len(), 1, "{json}: {problems:?}");
            for part in parts {
                assert!(problems[0].contains(part), "{json}: {} lacks {part}", problems[0]);
            }
            assert!(!problems[0].contains("hunter2"), "{}", problems[0]);
        };
        check(r#"{"price_ttl_ms":0}"#, &["price_ttl_ms = 0", "e.g. 30000"]);
        check(r#"{"price_step_pct_max":0}"#, &["price_step_pct_max = 0"]);
        check(r#"{"binance":{"poll_interval_ms":5}}"#, &["binance.poll_interval_ms = 5", "e.g. 60000"]);
        check(r#"{"btcturk":{"timeout_ms":0}}"#, &["btcturk.timeout_ms = 0"]);
        check(r#"{"btcturk":{"retry":{"attempts_max":0}}}"#, &["btcturk.retry.attempts_max = 0"]);
        check(r#"{"binance":{"api_key_env":"hunter2"}}"#, &["binance.api_key_env", "must not be in the configuration"]);
        check(r#"{"binance":{"api_key_file":"/run/key"}}"#, &["binance.api_secret_file"]);
        assert!(serde_json::from_str::<Config>(r#"{"binance":{"api_key":"x"}}"#).is_err(), "keys have no place in it");
    }
}
