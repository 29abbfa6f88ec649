//! The indicators and the score equal an independent reference on recorded candles. Needs `python3` and a package index, so
//! it is behind the feature `python`, which .ci/run switches on.

#![cfg(feature = "python")]
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed, and its helpers with it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use spark_signal::fusion::Fusion;
use spark_signal::indicators::{Macd, Rsi, Trend};
use spark_signal::model::Model;
use spark_tests::recording::data_dir;

/// Relative; where a value passes through 0, relative to what it is a difference of (see [`Column::check`]).
const TOLERANCE: f64 = 1e-9;
const FILES: [&str; 5] =
    ["gct_BTCUSDT_1d.csv", "gct_BTCUSDT_1h.csv", "gct_BTCUSDT_1m.csv", "gct_BTCUSDT_5m.csv", "gct_ETHBTC_1d.csv"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/indicators")
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A Python with what `requirements.txt` names, removed with the build folder.
fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("venv-indicators-{}", std::process::id()));
    output(Command::new("python3").arg("-m").arg("venv").arg(&venv));
    let python = venv.join("bin/python");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    output(Command::new(&python).args(install).arg(folder().join("requirements.txt")));
    python
}

/// `open high low close volume` of each row.
fn candles(path: &Path) -> Vec<[f64; 5]> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let row = |line: &str| {
        let mut fields = line.split(',').skip(1).map(|field| field.parse().unwrap());
        std::array::from_fn(|_| fields.next().unwrap())
    };
    text.lines().skip(1).map(row).collect()
}

/// One indicator against its reference.
#[derive(Default)]
struct Column {
    compared: usize,
    worst: f64,
}

impl Column {
    /// `scale` is the size of what the value is a difference of, 0 for one that is none.
    fn check(&mut self, place: &str, ours: Option<f64>, reference: f64, scale: f64) {
        assert_eq!(ours.is_none(), reference.is_nan(), "{place}: warm at another candle: {ours:?}, {reference}");
        let Some(ours) = ours else { return };
        let error = (ours - reference).abs() / reference.abs().max(scale).max(f64::MIN_POSITIVE);
        assert!(error <= TOLERANCE, "{place}: {ours} is not {reference}: off by {error:e}");
        self.compared += 1;
        self.worst = self.worst.max(error);
    }
}

#[test]
fn indicators_and_score_equal_talib_and_exact_fractions_on_recorded_candles() {
    let python = python();
    let names = ["rsi", "macd", "signal", "histogram", "slope", "trend", "score"];
    let mut columns: [Column; 7] = Default::default();
    for file in FILES {
        let path = data_dir().join("binance/klines").join(file);
        let reference = output(Command::new(&python).arg(folder().join("reference.py")).arg(&path));
        let (mut rsi, mut macd, mut trend) = (Rsi::new(14), Macd::new(12, 26, 9), Trend::new(20));
        let mut fusion = Fusion::new(&Model::built_in());
        let (mut sum, candles) = (std::collections::VecDeque::new(), candles(&path));
        assert_eq!(reference.lines().count(), candles.len());
        for (at, (line, [open, high, low, close, volume])) in reference.lines().zip(candles).enumerate() {
            let wanted: Vec<f64> = line.split(' ').map(|field| field.parse().unwrap()).collect();
            let (macd, trend) = (macd.update(close).unwrap(), trend.update(close).unwrap());
            sum.push_back(close);
            sum.drain(..sum.len().saturating_sub(20));
            let mean = sum.iter().sum::<f64>() / 20.0;
            let ours = [
                rsi.update(close).unwrap(),
                macd.map(|value| value.macd),
                macd.map(|value| value.signal),
                macd.map(|value| value.histogram),
                trend.map(|value| value * mean),
                trend,
                fusion.on_bar(open, high, low, close, volume.max(1.0)).score,
            ];
            // TA-Lib's slope is a difference of sums of closes; a score is one of parts of up to 1.
            let scales = [0.0, 0.0, 0.0, 0.0, close / 1_000.0, 0.0, 0.001];
            for (column, name) in names.into_iter().enumerate() {
                columns[column].check(&format!("{file}:{} {name}", at + 2), ours[column], wanted[column], scales[column]);
            }
        }
    }
    for (name, Column { compared, worst }) in names.into_iter().zip(columns) {
        eprintln!("{name:<10} {compared} values, off by {worst:.1e} at most");
        assert!(compared > 2_000, "{name}: only {compared} values were compared");
    }
}
