//! Values of this moment: how long nothing came, and a level.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;

/// Time since something was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StalenessWindow {
    since: Option<Timestamp>,
    seen: u64,
}

impl StalenessWindow {
    /// Something came.
    pub fn saw(&mut self, at: Timestamp) {
        self.since = self.since.max(Some(at));
        self.seen = self.seen.saturating_add(1);
    }

    /// From now on something is expected; no effect when it already was, or came already.
    pub fn expect(&mut self, at: Timestamp) {
        self.since.get_or_insert(at);
    }

    /// Nobody could see anything until now: what was seen before counts as seen at this moment.
    pub fn resume(&mut self, at: Timestamp) {
        self.since = self.since.map(|since| since.max(at));
    }

    /// How long nothing came; none when nothing ever came and nothing is expected.
    #[must_use]
    pub fn age(&self, at: Timestamp) -> Option<Duration> {
        self.since.map(|since| at.saturating_since(since))
    }

    /// How often something came since the beginning.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }
}

/// The newest reading of a level. With a length, a reading older than that is no reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GaugeWindow {
    length: Option<Duration>,
    reading: Option<(Timestamp, f64)>,
}

impl GaugeWindow {
    /// A gauge whose reading is good for `length`, or for ever.
    #[must_use]
    pub const fn new(length: Option<Duration>) -> Self {
        Self { length, reading: None }
    }

    /// Takes a reading. One that is not a finite number is ignored.
    pub fn set(&mut self, at: Timestamp, level: f64) {
        if level.is_finite() {
            self.reading = Some((at, level));
        }
    }

    /// The newest reading.
    #[must_use]
    pub fn level(&self, at: Timestamp) -> Option<f64> {
        let (read_at, level) = self.reading?;
        let fresh = self.length.is_none_or(|length| at.saturating_since(read_at) <= length);
        fresh.then_some(level)
    }
}
