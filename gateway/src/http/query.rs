//! Query parameters, read strictly: an unknown name is an error, so that a typing mistake never passes for a default.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use spark_bus_schema::Venue;

use super::problem::Problem;
use crate::view::history::{COARSE_SLOTS, COARSE_STEP_S};

/// Shortest window of a chart.
const WINDOW_MIN: Duration = Duration::from_secs(60);
/// Longest window of a chart.
const WINDOW_MAX: Duration = Duration::from_secs(COARSE_SLOTS as u64 * COARSE_STEP_S as u64);

/// The parameters of a request.
pub(crate) struct Params {
    path: String,
    pairs: Vec<(String, String)>,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|error| {
            Problem::bad_value("query", error.to_string(), "write it as name=value&name=value, percent-encoded".to_owned())
        })?;
        Ok(Self { path: parts.uri.path().to_owned(), pairs })
    }
}

impl Params {
    /// Refuses names that the route does not know, and names given twice.
    pub fn only(self, known: &'static [&'static str]) -> Result<Self, Problem> {
        self.only_repeating(known, &[])
    }

    /// As [`only`](Self::only); the `repeating` ones may be given several times.
    pub fn only_repeating(self, known: &'static [&'static str], repeating: &[&str]) -> Result<Self, Problem> {
        for (index, (name, _)) in self.pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let fix = if known.is_empty() { "it takes none".to_owned() } else { format!("known are {}", known.join(", ")) };
                return Err(Problem::bad_value("query", format!("unknown parameter `{name}`"), fix));
            }
            if !repeating.contains(&name.as_str()) && self.pairs.iter().skip(index + 1).any(|(other, _)| other == name) {
                return Err(Problem::bad_value("query", format!("`{name}` is given twice"), "give it once".to_owned()));
            }
        }
        Ok(self)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may be given several times.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A whole number in a range; `default` when it is not given.
    pub fn number(&self, name: &'static str, default: usize, range: RangeInclusive<usize>) -> Result<usize, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        match text.parse() {
            Ok(number) if is_digits(text) && range.contains(&number) => Ok(number),
            _ => {
                let fix = format!("a whole number from {} to {}", range.start(), range.end());
                Err(Problem::bad_value(format!("query: {name}"), format!("`{text:.64}` is out of range"), fix))
            }
        }
    }

    /// A LEDGER sequence, when it is given.
    pub fn sequence(&self, name: &'static str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().ok().filter(|_| is_digits(text)).map(Some).ok_or_else(|| {
            let fix = "the LEDGER sequence of a row, e.g. 1042".to_owned();
            Problem::bad_value(format!("query: {name}"), format!("`{text:.64}` is no sequence"), fix)
        })
    }

    /// The request's own path and query with one parameter set to another value.
    pub fn with(&self, name: &str, value: &str) -> String {
        let others = self.pairs.iter().filter(|(other, _)| other != name).map(|(name, value)| (name.as_str(), value.as_str()));
        let pair = |(name, value): (&str, &str)| format!("{}={}", encoded(name), encoded(value));
        format!("{}?{}", self.path, others.chain([(name, value)]).map(pair).collect::<Vec<_>>().join("&"))
    }

    /// `true` or `false`, when it is given.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => {
                Err(Problem::bad_value(format!("query: {name}"), format!("`{other:.64}`"), "true or false".to_owned()))
            }
        }
    }

    /// `exchange`, when it is given.
    pub fn exchange(&self) -> Result<Option<Venue>, Problem> {
        self.get("exchange")
            .map(str::parse)
            .transpose()
            .map_err(|error: String| Problem::bad_value("query: exchange", error, "exchange=binance would be right".to_owned()))
    }

    /// `window` in seconds; an hour when it is not given.
    pub fn window_s(&self) -> Result<i64, Problem> {
        parse_window(self.get("window").unwrap_or("1h")).map_err(|detail| {
            let fix = "a whole number with a unit, from 1m to 24h: window=90s, window=15m, window=1h".to_owned();
            Problem::bad_value("query: window", detail, fix)
        })
    }
}

/// `+1` is a number to Rust.
fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Percent-encoded: everything but what never needs it.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn parse_window(text: &str) -> Result<i64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "" => return Err(format!("`{text}` has no unit")),
        _ => return Err(format!("`{text}` has an unknown unit")),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_s));
    match seconds.map(Duration::from_secs) {
        Some(window) if (WINDOW_MIN..=WINDOW_MAX).contains(&window) => {
            i64::try_from(window.as_secs()).map_err(|_| format!("`{text}` is too long"))
        }
        Some(_) => Err(format!("`{text}` is out of range")),
        None => Err(format!("`{text}` is not a number with a unit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_a_unit_and_a_range() {
        let check = |text: &str, want: Option<i64>| assert_eq!(parse_window(text).ok(), want, "{text}");
        check("60s", Some(60));
        check("1m", Some(60));
        check("1h", Some(3_600));
        check("24h", Some(86_400));
        check("1d", Some(86_400));
        for wrong in ["", "h", "1", "59s", "25h", "-1h", "1.5h", "1H", "1 h", "99999999999999999999h", "1h1h", "٣h"] {
            check(wrong, None);
        }
    }
}
