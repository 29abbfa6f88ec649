//! Rules are tested like code: a file says which samples come when, and which alerts must follow.
//!
//! The samples go through the guardrail's own decision, boundary by boundary, in a time of their own. Read in this order:
//! [`notation`] (series of samples), [`file`](self::file) (what a test file says), [`run`] (whether it is so).

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::alerts::{AlertState, Severity};

use crate::rule::Metric;

mod file;
pub mod notation;
mod run;
#[cfg(test)]
mod tests;

pub use file::parse;
pub use run::{Failure, run};

/// A file of tests.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    /// The rule file that it tests, relative to its own folder; none is the built-in rules.
    pub rules: Option<String>,
    /// The tests.
    pub tests: Vec<Test>,
}

/// One timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// Alerts are judged at multiples of this, and at each sample.
    pub step: Duration,
    /// What comes.
    pub inputs: Vec<Series>,
    /// What must follow.
    pub expects: Vec<Expect>,
}

/// Samples of one metric with the same labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The metric.
    pub metric: Metric,
    /// Its labels.
    pub labels: Vec<(&'static str, String)>,
    /// When the first one comes.
    pub from: Duration,
    /// Time from one to the next.
    pub every: Duration,
    /// The samples, in the unit that thresholds have.
    pub steps: Vec<notation::Step>,
}

/// When an expectation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this moment.
    At(Duration),
    /// The state is entered in this span, both ends included.
    Between(Duration, Duration),
    /// For the whole of this span, without a break.
    During(Duration, Duration),
}

impl When {
    /// The moment after which it is known.
    #[must_use]
    pub const fn end(&self) -> Duration {
        match *self {
            Self::At(end) | Self::Between(_, end) | Self::During(_, end) => end,
        }
    }
}

/// What must be the case.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// Its line in the file.
    pub line: usize,
    /// When.
    pub when: When,
    /// The alert.
    pub alert: String,
    /// Where.
    pub scope: BTreeMap<String, String>,
    /// Its state.
    pub state: AlertState,
    /// How bad; none does not care.
    pub severity: Option<Severity>,
    /// The rule's value at the end of the time, within 1 %; none does not care.
    pub value: Option<f64>,
}
