//! Sliding windows over samples. They know neither clock nor rules: a moment comes with every call and never goes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::Severity;

mod burn;
pub mod cells;
mod count;
mod moment;
mod quantile;
#[cfg(test)]
mod tests;

pub use burn::{Burn, BurnPair, BurnWindow};
pub use count::CountWindow;
pub use moment::{GaugeWindow, StalenessWindow};
pub use quantile::{QuantileWindow, Saved as SavedQuantile};

/// What happened, as a window sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// A measured value, in the metric's raw unit (µs for latencies).
    Value(i64),
    /// So many events.
    Events(u64),
    /// Something succeeded or failed.
    Outcome {
        /// Whether it failed.
        failed: bool,
    },
    /// So many things succeeded or failed.
    Outcomes {
        /// How many.
        all: u64,
        /// How many of them failed.
        failed: u64,
    },
    /// Something is expected from now on, if nothing came yet.
    Expected,
    /// A level was read.
    Level(f64),
}

/// What a window says at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// In the metric's raw unit; events and ratios as they are; staleness in seconds. None without data.
    pub value: Option<f64>,
    /// Samples behind it.
    pub samples: u64,
}

/// How samples become one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregation {
    /// The value that this share (0 to 1) of the samples does not exceed. 0.5 is the median.
    Quantile(f64),
    /// Events in the window.
    Count,
    /// Events a second.
    Rate,
    /// Failed by all.
    Ratio,
    /// Seconds since the last event.
    Staleness,
    /// The newest level.
    Gauge,
    /// How fast the error budget is used up, as a multiple of what is allowed.
    BurnRate(Burn),
}

/// A window of any kind.
pub enum Window {
    /// A quantile of values.
    Quantile(Box<QuantileWindow>, f64),
    /// Number of events.
    Count(CountWindow),
    /// Events a second.
    Rate(CountWindow),
    /// Share of failures.
    Ratio(CountWindow),
    /// Time since the last event.
    Staleness(StalenessWindow),
    /// A level.
    Gauge(GaugeWindow),
    /// Use of an error budget.
    Burn(Box<BurnWindow>),
}

impl Window {
    /// An empty window. A zero length is meant for what is momentary.
    #[must_use]
    pub fn new(aggregation: Aggregation, length: Duration) -> Self {
        match aggregation {
            Aggregation::Quantile(quantile) => Self::Quantile(Box::new(QuantileWindow::new(length)), quantile),
            Aggregation::Count => Self::Count(CountWindow::new(length)),
            Aggregation::Rate => Self::Rate(CountWindow::new(length)),
            Aggregation::Ratio => Self::Ratio(CountWindow::new(length)),
            Aggregation::Staleness => Self::Staleness(StalenessWindow::default()),
            Aggregation::Gauge => Self::Gauge(GaugeWindow::new((!length.is_zero()).then_some(length))),
            Aggregation::BurnRate(burn) => Self::Burn(Box::new(BurnWindow::new(burn))),
        }
    }

    /// Takes a sample. A kind of sample that this window has no use for changes nothing.
    pub fn record(&mut self, at: Timestamp, sample: Sample) {
        match (self, sample) {
            (Self::Quantile(window, _), Sample::Value(value)) => window.record(at, value),
            (Self::Count(window) | Self::Rate(window) | Self::Ratio(window), sample) => {
                let Some((all, failed)) = burn::outcomes(sample) else { return };
                window.add(at, all, failed);
            }
            (Self::Burn(window), sample) => {
                let Some((all, failed)) = burn::outcomes(sample) else { return };
                window.add(at, all, failed);
            }
            (Self::Staleness(window), Sample::Expected) => window.expect(at),
            (Self::Staleness(window), _) => window.saw(at),
            (Self::Gauge(window), Sample::Level(level)) => window.set(at, level),
            (Self::Quantile(..) | Self::Gauge(_), _) => {}
        }
    }

    /// Nobody could see anything until now; how long nothing came counts from here.
    pub fn resume(&mut self, at: Timestamp) {
        if let Self::Staleness(window) = self {
            window.resume(at);
        }
    }

    /// The value at a moment.
    #[expect(clippy::cast_precision_loss, reason = "statistics")]
    pub fn read(&mut self, at: Timestamp) -> Reading {
        match self {
            Self::Quantile(window, quantile) => {
                let value = window.quantile(at, *quantile);
                Reading { value, samples: window.samples() }
            }
            Self::Count(window) => {
                let samples = window.count(at);
                Reading { value: Some(samples as f64), samples }
            }
            Self::Rate(window) => {
                let value = Some(window.per_second(at));
                Reading { value, samples: window.count(at) }
            }
            Self::Ratio(window) => {
                let value = window.ratio(at);
                Reading { value, samples: window.count(at) }
            }
            Self::Staleness(window) => Reading { value: window.age(at).map(|age| age.as_secs_f64()), samples: window.seen() },
            Self::Gauge(window) => {
                let value = window.level(at);
                Reading { value, samples: u64::from(value.is_some()) }
            }
            Self::Burn(window) => {
                let mildest = window.mildest();
                window.read(at, mildest)
            }
        }
    }

    /// The value that a severity is judged by: a burn rate has one for each, everything else one for both.
    pub fn read_for(&mut self, at: Timestamp, severity: Severity) -> Reading {
        if let Self::Burn(window) = self { window.read(at, severity) } else { self.read(at) }
    }

    /// Samples that lay outside of what the window can hold.
    #[must_use]
    pub fn clamped(&self) -> u64 {
        if let Self::Quantile(window, _) = self { window.clamped() } else { 0 }
    }

    /// What must survive a restart.
    #[must_use]
    pub fn save(&self) -> Saved {
        match self {
            Self::Quantile(window, _) => Saved::Quantile(window.save()),
            Self::Count(window) | Self::Rate(window) | Self::Ratio(window) => Saved::Count(window.clone()),
            Self::Staleness(window) => Saved::Staleness(window.clone()),
            Self::Gauge(window) => Saved::Gauge(window.clone()),
            Self::Burn(window) => Saved::Burn(window.save()),
        }
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// A sentence, when it was saved by a window of another kind.
    pub fn restore(&mut self, saved: Saved) -> Result<(), String> {
        match (self, saved) {
            (Self::Quantile(window, _), Saved::Quantile(saved)) => window.restore(&saved),
            (Self::Count(window) | Self::Rate(window) | Self::Ratio(window), Saved::Count(saved)) => {
                *window = saved;
                Ok(())
            }
            (Self::Staleness(window), Saved::Staleness(saved)) => {
                *window = saved;
                Ok(())
            }
            (Self::Gauge(window), Saved::Gauge(saved)) => {
                *window = saved;
                Ok(())
            }
            (Self::Burn(window), Saved::Burn(saved)) => window.restore(saved),
            _ => Err("the saved window is of another kind than the rule".to_owned()),
        }
    }
}

/// The saved form of a [`Window`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Saved {
    /// Non-zero cells by slice.
    Quantile(SavedQuantile),
    /// Counters by slice.
    Count(CountWindow),
    /// The last event.
    Staleness(StalenessWindow),
    /// The last reading.
    Gauge(GaugeWindow),
    /// Counters by window and slice.
    Burn(Vec<CountWindow>),
}

/// Length of one slice, rounded up so that the slices together are never shorter than the window.
fn slice_ns(length: Duration, slices: i64) -> i64 {
    let length = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
    (length / slices + i64::from(length % slices != 0)).max(1)
}

fn slice_index(at: Timestamp, slice_ns: i64) -> i64 {
    at.as_nanos().div_euclid(slice_ns)
}
