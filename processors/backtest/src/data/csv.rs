//! Files of bars: one line a bar, oldest first.
//!
//! Either with a header, whose names may be written in the usual ways ([`NAMES`]), in any order, beside other columns; or
//! without one, then as Binance publishes klines: open time, open, high, low, close, volume, and up to six columns more.
//! Fields are separated by `,`, `;` or a tab. Times are seconds, ms, µs or ns since 1970 (told by their size) or ISO 8601
//! (`2024-08-08`, `2024-08-08 23:54`, `2024-08-08T23:54:13.9Z`); without a zone they are UTC.
//!
//! Nothing is guessed: a value that is missing, not a number, out of order or impossible ends the reading with file, line
//! and column. Memory is bounded by [`BARS_MAX`](super::BARS_MAX) bars; a line by [`LINE_BYTES_MAX`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::{Fixed, Timestamp};
use spark_strategy::rule::Bar;

use super::Bars;
use crate::engine::Error;

/// Bytes of one line, at most.
pub const LINE_BYTES_MAX: usize = 4_096;
/// Different distances between bars that are counted to find out how long a bar is.
const GAPS_MAX: usize = 64;

/// What is read, and how it may be called (case does not matter, nor do blanks and `_`). The first name that is there counts.
pub const NAMES: [(&str, &[&str]); 6] = [
    ("open_time", &["opentime", "timestamp", "ts", "datetime", "date", "time", "t", "unix", "start", "begin"]),
    ("open", &["open", "o", "openprice"]),
    ("high", &["high", "h", "highprice", "max"]),
    ("low", &["low", "l", "lowprice", "min"]),
    ("close", &["close", "c", "closeprice", "last"]),
    ("volume", &["volume", "vol", "v", "qty", "quantity", "basevolume"]),
];

/// Reads a file. Without a time frame a bar is as long as the most frequent distance between two of them.
///
/// # Errors
/// [`Error::File`] when it cannot be opened or read; [`Error::Data`]: file, line, column, what is there and what would be
/// right. An empty file is one of these errors, and so is a single bar without a time frame.
pub fn read(path: &Path, timeframe: Option<TimeFrame>) -> Result<Bars, Error> {
    let file = |action, source| Error::File { action, path: path.display().to_string(), source };
    let opened = File::open(path).map_err(|error| file("open", error))?;
    read_from(BufReader::with_capacity(1 << 20, opened), &path.display().to_string(), timeframe)
}

/// As [`read`], from anywhere; `name` stands for the file in errors.
///
/// # Errors
/// As [`read`].
pub fn read_from(input: impl BufRead, name: &str, timeframe: Option<TimeFrame>) -> Result<Bars, Error> {
    let mut reader = Reader { input, name, line: 0, buffer: Vec::with_capacity(256) };
    let mut bars = timeframe.map_or_else(Bars::default, Bars::new);
    let mut gaps = Gaps::default();
    let mut columns = None;
    while reader.next()? {
        let text = reader.text()?;
        if text.trim().is_empty() {
            continue;
        }
        let columns = match &columns {
            Some(columns) => columns,
            None => {
                let (found, is_header) = Columns::of(text).map_err(|wrong| reader.wrong(&wrong))?;
                let found = columns.insert(found);
                if is_header {
                    continue;
                }
                found
            }
        };
        let bar = columns.bar(text).map_err(|wrong| reader.wrong(&wrong))?;
        if let Some(&last) = bars.open_times().last() {
            let gap = bar.open_time.as_nanos().saturating_sub(last);
            if gap > 0 && gap < bars.span_ns() {
                return Err(reader.wrong(&format!(
                    "open time {} is {} s after the bar before, and bars are said to be {} s long; give their own time frame",
                    bar.open_time,
                    gap / 1_000_000_000,
                    bars.span_ns() / 1_000_000_000
                )));
            }
            gaps.see(gap);
        }
        bars.push(&bar).map_err(|wrong| reader.wrong(&wrong))?;
    }
    if bars.is_empty() {
        return Err(Error::Data(format!(
            "{name}: there is no bar in it; each line is open time, open, high, low, close, volume"
        )));
    }
    if timeframe.is_none() {
        let Some(span) = gaps.most_frequent() else {
            return Err(Error::Data(format!("{name}: how long its only bar is cannot be told; give the time frame, e.g. 1h")));
        };
        bars.set_span(span);
    }
    bars.shrink();
    Ok(bars)
}

struct Reader<'a, R> {
    input: R,
    name: &'a str,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Reader<'_, R> {
    /// The next line is in the buffer; false at the end.
    fn next(&mut self) -> Result<bool, Error> {
        self.buffer.clear();
        self.line += 1;
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|source| Error::File { action: "read", path: self.name.to_owned(), source })?;
        if read > LINE_BYTES_MAX {
            return Err(self.wrong(&format!("more than {LINE_BYTES_MAX} bytes in one line; is it a text file of bars?")));
        }
        Ok(read > 0)
    }

    fn text(&self) -> Result<&str, Error> {
        let bytes = if self.line == 1 { self.buffer.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.buffer) } else { &self.buffer };
        let text = std::str::from_utf8(bytes).map_err(|_| self.wrong("not UTF-8; is it a text file of bars?"))?;
        Ok(text.trim_end_matches(['\n', '\r']))
    }

    fn wrong(&self, what: &str) -> Error {
        Error::Data(format!("{}, line {}: {what}", self.name, self.line))
    }
}

/// Where in a line what is.
struct Columns {
    separator: char,
    /// As [`NAMES`].
    at: [usize; 6],
    count: usize,
}

impl Columns {
    /// From the first line; whether it is a header.
    fn of(line: &str) -> Result<(Self, bool), String> {
        let separator = [',', ';', '\t'].into_iter().max_by_key(|separator| line.matches(*separator).count()).unwrap_or(',');
        let fields: Vec<&str> = line.split(separator).map(plain).collect();
        let is_header = fields.first().is_none_or(|first| time(first).is_err());
        if !is_header {
            if !(6..=12).contains(&fields.len()) {
                return Err(format!(
                    "{} columns and no header; without one it is open time, open, high, low, close, volume, and up to six more",
                    fields.len()
                ));
            }
            return Ok((Self { separator, at: [0, 1, 2, 3, 4, 5], count: fields.len() }, false));
        }
        let names: Vec<String> = fields.iter().map(|field| field.replace([' ', '_'], "").to_ascii_lowercase()).collect();
        let mut at = [0; 6];
        for (place, (name, spellings)) in at.iter_mut().zip(NAMES) {
            let found = spellings.iter().find_map(|spelling| names.iter().position(|given| given == spelling));
            *place = found.ok_or_else(|| {
                let given: String = fields.join(", ").chars().take(200).collect();
                format!("no column {name} in the header `{given}`; it may be called {}", spellings.join(", "))
            })?;
        }
        Ok((Self { separator, at, count: fields.len() }, true))
    }

    fn bar(&self, line: &str) -> Result<Bar, String> {
        let mut values = [""; 6];
        let mut count = 0;
        for field in line.split(self.separator) {
            for (value, at) in values.iter_mut().zip(self.at) {
                if at == count {
                    *value = plain(field);
                }
            }
            count += 1;
        }
        if count != self.count {
            return Err(format!("{count} columns, the lines before have {}", self.count));
        }
        let number = |index: usize| {
            let (name, text) = (NAMES[index].0, values[index]);
            Fixed::parse(text).map_err(|error| {
                let place = self.at[index] + 1;
                format!("column {place} ({name}): `{text:.40}` is {error}; write digits, e.g. 61837.63")
            })
        };
        let open_time = time(values[0]).map_err(|wrong| format!("column {} (open_time): {wrong}", self.at[0] + 1))?;
        Ok(Bar { open_time, open: number(1)?, high: number(2)?, low: number(3)?, close: number(4)?, volume: number(5)? })
    }
}

/// Without blanks and quotation marks around it.
fn plain(field: &str) -> &str {
    let field = field.trim();
    field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field).trim()
}

/// A point in time in one of the usual spellings.
fn time(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("`{text:.40}` is no time; write e.g. 1723161300000 (ms), 2024-08-08 or 2024-08-08T23:55:00Z");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().map_err(|_| wrong())?;
        // Seconds up to the year 5138, ms from 1973 on, and so forth: a bar's time is in one of these ranges alone.
        let factor = match number {
            100_000_000..100_000_000_000 => 1_000_000_000,
            100_000_000_000..100_000_000_000_000 => 1_000_000,
            100_000_000_000_000..100_000_000_000_000_000 => 1_000,
            100_000_000_000_000_000.. => 1,
            _ => return Err(wrong()),
        };
        return number.checked_mul(factor).map(Timestamp::from_nanos).ok_or_else(wrong);
    }
    if !text.is_ascii() {
        return Err(wrong());
    }
    let (date, rest) = text.split_at_checked(10).ok_or_else(wrong)?;
    let clock = rest.trim_start_matches(['T', 't', ' ']);
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let seconds = match clock.trim_end() {
        "" => "00:00:00".to_owned(),
        minutes if minutes.len() == 5 => format!("{minutes}:00"),
        seconds => seconds.to_owned(),
    };
    let zone = match zone {
        "" | "z" => "Z".to_owned(),
        hours if hours.len() == 5 && !hours.contains(':') => format!("{}:{}", &hours[..3], &hours[3..]),
        zone => zone.to_owned(),
    };
    Timestamp::parse(&format!("{date}T{seconds}{zone}")).map_err(|_| wrong())
}

/// Distances between bars.
#[derive(Default)]
struct Gaps {
    counts: BTreeMap<i64, u64>,
}

impl Gaps {
    fn see(&mut self, gap: i64) {
        if gap > 0 && (self.counts.len() < GAPS_MAX || self.counts.contains_key(&gap)) {
            *self.counts.entry(gap).or_default() += 1;
        }
    }

    /// Of equally frequent ones the shortest.
    fn most_frequent(&self) -> Option<i64> {
        self.counts.iter().rev().max_by_key(|(_, count)| **count).map(|(gap, _)| *gap)
    }
}
