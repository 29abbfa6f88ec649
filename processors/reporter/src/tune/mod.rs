//! Thresholds from what was observed: percentiles with a margin, never tighter than a floor, never looser than a bound.
//!
//! Above (the bad side is above), from the worst value of each minute:
//!
//! ```text
//! warning  = p99   × 1.25, at least 25 % of the specified warning
//! critical = p99.9 × 1.5,  at least 25 % of the specified critical, at least the warning
//! ```
//!
//! Nothing follows from the thresholds in force: the same days give the same proposal, however often it is applied.
//! Then, unless looser ones are allowed, the critical is at most the specification's critical, and a warning at most 80 % of a critical
//! that this held back; a rule with one threshold is bound by the specification's value of it. Results are rounded to three digits, away from the
//! good side. Below (the bad side is below): the mirror image, with p1 and p0.1, divided instead of multiplied.
//!
//! An hour of trouble in a week is 0.6 % of its minutes: p99 does not see it, so that one incident does not make the next one
//! normal. With fewer than [`MINUTES_MIN`] minutes there is no proposal.

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::history::Minute;

/// Minutes with a value below which nothing is proposed: 4 h.
pub const MINUTES_MIN: usize = 240;
/// The percentile that a warning follows from.
pub const WARNING_QUANTILE: f64 = 0.99;
/// The percentile that a critical follows from.
pub const CRITICAL_QUANTILE: f64 = 0.999;
/// How far beyond its percentile a warning is.
pub const WARNING_MARGIN: f64 = 1.25;
/// How far beyond its percentile a critical is.
pub const CRITICAL_MARGIN: f64 = 1.5;
/// No threshold becomes tighter than this share of the specified one: a quiet week is no promise.
pub const FLOOR_SHARE: f64 = 0.25;
/// Where a bound holds a critical back, the warning is at most this share of it.
pub const WARNING_OF_BOUND: f64 = 0.8;

/// Both thresholds of a rule, in its unit; none where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Thresholds {
    /// Warning.
    pub warning: Option<f64>,
    /// Critical.
    pub critical: Option<f64>,
}

/// What a proposal is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Subject {
    /// Whether values above a threshold are bad; otherwise those below.
    pub above: bool,
    /// Whether values are whole numbers of things: a threshold below 1 would make each single one an alert.
    pub counts: bool,
    /// The specification's thresholds: floors follow from them, and bounds. Only those that are there are proposed.
    pub specified: Thresholds,
    /// The specification's critical may be exceeded.
    pub allow_looser: bool,
}

/// What was observed, in the rule's unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Observed {
    /// Minutes with a value.
    pub minutes: usize,
    /// Percentiles over minutes, of each minute's worst value, towards the bad side: half of the minutes are no worse than `p50`.
    pub p50: f64,
    /// As `p50`, 90 of 100.
    pub p90: f64,
    /// As `p50`, 99 of 100.
    pub p99: f64,
    /// As `p50`, 999 of 1000.
    pub p999: f64,
    /// The worst of all.
    pub worst: f64,
}

/// What came of a rule or scope.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Thresholds.
    Proposed {
        /// What was observed.
        observed: Observed,
        /// The thresholds.
        thresholds: Thresholds,
        /// The bound held the critical, or the only threshold, back.
        held_back: bool,
    },
    /// Too little to say anything.
    TooFew {
        /// Minutes with a value; [`MINUTES_MIN`] are needed.
        minutes: usize,
    },
}

/// A minute's worst value.
#[must_use]
pub fn worst(minute: &Minute, above: bool) -> Option<f64> {
    let value = if above { minute.high } else { minute.low };
    value.filter(|value| value.is_finite())
}

/// The proposal from the worst values of minutes, in any order.
#[must_use]
pub fn propose(subject: &Subject, mut values: Vec<f64>) -> Outcome {
    values.retain(|value| value.is_finite());
    if values.len() < MINUTES_MIN {
        return Outcome::TooFew { minutes: values.len() };
    }
    // The bad side last, on both sides.
    values.sort_by(f64::total_cmp);
    if !subject.above {
        values.reverse();
    }
    let at = |quantile: f64| nearest_rank(&values, quantile);
    let observed = Observed {
        minutes: values.len(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(WARNING_QUANTILE),
        p999: at(CRITICAL_QUANTILE),
        worst: at(1.0),
    };
    let side = Side { above: subject.above };
    let one = |specified: Option<f64>, percentile: f64, margin: f64| {
        let floor = side.tighter(specified?, FLOOR_SHARE);
        let floor = if subject.counts && subject.above { floor.max(1.0) } else { floor };
        Some(side.looser_of(side.rounded(side.looser(percentile, margin)), floor))
    };
    let mut thresholds = Thresholds {
        warning: one(subject.specified.warning, observed.p99, WARNING_MARGIN),
        critical: one(subject.specified.critical, observed.p999, CRITICAL_MARGIN),
    };
    if let (Some(warning), Some(critical)) = (thresholds.warning, thresholds.critical) {
        thresholds.critical = Some(side.looser_of(critical, warning));
    }
    let held_back = !subject.allow_looser && side.bind(&mut thresholds, subject.specified);
    Outcome::Proposed { observed, thresholds, held_back }
}

/// The value that this share of the sorted values does not exceed: the one at place ⌈share × n⌉, counted from 1.
#[must_use]
pub fn nearest_rank(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "minutes are few")]
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

/// Arithmetic on the bad side.
#[derive(Clone, Copy)]
struct Side {
    above: bool,
}

impl Side {
    fn looser(self, value: f64, margin: f64) -> f64 {
        if self.above { value * margin } else { value / margin }
    }

    fn tighter(self, value: f64, share: f64) -> f64 {
        if self.above { value * share } else { value / share }
    }

    fn looser_of(self, a: f64, b: f64) -> f64 {
        if self.above { a.max(b) } else { a.min(b) }
    }

    fn tighter_of(self, a: f64, b: f64) -> f64 {
        if self.above { a.min(b) } else { a.max(b) }
    }

    /// Three digits, away from the good side.
    fn rounded(self, value: f64) -> f64 {
        if value <= 0.0 || !value.is_finite() {
            return 0.0;
        }
        let step = 10_f64.powf(value.log10().floor() - 2.0);
        let steps = value / step;
        // What lies on a step but for the last bits of a float is on it.
        let near = steps.round();
        let whole = if (steps - near).abs() < 1e-6 {
            near
        } else if self.above {
            steps.ceil()
        } else {
            steps.floor()
        };
        // As it would be written, so that what is read back is the same number.
        format!("{:.2e}", whole * step).parse().unwrap_or(value)
    }

    /// Whether anything was held back.
    fn bind(self, thresholds: &mut Thresholds, bound: Thresholds) -> bool {
        let held = |value: Option<f64>, bound: Option<f64>| match (value, bound) {
            (Some(value), Some(bound)) => (Some(self.tighter_of(value, bound)), self.tighter_of(value, bound) != value),
            (value, _) => (value, false),
        };
        let only_warning = thresholds.critical.is_none();
        let (critical, critical_held) = held(thresholds.critical, bound.critical);
        thresholds.critical = critical;
        if only_warning {
            let (warning, warning_held) = held(thresholds.warning, bound.warning);
            thresholds.warning = warning;
            return warning_held;
        }
        if let (Some(warning), Some(critical), true) = (thresholds.warning, critical, critical_held) {
            let most = if self.above { critical * WARNING_OF_BOUND } else { critical / WARNING_OF_BOUND };
            thresholds.warning = Some(self.tighter_of(warning, self.rounded(most)));
        }
        critical_held
    }
}
