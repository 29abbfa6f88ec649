//! What can go wrong with a call, in the seven words that dashboards and alerts use.

use std::fmt;
use std::time::Duration;

use spark_bus_schema::Venue;

/// The class of a failure. The spelling is a metric label and a field on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorType {
    /// The key, its signature, its address or its permissions were refused.
    Auth,
    /// Too many calls; the exchange, or our own limiter in front of it, said no.
    RateLimit,
    /// No answer within the time allowed. Of a write: the outcome is unknown.
    Timeout,
    /// No connection, or it broke.
    Network,
    /// The exchange answered that it could not, or would not, do it.
    Server,
    /// The answer could not be read.
    Parse,
    /// The timestamp was outside the exchange's window.
    Clock,
}

impl ErrorType {
    /// Every class.
    pub const ALL: [Self; 7] =
        [Self::Auth, Self::RateLimit, Self::Timeout, Self::Network, Self::Server, Self::Parse, Self::Clock];

    /// `auth ratelimit timeout network server parse clock`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::RateLimit => "ratelimit",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Server => "server",
            Self::Parse => "parse",
            Self::Clock => "clock",
        }
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Longest message of an exchange that is repeated in an error: it may be a page of HTML.
const MESSAGE_CHARS_MAX: usize = 200;

/// A call that failed. Its text never holds keys, signatures, query strings or addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{exchange} {operation}: {message}{}", Details(self))]
pub struct Error {
    /// Who was asked.
    pub exchange: Venue,
    /// The class.
    pub error_type: ErrorType,
    /// What was asked: `account`, `ticker_price` …
    pub operation: &'static str,
    /// HTTP status, when an answer came.
    pub http_status: Option<u16>,
    /// The exchange's own code: Binance `-1021`, BTCTurk `1037`.
    pub venue_code: Option<i64>,
    /// What happened.
    pub message: String,
    /// How long to wait before asking again, when that is known.
    pub retry_after: Option<Duration>,
}

struct Details<'a>(&'a Error);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.http_status, self.0.venue_code) {
            (Some(status), Some(code)) => write!(f, " (HTTP {status}, code {code})"),
            (Some(status), None) => write!(f, " (HTTP {status})"),
            (None, Some(code)) => write!(f, " (code {code})"),
            (None, None) => Ok(()),
        }?;
        match self.0.retry_after {
            Some(after) => write!(f, "; not before {} ms from then", after.as_millis()),
            None => Ok(()),
        }
    }
}

impl Error {
    /// A failure without an answer from the exchange.
    #[must_use]
    pub fn new(exchange: Venue, operation: &'static str, error_type: ErrorType, message: impl Into<String>) -> Self {
        Self { exchange, error_type, operation, http_status: None, venue_code: None, message: message.into(), retry_after: None }
    }

    /// Whether asking again, unchanged, may help. A refused key, a bad parameter and an unreadable answer stay what they
    /// are; a wrong clock is corrected by the client itself.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.error_type {
            ErrorType::Timeout | ErrorType::Network | ErrorType::RateLimit => true,
            ErrorType::Server => self.is_outage(),
            ErrorType::Auth | ErrorType::Parse | ErrorType::Clock => false,
        }
    }

    /// Whether it speaks against the exchange's health, so that the circuit breaker counts it: no answer, a broken one, an
    /// unreadable one or a 5xx. A 4xx is an answer.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self.error_type {
            ErrorType::Timeout | ErrorType::Network | ErrorType::Parse => true,
            ErrorType::Server => self.http_status.is_none_or(|status| status >= 500) || self.venue_code.is_some_and(is_overload),
            ErrorType::Auth | ErrorType::RateLimit | ErrorType::Clock => false,
        }
    }
}

/// Binance codes that say "not now" whatever the HTTP status.
const fn is_overload(code: i64) -> bool {
    matches!(code, -1000 | -1001 | -1006 | -1007 | -1008 | -1016)
}

/// The first [`MESSAGE_CHARS_MAX`] printable characters of what an exchange said.
#[must_use]
pub fn shorten(text: &str) -> String {
    let mut printable = text.chars().filter(|c| !c.is_control());
    let mut short: String = printable.by_ref().take(MESSAGE_CHARS_MAX).collect();
    if printable.next().is_some() {
        short.push('…');
    }
    short
}

/// Class of a Binance error answer.
#[must_use]
pub fn classify_binance(http_status: u16, code: Option<i64>) -> ErrorType {
    match (http_status, code) {
        (_, Some(-1021)) => ErrorType::Clock,
        (_, Some(-1002 | -1022 | -2014 | -2015)) => ErrorType::Auth,
        (429 | 418, _) | (_, Some(-1003 | -1015)) => ErrorType::RateLimit,
        (_, Some(-1007)) | (408, _) => ErrorType::Timeout,
        (401, _) => ErrorType::Auth,
        _ => ErrorType::Server,
    }
}

/// Class of a BTCTurk error answer, which may come with HTTP 200 and `success: false`.
///
/// BTCTurk says 401 for a wrong key and for a wrong stamp alike; a text that speaks of the stamp or the nonce tells them
/// apart. The client also measures the skew after a 401, see [`crate::btcturk`].
#[must_use]
pub fn classify_btcturk(http_status: u16, code: Option<i64>, message: &str) -> ErrorType {
    let says = |word: &str| message.to_ascii_lowercase().contains(word);
    match (http_status, code) {
        (429, _) | (_, Some(429)) => ErrorType::RateLimit,
        (401 | 403, _) | (_, Some(401 | 403)) if says("stamp") || says("nonce") => ErrorType::Clock,
        (401 | 403, _) | (_, Some(401 | 403)) => ErrorType::Auth,
        (408 | 504, _) => ErrorType::Timeout,
        _ if says("invalid signature") || says("public/private key") || says("headers are missing") => ErrorType::Auth,
        _ => ErrorType::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seven_words_are_the_interface() {
        let words: Vec<&str> = ErrorType::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(words, ["auth", "ratelimit", "timeout", "network", "server", "parse", "clock"]);
    }

    #[test]
    fn binance_answers_are_classified_by_code_before_status() {
        let check = |status: u16, code: Option<i64>, want: ErrorType| {
            assert_eq!(classify_binance(status, code), want, "HTTP {status} code {code:?}");
        };
        check(400, Some(-1021), ErrorType::Clock);
        check(401, Some(-2014), ErrorType::Auth);
        check(401, Some(-2015), ErrorType::Auth);
        check(400, Some(-1022), ErrorType::Auth);
        check(401, Some(-1002), ErrorType::Auth);
        check(401, None, ErrorType::Auth);
        check(429, Some(-1003), ErrorType::RateLimit);
        check(418, Some(-1003), ErrorType::RateLimit);
        check(418, None, ErrorType::RateLimit);
        check(400, Some(-1015), ErrorType::RateLimit);
        check(408, Some(-1007), ErrorType::Timeout);
        check(503, Some(-1007), ErrorType::Timeout);
        check(400, Some(-1121), ErrorType::Server);
        check(503, Some(-1008), ErrorType::Server);
        check(502, None, ErrorType::Server);
        check(403, None, ErrorType::Server);
    }

    #[test]
    fn btcturk_answers_are_classified_also_with_http_200() {
        let check = |status: u16, code: Option<i64>, message: &str, want: ErrorType| {
            assert_eq!(classify_btcturk(status, code, message), want, "HTTP {status} code {code:?} {message}");
        };
        check(401, None, "Invalid Signature", ErrorType::Auth);
        check(401, Some(1001), "Unauthorized", ErrorType::Auth);
        check(401, None, "Invalid Nonce", ErrorType::Clock);
        check(401, None, "X-Stamp is outside of the tolerance", ErrorType::Clock);
        check(200, Some(401), "unauthorized", ErrorType::Auth);
        check(200, Some(429), "TOO_MANY_REQUESTS", ErrorType::RateLimit);
        check(429, Some(429), "TOO_MANY_REQUESTS", ErrorType::RateLimit);
        check(400, Some(1037), "INVALID_REQUEST_ERROR", ErrorType::Server);
        check(200, Some(1037), "Pair X does not exists.", ErrorType::Server);
        check(503, None, "", ErrorType::Server);
    }

    #[test]
    fn only_failures_that_may_pass_are_retried_and_only_outages_count_against_the_exchange() {
        let check = |error_type: ErrorType, status: Option<u16>, code: Option<i64>, retry: bool, outage: bool| {
            let mut error = Error::new(Venue::Binance, "account", error_type, "x");
            (error.http_status, error.venue_code) = (status, code);
            assert_eq!((error.is_retryable(), error.is_outage()), (retry, outage), "{error}");
        };
        check(ErrorType::Timeout, None, None, true, true);
        check(ErrorType::Network, None, None, true, true);
        check(ErrorType::Server, Some(502), None, true, true);
        check(ErrorType::Server, Some(400), Some(-1121), false, false);
        check(ErrorType::Server, Some(400), Some(-1001), true, true);
        check(ErrorType::RateLimit, Some(429), Some(-1003), true, false);
        check(ErrorType::Parse, Some(200), None, false, true);
        check(ErrorType::Auth, Some(401), Some(-2015), false, false);
        check(ErrorType::Clock, Some(400), Some(-1021), false, false);
    }

    #[test]
    fn the_text_says_what_happened_where_and_until_when() {
        let mut error = Error::new(Venue::Binance, "account", ErrorType::RateLimit, "Too much request weight used");
        (error.http_status, error.venue_code) = (Some(429), Some(-1003));
        error.retry_after = Some(Duration::from_secs(3));
        assert_eq!(
            error.to_string(),
            "binance account: Too much request weight used (HTTP 429, code -1003); not before 3000 ms from then"
        );
        assert_eq!(shorten(&"x".repeat(100_000)).chars().count(), MESSAGE_CHARS_MAX + 1);
        assert_eq!(shorten("line\r\nbreak"), "linebreak");
    }
}
