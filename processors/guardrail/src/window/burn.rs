//! How fast an error budget is used up, over several windows at once.

use std::time::Duration;

use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::Severity;

use super::count::CountWindow;
use super::{Reading, Sample};

/// Two windows that must both burn too fast: the long one says that it matters, the short one that it still goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurnPair {
    /// The long window.
    pub long: Duration,
    /// The short window.
    pub short: Duration,
}

/// An objective and the windows that are held against it, one pair a severity.
///
/// With an objective of 0.99 the budget is 0.01: one of a hundred may fail. The burn of a window is the share that failed
/// in it, divided by the budget: at 1 exactly the budget is used, at `1 / budget` everything fails. A pair's burn is the
/// smaller one of its two windows, so it is above a factor exactly when both are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    /// The share that must succeed, between 0 and 1.
    pub objective: f64,
    /// Windows of the warning.
    pub warning: Option<BurnPair>,
    /// Windows of the critical.
    pub critical: Option<BurnPair>,
}

impl Burn {
    /// The windows of a severity.
    #[must_use]
    pub const fn of(&self, severity: Severity) -> Option<BurnPair> {
        match severity {
            Severity::Warning => self.warning,
            Severity::Critical => self.critical,
        }
    }

    /// The burn when everything fails.
    #[must_use]
    pub fn fastest(&self) -> f64 {
        // 1/(1 - 0.99) is 99.999…: what people mean is 100.
        (1e9 / (1.0 - self.objective)).round() / 1e9
    }

    /// The longest window.
    #[must_use]
    pub fn longest(&self) -> Duration {
        [self.warning, self.critical].into_iter().flatten().map(|pair| pair.long).max().unwrap_or_default()
    }
}

/// Counters of one severity.
#[derive(Clone, Debug)]
struct Counters {
    long: CountWindow,
    short: CountWindow,
}

/// The windows of a [`Burn`]: two pairs of counters a severity, however many samples arrive. Each covers its length plus at
/// most 1/60 of it, and before it is full what there is.
#[derive(Clone, Debug)]
pub struct BurnWindow {
    burn: Burn,
    warning: Option<Counters>,
    critical: Option<Counters>,
}

impl BurnWindow {
    /// Empty windows.
    #[must_use]
    pub fn new(burn: Burn) -> Self {
        let counters = |pair: BurnPair| Counters { long: CountWindow::new(pair.long), short: CountWindow::new(pair.short) };
        Self { burn, warning: burn.warning.map(counters), critical: burn.critical.map(counters) }
    }

    /// Counts `all` outcomes, `failed` of them failed.
    pub fn add(&mut self, at: Timestamp, all: u64, failed: u64) {
        for window in self.windows_mut() {
            window.add(at, all, failed);
        }
    }

    /// The burn of a severity's pair, and the samples in its long window. No value when one of the two is empty: of what
    /// does not happen, nothing fails.
    pub fn read(&mut self, at: Timestamp, severity: Severity) -> Reading {
        let budget = 1.0 - self.burn.objective;
        let counters = match severity {
            Severity::Warning => self.warning.as_mut(),
            Severity::Critical => self.critical.as_mut(),
        };
        let Some(counters) = counters else { return Reading { value: None, samples: 0 } };
        let (long, short) = (counters.long.ratio(at), counters.short.ratio(at));
        let value = long.zip(short).map(|(long, short)| long.min(short) / budget);
        Reading { value, samples: counters.long.count(at) }
    }

    /// The mildest severity that has windows.
    #[must_use]
    pub const fn mildest(&self) -> Severity {
        if self.warning.is_some() { Severity::Warning } else { Severity::Critical }
    }

    /// The counters, in a fixed order.
    pub(super) fn save(&self) -> Vec<CountWindow> {
        let pairs = [&self.warning, &self.critical].into_iter().flatten();
        pairs.flat_map(|counters| [counters.long.clone(), counters.short.clone()]).collect()
    }

    /// Takes over saved counters.
    ///
    /// # Errors
    /// A sentence, when their number is another.
    pub(super) fn restore(&mut self, saved: Vec<CountWindow>) -> Result<(), String> {
        let mut windows: Vec<&mut CountWindow> = self.windows_mut().collect();
        if windows.len() != saved.len() {
            return Err(format!("{} saved burn windows, the rule has {}", saved.len(), windows.len()));
        }
        for (window, saved) in windows.iter_mut().zip(saved) {
            **window = saved;
        }
        Ok(())
    }

    fn windows_mut(&mut self) -> impl Iterator<Item = &mut CountWindow> {
        let pairs = [&mut self.warning, &mut self.critical].into_iter().flatten();
        pairs.flat_map(|counters| [&mut counters.long, &mut counters.short])
    }
}

/// What a sample counts as: `(all, failed)`.
pub(super) const fn outcomes(sample: Sample) -> Option<(u64, u64)> {
    match sample {
        Sample::Events(events) => Some((events, 0)),
        Sample::Outcome { failed } => Some((1, failed as u64)),
        Sample::Outcomes { all, failed } => Some((all, failed)),
        Sample::Value(_) => Some((1, 0)),
        Sample::Expected | Sample::Level(_) => None,
    }
}
