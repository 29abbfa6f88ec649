//! `[strategy]` of `spark.toml`.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::strategies::StrategyKind;

use crate::plan::Plan;

/// Strategies of one process, at most.
pub(crate) const SPECS_MAX: usize = 100;

/// What the process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether the built-in strategies trade. Not said: in the demo they do, with `--live` they do not.
    pub enabled: Option<bool>,
    /// `[[strategy.run]]`: the strategies.
    pub run: Vec<Spec>,
}

/// One strategy. Which keys it has depends on its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its name: in every order it asks for, in limits, in `spark strategy stop`.
    pub name: String,
    /// How it decides: `mean_reversion` (default) or `sma_cross`.
    #[serde(default)]
    pub kind: StrategyKind,
    /// Where it trades.
    pub exchange: Venue,
    /// What it trades, Spark's spelling.
    pub symbol: String,
    /// Of each order, base currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Decimal>,
    /// `mean_reversion`: its position never goes beyond this on either side, base currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_max: Option<Decimal>,
    /// `mean_reversion`: prices that the mean is taken of. Default 12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// `mean_reversion`: distance from the mean below which it does nothing, percent. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_pct: Option<Decimal>,
    /// `mean_reversion`: time between two prices, and between two orders at least, ms. Default 5 000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// `sma_cross`: bars of the fast mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast: Option<u32>,
    /// `sma_cross`: bars of the slow mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<u32>,
    /// `sma_cross`: length of a bar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeframe: Option<TimeFrame>,
    /// `sma_cross`, instead of `quantity`: what it begins with, quote currency; all of it is traded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cash: Option<Decimal>,
    /// `sma_cross`: of what is traded, percent, kept back where all cash is spent. Default: 0.1 at Binance, 0.24 at BTCTurk,
    /// 0.2 at Borsa Istanbul.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commission_pct: Option<Decimal>,
}

impl Spec {
    /// One that says nothing yet.
    #[must_use]
    pub fn new(name: &str, exchange: Venue, symbol: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: StrategyKind::default(),
            exchange,
            symbol: symbol.to_owned(),
            quantity: None,
            position_max: None,
            window: None,
            threshold_pct: None,
            interval_ms: None,
            fast: None,
            slow: None,
            timeframe: None,
            cash: None,
            commission_pct: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let spec = |name: &str, exchange, symbol: &str| Spec {
            // Some 60 USD: above every venue's smallest order, far below the default limits.
            quantity: Some(Decimal::new(1, 3)),
            position_max: Some(Decimal::new(3, 3)),
            ..Spec::new(name, exchange, symbol)
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
            let wrong = Plan::of(spec).err().unwrap_or_default();
            problems.extend(wrong.into_iter().map(|(key, what)| format!("run.{index}.{key} = {what}")));
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
        check(|spec| spec.quantity = Some(Decimal::ZERO), "run.1.quantity = \"0\"");
        check(|spec| spec.quantity = None, "run.1.quantity = missing");
        check(|spec| spec.position_max = Some(Decimal::new(1, 4)), "run.1.position_max = \"0.0001\"");
        check(|spec| spec.window = Some(1), "run.1.window = 1");
        check(|spec| spec.threshold_pct = Some(-Decimal::ONE), "run.1.threshold_pct = \"-1\"");
        check(|spec| spec.interval_ms = Some(10), "run.1.interval_ms = 10");
        check(|spec| spec.fast = Some(10), "run.1.fast = given: mean_reversion has no such key");
        check(|spec| spec.kind = StrategyKind::External, "run.1.kind = \"external\"");
    }

    #[test]
    fn each_mistake_of_a_moving_average_cross_is_named_with_what_would_be_right() {
        let right = || Spec {
            kind: StrategyKind::SmaCross,
            fast: Some(10),
            slow: Some(30),
            timeframe: Some(TimeFrame::M1),
            quantity: Some(Decimal::new(1, 3)),
            ..Spec::new("cross", Venue::Binance, "BTCUSDT")
        };
        let check = |change: fn(&mut Spec), want: &str| {
            let mut spec = right();
            change(&mut spec);
            let problems = Config { enabled: None, run: vec![spec] }.validate();
            assert!(problems.len() == 1 && problems[0].contains(want), "{problems:?}");
        };
        assert_eq!(Config { enabled: None, run: vec![right()] }.validate(), Vec::<String>::new());
        check(|spec| spec.fast = None, "run.0.fast = missing");
        check(|spec| spec.fast = Some(30), "run.0.fast = 30: not below slow = 30");
        check(|spec| spec.slow = Some(20_000), "out of range");
        check(|spec| spec.timeframe = None, "run.0.timeframe = missing");
        check(|spec| spec.quantity = None, "run.0.quantity = missing");
        check(|spec| spec.cash = Some(Decimal::TEN), "run.0.cash = \"10\": quantity is given as well");
        check(|spec| (spec.quantity, spec.cash) = (None, Some(-Decimal::TEN)), "run.0.cash = \"-10\"");
        check(|spec| spec.commission_pct = Some(Decimal::ONE_HUNDRED), "run.0.commission_pct = \"100\"");
        check(|spec| spec.window = Some(12), "run.0.window = given: sma_cross has no such key");
    }
}
