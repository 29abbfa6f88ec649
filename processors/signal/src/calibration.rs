//! How far the scores of one symbol and time frame can be believed: reliability, Brier score, correlation, drift.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::signals::{BUCKETS, Reliability};

use crate::fusion::bucket;
use crate::model::Parts;

/// Newest outcomes that the reliability table, the Brier score and the correlations are made of.
pub const OUTCOMES: usize = 200;
/// Scores of the reference window (the model's first ones), and of the newest window that is held against it.
pub const DRIFT_WINDOW: usize = 200;
/// Newest scores whose median confidence is told.
pub const MEDIAN_WINDOW: usize = 50;
/// A median below this marks the period for a later calibration.
pub const LOW_CONFIDENCE: f64 = 0.55;
/// Equal bins of the score, −1 to 1, that the drift is measured on.
const BINS: usize = 10;

/// What the price did after one score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How sure it was, 0.5 to 1.
    pub confid: f64,
    /// What each part said.
    pub parts: Parts,
    /// From the scored close to the one at the horizon, basis points.
    pub move_bps: f64,
    /// It moved as scored.
    pub hit: bool,
}

/// The windows of one symbol and time frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    outcomes: VecDeque<Sample>,
    /// Scores so far.
    told: u64,
    /// Scores in each bin of the reference window.
    reference: [u32; BINS],
    /// Score and confidence of the newest scores.
    newest: VecDeque<(f64, f64)>,
    low_since: Option<Timestamp>,
}

/// What the windows say.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Outcomes in the window.
    pub samples: u64,
    /// All buckets, lowest first.
    pub reliability: Vec<Reliability>,
    /// Mean of (confidence − hit)², hit being 0 or 1; none without samples. 0 is a prophet, 0.25 a coin that says 0.5.
    pub brier: Option<f64>,
    /// Pearson correlation of each part with the move; a part without variance, or fewer than three samples, has none.
    pub correlation: BTreeMap<String, f64>,
    /// Population stability index Σ (p − q) × ln(p / q) over ten bins of the score, p newest, q reference, half a score
    /// added to each bin so that an empty one is not infinite. None before both windows are full. Usual reading: below 0.1
    /// nothing, above 0.25 another distribution.
    pub drift_psi: Option<f64>,
    /// Median confidence of the newest scores.
    pub confid_median: Option<f64>,
    /// Since when that is below [`LOW_CONFIDENCE`].
    pub low_confidence_since: Option<Timestamp>,
}

impl Windows {
    /// A score was told at `at`.
    pub fn told(&mut self, at: Timestamp, score: f64, confid: f64) {
        if self.told < DRIFT_WINDOW as u64 {
            self.reference[bin(score)] += 1;
        }
        self.told += 1;
        if self.newest.len() == DRIFT_WINDOW {
            self.newest.pop_front();
        }
        self.newest.push_back((score, confid));
        let is_low = self.newest.len() >= MEDIAN_WINDOW && self.median().is_some_and(|median| median < LOW_CONFIDENCE);
        self.low_since = is_low.then(|| self.low_since.unwrap_or(at));
    }

    /// The price has shown what a score was worth.
    pub fn seen(&mut self, sample: Sample) {
        if self.outcomes.len() == OUTCOMES {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(sample);
    }

    /// What the windows say now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let brier = |sample: &Sample| (sample.confid - f64::from(u8::from(sample.hit))).powi(2);
        Figures {
            samples: self.outcomes.len() as u64,
            reliability: self.reliability(),
            brier: mean(self.outcomes.iter().map(brier)),
            correlation: self.correlation(),
            drift_psi: self.drift(),
            confid_median: self.median(),
            low_confidence_since: self.low_since,
        }
    }

    fn reliability(&self) -> Vec<Reliability> {
        let of = |name: &'static str| {
            let inside = || self.outcomes.iter().filter(move |sample| bucket(sample.confid) == name);
            Reliability {
                ml_bucket: name.to_owned(),
                count: inside().count() as u64,
                hits: inside().filter(|sample| sample.hit).count() as u64,
                mean_confid: mean(inside().map(|sample| sample.confid)).unwrap_or(0.0),
            }
        };
        BUCKETS.map(of).to_vec()
    }

    fn correlation(&self) -> BTreeMap<String, f64> {
        let moves: Vec<f64> = self.outcomes.iter().map(|sample| sample.move_bps).collect();
        let of = |(at, (name, _)): (usize, (&str, f64))| {
            let said: Vec<f64> = self.outcomes.iter().map(|sample| sample.parts.named()[at].1).collect();
            pearson(&said, &moves).map(|value| (name.to_owned(), value))
        };
        Parts::default().named().into_iter().enumerate().filter_map(of).collect()
    }

    fn drift(&self) -> Option<f64> {
        // Before that, the newest window holds scores of the reference.
        if self.told < 2 * DRIFT_WINDOW as u64 {
            return None;
        }
        let mut newest = [0u32; BINS];
        self.newest.iter().for_each(|(score, _)| newest[bin(*score)] += 1);
        let share = |bins: &[u32; BINS], at: usize| (f64::from(bins[at]) + 0.5) / (DRIFT_WINDOW as f64 + 0.5 * BINS as f64);
        let term = |at| {
            let (p, q) = (share(&newest, at), share(&self.reference, at));
            (p - q) * (p / q).ln()
        };
        Some((0..BINS).map(term).sum())
    }

    fn median(&self) -> Option<f64> {
        let mut newest: Vec<f64> = self.newest.iter().rev().take(MEDIAN_WINDOW).map(|(_, confid)| *confid).collect();
        newest.sort_by(f64::total_cmp);
        let middle = newest.len() / 2;
        match newest.len() {
            0 => None,
            even if even % 2 == 0 => Some(f64::midpoint(newest[middle - 1], newest[middle])),
            _ => Some(newest[middle]),
        }
    }
}

fn bin(score: f64) -> usize {
    // The bounds are −0.8, −0.6 … 0.8; counting them needs no rounding.
    (1..BINS).filter(|at| score >= -1.0 + 2.0 * *at as f64 / BINS as f64).count()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Pearson correlation, two passes.
fn pearson(xs: &[f64], ys: &[f64]) -> Option<f64> {
    // Asked of the values themselves: the sum of squares of equal ones is not always 0 to the last bit.
    let varies = |values: &[f64]| values.iter().any(|value| *value != values[0]);
    if xs.len() < 3 || !varies(xs) || !varies(ys) {
        return None;
    }
    let (x_mean, y_mean) = (mean(xs.iter().copied())?, mean(ys.iter().copied())?);
    let sum = |of: &dyn Fn(f64, f64) -> f64| xs.iter().zip(ys).map(|(x, y)| of(x - x_mean, y - y_mean)).sum::<f64>();
    let (both, x, y) = (sum(&|x, y| x * y), sum(&|x, _| x * x), sum(&|_, y| y * y));
    let under = (x * y).sqrt();
    (under > 0.0).then(|| (both / under).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests;
