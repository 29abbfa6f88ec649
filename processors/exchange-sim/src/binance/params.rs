//! Request parameters: percent-decoded, query before body, read one by one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::errors::ApiError;
use crate::percent::decode;

/// Parameters of one request.
#[derive(Debug, Default)]
pub(crate) struct Params {
    values: BTreeMap<String, String>,
    read: RefCell<BTreeSet<String>>,
}

impl Params {
    /// Parses a query string and a form body; where both have a name, the query wins.
    ///
    /// # Errors
    /// -1105 for an empty value, -1101 for a name that comes twice in one part.
    pub(crate) fn parse(query: &str, body: &str) -> Result<Self, ApiError> {
        let mut values = BTreeMap::new();
        for part in [query, body] {
            let mut here = BTreeSet::new();
            for pair in part.split('&').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let (name, value) = (decode(name), decode(value));
                if value.is_empty() {
                    return Err(ApiError::bad(-1105, format!("Parameter '{name}' was empty.")));
                }
                if !here.insert(name.clone()) {
                    return Err(ApiError::bad(-1101, "Duplicate values for parameter."));
                }
                values.entry(name).or_insert(value);
            }
        }
        Ok(Self { values, read: RefCell::default() })
    }

    /// Parameters that came as names and values.
    pub(crate) fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: pairs.into_iter().collect(), read: RefCell::default() }
    }

    /// A parameter if it was sent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.read.borrow_mut().insert(name.to_owned());
        self.values.get(name).map(String::as_str)
    }

    /// A whole number if it was sent.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        if text.is_empty() || text.len() > 20 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ApiError::illegal(name, "^[0-9]{1,20}$"));
        }
        text.parse().map(Some).map_err(|_| ApiError::invalid(name))
    }

    /// A time in ms; microseconds are understood.
    pub(crate) fn time_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        Ok(self.number(name)?.map(milliseconds))
    }

    /// `limit`, capped at `most`.
    pub(crate) fn limit(&self, usual: usize, most: usize) -> Result<usize, ApiError> {
        match self.number("limit")? {
            None => Ok(usual),
            Some(0) => Err(ApiError::invalid("limit")),
            Some(limit) => Ok(usize::try_from(limit).unwrap_or(most).min(most)),
        }
    }

    /// Refuses what no one read.
    pub(crate) fn finish(&self) -> Result<(), ApiError> {
        let (sent, read) = (self.values.len(), self.read.borrow());
        let known = self.values.keys().filter(|name| read.contains(*name)).count();
        if known < sent {
            if read.is_empty() {
                return Err(ApiError::bad(-1101, format!("Too many parameters; expected '0' and received '{sent}'.")));
            }
            return Err(ApiError::bad(
                -1104,
                format!("Not all sent parameters were read; read '{known}' parameter(s) but was sent '{sent}'."),
            ));
        }
        Ok(())
    }
}

/// Above this a time is in microseconds: as milliseconds it would lie beyond the year 5000.
const MICROSECONDS_FROM: i64 = 100_000_000_000_000;

/// A time as ms, whether it was written in ms or µs.
pub(crate) fn milliseconds(time: i64) -> i64 {
    if time >= MICROSECONDS_FROM { time / 1_000 } else { time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_wins_and_everything_must_be_read() {
        let params = Params::parse("symbol=A&limit=5", "symbol=B&x=%EF%BC%91").unwrap();
        assert_eq!((params.get("symbol"), params.get("x"), params.number("limit")), (Some("A"), Some("１"), Ok(Some(5))));
        assert_eq!(params.finish(), Ok(()));
        let code = |query: &str| {
            Params::parse(query, "").and_then(|params| params.number("limit").and_then(|_| params.finish())).unwrap_err().code
        };
        assert_eq!((code("limit="), code("limit=1&limit=2"), code("limit=-1"), code("y=1")), (-1105, -1101, -1100, -1104));
        assert_eq!(Params::parse("y=1", "").unwrap().finish().unwrap_err().code, -1101);
        assert_eq!(milliseconds(1_723_161_255_342_000), 1_723_161_255_342);
    }
}
