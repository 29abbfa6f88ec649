//! Errors as problem documents (RFC 9457): what, where, and how to put it right.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
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

    fn sentence(&self) -> String {
        let place = self.place.as_ref().map(|place| format!("{place}: "));
        let parts = [Some(self.title.to_owned()), self.detail.clone(), self.fix.clone()];
        place.unwrap_or_default() + &parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    pub fn fix(mut self, fix: String) -> Self {
        self.fix = Some(fix);
        self
    }
}

/// A problem in one sentence, kept with the answer: for clients that take nothing but a text.
#[derive(Clone)]
struct Sentence(Arc<str>);

/// The same answer as Alertmanager gives it: a JSON text. Its clients refuse everything else.
pub(crate) fn as_text(mut response: Response) -> Response {
    let Some(Sentence(text)) = response.extensions_mut().remove::<Sentence>() else { return response };
    let body = serde_json::to_vec(&*text).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // That of the other body.
    headers.remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        response.extensions_mut().insert(Sentence(Arc::from(self.sentence())));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"spark\""));
        }
        response
    }
}
