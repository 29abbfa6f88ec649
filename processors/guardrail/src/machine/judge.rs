//! From a window to what the alert's state follows from.

use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::Severity;

use crate::alert::{Limit, Limits, Observation};
use crate::rule::Rule;
use crate::window::{Aggregation, Reading, Window};

/// What a window says at a moment, held against limits.
pub struct Judged {
    /// What the alert's state machine is told.
    pub seen: Observation,
    /// The limits that it is to be held against there.
    pub limits: Limits,
    warning: Reading,
    critical: Reading,
    lowest: Severity,
}

impl Judged {
    /// The reading behind a severity; without one, behind the mildest that has a limit.
    pub fn reading(&self, severity: Option<Severity>) -> Reading {
        let reading = match severity.unwrap_or(self.lowest) {
            Severity::Warning => self.warning,
            Severity::Critical => self.critical,
        };
        if self.seen == Observation::NoData { Reading { value: None, ..reading } } else { reading }
    }
}

/// A value in the rule's unit.
pub fn read(rule: &Rule, window: &mut Window, at: Timestamp, severity: Severity) -> Reading {
    let raw = window.read_for(at, severity);
    Reading { value: raw.value.map(|value| rule.in_unit(value)).filter(|value| value.is_finite()), samples: raw.samples }
}

/// Holds a window against limits.
pub fn judge(rule: &Rule, limits: &Limits, window: &mut Window, at: Timestamp) -> Judged {
    let enough = |reading: Reading| reading.value.filter(|_| reading.samples >= rule.min_samples);
    if matches!(rule.aggregation, Aggregation::BurnRate(_)) {
        let warning = read(rule, window, at, Severity::Warning);
        let critical = read(rule, window, at, Severity::Critical);
        let (seen, levels) = burns(limits, enough(warning), enough(critical));
        return Judged { seen, limits: levels, warning, critical, lowest: limits.lowest() };
    }
    let reading = read(rule, window, at, Severity::Warning);
    let seen = enough(reading).map_or(Observation::NoData, Observation::Value);
    Judged { seen, limits: *limits, warning: reading, critical: reading, lowest: limits.lowest() }
}

/// Levels that stand for the severities of a burn rate: each has windows of its own, so there is no one value to hold
/// against both factors. What is critical is a warning too, even while the warning's long window has not caught up.
const WARNING_LEVEL: f64 = 1.0;
const CRITICAL_LEVEL: f64 = 2.0;

fn burns(limits: &Limits, warning: Option<f64>, critical: Option<f64>) -> (Observation, Limits) {
    let crossed = |limit: Option<Limit>, burn: Option<f64>| limit.zip(burn).is_some_and(|(limit, burn)| burn > limit.threshold);
    let seen = if crossed(limits.critical, critical) {
        Observation::Value(CRITICAL_LEVEL)
    } else if crossed(limits.warning, warning) {
        Observation::Value(WARNING_LEVEL)
    } else if warning.or(critical).is_some() {
        Observation::Value(0.0)
    } else {
        Observation::NoData
    };
    let at_level = |limit: Option<Limit>, level: f64| limit.map(|limit| Limit { threshold: level - 0.5, ..limit });
    let levels = Limits {
        warning: at_level(limits.warning, WARNING_LEVEL),
        critical: at_level(limits.critical, CRITICAL_LEVEL),
        ..*limits
    };
    (seen, levels)
}

/// The reading that is shown beside the limits: of a burn rate the pair of the worst severity that is crossed, else of
/// the mildest one.
pub fn shown(rule: &Rule, limits: &Limits, window: &mut Window, at: Timestamp) -> Reading {
    let critical = matches!(rule.aggregation, Aggregation::BurnRate(_))
        && judge(rule, limits, window, at).seen == Observation::Value(CRITICAL_LEVEL);
    let severity = if critical { Severity::Critical } else { limits.lowest() };
    read(rule, window, at, severity)
}
