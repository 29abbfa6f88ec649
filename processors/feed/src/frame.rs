//! What any venue's frame turns into, and why one is refused.

use spark_bus_schema::decimal::FixedError;
use spark_bus_schema::market::{Quote, Trade};
use spark_bus_schema::{Fixed, Timestamp};

/// The largest frame that is read; both venues stay far below (a full book of 100 levels is 10 kB).
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Venue times outside of 2009..2200 are garbage: seconds or microseconds taken for milliseconds.
const MILLIS_MIN: i64 = 1_230_768_000_000;
const MILLIS_MAX: i64 = 7_258_118_400_000;

/// Position of a symbol in the list that a parser was made with.
pub type SymbolIndex = usize;

/// One thing that happened in the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// A trade.
    Trade(Trade),
    /// A best bid/ask.
    Quote(Quote),
}

/// Why a frame, or one entry of it, is refused. Its neighbours are not affected.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Larger than [`FRAME_BYTES_MAX`].
    #[error("{bytes} bytes, above the limit of {FRAME_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON, a field missing or of another type.
    #[error("malformed frame: {0}")]
    Malformed(#[source] serde_json::Error),
    /// A number that is none, or cannot be.
    #[error("{field} = {value:?}: {reason}")]
    Value {
        /// The field, in the venue's spelling.
        field: &'static str,
        /// As it came, cut to 64 characters.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A symbol or stream that was not subscribed, or a frame whose parts name different symbols.
    #[error("symbol {got:?} where {want} was expected")]
    WrongSymbol {
        /// What was expected.
        want: String,
        /// What came, cut to 64 characters.
        got: String,
    },
}

impl FrameError {
    /// A short, stable word for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Value { .. } => "value",
            Self::WrongSymbol { .. } => "wrong_symbol",
        }
    }

    pub(crate) fn value(field: &'static str, value: impl ToString, reason: &'static str) -> Self {
        Self::Value { field, value: cut(&value.to_string()), reason }
    }

    pub(crate) fn wrong_symbol(want: impl Into<String>, got: &str) -> Self {
        Self::WrongSymbol { want: want.into(), got: cut(got) }
    }
}

/// At most 64 characters: what a venue sends must not fill the log.
pub(crate) fn cut(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A price: a plain decimal above zero.
pub(crate) fn positive(field: &'static str, text: &str) -> Result<Fixed, FrameError> {
    let fixed = plain(field, text)?;
    if fixed.mantissa > 0 { Ok(fixed) } else { Err(FrameError::value(field, text, "must be above zero")) }
}

/// A quantity in a book: a plain decimal, zero allowed.
pub(crate) fn not_negative(field: &'static str, text: &str) -> Result<Fixed, FrameError> {
    let fixed = plain(field, text)?;
    if fixed.mantissa >= 0 { Ok(fixed) } else { Err(FrameError::value(field, text, "must not be negative")) }
}

fn plain(field: &'static str, text: &str) -> Result<Fixed, FrameError> {
    Fixed::parse(text).map_err(|error| {
        let reason = match error {
            FixedError::NotANumber => "not a plain decimal number",
            FixedError::TooManyDigits => "too many digits",
        };
        FrameError::value(field, text, reason)
    })
}

/// A venue's time in milliseconds.
pub(crate) fn millis(field: &'static str, millis: i64) -> Result<Timestamp, FrameError> {
    if (MILLIS_MIN..MILLIS_MAX).contains(&millis) {
        Ok(Timestamp::from_millis(millis))
    } else {
        Err(FrameError::value(field, millis, "not a time in milliseconds between 2009 and 2200"))
    }
}
