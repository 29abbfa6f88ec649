//! A day that Prometheus has seen before the test began: what panels compare today with.

use std::fmt::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::programs::{printed, run};

const DAY_S: u64 = 24 * 3600;
/// From that long before this time yesterday until that long after it.
const AROUND_S: u64 = 20 * 60;
const STEP_S: u64 = 15;

/// Writes the recorded series of yesterday, around this time of day, into Prometheus' folder.
pub fn write(store: &Path, recorded: &[String]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut text = String::new();
    for name in recorded {
        let _ = writeln!(text, "# TYPE {name} gauge");
        for exchange in ["binance", "btcturk"] {
            let labels = format!("job=\"spark\",environment=\"demo\",service=\"portfolio\",exchange=\"{exchange}\"");
            for at in (now - DAY_S - AROUND_S..now - DAY_S + AROUND_S).step_by(usize::try_from(STEP_S).unwrap()) {
                let _ = writeln!(text, "{name}{{{labels}}} 100 {at}");
            }
        }
    }
    text.push_str("# EOF\n");
    let input = store.with_extension("openmetrics");
    std::fs::write(&input, text).unwrap();
    let arguments = ["tsdb", "create-blocks-from", "openmetrics", input.to_str().unwrap(), store.to_str().unwrap()];
    let output = run("promtool", &arguments, "");
    assert!(output.status.success(), "{}", printed(&output));
}
