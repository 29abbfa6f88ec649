//! Binance's error answers.

use axum::http::StatusCode;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Binance's code.
    pub code: i32,
    /// Text.
    pub text: String,
    /// `Retry-After`, seconds.
    pub retry_after_s: Option<i64>,
}

impl ApiError {
    /// A 400.
    pub(crate) fn bad(code: i32, text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, text: text.into(), retry_after_s: None }
    }

    fn unauthorized(code: i32, text: &str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, ..Self::bad(code, text) }
    }

    pub(crate) fn key_format() -> Self {
        Self::unauthorized(-2014, "API-key format invalid.")
    }

    pub(crate) fn key_refused() -> Self {
        Self::unauthorized(-2015, "Invalid API-key, IP, or permissions for action.")
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::bad(-1102, format!("Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed."))
    }

    pub(crate) fn illegal(parameter: &str, range: &str) -> Self {
        Self::bad(-1100, format!("Illegal characters found in parameter '{parameter}'; legal range is '{range}'."))
    }

    pub(crate) fn invalid(parameter: &str) -> Self {
        Self::bad(-1130, format!("Data sent for parameter '{parameter}' is not valid."))
    }

    pub(crate) fn symbol() -> Self {
        Self::bad(-1121, "Invalid symbol.")
    }

    pub(crate) fn signature() -> Self {
        Self::bad(-1022, "Signature for this request is not valid.")
    }

    pub(crate) fn late() -> Self {
        Self::bad(-1021, "Timestamp for this request is outside of the recvWindow.")
    }

    pub(crate) fn early() -> Self {
        Self::bad(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    }

    pub(crate) fn over_weight(limit: u32, retry_after_s: i64) -> Self {
        let text = format!(
            "Too much request weight used; current limit is {limit} request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API."
        );
        Self { status: StatusCode::TOO_MANY_REQUESTS, retry_after_s: Some(retry_after_s), ..Self::bad(-1003, text) }
    }

    pub(crate) fn banned(until_ms: i64, retry_after_s: i64) -> Self {
        let text = format!(
            "Way too much request weight used; IP banned until {until_ms}. Please use WebSocket Streams for live updates to avoid bans."
        );
        Self { status: StatusCode::IM_A_TEAPOT, retry_after_s: Some(retry_after_s), ..Self::bad(-1003, text) }
    }

    pub(crate) fn too_many_orders(limit: u32, interval: &str, retry_after_s: i64) -> Self {
        let text = format!("Too many new orders; current limit is {limit} orders per {interval}.");
        Self { status: StatusCode::TOO_MANY_REQUESTS, retry_after_s: Some(retry_after_s), ..Self::bad(-1015, text) }
    }

    /// A filter that an order does not pass.
    pub(crate) fn filter(name: &str) -> Self {
        Self::bad(-1013, format!("Filter failure: {name}"))
    }

    /// Refused by the matching engine.
    pub(crate) fn rejected(text: &str) -> Self {
        Self::bad(-2010, text)
    }

    /// A cancel that found nothing to cancel.
    pub(crate) fn unknown_order() -> Self {
        Self::bad(-2011, "Unknown order sent.")
    }

    /// A query that found nothing.
    pub(crate) fn no_order() -> Self {
        Self::bad(-2013, "Order does not exist.")
    }

    pub(crate) fn gone() -> Self {
        Self { status: StatusCode::GONE, ..Self::bad(-1020, "This operation is not supported.") }
    }
}
