//! Price steps and daily limits beside the recorded daily prices of thirty shares.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use spark_bus_schema::Decimal;
use spark_bus_schema::shares::{is_on_tick, limits};

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// Their prices of those weeks are adjusted for a dividend paid later, and so off the grid.
const ADJUSTED: [&str; 4] = ["BIMAS", "EKGYO", "TAVHL", "ULKER"];

#[test]
fn recorded_prices_of_june_2026_obey_grid_and_limits() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/bist/daily");
    let (mut prices, mut off, mut days) = (0, Vec::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut before: Option<Decimal> = None;
        for row in text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>()).filter(|row| row[0] >= "2026-06-15") {
            let values: Vec<Decimal> = row[1..5].iter().map(|text| d(text)).collect();
            if values.iter().all(|price| is_on_tick(*price)) {
                prices += values.len();
            } else {
                off.push(path.file_stem().unwrap().to_string_lossy().into_owned());
            }
            if let Some((low, high)) = before.and_then(limits) {
                assert!(values[2] >= low && values[1] <= high, "{path:?} {row:?} outside {low} to {high}");
                days += 1;
            }
            before = values.iter().all(|price| is_on_tick(*price)).then_some(values[3]);
        }
    }
    off.sort();
    off.dedup();
    assert_eq!(off, ADJUSTED);
    assert!(prices > 1_000 && days > 250, "{prices} prices, {days} days");
}
