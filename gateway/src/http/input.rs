//! What a request brings beside its query: a part of its path, and its body. What is wrong is answered as every other problem.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use super::problem::Problem;

/// The one variable part of a path, decoded.
pub(super) struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| Self(text)).map_err(|error| {
            let fix = "percent-encode it as UTF-8".to_owned();
            Problem::bad_value("path", error.body_text(), fix)
        })
    }
}

/// The body of a request that says it is JSON, or says nothing.
pub(super) struct Payload(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, Problem> {
        json_or_nothing(request.headers())?;
        // Size and time were looked at before: see `edge`.
        Bytes::from_request(request, state).await.map(Self).map_err(|error| {
            Problem::bad_value("body", error.body_text(), "send the body whole, as its head announces it".to_owned())
        })
    }
}

/// `application/json`, with or without parameters, or a type that is written in JSON.
fn json_or_nothing(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let whole = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let essence = whole.split(';').next().unwrap_or_default().trim();
    if essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json") {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is not said to be JSON")
        .place("header: Content-Type")
        .detail(format!("`{essence:.64}`"))
        .fix("send JSON with `Content-Type: application/json`, or without that header".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_body_is_json_or_does_not_say_what_it_is() {
        let check = |value: &'static str, want: bool| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(json_or_nothing(&headers).is_ok(), want, "{value}");
        };
        check("application/json", true);
        check("Application/JSON; charset=utf-8", true);
        check("application/merge-patch+json", true);
        check("text/plain", false);
        check("application/x-www-form-urlencoded", false);
        check("multipart/form-data; boundary=x", false);
        check("text/json+json", false);
        check("", false);
        assert!(json_or_nothing(&HeaderMap::new()).is_ok());
    }
}
