//! `[strategy]` of `spark.toml`.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_bus_schema::orders::{amount, strategy_name};

/// Bounds of [`Spec::interval_ms`]: never more than one order a second, at least one decision a day.
const INTERVAL_MS: (u64, u64) = (1_000, 86_400_000);
/// Bounds of [`Spec::window`].
const WINDOW: (usize, usize) = (2, 10_000);
/// Strategies of one process, at most.
const SPECS_MAX: usize = 100;

/// What the process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether the built-in strategies trade. Not said: in the demo they do, with `--live` they do not.
    pub enabled: Option<bool>,
    /// `[[strategy.run]]`: the strategies.
    pub run: Vec<Spec>,
}

/// How a strategy decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sells above the mean of the last prices, buys below it.
    #[default]
    MeanReversion,
}

/// One strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its name: in every order it asks for, in limits, in `spark strategy stop`.
    pub name: String,
    /// How it decides.
    #[serde(default)]
    pub kind: Kind,
    /// Where it trades.
    pub exchange: Venue,
    /// What it trades, Spark's spelling.
    pub symbol: String,
    /// Of each order, base currency.
    pub quantity: Decimal,
    /// Its position never goes beyond this on either side, base currency.
    pub position_max: Decimal,
    /// Prices that the mean is taken of.
    #[serde(default = "window")]
    pub window: usize,
    /// Distance from the mean below which it does nothing, percent.
    #[serde(default)]
    pub threshold_pct: Decimal,
    /// Time between two prices, and between two orders at least, ms.
    #[serde(default = "interval_ms")]
    pub interval_ms: u64,
}

const fn window() -> usize {
    12
}

const fn interval_ms() -> u64 {
    5_000
}

impl Default for Config {
    fn default() -> Self {
        let spec = |name: &str, exchange, symbol: &str| Spec {
            name: name.to_owned(),
            kind: Kind::MeanReversion,
            exchange,
            symbol: symbol.to_owned(),
            // Some 60 USD: above every venue's smallest order, far below the default limits.
            quantity: Decimal::new(1, 3),
            position_max: Decimal::new(3, 3),
            window: window(),
            threshold_pct: Decimal::ZERO,
            interval_ms: interval_ms(),
        };
        Self {
            enabled: None,
            run: vec![spec("demo-btcusdt", Venue::Binance, "BTCUSDT"), spec("demo-btctry", Venue::Btcturk, "BTCTRY")],
        }
    }
}

impl Config {
    /// Every mistake, as "key = value: what is wrong; what would be right".
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.run.len() > SPECS_MAX {
            problems.push(format!("run = {} strategies: too many; {SPECS_MAX} at most", self.run.len()));
        }
        let mut names = BTreeSet::new();
        for (index, spec) in self.run.iter().enumerate() {
            if !names.insert(&spec.name) {
                problems.push(format!("run.{index}.name = \"{}\": is there twice; give each its own", spec.name));
            }
            problems.extend(spec.problems().into_iter().map(|(key, what)| format!("run.{index}.{key} = {what}")));
        }
        problems
    }
}

impl Spec {
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Err(what) = strategy_name(&self.name) {
            problems.push(("name", format!("\"{}\": {what}; e.g. \"demo-btcusdt\"", self.name)));
        }
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if !plain(&self.symbol) {
            problems.push(("symbol", format!("\"{}\": only A-Z and 0-9 are allowed, e.g. \"BTCUSDT\"", self.symbol)));
        }
        for (key, value) in [("quantity", self.quantity), ("position_max", self.position_max)] {
            if let Err(what) = amount(key, value) {
                problems.push((key, format!("\"{value}\": {what}; e.g. \"0.001\"")));
            }
        }
        if self.position_max < self.quantity {
            problems.push((
                "position_max",
                format!(
                    "\"{}\": below quantity = \"{}\", so it could never trade; write the same or more",
                    self.position_max, self.quantity
                ),
            ));
        }
        if !(WINDOW.0..=WINDOW.1).contains(&self.window) {
            problems.push(("window", format!("{}: out of range; write {} to {}", self.window, WINDOW.0, WINDOW.1)));
        }
        if self.threshold_pct < Decimal::ZERO || self.threshold_pct > Decimal::ONE_HUNDRED {
            problems.push(("threshold_pct", format!("\"{}\": out of range; write \"0\" to \"100\"", self.threshold_pct)));
        }
        if !(INTERVAL_MS.0..=INTERVAL_MS.1).contains(&self.interval_ms) {
            problems.push((
                "interval_ms",
                format!("{}: out of range; write {} to {}", self.interval_ms, INTERVAL_MS.0, INTERVAL_MS.1),
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_each_mistake_is_named_with_what_would_be_right() {
        assert_eq!(Config::default().validate(), Vec::<String>::new());
        let check = |change: fn(&mut Spec), want: &str| {
            let mut config = Config::default();
            change(&mut config.run[1]);
            let problems = config.validate();
            assert!(problems.len() == 1 && problems[0].contains(want), "{problems:?}");
        };
        check(|spec| spec.name = "a.b".into(), "run.1.name = \"a.b\"");
        check(|spec| spec.name = "demo-btcusdt".into(), "run.1.name = \"demo-btcusdt\": is there twice");
        check(|spec| spec.symbol = "btctry".into(), "run.1.symbol = \"btctry\"");
        check(|spec| spec.quantity = Decimal::ZERO, "run.1.quantity = \"0\"");
        check(|spec| spec.position_max = Decimal::new(1, 4), "run.1.position_max = \"0.0001\"");
        check(|spec| spec.window = 1, "run.1.window = 1");
        check(|spec| spec.threshold_pct = -Decimal::ONE, "run.1.threshold_pct = \"-1\"");
        check(|spec| spec.interval_ms = 10, "run.1.interval_ms = 10");
    }
}
