//! The one table that says what is certain about a request after it failed. Where in doubt: unknown.
//!
//! | what happened | Binance | BTCTurk | certain |
//! |---|---|---|---|
//! | kept back here (breaker, allowance, no key, window over), or no connection came about | | | not sent |
//! | sent, and no whole answer came: time-out, connection broke, answer too long | | | **unknown** |
//! | an answer that cannot be read, whatever its status | | | **unknown** |
//! | HTTP 5xx, 408, 409, 1xx, 3xx, whatever it says | also -1008 with 503 | also 504 | **unknown** |
//! | the exchange does not know either | -1000, -1001, -1006, -1007, -1008 | texts with "timeout", "internal" | **unknown** |
//! | an order of this client id exists: ours, from before | -2010 "Duplicate order sent." | texts with "duplicate" | **unknown** |
//! | turned away before it was looked at: too many | 429, 418, -1003, -1015 | 429 | not sent |
//! | turned away before it was looked at: clock | -1021 | 401 that speaks of stamp or nonce, or that a measured skew explains | not sent |
//! | turned away by the firewall in front | 403 without a code | 403 without a code | not sent |
//! | key, signature, address, permission | -1002, -1022, -2014, -2015, 401 | 401, 403 with a code | refused |
//! | any other code of the exchange, with HTTP 4xx or 2xx | -1013, -2010, -11xx … | 1037, 1122 … with `success: false` | refused |
//! | HTTP 4xx without a code of the exchange: none (a proxy's page), or not of its sign | | | **unknown** |
//!
//! The order of the rows is the order of the rules: the first that fits decides.

use std::time::Duration;

use spark_bus_schema::Venue;

use super::{CancelOutcome, SubmitOutcome};
use crate::caller::OnceError;
use crate::error::{Error, ErrorType};

/// How long to stay away after an exchange's firewall said no, which does not say how long.
const FIREWALL_PAUSE: Duration = Duration::from_secs(10);

/// What is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It did not happen and will not: the exchange said no.
    Refused,
    /// It may have happened.
    Unknown,
    /// It did not happen, and may be tried again.
    NotSent,
}

/// The table, for a request that failed.
pub(super) fn certainty(failure: &OnceError) -> Certainty {
    match failure {
        OnceError::NotSent(_) => Certainty::NotSent,
        OnceError::Lost(_) => Certainty::Unknown,
        OnceError::Answered(error) => answered(error),
    }
}

/// The table's rows for an answer.
fn answered(error: &Error) -> Certainty {
    let status = error.http_status.unwrap_or(0);
    if error.error_type == ErrorType::Parse || !(200..300).contains(&status) && !(400..500).contains(&status) {
        return Certainty::Unknown;
    }
    if matches!(status, 408 | 409) {
        return Certainty::Unknown;
    }
    let says = |word: &str| error.message.to_ascii_lowercase().contains(word);
    let in_doubt = match error.exchange {
        Venue::Binance | Venue::Bist => {
            matches!(error.venue_code, Some(-1000 | -1001 | -1006 | -1007 | -1008))
                || error.venue_code == Some(-2010) && says("duplicate")
        }
        Venue::Btcturk => says("timeout") || says("timed out") || says("internal") || says("duplicate"),
    };
    if in_doubt {
        return Certainty::Unknown;
    }
    // A code that this exchange cannot have given was given by something else.
    let code = error.venue_code.filter(|code| (*code < 0) == (error.exchange != Venue::Btcturk));
    match (error.error_type, status, code) {
        (ErrorType::RateLimit | ErrorType::Clock, _, _) | (_, 429 | 418, _) | (_, 403, None) => Certainty::NotSent,
        (ErrorType::Auth, _, _) | (_, _, Some(_)) => Certainty::Refused,
        _ => Certainty::Unknown,
    }
}

/// Not before when.
fn pause(error: &Error) -> Option<Duration> {
    error.retry_after.or_else(|| (error.http_status == Some(403)).then_some(FIREWALL_PAUSE))
}

/// What a failed submit means.
pub(super) fn submit_failed(failure: OnceError) -> SubmitOutcome {
    let certain = certainty(&failure);
    let error = failure.into_inner();
    match certain {
        Certainty::Refused => SubmitOutcome::Rejected { code: error.venue_code, reason: error.message, sent: true },
        Certainty::Unknown => SubmitOutcome::Unknown { error },
        Certainty::NotSent => SubmitOutcome::NotSent { retry_after: pause(&error), error },
    }
}

/// What a failed cancel means.
pub(super) fn cancel_failed(failure: OnceError) -> CancelOutcome {
    let certain = certainty(&failure);
    let error = failure.into_inner();
    match certain {
        Certainty::Refused if is_not_open(&error) => CancelOutcome::NotOpen,
        Certainty::Refused => CancelOutcome::Refused { code: error.venue_code, reason: error.message },
        Certainty::Unknown => CancelOutcome::Unknown { error },
        Certainty::NotSent => CancelOutcome::NotSent { retry_after: pause(&error), error },
    }
}

/// Whether the refusal of a cancel says that there is no such open order.
fn is_not_open(error: &Error) -> bool {
    match error.exchange {
        // -2011 is also "Order was not canceled due to cancel restrictions."
        Venue::Binance | Venue::Bist => match error.venue_code {
            Some(-2013) => true,
            Some(-2011) => error.message.to_ascii_lowercase().contains("unknown order"),
            _ => false,
        },
        Venue::Btcturk => is_unknown_at_btcturk(error) || error.message.contains("ORDER_COULD_NOT_BE_CANCELED"),
    }
}

/// Whether BTCTurk says that it has no such order.
pub(super) fn is_unknown_at_btcturk(error: &Error) -> bool {
    error.venue_code == Some(1152) || error.message.contains("NO_ORDER_MATCHES_YOUR_REQUEST")
}

/// Whether Binance says that it has no such order.
pub(super) fn is_unknown_at_binance(error: &Error) -> bool {
    error.venue_code == Some(-2013) && error.http_status.is_some_and(|status| (400..500).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{classify_binance, classify_btcturk};

    fn said(venue: Venue, status: u16, code: Option<i64>, message: &str) -> Error {
        let error_type = match venue {
            Venue::Btcturk => classify_btcturk(status, code, message),
            _ => classify_binance(status, code),
        };
        let mut error = Error::new(venue, "new_order", error_type, message);
        (error.http_status, error.venue_code) = (Some(status), code);
        error
    }

    #[test]
    fn how_far_a_request_came_decides_before_what_was_said() {
        use Certainty::{NotSent, Unknown};
        let check = |failure: OnceError, want: Certainty| assert_eq!(certainty(&failure), want, "{failure:?}");
        let error = |error_type| Error::new(Venue::Binance, "new_order", error_type, "x");
        for error_type in ErrorType::ALL {
            check(OnceError::NotSent(error(error_type)), NotSent);
            check(OnceError::Lost(error(error_type)), Unknown);
        }
        // An answer that began with a refusal's status and broke off.
        let mut broken = error(ErrorType::Network);
        broken.http_status = Some(400);
        check(OnceError::Lost(broken), Unknown);
        let mut unreadable = error(ErrorType::Parse);
        for status in [200, 201, 400] {
            unreadable.http_status = Some(status);
            check(OnceError::Answered(unreadable.clone()), Unknown);
        }
    }

    #[test]
    fn every_answer_of_binance_has_one_meaning() {
        use Certainty::{NotSent, Refused, Unknown};
        let check = |status: u16, code: Option<i64>, message: &str, want: Certainty| {
            let got = certainty(&OnceError::Answered(said(Venue::Binance, status, code, message)));
            assert_eq!(got, want, "HTTP {status} code {code:?} {message}");
        };
        // 5xx: unknown, whatever it says.
        for status in [500, 501, 502, 503, 504, 520, 599] {
            for code in [None, Some(-1000), Some(-1001), Some(-1003), Some(-1006), Some(-1007), Some(-1008), Some(-2010)] {
                check(status, code, "", Unknown);
            }
        }
        for status in [100, 301, 302, 307, 408, 409] {
            check(status, None, "", Unknown);
            check(status, Some(-2010), "", Unknown);
        }
        for code in [-1000, -1001, -1006, -1007, -1008] {
            check(400, Some(code), "", Unknown);
            check(200, Some(code), "", Unknown);
        }
        check(400, Some(-2010), "Duplicate order sent.", Unknown);
        check(429, Some(-1003), "Too much request weight used", NotSent);
        check(429, Some(-1015), "Too many new orders", NotSent);
        check(400, Some(-1015), "Too many new orders", NotSent);
        check(418, Some(-1003), "IP banned", NotSent);
        check(418, None, "", NotSent);
        check(429, None, "", NotSent);
        check(403, None, "", NotSent);
        check(400, Some(-1021), "Timestamp for this request is outside of the recvWindow.", NotSent);
        for (status, code) in [(401, -1002), (400, -1022), (401, -2014), (401, -2015), (400, -2015)] {
            check(status, Some(code), "", Refused);
        }
        check(401, None, "", Refused);
        let refusals = [
            -1010, -1013, -1014, -1016, -1020, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1108, -1111, -1112, -1114,
            -1115, -1116, -1117, -1121, -1128, -1130, -2010, -2011, -2013, -2043, -9999,
        ];
        for code in refusals {
            check(400, Some(code), "Account has insufficient balance for requested action.", Refused);
        }
        check(200, Some(-2010), "Market is closed.", Refused);
        check(400, None, "", Unknown);
        check(404, None, "", Unknown);
        check(413, None, "", Unknown);
        check(400, Some(0), "", Unknown);
        check(200, Some(1122), "", Unknown);
    }

    #[test]
    fn every_answer_of_btcturk_has_one_meaning() {
        use Certainty::{NotSent, Refused, Unknown};
        let check = |status: u16, code: Option<i64>, message: &str, want: Certainty| {
            let got = certainty(&OnceError::Answered(said(Venue::Btcturk, status, code, message)));
            assert_eq!(got, want, "HTTP {status} code {code:?} {message}");
        };
        for status in [301, 408, 500, 502, 503, 504, 522] {
            for code in [None, Some(0), Some(429), Some(1122)] {
                check(status, code, "x", Unknown);
            }
        }
        check(429, Some(429), "TOO_MANY_REQUESTS", NotSent);
        check(200, Some(429), "TOO_MANY_REQUESTS", NotSent);
        check(401, None, "Invalid Nonce", NotSent);
        check(401, Some(401), "X-Stamp is outside of the tolerance", NotSent);
        check(403, None, "an error without a message", NotSent);
        check(401, None, "Invalid Signature", Refused);
        check(401, Some(401), "Unauthorized", Refused);
        check(403, Some(403), "Forbidden", Refused);
        for code in [1037, 1118, 1120, 1122, 1123, 1124, 1125, 1126, 1127, 1128, 1134, 1152, 1193, 1226, 1227] {
            check(400, Some(code), "FAILED_MIN_TOTAL_AMOUNT", Refused);
            check(200, Some(code), "FAILED_MIN_TOTAL_AMOUNT", Refused);
        }
        check(422, Some(1), "FAILED_ORDER_PARAMETER", Refused);
        check(400, Some(1), "INTERNAL_SERVER_ERROR", Unknown);
        check(200, Some(1), "Request timeout", Unknown);
        check(400, Some(1), "DUPLICATE_CLIENT_ID", Unknown);
        check(200, Some(0), "BALANCE_NOT_ENOUGH", Refused);
        check(400, Some(-2010), "an error without a message", Unknown);
        check(400, None, "an error without a message", Unknown);
        check(404, None, "an error without a message", Unknown);
    }

    #[test]
    fn a_refused_cancel_says_whether_the_order_is_still_there() {
        let check = |venue: Venue, code: i64, message: &str, want: &str| {
            let got = cancel_failed(OnceError::Answered(said(venue, 400, Some(code), message)));
            assert!(format!("{got:?}").starts_with(want), "{code} {message}: {got:?}");
        };
        check(Venue::Binance, -2011, "Unknown order sent.", "NotOpen");
        check(Venue::Binance, -2013, "Order does not exist.", "NotOpen");
        check(Venue::Binance, -2011, "Order was not canceled due to cancel restrictions.", "Refused");
        check(Venue::Binance, -2015, "Invalid API-key, IP, or permissions for action.", "Refused");
        check(Venue::Binance, -1007, "Timeout", "Unknown");
        check(Venue::Binance, -1021, "Timestamp", "NotSent");
        check(Venue::Btcturk, 1152, "Order not found", "NotOpen");
        check(Venue::Btcturk, 1, "NO_ORDER_MATCHES_YOUR_REQUEST", "NotOpen");
        check(Venue::Btcturk, 1, "ORDER_COULD_NOT_BE_CANCELED", "NotOpen");
        check(Venue::Btcturk, 1, "ORDER_CANCEL_BLOCKED", "Refused");
    }

    #[test]
    fn the_time_to_stay_away_is_handed_on() {
        let check = |status: u16, told: Option<u64>, want: Option<u64>| {
            let mut error = said(Venue::Binance, status, None, "");
            error.retry_after = told.map(Duration::from_secs);
            match submit_failed(OnceError::Answered(error)) {
                SubmitOutcome::NotSent { retry_after, .. } => assert_eq!(retry_after, want.map(Duration::from_secs)),
                other => panic!("{other:?}"),
            }
        };
        check(429, Some(7), Some(7));
        check(418, Some(600), Some(600));
        check(403, None, Some(10));
    }
}
