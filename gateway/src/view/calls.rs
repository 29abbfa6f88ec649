//! Totals over calls to exchanges, as Prometheus counts: from the start of this process on.

use std::collections::BTreeMap;

use spark_bus_schema::Venue;
use spark_bus_schema::telemetry::{Call, REFRESH};

/// Upper bounds of the refresh latency's buckets, ms; both thresholds of the service levels are among them.
pub const REFRESH_BUCKETS_MS: [f64; 12] =
    [25.0, 50.0, 100.0, 250.0, 500.0, 750.0, 1_000.0, 1_500.0, 2_000.0, 3_000.0, 5_000.0, 10_000.0];
/// Error types that get their own label value; anything else counts as `other`, so that labels stay few.
pub const ERROR_TYPES: [&str; 7] = ["auth", "ratelimit", "timeout", "network", "server", "parse", "clock"];
const OTHER: &str = "other";

/// Call totals.
#[derive(Default)]
pub struct Calls {
    /// Latency of whole refreshes, ms, by exchange.
    pub refresh_ms: BTreeMap<Venue, Histogram>,
    /// Failed calls by exchange and error type.
    pub errors: BTreeMap<(Venue, &'static str), u64>,
    /// All single calls by exchange.
    pub calls: BTreeMap<Venue, u64>,
}

impl Calls {
    /// Counts one call. A refresh is a sum of calls that are counted themselves, so its failure is not a failed call.
    pub fn apply(&mut self, call: &Call) {
        if call.operation == REFRESH {
            #[expect(clippy::cast_precision_loss, reason = "statistics")]
            let latency_ms = call.latency_us as f64 / 1_000.0;
            let histogram = self.refresh_ms.entry(call.exchange).or_insert_with(|| Histogram::new(&REFRESH_BUCKETS_MS));
            histogram.observe(latency_ms);
            return;
        }
        *self.calls.entry(call.exchange).or_default() += 1;
        if let Some(error) = &call.error_type {
            let error = ERROR_TYPES.into_iter().find(|known| known == error).unwrap_or(OTHER);
            *self.errors.entry((call.exchange, error)).or_default() += 1;
        }
    }
}

/// A histogram with fixed buckets.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Histogram {
    /// Empty, with these upper bounds.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], sum: 0.0, count: 0 }
    }

    /// With these counts, one a bound, and what lies above the last one in `count` alone.
    #[must_use]
    pub fn of(bounds: &'static [f64], counts: Vec<u64>, sum: f64, count: u64) -> Self {
        Self { bounds, counts, sum, count }
    }

    /// Counts one value.
    pub fn observe(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
    }

    /// Upper bounds with the number of values at or below each.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.bounds.iter().zip(&self.counts).scan(0, |total, (&bound, &count)| {
            *total += count;
            Some((bound, *total))
        })
    }

    /// Sum of all values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}
