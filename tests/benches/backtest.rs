//! Backtests: bars a second on one core with risk and fills, beside backtesting.py and vectorbt on the same prices in the same
//! run; a sweep of 1 000 combinations over a year of minutes on all cores; memory of ten million bars.
//!
//! The peers come from PyPI into a venv of their own; without a package index their rows say so.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use spark_backtest::data::Bars;
use spark_backtest::engine::{Settings, run};
use spark_backtest::sweep;
use spark_bus_schema::backtests::BacktestJob;
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::{Fixed, Timestamp};
use spark_strategy::rule::Bar;
use spark_tests::bench::{is_quick, machine};

const PEERS: [&str; 2] = ["backtesting==0.6.6", "vectorbt==1.2.0"];
const RUNS: usize = 5;
const YEAR_OF_MINUTES: usize = 525_600;
const SPAN_NS: i64 = 60_000_000_000;

fn main() {
    let count = if is_quick() { 500_000 } else { 10_000_000 };
    println!("backtest, {}", machine());
    let before = resident_mib();
    let bars = generated(count);
    let held = resident_mib() - before;
    println!("  memory of {count} bars       {:>8.1} MiB resident, {:.1} bytes a bar", held, bars.bytes() as f64 / count as f64);

    let settings = Settings::of(&job()).expect("the job is written here");
    let _ = bars.hash();
    let mut best = Duration::MAX;
    let mut trades = 0;
    for _ in 0..RUNS {
        let start = Instant::now();
        let outcome = run(&settings, &bars, &()).expect("nothing cancels it");
        best = best.min(start.elapsed());
        trades = outcome.metrics.trades;
    }
    let ours = count as f64 / best.as_secs_f64();
    println!(
        "  SMA 10/30, risk and fills    {:>8.2} M bars/s a core (best of {RUNS}; {:.1} ns a bar, a trade every {:.1} bars)",
        ours / 1e6,
        1e9 / ours,
        count as f64 / trades as f64
    );
    sweep_of_a_year(&settings, &bars);
    peers(&bars, ours);
}

fn sweep_of_a_year(settings: &Settings, all: &Bars) {
    let mut year = Bars::new(TimeFrame::M1);
    for row in 0..YEAR_OF_MINUTES.min(all.len()) {
        year.push(&all.bar(row)).expect("it was a bar before");
    }
    let list = |values: std::ops::RangeInclusive<u32>, step: usize| values.step_by(step).map(|value| value.to_string()).collect();
    let (fast, slow): (Vec<String>, Vec<String>) =
        if is_quick() { (list(2..=6, 1), list(10..=13, 1)) } else { (list(2..=40, 2), list(45..=290, 5)) };
    let combinations = fast.len() * slow.len();
    let sweep = BTreeMap::from([("fast".to_owned(), fast), ("slow".to_owned(), slow)]);
    let start = Instant::now();
    let ranked = sweep::run(settings, &sweep, &year, &()).expect("every combination is one");
    let took = start.elapsed();
    assert!(ranked.len() == combinations && ranked.iter().all(|tried| tried.metrics.is_some()), "all of them ran");
    println!(
        "  sweep of {combinations} × {} bars  {:>8.2} s, {:.1} M bars/s on {} cores",
        year.len(),
        took.as_secs_f64(),
        (combinations * year.len()) as f64 / took.as_secs_f64() / 1e6,
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    );
}

fn peers(bars: &Bars, ours: f64) {
    let Some(python) = python() else {
        println!("  peers: no package index here, not compared");
        return;
    };
    let prices = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("prices-{}.f64", std::process::id()));
    let (slow, quick) = if is_quick() { (20_000, 100_000) } else { (200_000, 2_000_000) };
    let bytes: Vec<u8> = bars.closes().iter().take(quick).flat_map(|close| (*close as f64 / 100.0).to_le_bytes()).collect();
    std::fs::write(&prices, bytes).expect("the build folder can be written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/backtest.py");
    let output = Command::new(python).arg(script).arg(&prices).args([slow.to_string(), quick.to_string()]).output();
    drop(std::fs::remove_file(&prices));
    let output = output.expect("python runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else {
        println!("  peers: failed: {errors}");
        return;
    };
    for name in ["backtesting.py", "vectorbt"] {
        let figure = |key: &str| answer[name][key].as_f64();
        match (figure("bars"), figure("seconds"), figure("trades")) {
            (Some(bars), Some(seconds), Some(trades)) => println!(
                "  {name:<28} {:>8.3} M bars/s ({bars} bars, a trade every {:.1}): ours is {:.1} times as fast",
                bars / seconds / 1e6,
                bars / trades,
                ours / (bars / seconds)
            ),
            _ => println!("  {name:<28} not compared: {errors}"),
        }
    }
}

/// A Python with the peers, kept in the build folder; none without a package index.
fn python() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv-backtest-peers");
    let python = venv.join("bin/python");
    let runs = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let is_made = python.exists() || runs(Command::new("python3").arg("-m").arg("venv").arg(&venv));
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    (is_made && runs(Command::new(&python).args(install).args(PEERS))).then_some(python)
}

/// A random walk of minutes in cents that comes back to 30 000, the same on every machine.
fn generated(count: usize) -> Bars {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bars = Bars::with_capacity(TimeFrame::M1, count);
    let mut price = 3_000_000_i64;
    for row in 0..count {
        let open = price;
        price = (price + (next() % 4_001) as i64 - 2_000 + (3_000_000 - price) / 20_000).max(1_000);
        let fixed = |mantissa: i64| Fixed { mantissa, scale: 2 };
        let bar = Bar {
            open_time: Timestamp::from_nanos(1_600_000_020_000_000_000 + row as i64 * SPAN_NS),
            open: fixed(open),
            high: fixed(open.max(price) + 5),
            low: fixed(open.min(price) - 5),
            close: fixed(price),
            volume: Fixed { mantissa: 12_345, scale: 3 },
        };
        bars.push(&bar).expect("prices are positive and times rise");
    }
    bars
}

/// One unit a trade, so that every crossing trades however long it goes on.
fn job() -> BacktestJob {
    let words = serde_json::json!({
        "id": "bench", "strategy": null, "kind": "sma_cross", "params": {"fast": "10", "slow": "30", "quantity": "1"},
        "sweep": {}, "walk_forward": null, "venue": "binance", "symbol": "BTCUSDT", "timeframe": "1m",
        "data": {"csv": {"path": "/generated"}}, "cash": "1000000000", "commission_pct": "0.1", "fill_at": "close",
        "limits": null, "actor": "bench", "reason": "bench", "at": 0
    });
    serde_json::from_value(words).expect("the job is written here")
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}
