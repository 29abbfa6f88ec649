//! `[candles]` of `spark.toml`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Symbol;

/// Bounds of [`Config::mark_interval_ms`] and [`Config::quote_age_ms_max`].
const INTERVAL_MS: (u64, u64) = (100, 60_000);

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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            always: Vec::new(),
            usd_like: ["USD", "USDT", "USDC", "FDUSD"].map(str::to_owned).to_vec(),
            mark_interval_ms: 1_000,
            quote_age_ms_max: 5_000,
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
        problems
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
    }
}
