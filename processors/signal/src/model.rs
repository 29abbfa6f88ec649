//! The model's file: versions, periods, weights, scales. Every mistake in it is named with what would be right.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
pub use spark_bus_schema::signals::ModelId;

/// The model that is there without a file.
pub const BUILT_IN: &str = include_str!("../model.toml");
/// Longest period of an indicator, closes: more could not be warm after one answer of an exchange.
pub const PERIOD_MAX: u32 = 250;
/// Longest horizon, candles.
pub const HORIZON_MAX: u32 = 96;
/// Features that a model may ask for.
pub const FEATURES_MAX: usize = 64;
/// Bytes of a model's file.
pub const FILE_BYTES_MAX: usize = 64 * 1024;
/// What every candle has. The first four are always needed.
pub const CANDLE_FEATURES: [&str; 5] = ["o", "h", "l", "c", "v"];

/// What is wrong with a model's file: every mistake, one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Problem(pub Vec<String>);

/// What a high value of an indicator means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// It goes on.
    Momentum,
    /// It turns back.
    Reversal,
}

/// One value a part, in the order in which they are fused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// Of the relative strength index.
    pub rsi: f64,
    /// Of the MACD histogram.
    pub macd: f64,
    /// Of the regression's slope.
    pub trend: f64,
}

impl Parts {
    /// The same for all.
    #[must_use]
    pub const fn each(value: f64) -> Self {
        Self { rsi: value, macd: value, trend: value }
    }

    /// With their names.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, f64); 3] {
        [("rsi", self.rsi), ("macd", self.macd), ("trend", self.trend)]
    }
}

/// `[rsi]` and `[trend]` of a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Single {
    /// Share in the score, before it is divided by the sum.
    #[serde(default = "one")]
    pub weight: f64,
    /// Closes.
    pub period: u32,
    /// Value of the indicator at which the part is half.
    pub scale: f64,
    /// What a high value means.
    pub reading: Reading,
}

/// `[macd]` of a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crossing {
    /// Share in the score, before it is divided by the sum.
    #[serde(default = "one")]
    pub weight: f64,
    /// Closes of the fast average.
    pub fast: u32,
    /// Closes of the slow average.
    pub slow: u32,
    /// Values of the signal line.
    pub signal: u32,
    /// Histogram as a share of the close at which the part is half.
    pub scale: f64,
    /// What a high value means.
    pub reading: Reading,
}

const fn one() -> f64 {
    1.0
}

fn candle_features() -> Vec<String> {
    CANDLE_FEATURES.map(str::to_owned).to_vec()
}

/// A model's file, as written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    feature_version: String,
    model_version: String,
    confid_floor: f64,
    horizon: u32,
    #[serde(default = "candle_features")]
    features: Vec<String>,
    rsi: Single,
    macd: Crossing,
    trend: Single,
}

/// A model that is free of mistakes.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    id: ModelId,
    file: File,
    weights: Parts,
}

impl Model {
    /// Reads a model's file.
    ///
    /// # Errors
    /// Every mistake, each as "key = value: what is wrong; what would be right".
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > FILE_BYTES_MAX {
            return Err(Problem(vec![format!("{} bytes; a model has at most {FILE_BYTES_MAX}", text.len())]));
        }
        let file: File = toml_edit::de::from_str(text).map_err(|error| Problem(vec![error.to_string().trim_end().to_owned()]))?;
        let mistakes = file.mistakes();
        if !mistakes.is_empty() {
            return Err(Problem(mistakes));
        }
        let sum = file.rsi.weight + file.macd.weight + file.trend.weight;
        let weights = Parts { rsi: file.rsi.weight / sum, macd: file.macd.weight / sum, trend: file.trend.weight / sum };
        let id = ModelId {
            feature_version: file.feature_version.clone(),
            model_version: file.model_version.clone(),
            hash: hex::encode(Sha256::digest(text.as_bytes())),
        };
        Ok(Self { id, file, weights })
    }

    /// The model that is there without a file.
    ///
    /// # Panics
    /// Never: a test reads it.
    #[must_use]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("a test reads the built-in model")
    }

    /// Versions and the SHA-256 of the file's bytes.
    #[must_use]
    pub fn id(&self) -> &ModelId {
        &self.id
    }

    /// Share of each part; their sum is 1.
    #[must_use]
    pub fn weights(&self) -> Parts {
        self.weights
    }

    /// Confidence below which a score is advisory.
    #[must_use]
    pub fn confid_floor(&self) -> f64 {
        self.file.confid_floor
    }

    /// Candles after which the outcome is seen.
    #[must_use]
    pub fn horizon(&self) -> u32 {
        self.file.horizon
    }

    /// What a request must carry.
    #[must_use]
    pub fn features(&self) -> &[String] {
        &self.file.features
    }

    /// The relative strength index.
    #[must_use]
    pub fn rsi(&self) -> &Single {
        &self.file.rsi
    }

    /// The moving averages.
    #[must_use]
    pub fn macd(&self) -> &Crossing {
        &self.file.macd
    }

    /// The regression.
    #[must_use]
    pub fn trend(&self) -> &Single {
        &self.file.trend
    }

    /// Closes until every indicator has a value.
    #[must_use]
    pub fn warm_up(&self) -> u32 {
        let macd = self.file.macd.slow + self.file.macd.signal - 1;
        (self.file.rsi.period + 1).max(macd).max(self.file.trend.period)
    }
}

impl File {
    fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        version(&mut found, "feature_version", &self.feature_version, "v2.0");
        version(&mut found, "model_version", &self.model_version, "ml-fusion-1.2");
        within(&mut found, "confid_floor", self.confid_floor, 0.5, 1.0);
        counted(&mut found, "horizon", self.horizon, 1, HORIZON_MAX);
        counted(&mut found, "rsi.period", self.rsi.period, 2, PERIOD_MAX);
        counted(&mut found, "trend.period", self.trend.period, 2, PERIOD_MAX);
        counted(&mut found, "macd.fast", self.macd.fast, 1, PERIOD_MAX);
        counted(&mut found, "macd.slow", self.macd.slow, 2, PERIOD_MAX);
        counted(&mut found, "macd.signal", self.macd.signal, 1, PERIOD_MAX);
        if self.macd.fast >= self.macd.slow {
            found.push(format!("macd.fast = {}: not below macd.slow = {}; usual are 12 and 26", self.macd.fast, self.macd.slow));
        }
        let parts = [
            ("rsi", self.rsi.weight, self.rsi.scale, 100.0),
            ("macd", self.macd.weight, self.macd.scale, 1.0),
            ("trend", self.trend.weight, self.trend.scale, 1.0),
        ];
        for (part, weight, scale, scale_max) in parts {
            within(&mut found, &format!("{part}.weight"), weight, 0.0, 1_000.0);
            within(&mut found, &format!("{part}.scale"), scale, 1e-9, scale_max);
        }
        if parts.iter().all(|(_, weight, ..)| *weight == 0.0) {
            found.push("weight: every part has 0; at least one must be above it".to_owned());
        }
        self.named_features(&mut found);
        found
    }

    fn named_features(&self, found: &mut Vec<String>) {
        if self.features.len() > FEATURES_MAX {
            found.push(format!("features: {} of them; at most {FEATURES_MAX}", self.features.len()));
        }
        for needed in &CANDLE_FEATURES[..4] {
            if !self.features.iter().any(|feature| feature == needed) {
                found.push(format!("features: `{needed}` is missing; o, h, l and c are always needed"));
            }
        }
        for (at, feature) in self.features.iter().enumerate() {
            let plain = (1..=64).contains(&feature.len()) && feature.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !plain {
                found.push(format!("features[{at}] = {feature:.80?}: not a name; write 1 to 64 letters, digits or `_`"));
            }
            if self.features[..at].contains(feature) {
                found.push(format!("features[{at}] = {feature:.80?}: named twice; once is enough"));
            }
        }
    }
}

/// A version is a token of a subject, and short enough to be read.
fn version(found: &mut Vec<String>, key: &str, text: &str, example: &str) {
    let plain =
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !plain {
        found.push(format!("{key} = {text:.80?}: not a version; write 1 to 64 letters, digits, `-`, `_` or `.`, e.g. {example}"));
    }
}

fn within(found: &mut Vec<String>, key: &str, value: f64, low: f64, high: f64) {
    if !(low..=high).contains(&value) {
        found.push(format!("{key} = {value}: outside of what it can be; write {low} to {high}"));
    }
}

fn counted(found: &mut Vec<String>, key: &str, value: u32, low: u32, high: u32) {
    if !(low..=high).contains(&value) {
        found.push(format!("{key} = {value}: outside of what it can be; write {low} to {high}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_model_is_the_one_that_people_know() {
        let model = Model::built_in();
        assert_eq!((model.id().feature_version.as_str(), model.id().model_version.as_str()), ("v2.0", "ml-fusion-1.2"));
        assert_eq!(model.id().hash, hex::encode(Sha256::digest(BUILT_IN)));
        assert_eq!(model.weights(), Parts::each(1.0 / 3.0));
        assert_eq!(model.warm_up(), 34);
    }

    #[test]
    fn a_changed_byte_is_another_model() {
        let changed = format!("{BUILT_IN}\n");
        assert_ne!(Model::parse(&changed).unwrap().id().hash, Model::built_in().id().hash);
    }

    #[test]
    fn every_mistake_is_named_with_what_would_be_right() {
        let check = |from: &str, to: &str, want: &str| {
            assert!(BUILT_IN.contains(from), "{from}");
            let said = Model::parse(&BUILT_IN.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(said.contains(want), "{to}: {said}");
        };
        check("confid_floor = 0.55", "confid_floor = 0.4", "confid_floor = 0.4: outside of what it can be; write 0.5 to 1");
        check("confid_floor = 0.55", "confid_floor = nan", "confid_floor = NaN");
        check("confid_floor = 0.55", "confid_flor = 0.55", "unknown field `confid_flor`");
        check("horizon = 4", "", "missing field `horizon`");
        check("horizon = 4", "horizon = 0", "horizon = 0: outside of what it can be; write 1 to 96");
        check("horizon = 4", "horizon = -1", "horizon = -1");
        check("period = 14", "period = 1", "rsi.period = 1");
        check("fast = 12", "fast = 26", "macd.fast = 26: not below macd.slow = 26; usual are 12 and 26");
        check("scale = 20.0", "scale = 0.0", "rsi.scale = 0: ");
        check("scale = 20.0", "scale = inf", "rsi.scale = inf: ");
        check("weight = 1.0", "weight = -1.0", "rsi.weight = -1: ");
        check("reading = \"reversal\"", "reading = \"up\"", "unknown variant `up`, expected `momentum` or `reversal`");
        check("\"ml-fusion-1.2\"", "\"ml fusion\"", "model_version = \"ml fusion\": not a version");
        check("[\"o\", \"h\"", "[\"h\"", "features: `o` is missing");
        check("\"v\"]", "\"v\", \"v\", \"a b\"]", "features[5] = \"v\": named twice");
        check("\"v\"]", "\"v\", \"a b\"]", "features[5] = \"a b\": not a name");
        let none = BUILT_IN.replace("weight = 1.0", "weight = 0.0");
        assert!(Model::parse(&none).unwrap_err().to_string().contains("every part has 0"));
        let two = BUILT_IN.replace("horizon = 4", "horizon = 0").replace("confid_floor = 0.55", "confid_floor = 2.0");
        assert_eq!(Model::parse(&two).unwrap_err().0.len(), 2, "all of them at once");
    }

    #[test]
    fn weights_are_shares_and_may_be_left_out() {
        let text = BUILT_IN.replacen("weight = 1.0", "weight = 2.0", 1);
        assert_eq!(Model::parse(&text).unwrap().weights(), Parts { rsi: 0.5, macd: 0.25, trend: 0.25 });
        let text = BUILT_IN.replace("weight = 1.0\n", "");
        assert_eq!(Model::parse(&text).unwrap().weights(), Parts::each(1.0 / 3.0));
    }
}
