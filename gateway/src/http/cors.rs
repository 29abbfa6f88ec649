//! Pages of somebody else: their scripts read answers only when their origin is in `gateway.cors_origins`. There is none by
//! default. No cookie is ever looked at, so there are no credentials to allow.

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

/// How long a browser may remember what it was allowed, s.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
const HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-none-match, last-event-id, x-idempotency-key, x-spark-actor");
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, link, location, retry-after, x-build-sha, x-spark-status");

/// The origins that may.
pub(crate) struct Cors {
    origins: Vec<HeaderValue>,
}

impl Cors {
    pub fn new(origins: &[String]) -> Self {
        Self { origins: origins.iter().filter_map(|origin| origin.parse().ok()).collect() }
    }

    /// The origin of a request's page, when it is one that may.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.origins.is_empty() {
            return None;
        }
        headers.get(header::ORIGIN).filter(|origin| self.origins.contains(origin)).cloned()
    }

    /// The answer to the question whether a request may be made.
    pub fn preflight(&self, headers: &HeaderMap) -> Response {
        let mut response = Body::empty().into_response();
        *response.status_mut() = StatusCode::NO_CONTENT;
        if headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            response.headers_mut().extend([
                (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
                (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ]);
        }
        response
    }

    /// Lets the page read the answer.
    pub fn allow(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        // Also without an origin: what is kept on the way must not be given to another page.
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
        }
    }
}

/// Whether a text is an origin as browsers write it: scheme, host and port, nothing behind.
pub(crate) fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
        !rest.is_empty() && rest.bytes().all(allowed)
    })
}

/// Whether a WebSocket may be opened from the page that the request names: programs name none, pages their own origin.
pub(crate) fn may_open(headers: &HeaderMap, others: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    own.is_some_and(|own| host.is_some_and(|host| own.eq_ignore_ascii_case(host))) || others.iter().any(|other| other == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_is_opened_by_programs_own_pages_and_named_origins() {
        let check = |origin: Option<&str>, want: bool| {
            let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("127.0.0.1:4001"))]);
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(may_open(&headers, &["https://desk.example".to_owned()]), want, "{origin:?}");
        };
        check(None, true);
        check(Some("http://127.0.0.1:4001"), true);
        check(Some("https://127.0.0.1:4001"), true);
        check(Some("https://desk.example"), true);
        for other in ["http://127.0.0.1:4002", "https://desk.example.org", "http://desk.example", "null", "127.0.0.1:4001", ""] {
            check(Some(other), false);
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for right in ["http://localhost:3000", "https://desk.example", "http://[::1]:80"] {
            assert!(is_origin(right), "{right}");
        }
        for wrong in ["*", "desk.example", "https://", "https://desk.example/", "https://Desk.example", "ftp://x", "null"] {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
