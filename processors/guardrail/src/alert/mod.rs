//! The state of one rule in one scope: inactive → pending → firing(warning | critical) → resolved.
//!
//! [`next`] is a pure function. A limit must be crossed for its whole `for` before the alert fires, and not be crossed
//! for the whole of `keep_firing_for` before it stops; in between nothing is said, so a flapping value raises one alert.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::{AlertState, Severity};

#[cfg(test)]
mod tests;

/// The side of a threshold that is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Values above it.
    Above,
    /// Values below it.
    Below,
}

/// How much is too much, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// In the rule's unit. The threshold itself is still good.
    pub threshold: f64,
    /// How long it must be crossed without a break.
    pub hold: Duration,
}

/// What having no data means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoData {
    /// Nothing is wrong.
    Ok,
    /// That itself is an alert, after the `for` of the lowest severity.
    Alert,
    /// Whatever was the case still is.
    Keep,
}

/// What a rule allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The bad side.
    pub direction: Direction,
    /// Look at it today.
    pub warning: Option<Limit>,
    /// Look at it now.
    pub critical: Option<Limit>,
    /// How long a limit must not be crossed before an alert stops.
    pub keep_firing: Duration,
    /// What having no data means.
    pub no_data: NoData,
}

impl Limits {
    /// Whether there is anything to decide. Without thresholds a rule only measures.
    #[must_use]
    pub const fn decide(&self) -> bool {
        self.warning.is_some() || self.critical.is_some()
    }

    /// The limit of a severity.
    #[must_use]
    pub const fn of(&self, severity: Severity) -> Option<Limit> {
        match severity {
            Severity::Warning => self.warning,
            Severity::Critical => self.critical,
        }
    }

    /// The mildest severity that has a limit.
    #[must_use]
    pub const fn lowest(&self) -> Severity {
        if self.warning.is_some() { Severity::Warning } else { Severity::Critical }
    }

    fn crossed(&self, severity: Severity, value: f64) -> bool {
        self.of(severity).is_some_and(|limit| match self.direction {
            Direction::Above => value > limit.threshold,
            Direction::Below => value < limit.threshold,
        })
    }
}

/// What a rule sees at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation {
    /// The window's value.
    Value(f64),
    /// No samples, or fewer than the rule wants.
    NoData,
}

/// Clocks of one severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Clocks {
    /// Crossed without a break since.
    crossed_since: Option<Timestamp>,
    /// Not crossed without a break since.
    clear_since: Option<Timestamp>,
}

impl Clocks {
    fn set(&mut self, crossed: bool, at: Timestamp) {
        if crossed {
            self.crossed_since.get_or_insert(at);
            self.clear_since = None;
        } else {
            self.clear_since.get_or_insert(at);
            self.crossed_since = None;
        }
    }

    fn crossed_for(&self, hold: Duration, at: Timestamp) -> bool {
        self.crossed_since.is_some_and(|since| at.saturating_since(since) >= hold)
    }

    fn clear_for(&self, keep: Duration, at: Timestamp) -> bool {
        self.clear_since.is_some_and(|since| at.saturating_since(since) >= keep)
    }
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The state.
    pub state: AlertState,
    /// How bad, while pending, firing or without data.
    pub severity: Option<Severity>,
    /// Rises by one with each transition.
    pub revision: u64,
    warning: Clocks,
    critical: Clocks,
    no_data_since: Option<Timestamp>,
    /// When what is now pending or firing began.
    since: Option<Timestamp>,
}

/// A change that people are told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: AlertState,
    /// The new state.
    pub to: AlertState,
    /// How bad, while pending, firing or without data.
    pub severity: Option<Severity>,
    /// When the condition first held, for pending, firing and no data.
    pub since: Option<Timestamp>,
    /// Number of this change.
    pub revision: u64,
}

impl Status {
    fn clocks(&self, severity: Severity) -> &Clocks {
        match severity {
            Severity::Warning => &self.warning,
            Severity::Critical => &self.critical,
        }
    }
}

/// The status after an observation, and the transition if there is one.
#[must_use]
pub fn next(mut status: Status, limits: &Limits, at: Timestamp, seen: Observation) -> (Status, Option<Transition>) {
    let (state, severity) = match (seen, limits.no_data) {
        (Observation::Value(value), _) => {
            status.no_data_since = None;
            status.warning.set(limits.crossed(Severity::Warning, value), at);
            status.critical.set(limits.crossed(Severity::Critical, value), at);
            judge(&status, limits, at)
        }
        (Observation::NoData, NoData::Ok) => {
            status.warning.set(false, at);
            status.critical.set(false, at);
            judge(&status, limits, at)
        }
        (Observation::NoData, NoData::Alert) => {
            let since = *status.no_data_since.get_or_insert(at);
            let hold = limits.of(limits.lowest()).map_or(Duration::ZERO, |limit| limit.hold);
            if at.saturating_since(since) < hold {
                return (status, None);
            }
            (status.warning, status.critical) = (Clocks::default(), Clocks::default());
            (AlertState::NoData, Some(limits.lowest()))
        }
        (Observation::NoData, NoData::Keep) => return (status, None),
    };
    settle(status, state, severity)
}

/// State and severity by what the clocks say.
fn judge(status: &Status, limits: &Limits, at: Timestamp) -> (AlertState, Option<Severity>) {
    let crossed = |severity| status.clocks(severity).crossed_since.is_some();
    let due = [Severity::Critical, Severity::Warning]
        .into_iter()
        .find(|severity| limits.of(*severity).is_some_and(|limit| status.clocks(*severity).crossed_for(limit.hold, at)));
    if status.state == AlertState::Firing {
        return (stay_or_leave(status, limits, at, due))
            .map_or((AlertState::Resolved, None), |severity| (AlertState::Firing, Some(severity)));
    }
    if due.is_some() {
        return (AlertState::Firing, due);
    }
    match [Severity::Critical, Severity::Warning].into_iter().find(|severity| crossed(*severity)) {
        Some(severity) => (AlertState::Pending, Some(severity)),
        None => match status.state {
            AlertState::NoData => (AlertState::Resolved, None),
            AlertState::Resolved => (AlertState::Resolved, None),
            _ => (AlertState::Inactive, None),
        },
    }
}

/// The severity that goes on firing; none when it is over.
fn stay_or_leave(status: &Status, limits: &Limits, at: Timestamp, due: Option<Severity>) -> Option<Severity> {
    let still = |severity: Severity| {
        let clocks = status.clocks(severity);
        limits.of(severity).is_some() && (clocks.crossed_since.is_some() || !clocks.clear_for(limits.keep_firing, at))
    };
    let current = status.severity.unwrap_or(Severity::Warning);
    let held = if current == Severity::Critical && still(Severity::Critical) {
        Some(Severity::Critical)
    } else {
        // What was critical and still is beyond the warning goes on as a warning: it was never over in between.
        still(Severity::Warning).then_some(Severity::Warning)
    };
    held.max(due)
}

fn settle(mut status: Status, state: AlertState, severity: Option<Severity>) -> (Status, Option<Transition>) {
    let from = status.state;
    let changed = state != from || (state == AlertState::Firing && severity != status.severity);
    (status.state, status.severity) = (state, severity);
    let began = match state {
        AlertState::Pending | AlertState::Firing => {
            [status.warning.crossed_since, status.critical.crossed_since].into_iter().flatten().min()
        }
        AlertState::NoData => status.no_data_since,
        AlertState::Inactive | AlertState::Resolved => None,
    };
    // While an alert goes on firing over short breaks, it began when it first began.
    status.since = if state == AlertState::Firing && from == AlertState::Firing { status.since.or(began) } else { began };
    if !changed {
        return (status, None);
    }
    status.revision += 1;
    let transition = Transition { from, to: state, severity, since: status.since, revision: status.revision };
    (status, Some(transition))
}
