//! Scores of the model, what became of them, and how far they can be believed.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::candles::TimeFrame;
use crate::codec::{Kind, Message};
use crate::instrument::Venue;
use crate::market::Side;
use crate::orders::{amount, name, symbol};
use crate::time::Timestamp;

/// Buckets of the confidence, lowest first. The last one holds 1.0.
pub const BUCKETS: [&str; 5] = ["0.5-0.6", "0.6-0.7", "0.7-0.8", "0.8-0.9", "0.9-1.0"];

/// Which model said it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ModelId {
    /// How features are made, e.g. `v2.0`.
    pub feature_version: String,
    /// The model, e.g. `ml-fusion-1.2`.
    pub model_version: String,
    /// SHA-256 of the model's file, lower-case hex: a changed file is another model whatever it calls itself.
    pub hash: String,
}

impl ModelId {
    fn check(&self) -> Result<(), String> {
        name("model_version", &self.model_version)?;
        name("feature_version", &self.feature_version)?;
        let hex = self.hash.len() == 64 && self.hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex { Ok(()) } else { Err(format!("hash: {:.80?} is not a SHA-256 in lower-case hex", self.hash)) }
    }
}

/// The model in force. Subject `signals.model`; said at each start of `signal` and when it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelInForce {
    /// Which.
    pub model: ModelId,
    /// Weight of each part.
    pub weights: BTreeMap<String, f64>,
    /// Scores with less confidence are advisory.
    pub confid_floor: f64,
    /// Candles after which it is seen whether the price moved as scored.
    pub horizon: u32,
    /// When.
    pub at: Timestamp,
}

impl Message for ModelInForce {
    const KIND: Kind = Kind { name: "model_in_force", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        self.model.check()
    }
}

/// Why a candle has no score, where that says nothing against the model or its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// Its indicators have not seen enough candles yet.
    Warming,
    /// Nothing was traded in the candle.
    NothingTraded,
    /// Scoring is switched off.
    SwitchedOff,
}

/// What the model says about one closed candle. Subject `signals.score.<venue>.<symbol>.<timeframe>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// Which model.
    pub model: ModelId,
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Of the candle.
    pub timeframe: TimeFrame,
    /// First moment of the candle.
    pub open_time: Timestamp,
    /// Its close, quote per base.
    #[schemars(with = "String")]
    pub close: Decimal,
    /// -1 (falls for certain) to 1 (rises for certain); none when there is no score.
    pub score: Option<f64>,
    /// How sure of the direction, 0 to 1; none when there is no score.
    pub confid: Option<f64>,
    /// Of [`BUCKETS`]; none when there is no score, or less confidence than the lowest.
    pub ml_bucket: Option<String>,
    /// What each part said, -1 to 1, by its name: `rsi`, `macd`, `trend`.
    pub ml_signal_parts: BTreeMap<String, f64>,
    /// The side that follows, when it is sure enough.
    pub side: Option<Side>,
    /// Nobody may trade on it: no score, below the floor, or the rollout has not come that far.
    pub advisory: bool,
    /// Why it is advisory.
    pub reason: Option<String>,
    /// The floor of this moment.
    pub confid_floor: f64,
    /// Whether the rollout gives this symbol to the model: those parts that it does not are the baseline.
    pub assigned: bool,
    /// The candle's `closed_at`: from here to this message's stored time is the model's latency.
    pub decided_at: Timestamp,
    /// Why there is no score, where that is no failure. Messages of older builds have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absence: Option<Absence>,
}

impl Score {
    /// Whether there should be a score and is none.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        self.score.is_none() && self.absence.is_none()
    }
}

impl Message for Score {
    const KIND: Kind = Kind { name: "score", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        self.model.check()?;
        symbol(&self.symbol)?;
        amount("close", self.close)?;
        let within = |field: &str, value: Option<f64>, low: f64, high: f64| match value {
            Some(value) if !(low..=high).contains(&value) => Err(format!("{field}: {value} is not within {low} and {high}")),
            _ => Ok(()),
        };
        within("score", self.score, -1.0, 1.0)?;
        within("confid", self.confid, 0.0, 1.0)?;
        for (part, value) in &self.ml_signal_parts {
            within(part, Some(*value), -1.0, 1.0)?;
        }
        if self.ml_bucket.as_deref().is_some_and(|bucket| !BUCKETS.contains(&bucket)) {
            return Err(format!("ml_bucket: {:.32?} is none of {}", self.ml_bucket, BUCKETS.join(", ")));
        }
        if self.advisory != self.reason.is_some() {
            return Err("reason: belongs to what is advisory, and to nothing else".to_owned());
        }
        if self.score.is_none() && !self.advisory {
            return Err("advisory: false without a score".to_owned());
        }
        Ok(())
    }
}

/// Somebody asks for the score of a candle of their own. Subject `signals.request.<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoreRequest {
    /// Names the request: letters, digits, `-`, `_`.
    pub id: String,
    /// `binance` when not said.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Of the candle.
    pub timeframe: TimeFrame,
    /// When the candle began.
    pub open_time: Timestamp,
    /// `o h l c v` and whatever else was given; none is what was null, not a number or infinite.
    pub features: BTreeMap<String, Option<f64>>,
    /// Who.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

impl Message for ScoreRequest {
    const KIND: Kind = Kind { name: "score_request", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        name("id", &self.id)?;
        name("actor", &self.actor)?;
        symbol(&self.symbol)
    }
}

/// The answer. Subject `signals.answer.<id>`, once a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoreAnswer {
    /// Of the request.
    pub id: String,
    /// What the model says; `close` of an unusable candle is the last one known.
    pub score: Score,
}

impl Message for ScoreAnswer {
    const KIND: Kind = Kind { name: "score_answer", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        name("id", &self.id)?;
        self.score.validate()
    }
}

/// What the price did after a score. Subject `signals.outcome.<venue>.<symbol>.<timeframe>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Which model.
    pub model: ModelId,
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Of the candle.
    pub timeframe: TimeFrame,
    /// The scored candle.
    pub open_time: Timestamp,
    /// What was said.
    pub score: f64,
    /// How sure.
    pub confid: f64,
    /// What each part said.
    pub ml_signal_parts: BTreeMap<String, f64>,
    /// Whether the symbol was given to the model by the rollout.
    pub assigned: bool,
    /// Candles between the two closes.
    pub horizon: u32,
    /// From the scored close to the one at the horizon, basis points.
    pub move_bps: f64,
    /// The price moved to the side that was scored.
    pub hit: bool,
    /// When it was seen.
    pub at: Timestamp,
}

impl Message for Outcome {
    const KIND: Kind = Kind { name: "outcome", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        self.model.check()?;
        symbol(&self.symbol)?;
        let finite = self.score.is_finite() && self.confid.is_finite() && self.move_bps.is_finite();
        if finite { Ok(()) } else { Err("score, confid or move_bps: not a number".to_owned()) }
    }
}

/// One bucket of the reliability table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reliability {
    /// Of [`BUCKETS`].
    pub ml_bucket: String,
    /// Scores whose outcome is known.
    pub count: u64,
    /// Those that the price followed.
    pub hits: u64,
    /// Mean confidence; 0 without scores.
    pub mean_confid: f64,
}

/// How far the scores of one symbol and time frame can be believed. Subject `signals.calibration.<venue>.<symbol>.<timeframe>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    /// Which model.
    pub model: ModelId,
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Of the candles.
    pub timeframe: TimeFrame,
    /// Outcomes that it is made of.
    pub samples: u64,
    /// All buckets, lowest first.
    pub reliability: Vec<Reliability>,
    /// Mean squared distance of confidence and outcome, 0 to 1; none without samples.
    pub brier: Option<f64>,
    /// Pearson correlation of each part with the move; a part without variance has none.
    pub correlation: BTreeMap<String, f64>,
    /// Population stability index of the newest scores against the reference window; none before both are full.
    pub drift_psi: Option<f64>,
    /// Median confidence of the newest scores.
    pub confid_median: Option<f64>,
    /// Since when the confidence is so low that this period shall be calibrated again later.
    pub low_confidence_since: Option<Timestamp>,
    /// When.
    pub at: Timestamp,
}

impl Message for Calibration {
    const KIND: Kind = Kind { name: "calibration", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        self.model.check()?;
        symbol(&self.symbol)
    }
}
