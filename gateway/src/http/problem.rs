//! Errors as problem documents (RFC 9457): what, where, and how to put it right.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// A problem document.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type", serialize_with = "urn")]
    slug: &'static str,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The parameter, header or field that is meant.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    place: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// Members that this kind of problem adds.
    #[serde(flatten)]
    more: Option<Box<Value>>,
}

fn urn<S: Serializer>(slug: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:spark:problem:{slug}"))
}

impl Problem {
    /// `slug` is the stable word that programs look at.
    pub fn new(status: StatusCode, slug: &'static str, title: &'static str) -> Self {
        Self { slug, title, status: status.as_u16(), detail: None, place: None, fix: None, more: None }
    }

    /// A value that cannot be used.
    pub fn bad_value(place: impl Into<Cow<'static, str>>, detail: String, fix: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-value", "A value cannot be used").place(place).detail(detail).fix(fix)
    }

    pub fn detail(mut self, detail: String) -> Self {
        self.detail = Some(detail);
        self
    }

    pub fn place(mut self, place: impl Into<Cow<'static, str>>) -> Self {
        self.place = Some(place.into());
        self
    }

    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.more.get_or_insert_with(|| Box::new(Value::Object(Map::new())))[name] = value;
        self
    }

    pub fn fix(mut self, fix: String) -> Self {
        self.fix = Some(fix);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"spark\""));
        }
        response
    }
}
