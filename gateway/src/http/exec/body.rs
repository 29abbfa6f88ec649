//! Request bodies, read strictly: an unknown or misspelt member is an error, and numbers keep every digit.

use std::borrow::Cow;

use axum::body::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use spark_bus_schema::Decimal;

use super::super::problem::Problem;

/// Characters of a reason.
pub const REASON_CHARS_MAX: usize = 200;

/// The body as `T`; `example` is what would be right.
pub fn read<T: DeserializeOwned>(body: &Bytes, example: &str) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = if body.is_empty() { "the body is empty".to_owned() } else { error.to_string() };
        Problem::bad_value("body", detail, format!("a JSON object, e.g. {example}"))
    })
}

/// A body that says why, and nothing else.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reasoned {
    #[schemars(with = "Reason")]
    reason: String,
}

/// How a reason looks in the API's document; [`reason`] checks it.
pub struct Reason;

impl JsonSchema for Reason {
    fn schema_name() -> Cow<'static, str> {
        "Reason".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Why: it is kept with the command. Printable characters.",
            "minLength": 1,
            "maxLength": REASON_CHARS_MAX,
            // One that is no blank; the range leaves control characters out.
            "pattern": "^[ -~]*[!-~][ -~]*$",
            "examples": ["maintenance"],
        })
    }
}

/// The reason in a body that holds nothing else.
pub fn only_reason(body: &Bytes, example: &str) -> Result<String, Problem> {
    reason(&read::<Reasoned>(body, example)?.reason)
}

/// A reason that says something.
pub fn reason(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    let chars = text.chars().count();
    if chars == 0 || chars > REASON_CHARS_MAX || text.chars().any(char::is_control) {
        let fix = format!("say why in 1 to {REASON_CHARS_MAX} printable characters: it is kept with the command");
        return Err(Problem::bad_value("body: reason", format!("{chars} characters, or control characters"), fix));
    }
    Ok(text.to_owned())
}

/// A decimal from a JSON number or string, digit for digit: it never passes through binary floating point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exact(pub Decimal);

impl JsonSchema for Exact {
    fn schema_name() -> Cow<'static, str> {
        "Exact".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An exact decimal of at most 28 digits, as a JSON number without exponent or as a text.",
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": "^-?[0-9]{1,14}(\\.[0-9]{1,14})?$"}],
            "examples": ["0.015"],
        })
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        exact(raw.get()).map(Self).map_err(D::Error::custom)
    }
}

fn exact(json: &str) -> Result<Decimal, String> {
    let text = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json);
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    let parsed = if plain { Decimal::from_str_exact(text).ok() } else { None };
    parsed.map(|value| value.normalize()).ok_or_else(|| {
        format!("`{json:.64}` is not a plain decimal number with at most 28 digits; 0.015 or \"0.015\" would be right")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit_and_what_is_none_is_refused() {
        let check = |json: &str, want: Option<&str>| {
            let got = serde_json::from_str::<Exact>(json).ok();
            assert_eq!(got, want.map(|want| Exact(want.parse().unwrap())), "{json}");
        };
        check("0.1", Some("0.1"));
        check("\"0.10\"", Some("0.1"));
        check("1000000000000.00000001", Some("1000000000000.00000001"));
        check("\"61837.62\"", Some("61837.62"));
        for wrong in ["\"\"", "\"1e3\"", "1e3", "\"NaN\"", "null", "[1]", "\"1,5\"", "0.00000000000000000000000000001", "\" 1\""]
        {
            check(wrong, None);
        }
        assert_eq!(serde_json::from_str::<Exact>("0.10").unwrap().0.to_string(), "0.1", "one value, one spelling");
    }

    #[test]
    fn a_reason_says_something() {
        assert_eq!(reason("  why  ").unwrap(), "why");
        for wrong in ["", "  ", "a\nb", &"x".repeat(REASON_CHARS_MAX + 1)] {
            assert!(reason(wrong).is_err(), "{wrong}");
        }
    }
}
