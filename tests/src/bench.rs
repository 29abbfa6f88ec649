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

    /// `p50 … p99 … max … ms, N of them`: one row of a table.
    #[must_use]
    pub fn row(&mut self) -> String {
        let (p50, p99, max) = (self.quantile_ms(0.5), self.quantile_ms(0.99), self.quantile_ms(1.0));
        format!("p50 {p50:>8.3}  p99 {p99:>8.3}  max {max:>8.3} ms  ({})", self.len())
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

/// Cumulative buckets of a Prometheus histogram without labels that differ, by upper bound.
pub struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// Reads `name` from Prometheus' text format.
    #[must_use]
    pub fn read(text: &str, name: &str) -> Self {
        let prefix = format!("{name}_bucket{{");
        let bucket = |line: &str| {
            let (labels, count) = line.strip_prefix(&prefix)?.rsplit_once("} ")?;
            let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.parse().ok()?))
        };
        Self(text.lines().filter_map(bucket).collect())
    }

    /// What came since an earlier reading of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| earlier.0.iter().find(|(le, _)| *le == bound).map_or(0.0, |(_, count)| *count);
        Self(self.0.iter().map(|&(bound, count)| (bound, count - before(bound))).collect())
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// Quantile as Prometheus' `histogram_quantile` has it: linear inside of a bucket.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> f64 {
        let rank = quantile * self.count();
        let mut below = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank && count > below.1 {
                if bound.is_infinite() {
                    return below.0;
                }
                return below.0 + (bound - below.0) * (rank - below.1) / (count - below.1);
            }
            below = (bound, count);
        }
        f64::NAN
    }
}

/// The machine that the figures are from, and how busy it was before, in one line.
#[must_use]
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |pair| pair.1.trim());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!("{cores} cores, {model}, load {load}")
}

/// Whether a short run was asked for (`SPARK_BENCH_QUICK=1`): for checking that a bench works, not for figures.
#[must_use]
pub fn is_quick() -> bool {
    std::env::var_os("SPARK_BENCH_QUICK").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank_and_linear_inside_of_a_bucket() {
        let mut latencies = Latencies::default();
        (1..=100).rev().for_each(|ms| latencies.push(Duration::from_millis(ms)));
        assert_eq!([0.5, 0.99, 1.0].map(|quantile| latencies.quantile_ms(quantile)), [50.0, 99.0, 100.0]);
        assert!(Latencies::default().quantile_ms(0.5).is_nan());

        let text = |counts: [u32; 3]| {
            let line = |le: &str, count: u32| format!("x_bucket{{service=\"gateway\",le=\"{le}\"}} {count}\n");
            line("1", counts[0]) + &line("3", counts[1]) + &line("+Inf", counts[2]) + "x_count{service=\"gateway\"} 9\n"
        };
        let check = |before: [u32; 3], after: [u32; 3], quantile: f64, want: f64| {
            let got = Buckets::read(&text(after), "x").since(&Buckets::read(&text(before), "x"));
            assert!((got.quantile(quantile) - want).abs() < 1e-9, "{before:?} {after:?}: {}", got.quantile(quantile));
        };
        check([0, 0, 0], [10, 20, 20], 0.5, 1.0);
        check([0, 0, 0], [10, 20, 20], 0.75, 2.0);
        check([10, 10, 10], [10, 20, 20], 0.5, 2.0);
        check([0, 0, 0], [10, 10, 20], 0.99, 3.0);
        assert!(Buckets::read("", "x").quantile(0.5).is_nan());
    }
}
