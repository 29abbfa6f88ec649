//! The `[feed]` section of `spark.toml`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::{InstrumentTable, Venue};
use spark_exchanges::ApiConfig;

use crate::bist::BistConfig;

/// Which markets are watched, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Binance.
    pub binance: VenueConfig,
    /// BtcTurk.
    #[serde(deserialize_with = "btcturk")]
    pub btcturk: VenueConfig,
    /// Borsa Istanbul, by a vendor.
    pub bist: BistConfig,
}

/// One venue's part of the section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VenueConfig {
    /// Whether this venue is watched. Default true.
    pub enabled: bool,
    /// WebSocket address without a path: `wss://stream.binance.com:9443`, `wss://ws-feed-pro.btcturk.com`, or the
    /// simulator's. Default: the simulator's port of `spark up`.
    pub ws_url: String,
    /// REST address, for missing trades and the first best bid/ask: `https://api.binance.com` (or, without a key's limits,
    /// `https://data-api.binance.vision`), `https://api.btcturk.com`, or the simulator's.
    pub rest_url: String,
    /// Symbols, in any usual spelling (`BTCUSDT`, `BTC_USDT`, `btc/usdt`). At most 500.
    pub symbols: Vec<String>,
    /// BtcTurk alone: `book` takes the best bid/ask from the book's changes (each one), `ticker` from the ticker (about one a
    /// second). Default `book`.
    pub quote_source: QuoteSource,
    /// Most time for connecting, TLS and the upgrade together, ms. Default 10 000.
    pub connect_timeout_ms: u64,
    /// A subscription without data for so long is made again; a connection without any is given up, ms. Default 30 000.
    pub first_data_timeout_ms: u64,
    /// A connection on which neither a frame nor a ping came for so long is given up, ms. Binance pings every 20 s, BtcTurk
    /// every 15 s. Default 45 000. Staleness is judged earlier, by the guardrail.
    pub idle_timeout_ms: u64,
    /// A connection is renewed at this age, s; Binance cuts at 24 h. Default 85 800 (23 h 50 min).
    pub connection_age_max_s: u64,
    /// First pause before connecting again, ms; it doubles, with jitter. Default 250; BtcTurk, which allows 15 connections a
    /// minute, 500.
    pub reconnect_pause_ms_min: u64,
    /// Longest pause before connecting again, ms. Default 30 000.
    pub reconnect_pause_ms_max: u64,
    /// On the first start ever, begin with the oldest trade that the exchange has instead of with what comes. For replayed
    /// recordings; the real Binance would begin in 2017. Default false.
    pub from_oldest: bool,
    /// Missing trades are fetched up to this many at once; a wider hole is reported and given up. Default 1 000 000.
    pub fill_trades_max: u64,
    /// REST weight (Binance) or calls (BtcTurk) a minute that the feed may use. Default: the exchange client's own.
    pub rest_per_minute: Option<u32>,
}

/// Where BtcTurk's best bid/ask comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuoteSource {
    /// Channel `obdiff`.
    #[default]
    Book,
    /// Channel `ticker`.
    Ticker,
}

/// Streams per connection are limited (Binance: 1 024), and a symbol needs two.
const SYMBOLS_MAX: usize = 500;

impl Default for Config {
    fn default() -> Self {
        Self { binance: VenueConfig::default(), btcturk: VenueConfig::btcturk(), bist: BistConfig::default() }
    }
}

impl Default for VenueConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            ws_url: "ws://127.0.0.1:4010".to_owned(),
            rest_url: "http://127.0.0.1:4010".to_owned(),
            symbols: ["BTCUSDT", "ETHUSDT"].map(str::to_owned).to_vec(),
            quote_source: QuoteSource::Book,
            connect_timeout_ms: 10_000,
            first_data_timeout_ms: 30_000,
            idle_timeout_ms: 45_000,
            connection_age_max_s: 85_800,
            reconnect_pause_ms_min: 250,
            reconnect_pause_ms_max: 30_000,
            from_oldest: false,
            fill_trades_max: 1_000_000,
            rest_per_minute: None,
        }
    }
}

impl VenueConfig {
    /// The defaults of BtcTurk.
    #[must_use]
    pub fn btcturk() -> Self {
        Self {
            ws_url: "ws://127.0.0.1:4011".to_owned(),
            rest_url: "http://127.0.0.1:4011".to_owned(),
            symbols: ["BTCTRY", "USDTTRY"].map(str::to_owned).to_vec(),
            reconnect_pause_ms_min: 500,
            ..Self::default()
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn first_data_timeout(&self) -> Duration {
        Duration::from_millis(self.first_data_timeout_ms)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    pub(crate) fn connection_age_max(&self) -> Duration {
        Duration::from_secs(self.connection_age_max_s)
    }

    pub(crate) fn reconnect_pause_min(&self) -> Duration {
        Duration::from_millis(self.reconnect_pause_ms_min)
    }

    pub(crate) fn reconnect_pause_max(&self) -> Duration {
        Duration::from_millis(self.reconnect_pause_ms_max)
    }

    pub(crate) fn rest(&self) -> ApiConfig {
        ApiConfig { per_minute: self.rest_per_minute, ..ApiConfig::at(self.rest_url.as_str()) }
    }

    /// The symbols in Spark's spelling, without repetitions. Unknown ones are left out; [`Config::validate`] reports them.
    #[must_use]
    pub fn resolved(&self, venue: Venue, instruments: &InstrumentTable) -> Vec<String> {
        let mut symbols: Vec<String> = Vec::with_capacity(self.symbols.len());
        for spelling in &self.symbols {
            if let Ok(instrument) = instruments.resolve(venue, spelling)
                && !symbols.contains(&instrument.symbol)
            {
                symbols.push(instrument.symbol.clone());
            }
        }
        symbols
    }
}

impl Config {
    /// The real exchanges' public endpoints, for `spark up --live`.
    #[must_use]
    pub fn live() -> Self {
        let mut config = Self::default();
        config.binance.ws_url = "wss://stream.binance.com:9443".to_owned();
        config.binance.rest_url = "https://api.binance.com".to_owned();
        config.btcturk.ws_url = "wss://ws-feed-pro.btcturk.com".to_owned();
        config.btcturk.rest_url = "https://api.btcturk.com".to_owned();
        config
    }

    /// What is wrong, one sentence a key that names key, value and fix; empty when nothing is. Symbols are looked up among
    /// the built-in instruments.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        self.validate_with(&InstrumentTable::builtin())
    }

    /// As [`Config::validate`], with the instruments that the configuration names.
    #[must_use]
    pub fn validate_with(&self, instruments: &InstrumentTable) -> Vec<String> {
        let mut problems = Vec::new();
        for (venue, config) in self.venues() {
            if config.enabled {
                problems.extend(config.problems(venue, instruments));
            }
        }
        problems.extend(self.bist.problems(instruments));
        if !self.binance.enabled && !self.btcturk.enabled && self.bist.base_url.is_none() {
            problems.push("feed.binance.enabled = false: no venue is enabled; enable one, or do not run the feed".to_owned());
        }
        problems
    }

    pub(crate) fn venues(&self) -> [(Venue, &VenueConfig); 2] {
        [(Venue::Binance, &self.binance), (Venue::Btcturk, &self.btcturk)]
    }
}

impl VenueConfig {
    fn problems(&self, venue: Venue, instruments: &InstrumentTable) -> Vec<String> {
        let prefix = format!("feed.{venue}");
        let mut problems = Vec::new();
        if let Some(problem) = ws_problem(&self.ws_url) {
            problems.push(format!("{prefix}.ws_url = {:?}: {problem}", self.ws_url));
        }
        for problem in self.rest().problems(&prefix) {
            problems.push(problem.replace(".base_url", ".rest_url").replace(".per_minute", ".rest_per_minute"));
        }
        if self.symbols.is_empty() || self.symbols.len() > SYMBOLS_MAX {
            let count = self.symbols.len();
            problems.push(format!("{prefix}.symbols: {count} symbols; name 1 to {SYMBOLS_MAX}, or set {prefix}.enabled = false"));
        }
        for spelling in &self.symbols {
            if let Err(error) = instruments.resolve(venue, spelling) {
                problems.push(format!("{prefix}.symbols = \"{spelling}\": {error}"));
            }
        }
        let mut range = |key: &str, value: u64, least: u64, most: u64, example: u64| {
            if !(least..=most).contains(&value) {
                problems.push(format!("{prefix}.{key} = {value}: must be {least} to {most}, e.g. {example}"));
            }
        };
        range("connect_timeout_ms", self.connect_timeout_ms, 100, 120_000, 10_000);
        range("first_data_timeout_ms", self.first_data_timeout_ms, 500, 3_600_000, 30_000);
        range("idle_timeout_ms", self.idle_timeout_ms, 1_000, 3_600_000, 45_000);
        range("connection_age_max_s", self.connection_age_max_s, 10, 86_400, 85_800);
        range("reconnect_pause_ms_min", self.reconnect_pause_ms_min, 10, 60_000, 250);
        range("reconnect_pause_ms_max", self.reconnect_pause_ms_max, self.reconnect_pause_ms_min, 600_000, 30_000);
        range("fill_trades_max", self.fill_trades_max, 1, 1_000_000_000, 1_000_000);
        problems
    }
}

fn ws_problem(url: &str) -> Option<&'static str> {
    let rest = match url.split_once("://") {
        Some(("ws" | "wss", rest)) => rest.trim_end_matches('/'),
        _ => return Some("must begin with wss:// (or ws:// for the simulator)"),
    };
    if rest.contains('@') {
        return Some("must not hold a user name or password");
    }
    if rest.contains(['/', '?', '#']) {
        return Some("must be host and port alone; streams are added here");
    }
    let (host, port) =
        rest.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.ends_with(':')).unwrap_or((rest, "443"));
    if host.is_empty() || port.parse::<u16>().map_or(true, |port| port == 0) {
        return Some("needs a host and, if any, a port of 1 to 65535, e.g. \"wss://stream.binance.com:9443\"");
    }
    None
}

/// Serde's `default` fills missing keys of a venue with Binance's; BtcTurk's section starts from its own.
fn btcturk<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<VenueConfig, D::Error> {
    let (own, common) = (VenueConfig::btcturk(), VenueConfig::default());
    let mut given = VenueConfig::deserialize(deserializer)?;
    // A value equal to Binance's default is one that was not given: nobody means the other venue's address or symbols.
    let replace = |given: &mut String, common: &String, own: &String| {
        if given == common {
            given.clone_from(own);
        }
    };
    replace(&mut given.ws_url, &common.ws_url, &own.ws_url);
    replace(&mut given.rest_url, &common.rest_url, &own.rest_url);
    if given.symbols == common.symbols {
        given.symbols = own.symbols;
    }
    if given.reconnect_pause_ms_min == common.reconnect_pause_ms_min {
        given.reconnect_pause_ms_min = own.reconnect_pause_ms_min;
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_a_section_changes_only_what_it_names() {
        assert_eq!(Config::default().validate(), Vec::<String>::new());
        assert_eq!(Config::live().validate(), Vec::<String>::new());
        let config: Config =
            serde_json::from_str(r#"{"btcturk":{"idle_timeout_ms":5000},"binance":{"symbols":["btc/usdt"]}}"#).unwrap();
        assert_eq!(config.btcturk, VenueConfig { idle_timeout_ms: 5_000, ..VenueConfig::btcturk() });
        assert_eq!(config.binance.resolved(Venue::Binance, &InstrumentTable::builtin()), ["BTCUSDT"]);
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
    }

    #[test]
    fn a_wrong_value_is_named_with_its_key_and_the_fix() {
        let check = |json: &str, parts: &[&str]| {
            let config: Config = serde_json::from_str(json).unwrap();
            let problems = config.validate();
            assert_eq!(problems.len(), 1, "{json}: {problems:?}");
            for part in parts {
                assert!(problems[0].contains(part), "{json}: {} lacks {part}", problems[0]);
            }
        };
        check(r#"{"binance":{"symbols":["DOGEUSDT"]}}"#, &["feed.binance.symbols = \"DOGEUSDT\"", "BTCUSDT", "[[instrument]]"]);
        check(r#"{"binance":{"symbols":[]}}"#, &["feed.binance.symbols", "enabled = false"]);
        check(r#"{"binance":{"ws_url":"http://127.0.0.1:1"}}"#, &["feed.binance.ws_url = \"http://127.0.0.1:1\"", "wss://"]);
        check(r#"{"btcturk":{"ws_url":"ws://127.0.0.1:99999"}}"#, &["feed.btcturk.ws_url", "65535"]);
        check(r#"{"btcturk":{"ws_url":"ws://127.0.0.1:1/stream"}}"#, &["host and port alone"]);
        check(r#"{"binance":{"rest_url":"api.binance.com"}}"#, &["feed.binance.rest_url", "https://"]);
        check(r#"{"binance":{"idle_timeout_ms":10}}"#, &["feed.binance.idle_timeout_ms = 10", "1000 to 3600000", "e.g. 45000"]);
        check(r#"{"binance":{"rest_per_minute":0}}"#, &["feed.binance.rest_per_minute = 0"]);
        check(r#"{"binance":{"enabled":false},"btcturk":{"enabled":false}}"#, &["no venue is enabled"]);
        let unknown = serde_json::from_str::<Config>(r#"{"binance":{"idle_timeout":5}}"#).unwrap_err().to_string();
        assert!(unknown.contains("idle_timeout") && unknown.contains("idle_timeout_ms"), "{unknown}");
    }
}
