//! The recorded market data that tests and benches run on. It lies beside the project and is read from there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The folder of recorded data.
#[must_use]
pub fn data_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data")
}

/// Both files of the recorded BTCUSDT day change, in order.
#[must_use]
pub fn files() -> [PathBuf; 2] {
    ["btcusdt_20240808.gz", "btcusdt_20240809.gz"].map(|name| data_dir().join("binance/ws_raw").join(name))
}

/// Every recorded frame without its receive stamp, in order.
///
/// # Panics
/// A file is missing or damaged.
#[must_use]
pub fn frames() -> Vec<String> {
    let mut frames = Vec::new();
    for path in files() {
        let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for line in BufReader::new(flate2::bufread::GzDecoder::new(BufReader::new(file))).lines() {
            let line = line.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if let Some((_, frame)) = line.split_once(' ') {
                frames.push(frame.to_owned());
            }
        }
    }
    frames
}

/// One recorded trade as the exchange wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedTrade {
    /// Trade id.
    pub id: u64,
    /// Price with its 8 decimals.
    pub price: String,
    /// Quantity with its 8 decimals.
    pub quantity: String,
    /// Trade time, ms.
    pub time_ms: i64,
    /// Whether the buyer was the maker.
    pub buyer_is_maker: bool,
}

/// The trades of both files, from the CSV extract, which was made by other means than Spark's parser.
///
/// # Panics
/// The file is missing or damaged.
#[must_use]
pub fn trades() -> Vec<RecordedTrade> {
    let path = data_dir().join("binance/trades/BTCUSDT_trades_2024-08-08_09.csv");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let [id, price, quantity, time_ms, _, buyer_is_maker, _] = cells[..] else { panic!("{line}") };
            RecordedTrade {
                id: id.parse().unwrap_or_else(|error| panic!("{line}: {error}")),
                price: price.to_owned(),
                quantity: quantity.to_owned(),
                time_ms: time_ms.parse().unwrap_or_else(|error| panic!("{line}: {error}")),
                buyer_is_maker: buyer_is_maker == "true",
            }
        })
        .collect()
}

/// The last recorded best bid and ask with their sizes, as the exchange wrote them: `[b, B, a, A]`.
///
/// # Panics
/// There is none.
#[must_use]
pub fn last_quote() -> [String; 4] {
    let frames = frames();
    let frame = frames.iter().rev().find(|frame| frame.contains("@bookTicker")).unwrap_or_else(|| panic!("no quote"));
    let value: serde_json::Value = serde_json::from_str(frame).unwrap_or_else(|error| panic!("{frame}: {error}"));
    ["b", "B", "a", "A"].map(|key| value["data"][key].as_str().unwrap_or_default().to_owned())
}
