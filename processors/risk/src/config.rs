//! Section `[risk]` of `spark.toml`.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::risk::{LimitOverride, LimitSet, Limits};

/// What each strategy starts with unless the file says otherwise, USD: enough for a small one to trade.
const CAPITAL_USD: i64 = 10_000;

/// Section `[risk]`: the limits. They take effect as a message: at its start the process publishes them when they differ
/// from what the file said the last time; a limit set by command holds until the file changes.
///
/// Amounts are texts: `notional_usd_max = "10000"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[risk.default]`: for everything that is not named below.
    pub default: LimitSet,
    /// `[risk.strategy.<name>]`.
    pub strategy: BTreeMap<String, LimitOverride>,
    /// `[risk.symbol."<venue>.<symbol>"]`.
    pub symbol: BTreeMap<String, LimitOverride>,
}

impl Default for Config {
    fn default() -> Self {
        let default = LimitSet { capital_usd: Some(Decimal::from(CAPITAL_USD)), ..LimitSet::default() };
        Self { default, strategy: BTreeMap::new(), symbol: BTreeMap::new() }
    }
}

impl Config {
    /// The limits as they travel.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { default: self.default.clone(), strategy: self.strategy.clone(), symbol: self.symbol.clone() }
    }

    /// Every mistake, each as "key = value: what is wrong; what would be right".
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        self.limits().check().err().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_the_file_and_mistakes_are_named() {
        let text = r#"
            [default]
            notional_usd_max = "5000"
            [strategy.demo]
            capital_usd = "1000"
            orders_per_minute_max = 10
            [symbol."binance.BTCUSDT"]
            exposure_usd_max = "20000"
        "#;
        let config: Config = toml_edit::de::from_str(text).unwrap();
        assert_eq!(config.validate(), Vec::<String>::new());
        assert_eq!(config.default.notional_usd_max, Decimal::from(5_000));
        assert_eq!(config.default.exposure_usd_max, Decimal::from(50_000));
        assert_eq!(config.limits().strategy["demo"].capital_usd, Some(Decimal::from(1_000)));
        let wrong: Config = toml_edit::de::from_str("[default]\nnotional_usd_max = \"-1\"").unwrap();
        assert!(wrong.validate()[0].contains("default.notional_usd_max = \"-1\""), "{:?}", wrong.validate());
        assert!(toml_edit::de::from_str::<Config>("[default]\nnotional = \"1\"").is_err());
        assert_eq!(Config::default().validate(), Vec::<String>::new());
    }
}
