//! How many, how many a second, and which share, of the last N minutes.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;

use super::slice_index;

/// Slices a counting window is cut into. It covers its length plus at most one slice (1/60 of it).
pub const SLICES: i64 = 60;

/// A sliding pair of counters: everything, and those that are marked (failed calls, for instance).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountWindow {
    slice_ns: i64,
    length_ns: i64,
    /// `(slice, all, marked)`, oldest first, only slices with samples.
    slices: VecDeque<(i64, u64, u64)>,
    all: u64,
    marked: u64,
    newest: i64,
}

impl CountWindow {
    /// A window of this length.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        let length_ns = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX).max(1);
        Self {
            slice_ns: super::slice_ns(length, SLICES),
            length_ns,
            slices: VecDeque::new(),
            all: 0,
            marked: 0,
            newest: i64::MIN,
        }
    }

    /// Counts `all` events at a moment, `marked` of them marked.
    pub fn add(&mut self, at: Timestamp, all: u64, marked: u64) {
        self.advance(at);
        let marked = marked.min(all);
        self.all = self.all.saturating_add(all);
        self.marked = self.marked.saturating_add(marked);
        match self.slices.back_mut() {
            Some((index, a, m)) if *index == self.newest => {
                (*a, *m) = (a.saturating_add(all), m.saturating_add(marked));
            }
            _ => self.slices.push_back((self.newest, all, marked)),
        }
    }

    /// Lets go of what lies before the window that ends at `at`.
    pub fn advance(&mut self, at: Timestamp) {
        let index = slice_index(at, self.slice_ns);
        if index <= self.newest {
            return;
        }
        self.newest = index;
        let oldest = index.saturating_sub(SLICES);
        while let Some((first, all, marked)) = self.slices.front().copied() {
            if first >= oldest {
                break;
            }
            self.slices.pop_front();
            self.all = self.all.saturating_sub(all);
            self.marked = self.marked.saturating_sub(marked);
        }
    }

    /// Events in the window.
    pub fn count(&mut self, at: Timestamp) -> u64 {
        self.advance(at);
        self.all
    }

    /// Events a second over the whole length of the window, also while it is not yet full.
    #[expect(clippy::cast_precision_loss, reason = "statistics")]
    pub fn per_second(&mut self, at: Timestamp) -> f64 {
        self.count(at) as f64 * 1e9 / self.length_ns as f64
    }

    /// Marked events by all events; none without events.
    #[expect(clippy::cast_precision_loss, reason = "statistics")]
    pub fn ratio(&mut self, at: Timestamp) -> Option<f64> {
        let all = self.count(at);
        (all > 0).then(|| self.marked as f64 / all as f64)
    }
}
