//! `[feed.bist]`: the vendor of share prices.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use spark_bus_schema::session::{Calendar, Day};
use spark_bus_schema::{InstrumentTable, Venue};
use spark_exchanges::ApiConfig;
use spark_exchanges::bist::check_base_url;

/// Longest file that is taken for a key, bytes.
const KEY_BYTES_MAX: u64 = 8 * 1024;
const SYMBOLS_MAX: usize = 200;
/// Where the key is looked for when the configuration does not say.
const KEY_ENV: &str = "SPARK_BIST_API_KEY";

/// Which hours the market keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CalendarKind {
    /// Borsa Istanbul's.
    #[default]
    Exchange,
    /// Open around the clock: the demo's simulated vendor.
    Always,
}

/// The vendor, and how it is asked. Without an address or a key nobody is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BistConfig {
    /// The vendor's address, with a path if it has one; `/quotes?symbols=…` is added. Default: none, BIST is not polled.
    pub base_url: Option<String>,
    /// Environment variable with the bearer key. Default `SPARK_BIST_API_KEY`.
    pub api_key_env: Option<String>,
    /// File with the bearer key alone; wins over the variable and is read again when the key is refused.
    pub api_key_file: Option<PathBuf>,
    /// Shares, in any usual spelling (`THYAO`, `THYAO.E`, `THYAO.IS`, `BIST:THYAO`). At most 200.
    pub symbols: Vec<String>,
    /// Time from one poll to the next while the exchange is open, auctions included, ms. Default 5 000.
    pub poll_interval_ms: u64,
    /// The same while it is closed, ms. Default 60 000.
    pub closed_poll_interval_ms: u64,
    /// Longest pause after failures, ms; pauses double up to it. Default 60 000.
    pub pause_ms_max: u64,
    /// How late the vendor's data is by contract, minutes; 15 for free sources. Default 0, real time. Delayed data is told as
    /// snapshots alone, marked with this number.
    pub delay_minutes: u32,
    /// The vendor's name, as told in snapshots. Default `bist`.
    pub provider: String,
    /// `exchange` (default) or `always`, the demo's calendar.
    pub calendar: CalendarKind,
    /// Days without trading that the built-in table does not hold, e.g. `2028-02-28`.
    pub holidays: Vec<Day>,
    /// Days that end at 12:30 and that the built-in table does not hold.
    pub half_days: Vec<Day>,
    /// Shares without a daily limit of ±10 %: in their first days, or on a special market.
    pub no_limit_symbols: Vec<String>,
    /// Most time one call may take, ms. Default 5 000.
    pub timeout_ms: u64,
    /// Calls a minute that the feed may make. Default 60.
    pub per_minute: u32,
}

impl Default for BistConfig {
    fn default() -> Self {
        Self {
            base_url: None,
            api_key_env: None,
            api_key_file: None,
            symbols: ["THYAO", "AKBNK", "GARAN", "ISCTR", "YKBNK"].map(str::to_owned).to_vec(),
            poll_interval_ms: 5_000,
            closed_poll_interval_ms: 60_000,
            pause_ms_max: 60_000,
            delay_minutes: 0,
            provider: "bist".to_owned(),
            calendar: CalendarKind::Exchange,
            holidays: Vec::new(),
            half_days: Vec::new(),
            no_limit_symbols: Vec::new(),
            timeout_ms: 5_000,
            per_minute: 60,
        }
    }
}

impl BistConfig {
    /// The calendar that this describes.
    #[must_use]
    pub fn calendar(&self) -> Calendar {
        match self.calendar {
            CalendarKind::Exchange => Calendar::new(&self.holidays, &self.half_days),
            CalendarKind::Always => Calendar::always_open(),
        }
    }

    /// Symbols in Spark's spelling, without repetitions; unknown ones are left out, [`BistConfig::problems`] names them.
    #[must_use]
    pub fn resolved(&self, instruments: &InstrumentTable) -> Vec<String> {
        resolve(&self.symbols, instruments)
    }

    pub(crate) fn without_limits(&self, instruments: &InstrumentTable) -> Vec<String> {
        resolve(&self.no_limit_symbols, instruments)
    }

    pub(crate) fn rest(&self) -> ApiConfig {
        ApiConfig {
            base_url: self.base_url.clone(),
            timeout_ms: self.timeout_ms,
            per_minute: Some(self.per_minute),
            ..ApiConfig::default()
        }
    }

    pub(crate) fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }

    pub(crate) fn closed_poll_interval(&self) -> Duration {
        Duration::from_millis(self.closed_poll_interval_ms)
    }

    pub(crate) fn pause_max(&self) -> Duration {
        Duration::from_millis(self.pause_ms_max)
    }

    fn key_env(&self) -> &str {
        self.api_key_env.as_deref().unwrap_or(KEY_ENV)
    }

    /// What keeps the vendor from being asked; none when address and key are there.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        if self.base_url.is_none() {
            return Some("no address; set feed.bist.base_url".to_owned());
        }
        let is_set = std::env::var_os(self.key_env()).is_some_and(|value| !value.is_empty());
        (self.api_key_file.is_none() && !is_set)
            .then(|| format!("no key; set {} or name a file under feed.bist.api_key_file", self.key_env()))
    }

    /// Reads the key.
    ///
    /// # Errors
    /// A sentence that names the variable or the file, never its content.
    pub fn key(&self) -> Result<SecretString, String> {
        match &self.api_key_file {
            Some(path) => read_key(path),
            None => std::env::var(self.key_env())
                .map(|key| SecretString::from(key.trim().to_owned()))
                .map_err(|_| format!("the environment variable {} is not set, or not text", self.key_env())),
        }
    }

    pub(crate) fn problems(&self, instruments: &InstrumentTable) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(Err(problem)) = self.base_url.as_deref().map(check_base_url) {
            let shown = self.base_url.as_deref().filter(|url| !url.contains('@') && !url.contains('?')).unwrap_or("(not shown)");
            problems.push(format!("feed.bist.base_url = {shown:?}: {problem}"));
        }
        let plain =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if self.api_key_env.as_deref().is_some_and(|name| !plain(name)) {
            // Not shown: it may be the key itself.
            problems.push(
                "feed.bist.api_key_env: not the name of an environment variable (A-Z, 0-9, _), e.g. \"SPARK_BIST_API_KEY\"; the key \
                 itself must not be in the configuration"
                    .to_owned(),
            );
        }
        if self.symbols.is_empty() || self.symbols.len() > SYMBOLS_MAX {
            problems.push(format!(
                "feed.bist.symbols: {} symbols; name 1 to {SYMBOLS_MAX}, or leave base_url out",
                self.symbols.len()
            ));
        }
        for (key, list) in [("symbols", &self.symbols), ("no_limit_symbols", &self.no_limit_symbols)] {
            for spelling in list {
                if let Err(error) = instruments.resolve(Venue::Bist, spelling) {
                    problems.push(format!("feed.bist.{key} = \"{spelling}\": {error}"));
                }
            }
        }
        if self.provider.is_empty() || self.provider.len() > 64 {
            problems.push(format!("feed.bist.provider: {} characters; give the vendor a name of 1 to 64", self.provider.len()));
        }
        let mut range = |key: &str, value: u64, least: u64, most: u64, example: u64| {
            if !(least..=most).contains(&value) {
                problems.push(format!("feed.bist.{key} = {value}: must be {least} to {most}, e.g. {example}"));
            }
        };
        range("poll_interval_ms", self.poll_interval_ms, 100, 3_600_000, 5_000);
        range("closed_poll_interval_ms", self.closed_poll_interval_ms, 100, 86_400_000, 60_000);
        range("pause_ms_max", self.pause_ms_max, 100, 3_600_000, 60_000);
        range("delay_minutes", self.delay_minutes.into(), 0, 1_440, 15);
        range("timeout_ms", self.timeout_ms, 10, 120_000, 5_000);
        range("per_minute", self.per_minute.into(), 1, 100_000, 60);
        problems
    }
}

fn resolve(spellings: &[String], instruments: &InstrumentTable) -> Vec<String> {
    let mut symbols: Vec<String> = Vec::new();
    for instrument in spellings.iter().filter_map(|spelling| instruments.resolve(Venue::Bist, spelling).ok()) {
        if !symbols.contains(&instrument.symbol) {
            symbols.push(instrument.symbol.clone());
        }
    }
    symbols
}

fn read_key(path: &Path) -> Result<SecretString, String> {
    let failed = |what: &dyn std::fmt::Display| format!("cannot read {}: {what}", path.display());
    let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > KEY_BYTES_MAX {
        return Err(failed(&format_args!("{size} bytes are more than a key has")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    if text.trim().is_empty() { Err(failed(&"it is empty")) } else { Ok(text.trim().to_owned().into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_address_or_key_nobody_is_asked_and_mistakes_are_named() {
        let table = InstrumentTable::builtin();
        let config = BistConfig::default();
        assert_eq!(config.problems(&table), Vec::<String>::new());
        assert!(config.missing().unwrap().contains("base_url"));
        let here = BistConfig {
            base_url: Some("https://vendor.example/v1".into()),
            api_key_env: Some("SPARK_TEST_NOT_SET".into()),
            ..BistConfig::default()
        };
        assert!(here.missing().unwrap().contains("SPARK_TEST_NOT_SET"));
        let file = BistConfig { api_key_file: Some("/nonexistent/key".into()), ..here };
        assert_eq!(file.missing(), None, "a file is an intention");
        assert!(file.key().unwrap_err().contains("/nonexistent/key"));
        let check = |json: &str, parts: &[&str]| {
            let problems = serde_json::from_str::<BistConfig>(json).unwrap().problems(&table);
            assert_eq!(problems.len(), 1, "{json}: {problems:?}");
            assert!(parts.iter().all(|part| problems[0].contains(part)), "{json}: {problems:?}");
            assert!(!problems[0].contains("hunter2"), "{problems:?}");
        };
        check(r#"{"symbols":["THYAOO"]}"#, &["feed.bist.symbols = \"THYAOO\"", "YKBNK"]);
        check(r#"{"symbols":[]}"#, &["feed.bist.symbols"]);
        check(r#"{"base_url":"http://vendor.example/v1"}"#, &["clear text"]);
        check(r#"{"base_url":"https://a:hunter2@vendor.example"}"#, &["(not shown)"]);
        check(r#"{"api_key_env":"hunter2"}"#, &["must not be in the configuration"]);
        check(r#"{"poll_interval_ms":5}"#, &["poll_interval_ms = 5", "e.g. 5000"]);
        check(r#"{"delay_minutes":2000}"#, &["delay_minutes = 2000"]);
        let day = serde_json::from_str::<BistConfig>(r#"{"holidays":["2028-02-30"]}"#).unwrap_err().to_string();
        assert!(day.contains("2028-02-30") && day.contains("2026-10-28"), "{day}");
    }
}
