//! Recorded frames: one line is `<receive time, ns> <JSON>`, where the JSON is a combined-stream frame or a bare book snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::live::{Top, TradeRow};
use crate::units;

/// Longest line that is taken for one.
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// Levels: price and quantity.
pub(crate) type Levels = Vec<(i64, i64)>;

/// What a recorded line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Trade(TradeRow),
    Top(Top),
    Depth {
        last: u64,
        bids: Levels,
        asks: Levels,
    },
    Snapshot {
        last: u64,
        bids: Levels,
        asks: Levels,
    },
    /// A stream that is only passed on.
    Other,
}

/// One recorded line.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// When it was received, ns since 1970.
    pub received_ns: u64,
    /// Its stream; empty for a snapshot.
    pub stream: String,
    /// Symbol, upper case; empty for a snapshot.
    pub symbol: String,
    /// The frame as recorded.
    pub frame: Bytes,
    /// Where `data` lies in it.
    pub data: (usize, usize),
    /// What it says.
    pub content: Content,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    stream: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct RawTrade<'a> {
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    at: i64,
    m: bool,
}

#[derive(Deserialize)]
struct RawTop<'a> {
    u: u64,
    b: &'a str,
    #[serde(rename = "B")]
    bid_quantity: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_quantity: &'a str,
}

#[derive(Deserialize)]
struct RawDepth<'a> {
    u: u64,
    #[serde(borrow)]
    b: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    a: Vec<(&'a str, &'a str)>,
}

#[derive(Deserialize)]
struct RawSnapshot<'a> {
    #[serde(rename = "lastUpdateId")]
    last: u64,
    #[serde(borrow)]
    bids: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    asks: Vec<(&'a str, &'a str)>,
}

fn number(text: &str) -> Result<i64, String> {
    units::parse(text).ok_or_else(|| format!("`{text}` is not a decimal with at most 8 places"))
}

fn levels(raw: &[(&str, &str)]) -> Result<Levels, String> {
    raw.iter().map(|(price, quantity)| Ok((number(price)?, number(quantity)?))).collect()
}

/// Reads one line.
pub(crate) fn parse(line: &str) -> Result<Record, String> {
    let (stamp, json) = line.split_once(' ').ok_or("no space between receive time and JSON")?;
    let received_ns = stamp.parse().map_err(|_| format!("`{stamp}` is not a receive time in ns"))?;
    if !json.starts_with("{\"stream\"") {
        let raw: RawSnapshot<'_> =
            serde_json::from_str(json).map_err(|error| format!("neither a combined frame nor a book snapshot: {error}"))?;
        let content = Content::Snapshot { last: raw.last, bids: levels(&raw.bids)?, asks: levels(&raw.asks)? };
        return Ok(Record {
            received_ns,
            stream: String::new(),
            symbol: String::new(),
            frame: Bytes::new(),
            data: (0, 0),
            content,
        });
    }
    let envelope: Envelope<'_> = serde_json::from_str(json).map_err(|error| format!("not a combined frame: {error}"))?;
    let data = envelope.data.get();
    // Both are parts of the same text.
    let begin = data.as_ptr() as usize - json.as_ptr() as usize;
    let (symbol, channel) = envelope.stream.split_once('@').ok_or_else(|| format!("stream `{}` has no @", envelope.stream))?;
    let invalid = |error: serde_json::Error| format!("{}: {error}", envelope.stream);
    let content = match channel {
        "trade" => {
            let raw: RawTrade<'_> = serde_json::from_str(data).map_err(invalid)?;
            if !raw.s.eq_ignore_ascii_case(symbol) {
                return Err(format!("stream `{}` carries symbol {}", envelope.stream, raw.s));
            }
            Content::Trade(TradeRow::new(raw.t, number(raw.p)?, number(raw.q)?, raw.at, raw.m))
        }
        "bookTicker" => {
            let raw: RawTop<'_> = serde_json::from_str(data).map_err(invalid)?;
            let (bid, ask) = ((number(raw.b)?, number(raw.bid_quantity)?), (number(raw.a)?, number(raw.ask_quantity)?));
            Content::Top(Top { bid, ask, update: raw.u })
        }
        "depth" | "depth@100ms" => {
            let raw: RawDepth<'_> = serde_json::from_str(data).map_err(invalid)?;
            Content::Depth { last: raw.u, bids: levels(&raw.b)?, asks: levels(&raw.a)? }
        }
        _ => Content::Other,
    };
    Ok(Record {
        received_ns,
        symbol: symbol.to_ascii_uppercase(),
        data: (begin, begin + data.len()),
        frame: Bytes::copy_from_slice(json.as_bytes()),
        content,
        stream: envelope.stream,
    })
}

/// Calls `each` for every line of the files in order, until it returns false.
pub(crate) fn read(files: &[PathBuf], mut each: impl FnMut(Record) -> bool) -> Result<(), Error> {
    for path in files {
        if !read_one(path, &mut each)? {
            break;
        }
    }
    Ok(())
}

fn read_one(path: &Path, each: &mut impl FnMut(Record) -> bool) -> Result<bool, Error> {
    let failed = |source| Error::Recording { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file)));
    let mut text = String::new();
    let mut line = 0;
    loop {
        text.clear();
        line += 1;
        let read = std::io::Read::take(&mut reader, u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX))
            .read_line(&mut text)
            .map_err(failed)?;
        if read == 0 {
            return Ok(true);
        }
        let trimmed = text.trim_end();
        if trimmed.is_empty() {
            continue;
        }
        let record = parse(trimmed).map_err(|reason| Error::RecordingLine { path: path.to_owned(), line, reason })?;
        if !each(record) {
            return Ok(false);
        }
    }
}

/// What is in a recording, found by reading it once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// Frames, snapshots not counted.
    pub frames: u64,
    /// Trades.
    pub trades: u64,
    /// Symbols.
    pub symbols: BTreeSet<String>,
    /// Streams.
    pub streams: BTreeSet<String>,
    /// First best bid and ask of each symbol.
    pub tops: BTreeMap<String, Top>,
    /// First book snapshot of each symbol: last update id, bids, asks.
    pub books: BTreeMap<String, (u64, Levels, Levels)>,
    /// Symbol of each snapshot in order: a snapshot does not name its own.
    pub snapshots: Vec<String>,
}

/// Reads everything once and finds out what is there.
///
/// # Errors
/// A file that cannot be read, or a line that is not one.
pub(crate) fn survey(files: &[PathBuf]) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    let mut updates: BTreeMap<String, u64> = BTreeMap::new();
    read(files, |record| {
        match record.content {
            Content::Snapshot { last, bids, asks } => {
                // Update ids of one symbol run together: the nearest is its own.
                let nearest = updates.iter().min_by_key(|(_, update)| update.abs_diff(last)).map(|(symbol, _)| symbol.clone());
                let symbol = nearest.unwrap_or_default();
                survey.books.entry(symbol.clone()).or_insert((last, bids, asks));
                survey.snapshots.push(symbol);
                return true;
            }
            Content::Trade(_) => survey.trades += 1,
            Content::Top(top) => {
                updates.insert(record.symbol.clone(), top.update);
                survey.tops.entry(record.symbol.clone()).or_insert(top);
            }
            Content::Depth { last, .. } => {
                updates.insert(record.symbol.clone(), last);
            }
            Content::Other => {}
        }
        survey.frames += 1;
        if !survey.symbols.contains(&record.symbol) {
            survey.symbols.insert(record.symbol);
        }
        if !survey.streams.contains(&record.stream) {
            survey.streams.insert(record.stream);
        }
        true
    })?;
    Ok(survey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_frame_as_recorded() {
        let json = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161601438,"s":"BTCUSDT","t":3735693016,"p":"61685.99000000","q":"0.00017000","T":1723161601437,"m":true,"M":true}}"#;
        let record = parse(&format!("1723161600164378285 {json}")).unwrap();
        assert_eq!(record.frame, json.as_bytes());
        assert!(record.frame[record.data.0..record.data.1].starts_with(b"{\"e\":\"trade\"") && record.data.1 == json.len() - 1);
        assert_eq!(
            record.content,
            Content::Trade(TradeRow::new(3_735_693_016, 6_168_599_000_000, 17_000, 1_723_161_601_437, true))
        );
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        let check = |line: &str, part: &str| assert!(parse(line).unwrap_err().contains(part), "{line}");
        check("nothing", "no space");
        check("soon {}", "receive time");
        check("1 {}", "snapshot");
        check(r#"1 {"stream":"btcusdt","data":{}}"#, "no @");
        check(r#"1 {"stream":"btcusdt@trade","data":{"s":"BTCUSDT","t":1,"p":"NaN","q":"1","T":1,"m":true}}"#, "NaN");
        check(r#"1 {"stream":"btcusdt@trade","data":{"s":"ETHUSDT","t":1,"p":"1","q":"1","T":1,"m":true}}"#, "ETHUSDT");
    }
}
