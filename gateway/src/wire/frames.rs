//! The JSON that travels over a WebSocket, in both directions.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spark_bus_schema::Timestamp;
use spark_bus_schema::catalogue::{self, Entry};

use super::pattern::Refused;

/// Readers of every kind by its name, e.g. `tick_batch.v1`.
static KINDS: LazyLock<HashMap<String, Entry>> =
    LazyLock::new(|| catalogue::entries().into_iter().map(|entry| (entry.kind.to_string(), entry)).collect());

/// What a client may say.
const OPERATIONS: &str = "{\"op\":\"subscribe\",\"pattern\":\"market.ticks.>\",\"last\":false}, {\"op\":\"unsubscribe\",\"pattern\":\"…\"} \
                          or {\"op\":\"ping\"}";

/// A message of the bus.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// The stream that keeps it.
    pub stream: &'a str,
    /// Its place there; none when it was heard as it passed by.
    pub sequence: Option<u64>,
    /// Where it was published.
    pub subject: &'a str,
    /// When it was stored.
    pub at: Timestamp,
    /// `Spark-Kind`.
    pub kind: Option<&'a str>,
    /// The bytes.
    pub payload: &'a [u8],
}

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Frame<'a> {
    Message {
        subject: &'a str,
        sequence: Option<u64>,
        stream: &'a str,
        at: Timestamp,
        kind: Option<&'a str>,
        /// Null when it cannot be read; `problem` then says why.
        data: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<&'static str>,
        /// It is not new: the newest one of its subject when the subscription began.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        last: bool,
    },
    Subscribed {
        pattern: &'a str,
    },
    Unsubscribed {
        pattern: &'a str,
    },
    Pong,
    Error {
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        pattern: Option<&'a str>,
        detail: &'a str,
        fix: &'a str,
    },
}

impl Frame<'_> {
    fn text(&self) -> Utf8Bytes {
        serde_json::to_string(self).expect("texts and numbers always serialize").into()
    }
}

impl Carried<'_> {
    /// As clients get it.
    #[must_use]
    pub fn text(&self, last: bool) -> Utf8Bytes {
        let read = match self.kind {
            None => Err("missing_kind"),
            Some(kind) => match KINDS.get(kind) {
                None => Err("unknown_kind"),
                Some(entry) => (entry.to_json)(self.payload).map_err(|error| error.reason()),
            },
        };
        let (data, problem) = read.map_or_else(|problem| (None, Some(problem)), |data| (Some(data), None));
        let Self { stream, sequence, subject, at, kind, .. } = *self;
        Frame::Message { subject, sequence, stream, at, kind, data, problem, last }.text()
    }
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// Messages on subjects that match; with the newest of each subject first.
    Subscribe {
        /// The pattern.
        pattern: String,
        /// Whether the newest message of each subject comes first.
        last: bool,
    },
    /// No more of them.
    Unsubscribe(String),
    /// An answer.
    Ping,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    op: String,
    pattern: Option<String>,
    last: Option<bool>,
}

/// Reads what a client sent.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn read(text: &str) -> Result<Wish, Refused> {
    let bad = |detail: String| Refused { code: "bad-frame", detail, fix: format!("send {OPERATIONS}") };
    let asked: Asked = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    match (asked.op.as_str(), asked.pattern, asked.last) {
        ("subscribe", Some(pattern), last) => Ok(Wish::Subscribe { pattern, last: last.unwrap_or(false) }),
        ("unsubscribe", Some(pattern), None) => Ok(Wish::Unsubscribe(pattern)),
        ("ping", None, None) => Ok(Wish::Ping),
        ("subscribe" | "unsubscribe", None, _) => Err(bad(format!("`{}` needs a member `pattern`", asked.op))),
        ("unsubscribe" | "ping", ..) => Err(bad(format!("`{}` has a member that it does not take", asked.op))),
        (other, ..) => Err(bad(format!("unknown operation `{other:.40}`"))),
    }
}

/// `{"op":"subscribed"}`
#[must_use]
pub fn subscribed(pattern: &str) -> Utf8Bytes {
    Frame::Subscribed { pattern }.text()
}

/// `{"op":"unsubscribed"}`
#[must_use]
pub fn unsubscribed(pattern: &str) -> Utf8Bytes {
    Frame::Unsubscribed { pattern }.text()
}

/// `{"op":"pong"}`
#[must_use]
pub fn pong() -> Utf8Bytes {
    Frame::Pong.text()
}

/// `{"op":"error"}`
#[must_use]
pub fn error(refused: &Refused, pattern: Option<&str>) -> Utf8Bytes {
    Frame::Error { code: refused.code, pattern, detail: &refused.detail, fix: &refused.fix }.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &Utf8Bytes) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_kind_travels_as_json() {
        for entry in catalogue::entries() {
            let (payload, kind) = ((entry.sample)(), entry.kind.to_string());
            let message = Carried {
                stream: entry.stream,
                sequence: Some(3),
                subject: entry.subject,
                at: Timestamp::from_millis(1),
                kind: Some(&kind),
                payload: &payload,
            };
            let told = json(&message.text(false));
            assert_eq!(told["op"], "message");
            assert!(told["data"].is_object() && told.get("problem").is_none() && told.get("last").is_none(), "{told}");
            assert_eq!((&told["sequence"], &told["kind"], &told["stream"]), (&3.into(), &kind.into(), &entry.stream.into()));
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let check = |kind: Option<&str>, payload: &[u8], want: &str| {
            let message = Carried { stream: "FEED", sequence: None, subject: "a.b", at: Timestamp::ZERO, kind, payload };
            let told = json(&message.text(true));
            assert!(told["data"].is_null() && told["sequence"].is_null() && told["last"] == true, "{told}");
            assert_eq!(told["problem"], want);
        };
        check(None, b"", "missing_kind");
        check(Some("nothing.v1"), b"", "unknown_kind");
        check(Some("tick_batch.v1"), b"\xc1", "malformed");
    }

    #[test]
    fn wishes_are_read_strictly() {
        let subscribe = |last| Ok(Wish::Subscribe { pattern: "a.>".into(), last });
        assert_eq!(read(r#"{"op":"subscribe","pattern":"a.>"}"#), subscribe(false));
        assert_eq!(read(r#"{"op":"subscribe","pattern":"a.>","last":true}"#), subscribe(true));
        assert_eq!(read(r#"{"op":"unsubscribe","pattern":"a.>"}"#), Ok(Wish::Unsubscribe("a.>".into())));
        assert_eq!(read(r#"{"op":"ping"}"#), Ok(Wish::Ping));
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"op":"subscribe"}"#,
            r#"{"op":"subscribe","pattern":1}"#,
            r#"{"op":"subscribe","pattern":"a","more":1}"#,
            r#"{"op":"ping","pattern":"a"}"#,
            r#"{"op":"fly"}"#,
        ] {
            let refused = read(wrong).unwrap_err();
            assert!(refused.fix.contains("market.ticks.>") && !refused.detail.is_empty(), "{wrong}: {refused:?}");
        }
    }
}
