//! p95 window: nanoseconds a sample and error against the exact quantile of the same samples.
//! Baseline, in the same run: a sorted vector of the window's samples, updated by binary search.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use spark_bus_schema::Timestamp;
use spark_guardrail::window::QuantileWindow;
use spark_tests::bench::{is_quick, machine};

const WINDOW: Duration = Duration::from_secs(300);

fn main() {
    let samples = if is_quick() { 200_000 } else { 5_000_000 };
    let step_ns = 1_000_000; // 1 000 samples a second
    let values = latencies(samples);
    let at = |index: usize| Timestamp::from_nanos(1_700_000_000_000_000_000 + index as i64 * step_ns);

    let mut window = QuantileWindow::new(WINDOW);
    let start = Instant::now();
    for (index, &value) in values.iter().enumerate() {
        window.record(at(index), value);
    }
    let update = start.elapsed();
    let got = window.quantile(at(samples - 1), 0.95).expect("samples were recorded");

    let reads = 1_000_000;
    let start = Instant::now();
    for index in 0..reads {
        window.record(at(samples - 1), values[index % samples]);
        black_box(window.quantile(at(samples - 1), 0.95));
    }
    let read = start.elapsed();

    let inside = WINDOW.as_nanos() as usize / step_ns as usize;
    let mut exact: Vec<i64> = values[samples.saturating_sub(inside)..].to_vec();
    exact.sort_unstable();
    let want = exact[(0.95 * exact.len() as f64).ceil() as usize - 1] as f64;

    let baseline_samples = samples.min(400_000);
    let baseline = sorted_vector(&values[..baseline_samples], inside.min(50_000));

    let per = |elapsed: Duration, count: usize| elapsed.as_nanos() as f64 / count as f64;
    println!("p95 window, {} ({samples} samples, 5 min, 1 000/s)", machine());
    println!("  update                    {:>10.1} ns/sample", per(update, samples));
    println!("  update + read             {:>10.1} ns/sample", per(read, reads));
    println!(
        "  sorted vector (baseline)  {:>10.1} ns/sample, {:.0}x",
        per(baseline, baseline_samples),
        per(baseline, baseline_samples) / per(update, samples)
    );
    println!("  p95 {got:.1} against exact {want:.1}: error {:.3} %", (got - want).abs() / want * 100.0);
}

/// Log-normal-like latencies in µs from a small deterministic generator.
fn latencies(count: usize) -> Vec<i64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count).map(|_| (20_000.0 * (uniform() + uniform() + uniform() - 1.5).exp()) as i64).collect()
}

fn sorted_vector(values: &[i64], inside: usize) -> Duration {
    let mut sorted: Vec<i64> = Vec::with_capacity(inside + 1);
    let mut order: VecDeque<i64> = VecDeque::with_capacity(inside + 1);
    let start = Instant::now();
    for &value in values {
        if order.len() == inside
            && let Some(expired) = order.pop_front()
        {
            let at = sorted.partition_point(|&held| held < expired);
            sorted.remove(at);
        }
        let at = sorted.partition_point(|&held| held < value);
        sorted.insert(at, value);
        order.push_back(value);
        black_box(sorted[sorted.len() * 95 / 100]);
    }
    start.elapsed()
}
