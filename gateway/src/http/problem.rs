//! Errors as problem documents (RFC 9457): what, where, and how to put it right.

use std::borrow::Cow;
use std::num::NonZeroU16;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// Every kind of problem: the stable word at the end of its `type`, and what it means.
pub(crate) const KINDS: [(&str, &str); KINDS_COUNT] = [
    ("backtest-over", "the backtest has ended, and cannot be taken back"),
    ("bad-feature", "the candle cannot be scored: `where` says what about it"),
    ("bad-value", "a parameter, a header or the body cannot be used: `where` says which"),
    ("body-time", "the body did not come in time"),
    ("confirmation-required", "it must be confirmed; nothing was changed, and the problem's other members say what would be"),
    ("host", "the gateway is called by a name that is not its own"),
    ("idempotency-key", "`X-Idempotency-Key` is missing, or cannot be used"),
    ("key-used", "the idempotency key belongs to another request"),
    ("ledger-away", "the ledger cannot be asked, and it would have to be"),
    ("limits-changed", "the limits have changed since the ones that were decided on"),
    ("media-type", "`Content-Type` says something else than JSON"),
    ("no-model", "there is no model to start"),
    ("no-report", "there is no report on that backtest here"),
    ("no-token", "the gateway knows no token, so what needs one is switched off"),
    ("not-confirmed", "the command is not known to be stored, or its confirmation is not the one that was given"),
    ("not-read", "the gateway has not read the ledger to its end since its start"),
    ("not-stored", "the order is not known to be stored: send it again with the same key"),
    ("order-over", "the order is over, and cannot be taken back"),
    ("origin", "a page of another site may not do this"),
    ("queue-away", "the queue of backtests cannot be reached"),
    ("rate-limit", "too many requests from this address; `Retry-After` says when the next one is welcome"),
    ("refused", "the ledger does not take the order"),
    ("render", "the answer could not be written: a bug of the gateway"),
    ("role", "the token's role may not do this; the member `role` says which one may"),
    ("rollout-changed", "the rollout has changed since the state that was decided on"),
    ("rollout-refused", "the rollout refused the command"),
    ("silence-over", "the silence has ended"),
    ("silences", "there are too many silences"),
    ("strategy-changed", "the strategy is not what the request says it is"),
    ("strategy-status", "the strategy cannot do that where it stands"),
    ("streams", "too many live streams"),
    ("timeout", "the request took too long"),
    ("too-large", "the body is too large"),
    ("unauthorized", "a token is missing, or the one that was sent is not known"),
    ("unknown-backtest", "there is no such backtest"),
    ("unknown-order", "there is no such order"),
    ("unknown-route", "there is nothing on this path"),
    ("unknown-silence", "there is no such silence"),
    ("unknown-strategy", "there is no such strategy"),
    ("unreadable", "what is stored under this name cannot be read"),
    ("websocket", "the request is not one that opens a WebSocket"),
    ("wrong-method", "the path knows other methods: `Allow` names them"),
    ("wrong-tokens", "so many wrong tokens came from this address that the next one is not looked at yet"),
];
const KINDS_COUNT: usize = 43;
/// What the `type` of a problem begins with.
pub(crate) const URN: &str = "urn:spark:problem:";

/// A problem document (RFC 9457). Some kinds have members beside these.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// What kind of problem it is: the stable word that programs look at.
    #[serde(rename = "type", serialize_with = "urn")]
    #[schemars(extend("format" = "uri", "enum" = types()))]
    slug: &'static str,
    /// The kind in a few words.
    title: &'static str,
    /// The answer's status.
    status: u16,
    /// What is wrong this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The parameter, header or field that is meant.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    place: Option<Cow<'static, str>>,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// Members that this kind of problem adds.
    #[serde(flatten)]
    #[schemars(skip)]
    more: Option<Box<Value>>,
    /// When it is worth trying again, s: a header.
    #[serde(skip)]
    retry_after: Option<NonZeroU16>,
}

fn urn<S: Serializer>(slug: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{URN}{slug}"))
}

fn types() -> Vec<String> {
    KINDS.iter().map(|(slug, _)| format!("{URN}{slug}")).collect()
}

impl Problem {
    /// `slug` is the stable word that programs look at.
    pub fn new(status: StatusCode, slug: &'static str, title: &'static str) -> Self {
        debug_assert!(KINDS.iter().any(|(known, _)| *known == slug), "{slug} is not among the kinds");
        Self { slug, title, status: status.as_u16(), detail: None, place: None, fix: None, more: None, retry_after: None }
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

    /// Trying again is worth it after so many seconds.
    pub fn retry_after(mut self, seconds: u16) -> Self {
        self.retry_after = NonZeroU16::new(seconds);
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
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.get().into());
        }
        response
    }
}
