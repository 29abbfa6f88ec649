//! What benches share: distributions and the way figures are printed.

use std::time::Duration;

/// Latencies of one measurement.
#[derive(Default)]
pub struct Latencies {
    micros: Vec<u64>,
}

impl Latencies {
    /// Adds one.
    pub fn push(&mut self, latency: Duration) {
        self.micros.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Exact quantile by nearest rank, ms.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "figures for people"
    )]
    pub fn quantile_ms(&mut self, quantile: f64) -> f64 {
        self.micros.sort_unstable();
        let rank = (quantile * self.micros.len() as f64).ceil() as usize;
        self.micros.get(rank.saturating_sub(1)).map_or(f64::NAN, |&micros| micros as f64 / 1_000.0)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.micros.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.micros.is_empty()
    }
}

/// The machine that the figures are from, in one line.
#[must_use]
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |pair| pair.1.trim());
    format!("{cores} cores, {model}")
}

/// Whether a short run was asked for (`SPARK_BENCH_QUICK=1`): for checking that a bench works, not for figures.
#[must_use]
pub fn is_quick() -> bool {
    std::env::var_os("SPARK_BENCH_QUICK").is_some()
}
