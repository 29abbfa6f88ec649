//! `[signal]` of `spark.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::orders::amount;

use crate::model::{FILE_BYTES_MAX, Model};

/// Symbols with a quantity of their own.
const QUANTITIES_MAX: usize = 1_000;

/// What the process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The model's file; none is the built-in model (`processors/signal/model.toml`).
    pub model: Option<PathBuf>,
    /// SHA-256 of the model's file, lower-case hex. Said, any other file still scores, but nobody trades on it.
    pub model_hash: Option<String>,
    /// Time frames that are scored. Empty: every one that `candles` builds, so that there is no second list to keep.
    /// Orders follow from the rollout's time frame only.
    pub timeframes: Vec<TimeFrame>,
    /// Base currency of each order, by `<venue>.<symbol>`.
    pub quantity: BTreeMap<String, Decimal>,
    /// Quote currency of each order of a symbol that has no quantity; rounded down to what the exchange takes.
    pub notional: Decimal,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model: None,
            model_hash: None,
            timeframes: Vec::new(),
            quantity: BTreeMap::new(),
            // Above every venue's smallest order, in dollars or lira, and far below the default limits.
            notional: Decimal::new(250, 0),
        }
    }
}

impl Config {
    /// Every mistake, as "key = value: what is wrong; what would be right". Reads the model's file.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(hash) = &self.model_hash {
            let is_hex = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !is_hex {
                wrong.push(format!(
                    "model_hash = {hash:.80?}: not a SHA-256; write the 64 characters that `sha256sum FILE` prints"
                ));
            }
        }
        for (at, frame) in self.timeframes.iter().enumerate() {
            if self.timeframes[..at].contains(frame) {
                wrong.push(format!("timeframes[{at}] = \"{frame}\": named twice; once is enough"));
            }
        }
        if self.quantity.len() > QUANTITIES_MAX {
            wrong.push(format!("quantity: {} symbols; at most {QUANTITIES_MAX}", self.quantity.len()));
        }
        for (name, quantity) in &self.quantity {
            if instrument(name).is_none() {
                wrong.push(format!("quantity.{name:?}: not a symbol; write it like \"binance.BTCUSDT\""));
            }
            if let Err(why) = amount("it", *quantity) {
                wrong.push(format!("quantity.{name:?} = {quantity}: {why}; write base currency, e.g. \"0.001\""));
            }
        }
        if let Err(why) = amount("it", self.notional) {
            wrong.push(format!("notional = {}: {why}; write quote currency, e.g. \"250\"", self.notional));
        }
        if let Err(mistakes) = self.load_model() {
            wrong.extend(mistakes);
        }
        wrong
    }

    /// The model that scores.
    ///
    /// # Errors
    /// Every mistake in its file, or why it cannot be read.
    pub fn load_model(&self) -> Result<Model, Vec<String>> {
        let Some(path) = &self.model else { return Ok(Model::built_in()) };
        let name = path.display();
        let bad = |why: String| vec![format!("model = \"{name}\": {why}; write the path of a model's file, or leave it out")];
        let size = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
        if size > FILE_BYTES_MAX as u64 {
            return Err(bad(format!("{size} bytes, more than the {FILE_BYTES_MAX} of a model")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        Model::parse(&text).map_err(|problem| problem.0.into_iter().map(|line| format!("model = \"{name}\": {line}")).collect())
    }
}

/// Venue and symbol of `<venue>.<symbol>`.
fn instrument(name: &str) -> Option<(Venue, &str)> {
    let (venue, symbol) = name.split_once('.')?;
    let venue = Venue::ALL.into_iter().find(|known| known.as_str() == venue)?;
    let plain = (1..=32).contains(&symbol.len()) && symbol.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    plain.then_some((venue, symbol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_free_of_mistakes() {
        assert_eq!(Config::default().validate(), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_named_with_what_would_be_right() {
        let check = |text: &str, want: &str| {
            let wrong =
                toml_edit::de::from_str::<Config>(text).map_or_else(|error| vec![error.to_string()], |config| config.validate());
            assert!(wrong.iter().any(|line| line.contains(want)), "{text}: {wrong:?}");
        };
        check("model_hash = \"abc\"", "model_hash = \"abc\": not a SHA-256; write the 64 characters");
        check("timeframes = [\"15m\", \"15m\"]", "timeframes[1] = \"15m\": named twice");
        check("timeframes = [\"2m\"]", "2m");
        check("[quantity]\nBTCUSDT = \"1\"", "quantity.\"BTCUSDT\": not a symbol; write it like \"binance.BTCUSDT\"");
        check("[quantity]\n\"binance.BTCUSDT\" = \"0\"", "quantity.\"binance.BTCUSDT\" = 0");
        check("notional = \"-5\"", "notional = -5");
        check("model = \"/nowhere.toml\"", "model = \"/nowhere.toml\": No such file");
        check("modle = \"x\"", "unknown field `modle`");
    }

    #[test]
    fn a_model_of_ones_own_is_read_and_its_mistakes_are_told() {
        let path = std::env::temp_dir().join(format!("spark-model-{}.toml", std::process::id()));
        std::fs::write(&path, crate::model::BUILT_IN.replace("ml-fusion-1.2", "mine-1")).unwrap();
        let config = Config { model: Some(path.clone()), ..Config::default() };
        assert_eq!(config.load_model().unwrap().id().model_version, "mine-1");
        std::fs::write(&path, crate::model::BUILT_IN.replace("horizon = 4", "horizon = 0")).unwrap();
        assert!(config.validate()[0].contains("horizon = 0: outside"), "{:?}", config.validate());
        std::fs::remove_file(path).unwrap();
    }
}
