//! `[executor]`: which exchanges are traded on paper and which live, and how patiently. Keys are never in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_bus_schema::orders::{AMOUNT_MAX, TradingMode};
use spark_exchanges::config::range;
use spark_exchanges::orders::UserDataConfig;
use spark_exchanges::{ApiConfig, BreakerConfig, RetryConfig};

use crate::keys::KeySource;
use crate::machine::Pauses;
use crate::paper::FeeTerms;

/// The exchanges that take orders.
pub const EXCHANGES: [Venue; 2] = [Venue::Binance, Venue::Btcturk];

/// `[executor]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Time from one comparison with an exchange to the next, ms. Default 60 000.
    pub reconcile_ms: u64,
    /// Time from a comparison that found a difference to the next look, ms; trading halts when that finds the same.
    /// Default 1 000.
    pub second_look_ms: u64,
    /// How often the exchanges' filters are read, ms. Default 3 600 000.
    pub filters_ms: u64,
    /// Paper orders are not filled against a quote that is older than this, ms. Default 60 000.
    pub quote_age_ms_max: u64,
    /// First pause before an order that was not sent is tried again, ms; it doubles. Default 200.
    pub retry_ms: u64,
    /// Longest such pause, ms. Default 5 000.
    pub retry_ms_max: u64,
    /// First pause before an order whose answer was lost is asked about again, ms; it doubles. Default 250.
    pub ask_ms: u64,
    /// Longest such pause, ms. Default 15 000.
    pub ask_ms_max: u64,
    /// How often an open order is asked about while the user data stream is away, ms. Default 2 000.
    pub poll_ms: u64,
    /// `[executor.binance]`.
    #[serde(deserialize_with = "binance")]
    pub binance: ExchangeConfig,
    /// `[executor.btcturk]`.
    #[serde(deserialize_with = "btcturk")]
    pub btcturk: ExchangeConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reconcile_ms: 60_000,
            second_look_ms: 1_000,
            filters_ms: 3_600_000,
            quote_age_ms_max: 60_000,
            retry_ms: 200,
            retry_ms_max: 5_000,
            ask_ms: 250,
            ask_ms_max: 15_000,
            poll_ms: 2_000,
            binance: ExchangeConfig::of(Venue::Binance),
            btcturk: ExchangeConfig::of(Venue::Btcturk),
        }
    }
}

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeConfig {
    /// Whether orders are taken at all. Default true.
    pub enabled: bool,
    /// `paper` (default): filled by Spark against the live top of book. `live`: sent to the exchange.
    pub mode: TradingMode,
    /// Paper: fee of an order that rested, percent. Default 0.1 at Binance, 0.12 at BTCTurk.
    pub maker_fee_pct: Decimal,
    /// Paper: fee of an order that takes, percent. Default 0.1 at Binance, 0.24 at BTCTurk.
    pub taker_fee_pct: Decimal,
    /// Paper: time from the claim to the fill, ms. Default 0: claim and fill are one event.
    pub latency_ms: u64,
    /// Paper: what the account starts with. What is given replaces the default as a whole.
    pub balances: BTreeMap<String, Decimal>,
    /// Live: address, default `https://api.binance.com` or `https://api.btcturk.com`. Also read for filters in paper mode.
    pub base_url: Option<String>,
    /// Live: environment variable with the key, default `SPARK_BINANCE_TRADE_KEY` or `SPARK_BTCTURK_TRADE_KEY`.
    pub trade_key_env: Option<String>,
    /// Live: environment variable with the secret, default `SPARK_BINANCE_TRADE_SECRET` or `SPARK_BTCTURK_TRADE_SECRET`.
    pub trade_secret_env: Option<String>,
    /// Live: file with the key alone; wins over the variable.
    pub trade_key_file: Option<PathBuf>,
    /// Live: file with the secret alone; wins over the variable.
    pub trade_secret_file: Option<PathBuf>,
    /// Most time one try of one call may take, ms. Default 5 000.
    pub timeout_ms: u64,
    /// Allowance: weight a minute at Binance (default 1 200), calls a minute at BTCTurk (default 600).
    pub per_minute: Option<u32>,
    /// How old a signed order may be when it arrives, ms. Default 3 000: no longer than a lease lasts.
    pub recv_window_ms: u64,
    /// Calls at once. Default 16.
    pub calls_max: usize,
    /// Circuit breaker.
    pub breaker: BreakerConfig,
    /// Retries of questions; orders and cancels are never repeated by the client.
    pub retry: RetryConfig,
    /// The user data stream.
    pub user_data: UserDataConfig,
}

/// As [`ExchangeConfig`], where whatever is missing has the exchange's own default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    enabled: Option<bool>,
    mode: Option<TradingMode>,
    maker_fee_pct: Option<Decimal>,
    taker_fee_pct: Option<Decimal>,
    latency_ms: Option<u64>,
    balances: Option<BTreeMap<String, Decimal>>,
    base_url: Option<String>,
    trade_key_env: Option<String>,
    trade_secret_env: Option<String>,
    trade_key_file: Option<PathBuf>,
    trade_secret_file: Option<PathBuf>,
    timeout_ms: Option<u64>,
    per_minute: Option<u32>,
    recv_window_ms: Option<u64>,
    calls_max: Option<usize>,
    breaker: Option<BreakerConfig>,
    retry: Option<RetryConfig>,
    user_data: Option<UserDataConfig>,
}

fn binance<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ExchangeConfig, D::Error> {
    Given::deserialize(deserializer).map(|given| given.over(ExchangeConfig::of(Venue::Binance)))
}

fn btcturk<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ExchangeConfig, D::Error> {
    Given::deserialize(deserializer).map(|given| given.over(ExchangeConfig::of(Venue::Btcturk)))
}

impl Given {
    fn over(self, own: ExchangeConfig) -> ExchangeConfig {
        ExchangeConfig {
            enabled: self.enabled.unwrap_or(own.enabled),
            mode: self.mode.unwrap_or(own.mode),
            maker_fee_pct: self.maker_fee_pct.unwrap_or(own.maker_fee_pct),
            taker_fee_pct: self.taker_fee_pct.unwrap_or(own.taker_fee_pct),
            latency_ms: self.latency_ms.unwrap_or(own.latency_ms),
            balances: self.balances.unwrap_or(own.balances),
            base_url: self.base_url,
            trade_key_env: self.trade_key_env,
            trade_secret_env: self.trade_secret_env,
            trade_key_file: self.trade_key_file,
            trade_secret_file: self.trade_secret_file,
            timeout_ms: self.timeout_ms.unwrap_or(own.timeout_ms),
            per_minute: self.per_minute,
            recv_window_ms: self.recv_window_ms.unwrap_or(own.recv_window_ms),
            calls_max: self.calls_max.unwrap_or(own.calls_max),
            breaker: self.breaker.unwrap_or(own.breaker),
            retry: self.retry.unwrap_or(own.retry),
            user_data: self.user_data.unwrap_or(own.user_data),
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
        own("reconcile_ms", self.reconcile_ms, 100, 3_600_000, 60_000);
        own("second_look_ms", self.second_look_ms, 10, 60_000, 1_000);
        own("filters_ms", self.filters_ms, 1_000, 86_400_000, 3_600_000);
        own("quote_age_ms_max", self.quote_age_ms_max, 100, 3_600_000, 60_000);
        own("retry_ms", self.retry_ms, 1, 60_000, 200);
        own("retry_ms_max", self.retry_ms_max, self.retry_ms, 600_000, 5_000);
        own("ask_ms", self.ask_ms, 1, 60_000, 250);
        own("ask_ms_max", self.ask_ms_max, self.ask_ms, 600_000, 15_000);
        own("poll_ms", self.poll_ms, 50, 600_000, 2_000);
        for venue in EXCHANGES {
            problems.extend(self.exchange(venue).problems(venue.as_str()));
        }
        problems
    }

    /// The section of one exchange. BIST takes no orders and gets Binance's, which nothing asks for.
    #[must_use]
    pub fn exchange(&self, venue: Venue) -> &ExchangeConfig {
        match venue {
            Venue::Btcturk => &self.btcturk,
            Venue::Binance | Venue::Bist => &self.binance,
        }
    }

    /// How long things take; `window` is how long after a send an order may still arrive.
    #[must_use]
    pub fn pauses(&self, window: Duration) -> Pauses {
        let ms = Duration::from_millis;
        Pauses {
            retry: (ms(self.retry_ms), ms(self.retry_ms_max)),
            ask: (ms(self.ask_ms), ms(self.ask_ms_max)),
            window,
            poll: ms(self.poll_ms),
        }
    }
}

impl ExchangeConfig {
    fn of(venue: Venue) -> Self {
        let api = ApiConfig::default();
        let balances: &[(&str, i64)] = match venue {
            Venue::Btcturk => &[("TRY", 5_000_000), ("USDT", 100_000), ("BTC", 2), ("ETH", 20)],
            Venue::Binance | Venue::Bist => {
                &[("USDT", 200_000), ("TRY", 1_000_000), ("BTC", 2), ("ETH", 20), ("BNB", 50), ("SOL", 200), ("XRP", 20_000)]
            }
        };
        let (maker, taker) = match venue {
            Venue::Btcturk => (Decimal::new(12, 2), Decimal::new(24, 2)),
            Venue::Binance | Venue::Bist => (Decimal::new(1, 1), Decimal::new(1, 1)),
        };
        Self {
            enabled: true,
            mode: TradingMode::Paper,
            maker_fee_pct: maker,
            taker_fee_pct: taker,
            latency_ms: 0,
            balances: balances.iter().map(|&(asset, amount)| (asset.to_owned(), Decimal::from(amount))).collect(),
            base_url: None,
            trade_key_env: None,
            trade_secret_env: None,
            trade_key_file: None,
            trade_secret_file: None,
            timeout_ms: api.timeout_ms,
            per_minute: None,
            recv_window_ms: 3_000,
            calls_max: 16,
            breaker: api.breaker,
            retry: api.retry,
            user_data: UserDataConfig::default(),
        }
    }

    /// Settings of the client.
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

    /// What paper trades cost.
    #[must_use]
    pub fn fees(&self, venue: Venue) -> FeeTerms {
        let fraction = |pct: Decimal| pct.checked_div(Decimal::ONE_HUNDRED).unwrap_or_default();
        FeeTerms::new(venue, fraction(self.maker_fee_pct), fraction(self.taker_fee_pct))
    }

    /// Where the trading key comes from.
    #[must_use]
    pub fn keys(&self, venue: Venue) -> KeySource {
        let variable = |given: &Option<String>, what: &str| {
            given.clone().unwrap_or_else(|| format!("SPARK_{}_TRADE_{what}", venue.as_str().to_ascii_uppercase()))
        };
        KeySource {
            key_env: variable(&self.trade_key_env, "KEY"),
            secret_env: variable(&self.trade_secret_env, "SECRET"),
            key_file: self.trade_key_file.clone(),
            secret_file: self.trade_secret_file.clone(),
        }
    }

    fn problems(&self, prefix: &str) -> Vec<String> {
        let mut problems = self.api().problems(prefix);
        range(&mut problems, prefix, "latency_ms", self.latency_ms, 0, 60_000, 50);
        range(&mut problems, prefix, "calls_max", self.calls_max as u64, 1, 256, 16);
        let hundred = Decimal::from(10);
        for (key, value) in [("maker_fee_pct", self.maker_fee_pct), ("taker_fee_pct", self.taker_fee_pct)] {
            if value < Decimal::ZERO || value > hundred {
                problems.push(format!("{prefix}.{key} = \"{value}\": must be 0 to 10, e.g. \"0.1\""));
            }
        }
        for (asset, amount) in &self.balances {
            if *amount < Decimal::ZERO || *amount > AMOUNT_MAX || asset.is_empty() {
                problems.push(format!("{prefix}.balances.{asset} = \"{amount}\": must be 0 to {AMOUNT_MAX}"));
            }
        }
        for (key, name) in [("trade_key_env", &self.trade_key_env), ("trade_secret_env", &self.trade_secret_env)] {
            let plain =
                |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            if name.as_deref().is_some_and(|name| !plain(name)) {
                // Not shown: it may be the key itself.
                problems.push(format!(
                    "{prefix}.{key}: not the name of an environment variable (A-Z, 0-9, _), e.g. \"SPARK_BINANCE_TRADE_KEY\"; \
                     the key itself must not be in the configuration"
                ));
            }
        }
        let one_file = match (&self.trade_key_file, &self.trade_secret_file) {
            (Some(_), None) => Some(("trade_key_file", "trade_secret_file")),
            (None, Some(_)) => Some(("trade_secret_file", "trade_key_file")),
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
    fn everything_is_paper_unless_told_and_each_exchange_has_its_own_defaults() {
        let config = Config::default();
        assert_eq!(config.validate(), Vec::<String>::new());
        for venue in EXCHANGES {
            assert_eq!(config.exchange(venue).mode, TradingMode::Paper);
        }
        let given: Config = serde_json::from_str(r#"{"btcturk":{"mode":"live","latency_ms":5}}"#).unwrap();
        assert_eq!((given.btcturk.mode, given.binance.mode), (TradingMode::Live, TradingMode::Paper));
        assert_eq!(given.btcturk.taker_fee_pct.to_string(), "0.24");
        assert_eq!(given.btcturk.balances, config.btcturk.balances);
        assert_eq!(given.btcturk.keys(Venue::Btcturk).key_env, "SPARK_BTCTURK_TRADE_KEY");
        let back: Config = serde_json::from_value(serde_json::to_value(&given).unwrap()).unwrap();
        assert_eq!(back, given);
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
        check(r#"{"reconcile_ms":0}"#, &["reconcile_ms = 0", "e.g. 60000"]);
        check(r#"{"ask_ms":500,"ask_ms_max":100}"#, &["ask_ms_max = 100", "500"]);
        check(r#"{"binance":{"taker_fee_pct":"50"}}"#, &["binance.taker_fee_pct", "0 to 10"]);
        check(r#"{"binance":{"balances":{"BTC":"-1"}}}"#, &["binance.balances.BTC"]);
        check(r#"{"binance":{"trade_key_env":"hunter2"}}"#, &["binance.trade_key_env", "must not be in the configuration"]);
        check(r#"{"btcturk":{"trade_key_file":"/run/key"}}"#, &["btcturk.trade_secret_file"]);
        assert!(serde_json::from_str::<Config>(r#"{"binance":{"mode":"real"}}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"binance":{"trade_key":"x"}}"#).is_err(), "keys have no place in it");
    }
}
