//! Pages of lists: how many rows, from where on, and the way to the next page.

use std::ops::RangeInclusive;

use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::problem::Problem;
use super::query::Params;

/// Which rows of a list without sequences are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub limit: usize,
    pub offset: usize,
}

impl Page {
    /// `limit` and `offset` of a request.
    pub fn read(params: &Params, limit: RangeInclusive<usize>, default: usize, offset_max: usize) -> Result<Self, Problem> {
        Ok(Self { limit: params.number("limit", default, limit)?, offset: params.number("offset", 0, 0..=offset_max)? })
    }

    /// The rows of the page.
    pub fn of<T>(self, rows: impl Iterator<Item = T>) -> Vec<T> {
        rows.skip(self.offset).take(self.limit).collect()
    }

    /// Where the next page begins; none: this is the last one.
    pub fn next(self, total: usize) -> Option<usize> {
        let end = self.offset.saturating_add(self.limit);
        (end < total).then_some(end)
    }
}

/// Which rows of a list are wanted whose rows have a LEDGER sequence, newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    limit: usize,
    before: Option<u64>,
}

impl Before {
    /// `limit` and `before` of a request.
    pub fn read(params: &Params, limit: RangeInclusive<usize>, default: usize) -> Result<Self, Problem> {
        Ok(Self { limit: params.number("limit", default, limit)?, before: params.sequence("before")? })
    }

    /// The rows of the page, and the sequence of the last one when more follow.
    pub fn of<T>(self, rows: impl Iterator<Item = T>, sequence: impl Fn(&T) -> u64) -> (Vec<T>, Option<u64>) {
        let mut rows: Vec<T> =
            rows.filter(|row| self.before.is_none_or(|before| sequence(row) < before)).take(self.limit + 1).collect();
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next = rows.last().map(sequence).filter(|_| more);
        (rows, next)
    }
}

/// Adds the way to the next page.
pub(super) fn linked(mut response: Response, params: &Params, name: &str, next: Option<impl ToString>) -> Response {
    if let Some(next) = next {
        let link = format!("<{}>; rel=\"next\"", params.with(name, &next.to_string()));
        // Everything in it is percent-encoded.
        if let Ok(value) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, value);
        }
    }
    response
}
