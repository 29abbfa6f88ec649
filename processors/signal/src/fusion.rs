//! From candles to a score: three indicators read as parts, fused by weights. Fails closed: an input that cannot be
//! believed gives no score, and the reason names the field.

use std::fmt;

use serde::{Deserialize, Serialize};
use spark_bus_schema::market::Side;
use spark_bus_schema::signals::BUCKETS;

use crate::indicators::{Macd, Rsi, Trend};
use crate::model::{Model, Parts, Reading};

/// Prices and volumes above this are a mistake of whoever gave them.
pub const VALUE_MAX: f64 = 1e12;

/// Why there is no score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reason {
    /// A value is missing: null, NaN or infinite. Nothing was taken in.
    NotANumber(Field),
    /// A price that is not above 0, or a value that is too large. Nothing was taken in.
    OutOfRange(Field, f64),
    /// The field contradicts the others: high is not the highest, or low not the lowest. Nothing was taken in.
    Inconsistent(Field),
    /// Nothing was traded: the price is taken in, but there is no market to score.
    NoVolume,
    /// An indicator needs more candles. The candle was taken in.
    Warming {
        /// Candles so far.
        seen: u32,
        /// Candles that it takes.
        needed: u32,
    },
}

/// A field of a candle, as `POST /api/ml/score` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    /// `o`.
    Open,
    /// `h`.
    High,
    /// `l`.
    Low,
    /// `c`.
    Close,
    /// `v`.
    Volume,
}

impl Field {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "o",
            Self::High => "h",
            Self::Low => "l",
            Self::Close => "c",
            Self::Volume => "v",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber(field) => write!(f, "{}: null, NaN or infinite", field.as_str()),
            Self::OutOfRange(Field::Volume, value) => write!(f, "v: {value} is not within 0 and {VALUE_MAX}"),
            Self::OutOfRange(field, value) => write!(f, "{}: {value} is not above 0 and at most {VALUE_MAX}", field.as_str()),
            Self::Inconsistent(field) => write!(f, "{}: l ≤ o, c ≤ h does not hold", field.as_str()),
            Self::NoVolume => f.write_str("v: 0, nothing was traded"),
            Self::Warming { seen, needed } => write!(f, "history: {seen} of {needed} candles that the indicators need"),
        }
    }
}

/// How parts become a score and a side. The model's own, unless a counter-move says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blend {
    /// Share of each part; their sum is 1.
    pub weights: Parts,
    /// Confidence below which no side follows.
    pub floor: f64,
}

impl Blend {
    /// The model's own.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        Self { weights: model.weights(), floor: model.confid_floor() }
    }
}

/// What is said about one candle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Weighted sum of the parts, −1 (falls) to 1 (rises); none when there is a reason.
    pub score: Option<f64>,
    /// `0.5 + |score| / 2`: 0.5 is a coin, 1 is certain. All parts at their end say 1; parts that contradict each other
    /// cancel out towards 0.5. How far it is to be believed is measured, not assumed: see the reliability table.
    pub confid: Option<f64>,
    /// What each part said, −1 to 1; none when there is a reason.
    pub parts: Option<Parts>,
    /// Buy for a score above 0, sell below, none under the floor.
    pub side: Option<Side>,
    /// Why there is no score.
    pub reason: Option<Reason>,
}

impl Verdict {
    const fn none(reason: Reason) -> Self {
        Self { score: None, confid: None, parts: None, side: None, reason: Some(reason) }
    }

    /// Of [`BUCKETS`].
    #[must_use]
    pub fn bucket(&self) -> Option<&'static str> {
        self.confid.map(bucket)
    }

    /// The same parts, weighed otherwise.
    #[must_use]
    pub fn blended(&self, blend: &Blend) -> Self {
        let Some(parts) = self.parts else { return *self };
        fuse(parts, blend)
    }
}

/// The bucket of a confidence, 0.5 to 1; the last one holds 1.0.
#[must_use]
pub fn bucket(confid: f64) -> &'static str {
    let above = [0.6, 0.7, 0.8, 0.9].iter().filter(|bound| confid >= **bound).count();
    BUCKETS[above]
}

/// A value on −1 to 1 whose half is at 1. Not tanh: this is plain arithmetic, the same bits on every machine.
fn squash(x: f64) -> f64 {
    x / (1.0 + x.abs())
}

fn part(indicator: f64, scale: f64, reading: Reading) -> f64 {
    let x = squash(indicator / scale);
    match reading {
        Reading::Momentum => x,
        Reading::Reversal => -x,
    }
}

fn fuse(parts: Parts, blend: &Blend) -> Verdict {
    let weights = &blend.weights;
    let sum = parts.rsi * weights.rsi + parts.macd * weights.macd + parts.trend * weights.trend;
    let score = sum.clamp(-1.0, 1.0);
    let confid = 0.5 + score.abs() / 2.0;
    let direction = if score > 0.0 { Side::Buy } else { Side::Sell };
    let side = (score != 0.0 && confid >= blend.floor).then_some(direction);
    Verdict { score: Some(score), confid: Some(confid), parts: Some(parts), side, reason: None }
}

/// The model on the candles of one symbol and time frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fusion {
    reading: Readings,
    blend: Blend,
    rsi: Rsi,
    macd: Macd,
    trend: Trend,
    seen: u32,
    needed: u32,
}

/// Scale and meaning of each part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Readings {
    rsi: (f64, Reading),
    macd: (f64, Reading),
    trend: (f64, Reading),
}

impl Fusion {
    /// Has seen nothing.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        let (rsi, macd, trend) = (model.rsi(), model.macd(), model.trend());
        Self {
            reading: Readings {
                rsi: (rsi.scale, rsi.reading),
                macd: (macd.scale, macd.reading),
                trend: (trend.scale, trend.reading),
            },
            blend: Blend::of(model),
            rsi: Rsi::new(rsi.period),
            macd: Macd::new(macd.fast, macd.slow, macd.signal),
            trend: Trend::new(trend.period),
            seen: 0,
            needed: model.warm_up(),
        }
    }

    /// Takes in the next closed candle (prices quote per base, volume base) and says what the model says about it. A
    /// candle that cannot be believed changes nothing.
    pub fn on_bar(&mut self, open: f64, high: f64, low: f64, close: f64, volume: f64) -> Verdict {
        if let Some(reason) = refused(open, high, low, close, volume) {
            return Verdict::none(reason);
        }
        let updated = (self.rsi.update(close), self.macd.update(close), self.trend.update(close));
        self.seen = self.seen.saturating_add(1);
        let (Ok(Some(rsi)), Ok(Some(macd)), Ok(Some(trend))) = updated else {
            return Verdict::none(Reason::Warming { seen: self.seen, needed: self.needed });
        };
        if volume == 0.0 {
            return Verdict::none(Reason::NoVolume);
        }
        let parts = Parts {
            rsi: part(rsi - 50.0, self.reading.rsi.0, self.reading.rsi.1),
            macd: part(macd.histogram / close, self.reading.macd.0, self.reading.macd.1),
            trend: part(trend, self.reading.trend.0, self.reading.trend.1),
        };
        fuse(parts, &self.blend)
    }

    /// Candles taken in.
    #[must_use]
    pub fn seen(&self) -> u32 {
        self.seen
    }
}

fn refused(open: f64, high: f64, low: f64, close: f64, volume: f64) -> Option<Reason> {
    let prices = [(Field::Open, open), (Field::High, high), (Field::Low, low), (Field::Close, close)];
    if let Some((field, _)) = prices.iter().find(|(_, value)| !value.is_finite()) {
        return Some(Reason::NotANumber(*field));
    }
    if !volume.is_finite() {
        return Some(Reason::NotANumber(Field::Volume));
    }
    if let Some((field, value)) = prices.iter().find(|(_, value)| *value <= 0.0 || *value > VALUE_MAX) {
        return Some(Reason::OutOfRange(*field, *value));
    }
    if !(0.0..=VALUE_MAX).contains(&volume) {
        return Some(Reason::OutOfRange(Field::Volume, volume));
    }
    if high < open.max(close).max(low) {
        return Some(Reason::Inconsistent(Field::High));
    }
    (low > open.min(close)).then_some(Reason::Inconsistent(Field::Low))
}

#[cfg(test)]
mod tests;
