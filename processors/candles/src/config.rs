//! `[candles]` of `spark.toml`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_bus_schema::candles::{HISTORY_ROWS_MAX, TimeFrame};
use spark_bus_schema::session::{Calendar, Day};
use spark_exchanges::ApiConfig;

use crate::Symbol;
use crate::bars::BarsConfig;

/// Bounds of [`Config::mark_interval_ms`] and [`Config::quote_age_ms_max`].
const INTERVAL_MS: (u64, u64) = (100, 60_000);
/// Bounds of [`Config::grace_ms`].
const GRACE_MS: (u64, u64) = (0, 60_000);
/// Least of [`Config::backfill_candles`]; the most is what one message may hold.
const BACKFILL_MIN: u16 = 1;

/// What the process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Symbols, `<venue>.<symbol>`, whose marks are kept fresh whether anybody needs them or not.
    pub always: Vec<String>,
    /// Currencies of which one unit counts as one USD.
    pub usd_like: Vec<String>,
    /// Of one symbol, marks are at least this far apart, ms.
    pub mark_interval_ms: u64,
    /// A quote older than this makes no mark, ms.
    pub quote_age_ms_max: u64,
    /// Lengths of candles.
    pub timeframes: Vec<TimeFrame>,
    /// After its end a candle waits this long for trades that are on their way, unless a later trade closes it, ms.
    pub grace_ms: u64,
    /// Whether exchanges are asked for their candles: the past at a start, and those of which trades are missing.
    pub backfill: bool,
    /// How many candles of the past of each symbol and length.
    pub backfill_candles: u16,
    /// Binance's REST side.
    pub binance: RestConfig,
    /// BTCTurk's.
    pub btcturk: RestConfig,
    /// Days on which Borsa Istanbul is closed, besides those of the built-in table.
    pub bist_holidays: Vec<Day>,
    /// Days on which it closes at 12:30, besides those of the table.
    pub bist_half_days: Vec<Day>,
    /// Borsa Istanbul trades around the clock, as in the demo.
    pub bist_always_open: bool,
}

/// Where an exchange's candles are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestConfig {
    /// Scheme, host and port.
    pub rest_url: String,
    /// BTCTurk alone: host of the candles; `rest_url` when it is not given.
    pub graph_url: Option<String>,
    /// Allowance of this process: weight a minute at Binance, calls a minute at BTCTurk.
    pub rest_per_minute: Option<u32>,
}

impl RestConfig {
    fn at(rest_url: &str) -> Self {
        Self { rest_url: rest_url.to_owned(), graph_url: None, rest_per_minute: None }
    }

    fn api(&self) -> ApiConfig {
        let base = ApiConfig::at(self.rest_url.as_str());
        ApiConfig { graph_url: self.graph_url.clone(), per_minute: self.rest_per_minute, ..base }
    }
}

/// The simulator, as for the feed: a real exchange is asked only when it is named.
impl Default for RestConfig {
    fn default() -> Self {
        Self::at("http://127.0.0.1:4010")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            always: Vec::new(),
            usd_like: ["USD", "USDT", "USDC", "FDUSD"].map(str::to_owned).to_vec(),
            mark_interval_ms: 1_000,
            quote_age_ms_max: 5_000,
            timeframes: BarsConfig::default().timeframes,
            grace_ms: 1_000,
            backfill: true,
            backfill_candles: 500,
            binance: RestConfig::default(),
            btcturk: RestConfig::at("http://127.0.0.1:4011"),
            bist_holidays: Vec::new(),
            bist_half_days: Vec::new(),
            bist_always_open: false,
        }
    }
}

impl Config {
    /// Every mistake, as "key = value: what is wrong; what would be right".
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (index, text) in self.always.iter().enumerate() {
            if symbol(text).is_none() {
                problems.push(format!(
                    "always.{index} = \"{text}\": not a symbol of a venue; write it as <venue>.<symbol>, e.g. \"binance.BTCUSDT\""
                ));
            }
        }
        for (index, text) in self.usd_like.iter().enumerate() {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
                problems.push(format!("usd_like.{index} = \"{text}\": only A-Z and 0-9 are allowed, e.g. \"USDT\""));
            }
        }
        for (key, value) in [("mark_interval_ms", self.mark_interval_ms), ("quote_age_ms_max", self.quote_age_ms_max)] {
            if !(INTERVAL_MS.0..=INTERVAL_MS.1).contains(&value) {
                problems.push(format!("{key} = {value}: out of range; write {} to {}", INTERVAL_MS.0, INTERVAL_MS.1));
            }
        }
        if self.timeframes.is_empty() {
            problems.push("timeframes = []: no candle would be made; name some, e.g. [\"1m\", \"1h\"]".to_owned());
        }
        let most = u64::try_from(HISTORY_ROWS_MAX).unwrap_or(u64::MAX);
        for (key, value, least, most) in [
            ("grace_ms", self.grace_ms, GRACE_MS.0, GRACE_MS.1),
            ("backfill_candles", self.backfill_candles.into(), BACKFILL_MIN.into(), most),
        ] {
            if !(least..=most).contains(&value) {
                problems.push(format!("{key} = {value}: out of range; write {least} to {most}"));
            }
        }
        for (venue, rest) in [("binance", &self.binance), ("btcturk", &self.btcturk)] {
            let named = |problem: String| problem.replace(".base_url", ".rest_url").replace(".per_minute", ".rest_per_minute");
            problems.extend(rest.api().problems(venue).into_iter().map(named));
        }
        problems
    }

    pub(crate) fn bars(&self) -> BarsConfig {
        BarsConfig { timeframes: self.timeframes.clone(), grace: Duration::from_millis(self.grace_ms) }
    }

    /// When Borsa Istanbul is open, as far as candles are concerned.
    #[must_use]
    pub fn calendar(&self) -> Calendar {
        if self.bist_always_open { Calendar::always_open() } else { Calendar::new(&self.bist_holidays, &self.bist_half_days) }
    }

    pub(crate) fn rest(&self, venue: Venue) -> ApiConfig {
        match venue {
            Venue::Btcturk => self.btcturk.api(),
            Venue::Binance | Venue::Bist => self.binance.api(),
        }
    }

    pub(crate) fn always(&self) -> BTreeSet<Symbol> {
        self.always.iter().filter_map(|text| symbol(text)).collect()
    }

    pub(crate) fn mark_interval(&self) -> Duration {
        Duration::from_millis(self.mark_interval_ms)
    }

    pub(crate) fn quote_age_max(&self) -> Duration {
        Duration::from_millis(self.quote_age_ms_max)
    }
}

/// Reads `<venue>.<symbol>`.
#[must_use]
pub fn symbol(text: &str) -> Option<Symbol> {
    let (venue, symbol) = text.split_once('.')?;
    let plain = !symbol.is_empty() && symbol.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    Some((venue.parse().ok()?, symbol.to_owned())).filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_each_mistake_is_named_with_what_would_be_right() {
        assert_eq!(Config::default().validate(), Vec::<String>::new());
        let check = |change: fn(&mut Config), want: &str| {
            let mut config = Config::default();
            change(&mut config);
            let problems = config.validate();
            assert!(problems.len() == 1 && problems[0].contains(want), "{problems:?}");
        };
        check(|config| config.always = vec!["BTCUSDT".into()], "always.0 = \"BTCUSDT\"");
        check(|config| config.always = vec!["binance.BTCUSDT".into(), "nowhere.BTCUSDT".into()], "always.1");
        check(|config| config.usd_like = vec!["usdt".into()], "usd_like.0 = \"usdt\"");
        check(|config| config.mark_interval_ms = 0, "mark_interval_ms = 0");
        check(|config| config.quote_age_ms_max = 3_600_000, "quote_age_ms_max = 3600000");
        check(|config| config.timeframes.clear(), "timeframes = []");
        check(|config| config.grace_ms = 60_001, "grace_ms = 60001: out of range; write 0 to 60000");
        check(|config| config.backfill_candles = 1_001, "backfill_candles = 1001: out of range; write 1 to 1000");
        check(|config| config.binance.rest_url = "nowhere".to_owned(), "binance.rest_url = \"nowhere\"");
        check(|config| config.btcturk.graph_url = Some("http://api.example.com/x".to_owned()), "btcturk.graph_url");
    }
}
