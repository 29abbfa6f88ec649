//! Faults as they are written: the body of `POST /sim/faults`. Shared with the command line.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::config::Venue;
use crate::orders::Fate;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Answers and frames arrive `ms` late.
    Delay,
    /// Requests get the HTTP status `code`, with `body` and `retry_after` if given.
    Status,
    /// The connection is closed without an answer.
    Drop,
    /// WebSocket connections are broken without a closing frame: once, or again and again while `for_ms` lasts.
    Cut,
    /// WebSocket connections stay open and silent: no data, no pings, nothing is read. With `stream` or `symbol` only that is silent.
    Freeze,
    /// Frames are not sent.
    Skip,
    /// Answers and frames are broken as `variant` says.
    Garbage,
    /// The exchange's clock is `ms` ahead (negative: behind).
    ClockSkew,
    /// `key`, or every key of the exchange, is unknown.
    RevokeKey,
    /// An order call (`method`, default `POST`) is not executed, and its answer is lost: the connection is closed, or the status `code`
    /// is answered.
    LostBefore,
    /// An order call (`method`, default `POST`) is executed, and its answer is lost in the same way.
    LostAfter,
    /// The next order is refused, with `body` if given (`{"code":…,"msg":"…"}`), else for its balance. With `late` it is accepted
    /// first and refused then.
    Reject,
    /// Of the next order `share` is filled (default half), whatever the market says, and the rest expires.
    PartExpire,
    /// Before the next cancel takes effect `share` of what is left (default all) is filled at the order's price.
    CancelRace,
    /// Frames are sent twice.
    Duplicate,
}

/// What asks whether a fault of an order strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// A new order, before anything.
    Reject,
    /// A new order that was accepted.
    Fate,
    /// A cancel.
    Cancel,
}

/// How an answer or a frame is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Not JSON.
    BadJson,
    /// The first half.
    Truncated,
    /// `NaN` where numbers are.
    Nan,
    /// Numbers below zero.
    Negative,
    /// Without its prices, quantities and balances.
    MissingField,
    /// Ten megabytes.
    Huge,
}

/// Whether a broken frame comes in place of a good one or before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The good one is lost.
    #[default]
    Instead,
    /// The good one follows.
    Between,
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    Get,
    /// Places.
    Post,
    /// Cancels.
    Delete,
}

/// One fault: what, where, for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which exchange.
    pub exchange: Venue,
    /// What goes wrong.
    pub kind: Kind,
    /// `delay`: how late. `clock_skew`: how far ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<i64>,
    /// `status`, and if wished `lost_before` and `lost_after`: HTTP status, 400 to 599.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// `status`, `reject`: body, a text or any JSON. Without: the exchange's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// `status`: seconds in the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// `garbage`: how it is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
    /// `garbage` on a WebSocket: in place of frames (default) or between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// `revoke_key`: the key; without, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `part_expire`, `cancel_race`: the part that is filled, above 0 and at most 1.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub share: Option<Decimal>,
    /// `reject`: after the order was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<bool>,
    /// Only requests with this HTTP method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Only requests whose path begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only this stream (`btcusdt@trade`, `trade:BTCTRY`) or kind of stream (`trade`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Only this symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Ends by itself after this time. Default: stays until removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Ends by itself after it struck so many times. Not for `freeze` and `clock_skew`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Strikes with this probability each time. Default 1. Not for `freeze` and `clock_skew`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
}

/// A decimal, in quotes or not.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => other.to_string(),
    };
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Fault {
    /// A fault of the whole exchange until it is removed.
    #[must_use]
    pub fn new(exchange: Venue, kind: Kind) -> Self {
        Self {
            exchange,
            kind,
            ms: None,
            code: None,
            body: None,
            retry_after: None,
            variant: None,
            place: None,
            key: None,
            share: None,
            late: None,
            method: None,
            path: None,
            stream: None,
            symbol: None,
            for_ms: None,
            n: None,
            probability: None,
        }
    }

    /// `share`, or this.
    pub(crate) fn share_or(&self, usual: Decimal) -> Decimal {
        self.share.unwrap_or(usual)
    }

    /// What an order fault of [`Strike::Fate`] does.
    pub(crate) fn fate(&self) -> Fate {
        match self.kind {
            Kind::PartExpire => Fate::PartThenExpire(self.share_or(Decimal::new(5, 1))),
            _ => Fate::RejectLate,
        }
    }

    /// Whether it strikes where this asks.
    pub(crate) fn is_of(&self, strike: Strike) -> bool {
        let late = self.late == Some(true);
        match strike {
            Strike::Reject => self.kind == Kind::Reject && !late,
            Strike::Fate => self.kind == Kind::PartExpire || (self.kind == Kind::Reject && late),
            Strike::Cancel => self.kind == Kind::CancelRace,
        }
    }

    /// Reads and checks a body.
    ///
    /// # Errors
    /// The first field that is wrong, with what is allowed.
    pub fn parse(body: &[u8]) -> Result<Self, Invalid> {
        let value: Value = serde_json::from_slice(body).map_err(|error| Invalid::new("body", format!("not JSON: {error}")))?;
        let Value::Object(fields) = &value else {
            return Err(Invalid::new("body", "must be a JSON object such as {\"exchange\":\"binance\",\"kind\":\"cut\"}"));
        };
        if let Some(unknown) = fields.keys().find(|name| !FIELDS.iter().any(|(known, _)| known == name)) {
            let known: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
            return Err(Invalid::new(unknown, format!("unknown field; valid: {}", known.join(", "))));
        }
        for required in ["exchange", "kind"] {
            if !fields.contains_key(required) {
                return Err(Invalid::new(required, format!("missing; valid: {}", valid(required))));
            }
        }
        // One field at a time, because serde's error does not name it.
        for (name, value) in fields {
            let mut probe = serde_json::json!({ "exchange": "binance", "kind": "drop" });
            probe[name] = value.clone();
            if serde_json::from_value::<Self>(probe).is_err() {
                return Err(Invalid::new(name, format!("{value} is not valid; valid: {}", valid(name))));
            }
        }
        let fault: Self = serde_json::from_value(value).map_err(|error| Invalid::new("body", error.to_string()))?;
        fault.check()?;
        Ok(fault)
    }

    /// Checks what the types alone do not.
    ///
    /// # Errors
    /// The first field that is wrong, with what is allowed.
    pub fn check(&self) -> Result<(), Invalid> {
        let needs = |name: &str, present: bool, of: &[Kind]| match (of.contains(&self.kind), present) {
            (true, false) => Err(Invalid::new(name, format!("missing for kind {}; valid: {}", text(self.kind), valid(name)))),
            (false, true) => Err(Invalid::new(name, format!("means nothing for kind {}; leave it out", text(self.kind)))),
            _ => Ok(()),
        };
        needs("ms", self.ms.is_some(), &[Kind::Delay, Kind::ClockSkew])?;
        if self.kind == Kind::Status {
            needs("code", self.code.is_some(), &[Kind::Status])?;
        }
        needs("variant", self.variant.is_some(), &[Kind::Garbage])?;
        let only = |name: &str, present: bool, of: &[Kind]| if present { needs(name, true, of) } else { Ok(()) };
        let frames = [Kind::Delay, Kind::Cut, Kind::Freeze, Kind::Skip, Kind::Garbage, Kind::Duplicate];
        let requests = [Kind::Delay, Kind::Status, Kind::Drop, Kind::Garbage, Kind::LostBefore, Kind::LostAfter];
        let orders = [Kind::Reject, Kind::PartExpire, Kind::CancelRace];
        only("code", self.code.is_some(), &[Kind::Status, Kind::LostBefore, Kind::LostAfter])?;
        only("body", self.body.is_some(), &[Kind::Status, Kind::Reject])?;
        only("retry_after", self.retry_after.is_some(), &[Kind::Status])?;
        only("place", self.place.is_some(), &[Kind::Garbage])?;
        only("key", self.key.is_some(), &[Kind::RevokeKey])?;
        only("share", self.share.is_some(), &[Kind::PartExpire, Kind::CancelRace])?;
        only("late", self.late.is_some(), &[Kind::Reject])?;
        only("method", self.method.is_some(), &requests)?;
        only("path", self.path.is_some(), &requests)?;
        only("stream", self.stream.is_some(), &frames)?;
        only("symbol", self.symbol.is_some(), &[&frames[..], &requests, &orders].concat())?;
        // These hold for as long as they are set; there is no single strike to count or to roll dice for.
        let lasting = matches!(self.kind, Kind::Freeze | Kind::ClockSkew);
        for (name, present) in [("probability", self.probability.is_some()), ("n", self.n.is_some())] {
            if lasting && present {
                return Err(Invalid::new(name, format!("means nothing for kind {}; leave it out", text(self.kind))));
            }
        }
        let within = |name: &str, fine: bool| {
            if fine { Ok(()) } else { Err(Invalid::new(name, format!("out of range; valid: {}", valid(name)))) }
        };
        within("ms", self.kind != Kind::Delay || self.ms.is_none_or(|ms| (1..=600_000).contains(&ms)))?;
        within("ms", self.kind != Kind::ClockSkew || self.ms.is_none_or(|ms| ms.unsigned_abs() <= 86_400_000))?;
        within("code", self.code.is_none_or(|code| (400..=599).contains(&code)))?;
        within("share", self.share.is_none_or(|share| share > Decimal::ZERO && share <= Decimal::ONE))?;
        within("probability", self.probability.is_none_or(|share| share > 0.0 && share <= 1.0))?;
        within("n", self.n != Some(0))?;
        within("for_ms", self.for_ms != Some(0))?;
        if self.late == Some(true) && self.body.is_some() {
            return Err(Invalid::new("body", "means nothing with `late`: the order was answered before; leave it out"));
        }
        if (self.path.is_some() || self.method.is_some()) && self.stream.is_some() {
            return Err(Invalid::new("stream", "a fault has a `path` (requests) or a `stream` (WebSocket), not both"));
        }
        if self.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(Invalid::new("path", format!("must begin with /; valid: {}", valid("path"))));
        }
        Ok(())
    }
}

const FIELDS: [(&str, &str); 18] = [
    ("exchange", "binance, btcturk, bist"),
    (
        "kind",
        "delay, status, drop, cut, freeze, skip, duplicate, garbage, clock_skew, revoke_key, lost_before, lost_after, reject, part_expire, cancel_race",
    ),
    ("ms", "a whole number: 1 to 600000 for delay, -86400000 to 86400000 for clock_skew"),
    ("code", "an HTTP status from 400 to 599"),
    ("body", "a text or any JSON"),
    ("retry_after", "whole seconds"),
    ("variant", "bad_json, truncated, nan, negative, missing_field, huge"),
    ("place", "instead, between"),
    ("key", "an API key"),
    ("share", "a decimal above 0, at most 1, such as 0.5"),
    ("late", "true, false"),
    ("method", "GET, POST, DELETE"),
    ("path", "the beginning of a path such as /api/v3/account"),
    (
        "stream",
        "a stream such as btcusdt@trade or trade:BTCTRY, a kind of stream such as trade, or userData for all that is told of an account",
    ),
    ("symbol", "a symbol such as BTCUSDT"),
    ("for_ms", "a whole number of ms above 0"),
    ("n", "a whole number above 0"),
    ("probability", "above 0, at most 1"),
];

fn valid(field: &str) -> &'static str {
    FIELDS.iter().find(|(name, _)| *name == field).map_or("", |(_, valid)| valid)
}

fn text(kind: Kind) -> String {
    serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A fault that cannot be set: which field, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Invalid {
    /// The field.
    pub field: String,
    /// What is wrong and what is valid.
    pub error: String,
}

impl Invalid {
    fn new(field: &str, error: impl Into<String>) -> Self {
        Self { field: field.to_owned(), error: error.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.error)
    }
}

/// A fault as the simulator lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id, for `DELETE /sim/faults/{id}`.
    pub id: u64,
    /// Whether it still strikes.
    pub active: bool,
    /// How often it struck.
    pub hits: u64,
    /// How long ago it was set, ms.
    pub age_ms: u64,
    /// The fault.
    pub fault: Fault,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_the_field_and_the_valid_values() {
        let check = |body: &str, field: &str, hint: &str| {
            let invalid = Fault::parse(body.as_bytes()).unwrap_err();
            assert!(invalid.field == field && invalid.error.contains(hint), "{body} → {invalid}");
        };
        check("{", "body", "not JSON");
        check("[]", "body", "object");
        check(r#"{"kind":"cut"}"#, "exchange", "btcturk");
        check(r#"{"exchange":"kraken","kind":"cut"}"#, "exchange", "binance, btcturk");
        check(r#"{"exchange":"binance","kind":"explode"}"#, "kind", "freeze");
        check(r#"{"exchange":"binance","kind":"cut","hurry":1}"#, "hurry", "for_ms");
        check(r#"{"exchange":"binance","kind":"delay"}"#, "ms", "600000");
        check(r#"{"exchange":"binance","kind":"delay","ms":"4s"}"#, "ms", "whole number");
        check(r#"{"exchange":"binance","kind":"delay","ms":0}"#, "ms", "600000");
        check(r#"{"exchange":"binance","kind":"status","code":200}"#, "code", "400 to 599");
        check(r#"{"exchange":"binance","kind":"garbage"}"#, "variant", "truncated");
        check(r#"{"exchange":"binance","kind":"skip","probability":1.5}"#, "probability", "at most 1");
        check(r#"{"exchange":"binance","kind":"freeze","n":3}"#, "n", "leave it out");
        check(r#"{"exchange":"binance","kind":"cut","path":"/x"}"#, "path", "nothing for kind cut");
        check(r#"{"exchange":"binance","kind":"drop","path":"account"}"#, "path", "begin with /");
        check(r#"{"exchange":"binance","kind":"lost_after","code":200}"#, "code", "400 to 599");
        check(r#"{"exchange":"binance","kind":"lost_after","method":"PUT"}"#, "method", "POST");
        check(r#"{"exchange":"binance","kind":"part_expire","share":"1.5"}"#, "share", "at most 1");
        check(r#"{"exchange":"binance","kind":"reject","share":"0.5"}"#, "share", "leave it out");
        check(r#"{"exchange":"binance","kind":"reject","late":true,"body":{"code":-1}}"#, "body", "leave it out");
        check(r#"{"exchange":"binance","kind":"duplicate","path":"/x"}"#, "path", "nothing for kind duplicate");
        check(r#"{"exchange":"binance","kind":"cancel_race","stream":"trade"}"#, "stream", "nothing for kind cancel_race");
    }

    #[test]
    fn a_fault_comes_back_as_it_was_written() {
        let body = r#"{"exchange":"binance","kind":"delay","ms":4000,"path":"/api/v3/account","for_ms":60000,"probability":0.5}"#;
        let fault = Fault::parse(body.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&fault).unwrap(), body);
        let number = r#"{"exchange":"btcturk","kind":"cancel_race","share":0.5,"symbol":"BTCTRY","n":1}"#;
        assert_eq!(Fault::parse(number.as_bytes()).unwrap().share, Some(Decimal::new(5, 1)));
        let body = r#"{"exchange":"btcturk","kind":"cancel_race","share":"0.5","symbol":"BTCTRY","n":1}"#;
        assert_eq!(serde_json::to_string(&Fault::parse(body.as_bytes()).unwrap()).unwrap(), body);
    }
}
