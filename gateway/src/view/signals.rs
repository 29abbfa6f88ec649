//! What the model says: which model it is, its newest scores, how far they can be believed, and answers to those who ask.
//!
//! Nothing of it is in the checkpoint: a start reads the newest scores again.

use std::collections::{BTreeMap, VecDeque};

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::market::Side;
use spark_bus_schema::signals::{BUCKETS, Calibration, ModelInForce, Reliability, Score, ScoreAnswer};
use spark_bus_schema::{Timestamp, Venue};

use crate::number::Number;

/// Scores held.
pub const SCORES_MAX: usize = 2_000;
/// Symbols and time frames whose calibration is held.
pub const SERIES_MAX: usize = 512;
/// Answers held for those who wait for them.
pub const ANSWERS_MAX: usize = 256;
/// What a score without a bucket is counted under: there is no score, or it is not sure of anything.
pub const NO_BUCKET: &str = "none";

type Series = (Venue, String, TimeFrame);
type Place = (Timestamp, Venue, String, TimeFrame, Timestamp);

/// The model's part of the picture.
#[derive(Default)]
pub struct Signals {
    model: Option<(Timestamp, ModelInForce)>,
    scores: BTreeMap<Place, Score>,
    calibrations: BTreeMap<Series, Calibration>,
    answers: VecDeque<ScoreAnswer>,
    counted: BTreeMap<(bool, &'static str), u64>,
}

impl Signals {
    /// Takes in the model in force, stored at `at`.
    pub fn model_in_force(&mut self, at: Timestamp, model: ModelInForce) {
        if self.model.as_ref().is_none_or(|(held, _)| *held <= at) {
            self.model = Some((at, model));
        }
    }

    /// Takes in a score; twice is once. `live`: stored since the gateway runs, so that it counts.
    pub fn score(&mut self, score: Score, live: bool) {
        let place = (score.decided_at, score.venue, score.symbol.clone(), score.timeframe, score.open_time);
        let oldest = self.scores.first_key_value().map(|(oldest, _)| oldest);
        let too_old = self.scores.len() >= SCORES_MAX && oldest.is_some_and(|oldest| place < *oldest);
        if too_old || self.scores.contains_key(&place) {
            return;
        }
        if live {
            *self.counted.entry((score.advisory, bucket(&score))).or_default() += 1;
        }
        self.scores.insert(place, score);
        if self.scores.len() > SCORES_MAX {
            self.scores.pop_first();
        }
    }

    /// Takes in a calibration; false when there is no room for another series.
    pub fn calibration(&mut self, told: Calibration) -> bool {
        let series = (told.venue, told.symbol.clone(), told.timeframe);
        if self.calibrations.len() >= SERIES_MAX && !self.calibrations.contains_key(&series) {
            return false;
        }
        if self.calibrations.get(&series).is_none_or(|held| held.at <= told.at) {
            self.calibrations.insert(series, told);
        }
        true
    }

    /// Takes in an answer.
    pub fn answer(&mut self, answer: ScoreAnswer) {
        if self.answers.len() >= ANSWERS_MAX {
            self.answers.pop_front();
        }
        self.answers.push_back(answer);
    }

    /// The answer to a request, once it is there.
    #[must_use]
    pub fn answer_to(&self, id: &str) -> Option<&Score> {
        self.answers.iter().rev().find(|answer| answer.id == id).map(|answer| &answer.score)
    }

    /// The model in force; none when `signal` has never spoken.
    #[must_use]
    pub fn model(&self) -> Option<&ModelInForce> {
        self.model.as_ref().map(|(_, model)| model)
    }

    /// Scores, newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Score> {
        self.scores.values().rev()
    }

    /// Calibrations by series.
    pub fn calibrations(&self) -> impl Iterator<Item = &Calibration> {
        self.calibrations.values()
    }

    /// Scores of each bucket among those held, lowest first, and last those without one.
    #[must_use]
    pub fn buckets(&self) -> Vec<BucketRow> {
        let mut counts: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        for score in self.scores.values() {
            let (all, advisory) = counts.entry(bucket(score)).or_default();
            *all += 1;
            *advisory += u64::from(score.advisory);
        }
        let row = |ml_bucket| {
            let (count, advisory) = counts.get(ml_bucket).copied().unwrap_or_default();
            BucketRow { ml_bucket, count, advisory }
        };
        BUCKETS.into_iter().chain([NO_BUCKET]).map(row).collect()
    }

    /// Live scores by whether they are advisory and by bucket: every one, with a zero from the beginning.
    pub fn counted(&self) -> impl Iterator<Item = (bool, &'static str, u64)> {
        let all = [false, true].into_iter().flat_map(|advisory| BUCKETS.into_iter().map(move |bucket| (advisory, bucket)));
        // A score without a bucket is always advisory.
        all.chain([(true, NO_BUCKET)])
            .map(|(advisory, bucket)| (advisory, bucket, self.counted.get(&(advisory, bucket)).copied().unwrap_or_default()))
    }

    /// All series together.
    #[must_use]
    pub fn overall(&self) -> Overall {
        let mut rows: BTreeMap<&'static str, (u64, u64, f64)> = BTreeMap::new();
        let (mut samples, mut brier, mut brier_samples) = (0, 0.0, 0.0);
        for told in self.calibrations.values() {
            samples += told.samples;
            #[expect(clippy::cast_precision_loss, reason = "statistics")]
            let weight = told.samples as f64;
            if let Some(value) = told.brier.filter(|value| value.is_finite()) {
                brier += value * weight;
                brier_samples += weight;
            }
            for row in &told.reliability {
                let Some(bucket) = BUCKETS.into_iter().find(|bucket| *bucket == row.ml_bucket) else { continue };
                let (count, hits, confid) = rows.entry(bucket).or_default();
                *count += row.count;
                *hits += row.hits;
                #[expect(clippy::cast_precision_loss, reason = "statistics")]
                let weighted = row.mean_confid * row.count as f64;
                *confid += weighted;
            }
        }
        let row = |bucket: &'static str| {
            let (count, hits, confid) = rows.get(bucket).copied().unwrap_or_default();
            ReliabilityRow::new(bucket, count, hits, confid)
        };
        let brier = (brier_samples > 0.0).then(|| brier / brier_samples);
        Overall { samples, brier, reliability: BUCKETS.into_iter().map(row).collect() }
    }
}

fn bucket(score: &Score) -> &'static str {
    let told = score.ml_bucket.as_deref();
    BUCKETS.into_iter().find(|bucket| Some(*bucket) == told).unwrap_or(NO_BUCKET)
}

/// Scores of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BucketRow {
    /// Of the confidence; `none` for those without.
    pub ml_bucket: &'static str,
    /// Scores held.
    pub count: u64,
    /// Those of them that nobody may trade on.
    pub advisory: u64,
}

/// Every series together.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Overall {
    /// Outcomes.
    pub samples: u64,
    /// Mean squared distance of confidence and outcome; null without samples.
    pub brier: Option<f64>,
    /// Lowest bucket first.
    pub reliability: Vec<ReliabilityRow>,
}

/// One bucket of the reliability table.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReliabilityRow {
    #[serde(rename = "ml_bucket")]
    bucket: String,
    count: u64,
    hits: u64,
    /// Hits over scores; null without one.
    hit_rate: Option<f64>,
    /// Null without a score.
    mean_confid: Option<f64>,
}

impl ReliabilityRow {
    fn new(bucket: &str, count: u64, hits: u64, confid_sum: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "statistics")]
        let share = |value: f64| (count > 0).then(|| value / count as f64);
        #[expect(clippy::cast_precision_loss, reason = "statistics")]
        let hit_rate = share(hits as f64);
        Self { bucket: bucket.to_owned(), count, hits, hit_rate, mean_confid: share(confid_sum) }
    }

    #[expect(clippy::cast_precision_loss, reason = "statistics")]
    fn of(row: &Reliability) -> Self {
        Self::new(&row.ml_bucket, row.count, row.hits, row.mean_confid * row.count as f64)
    }
}

/// One series of `GET /api/ml/calibration`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CalibrationRow<'a> {
    exchange: Venue,
    symbol: &'a str,
    tf: TimeFrame,
    model_version: &'a str,
    samples: u64,
    reliability: Vec<ReliabilityRow>,
    brier: Option<f64>,
    correlation: &'a BTreeMap<String, f64>,
    drift_psi: Option<f64>,
    confid_median: Option<f64>,
    /// Since when this period is marked for a later calibration, RFC 3339.
    low_confidence_since: Option<String>,
    at: String,
}

impl<'a> From<&'a Calibration> for CalibrationRow<'a> {
    fn from(told: &'a Calibration) -> Self {
        Self {
            exchange: told.venue,
            symbol: &told.symbol,
            tf: told.timeframe,
            model_version: &told.model.model_version,
            samples: told.samples,
            reliability: told.reliability.iter().map(ReliabilityRow::of).collect(),
            brier: told.brier,
            correlation: &told.correlation,
            drift_psi: told.drift_psi,
            confid_median: told.confid_median,
            low_confidence_since: told.low_confidence_since.map(|at| at.to_string()),
            at: told.at.to_string(),
        }
    }
}

/// One score; `ml_bucket` and `ml_signal_parts` are spelt as dashboards know them.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScoreRow<'a> {
    /// -1 to 1; null when there is none.
    pub score: Option<f64>,
    /// 0.5 to 1; null when there is no score.
    pub confid: Option<f64>,
    /// Null when there is no score.
    #[serde(rename = "ml_bucket")]
    pub bucket: Option<&'a str>,
    /// By the part's name.
    #[serde(rename = "ml_signal_parts")]
    pub parts: &'a BTreeMap<String, f64>,
    /// Null when it is not sure enough of one.
    pub side: Option<Side>,
    /// Nobody may trade on it.
    pub advisory: bool,
    /// Why it is advisory.
    pub reason: Option<&'a str>,
    confid_floor: f64,
    assigned: bool,
    exchange: Venue,
    symbol: &'a str,
    tf: TimeFrame,
    ts: String,
    ts_ms: i64,
    close: Number,
    decided_at: String,
    feature_version: &'a str,
    model_version: &'a str,
    model_hash: &'a str,
}

impl<'a> From<&'a Score> for ScoreRow<'a> {
    fn from(score: &'a Score) -> Self {
        Self {
            score: score.score,
            confid: score.confid,
            bucket: score.ml_bucket.as_deref(),
            parts: &score.ml_signal_parts,
            side: score.side,
            advisory: score.advisory,
            reason: score.reason.as_deref(),
            confid_floor: score.confid_floor,
            assigned: score.assigned,
            exchange: score.venue,
            symbol: &score.symbol,
            tf: score.timeframe,
            ts: score.open_time.to_string(),
            ts_ms: score.open_time.as_millis(),
            close: Number(score.close),
            decided_at: score.decided_at.to_string(),
            feature_version: &score.model.feature_version,
            model_version: &score.model.model_version,
            model_hash: &score.model.hash,
        }
    }
}

/// `GET /api/ml/version`. Null where `signal` has not spoken.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ModelVersion")]
pub struct VersionRow<'a> {
    feature_version: Option<&'a str>,
    model_version: Option<&'a str>,
    hash: Option<&'a str>,
    weights: Option<&'a BTreeMap<String, f64>>,
    confid_floor: Option<f64>,
    /// Candles after which it is seen whether the price moved as scored.
    horizon: Option<u32>,
    at: Option<String>,
    /// Whether `signal` ever said which model it runs.
    known: bool,
}

impl<'a> From<Option<&'a ModelInForce>> for VersionRow<'a> {
    fn from(told: Option<&'a ModelInForce>) -> Self {
        Self {
            feature_version: told.map(|told| told.model.feature_version.as_str()),
            model_version: told.map(|told| told.model.model_version.as_str()),
            hash: told.map(|told| told.model.hash.as_str()),
            weights: told.map(|told| &told.weights),
            confid_floor: told.map(|told| told.confid_floor),
            horizon: told.map(|told| told.horizon),
            at: told.map(|told| told.at.to_string()),
            known: told.is_some(),
        }
    }
}
