//! Decimals as exchanges write them: a string or a number, read from the text itself and never through a float.
//!
//! The functions are for `#[serde(deserialize_with = "…")]` and need `serde_json` as the deserializer, because only the raw
//! text of a JSON number is exact (`serde_json` alone would hand out an `f64`).

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use rust_decimal::Decimal;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;

/// Longest text that is looked at: more is not a price.
const TEXT_BYTES_MAX: usize = 64;

/// Why a text is not a decimal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecimal {
    /// Empty, `NaN`, `Infinity`, `0x1f`, `1_000`, words, objects …
    #[error("`{0}` is not a decimal number")]
    NotANumber(String),
    /// More digits than an exact decimal holds (28).
    #[error("`{0}` has more digits than can be kept exactly")]
    TooManyDigits(String),
    /// A minus where none can be.
    #[error("`{0}` is negative, which is impossible here")]
    Negative(String),
}

/// Reads a plain or scientific decimal exactly: `42101.0`, `0.00000001`, `-3`, `1e-8`. Trailing zeros are dropped.
///
/// # Errors
/// [`NotDecimal`], with the beginning of the text.
pub fn parse(text: &str) -> Result<Decimal, NotDecimal> {
    let not_a_number = || NotDecimal::NotANumber(crate::error::shorten(text));
    if text.len() > TEXT_BYTES_MAX || !is_decimal_text(text.as_bytes()) {
        return Err(not_a_number());
    }
    let value = if text.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'e')) {
        Decimal::from_scientific(text)
    } else {
        // Zeros behind the last digit carry nothing and may exceed what a Decimal can hold.
        let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
        Decimal::from_str_exact(trimmed)
    };
    value.map(|value| value.normalize()).map_err(|_| NotDecimal::TooManyDigits(text.to_owned()))
}

/// `-? digits (. digits)? ([eE] [+-]? digits)?`, JSON's own grammar without its rule about leading zeros.
fn is_decimal_text(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    rest = &rest[whole..];
    if whole == 0 {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        rest = &fraction[count..];
        if count == 0 {
            return false;
        }
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

/// [`parse`] of a value that cannot be below zero.
///
/// # Errors
/// [`NotDecimal`].
pub fn parse_non_negative(text: &str) -> Result<Decimal, NotDecimal> {
    let value = parse(text)?;
    if value.is_sign_negative() && !value.is_zero() {
        return Err(NotDecimal::Negative(text.to_owned()));
    }
    Ok(value)
}

/// The text of a JSON string or number: quotes off, nothing else.
fn text_of(raw: &RawValue) -> Cow<'_, str> {
    let text = raw.get().trim();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => Cow::Borrowed(inner),
        None => Cow::Borrowed(text),
    }
}

/// A decimal of either sign, from a JSON string or number.
///
/// # Errors
/// The deserializer's, naming the text.
pub fn any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    parse(&text_of(raw)).map_err(D::Error::custom)
}

/// A decimal `>= 0`, from a JSON string or number.
///
/// # Errors
/// The deserializer's, naming the text.
pub fn non_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    parse_non_negative(&text_of(raw)).map_err(D::Error::custom)
}

/// [`non_negative`], where `null` and a missing key (with `#[serde(default)]`) mean that there is no value.
///
/// # Errors
/// The deserializer's, naming the text.
pub fn non_negative_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    let text = text_of(raw);
    if text == "null" { Ok(None) } else { parse_non_negative(&text).map(Some).map_err(D::Error::custom) }
}

/// [`non_negative`] that also takes a decimal comma, which one client saw in BTCTurk balances ("9,75"); the first one is
/// logged.
///
/// # Errors
/// The deserializer's, naming the text. `1,234.5` is ambiguous and refused.
pub fn non_negative_or_comma<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    let text = text_of(raw);
    if text.contains('.') || text.matches(',').count() != 1 {
        return parse_non_negative(&text).map_err(D::Error::custom);
    }
    let value = parse_non_negative(&text.replace(',', ".")).map_err(D::Error::custom)?;
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(exchange = "btcturk", "a balance came with a decimal comma; read as a decimal point, also from now on");
    }
    Ok(value)
}

/// An integer given as a JSON number or string; a fraction of zeros (`1585634249342.0`) is accepted.
///
/// # Errors
/// The deserializer's, naming the text.
pub fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    let text = text_of(raw);
    let value = parse(&text).map_err(D::Error::custom)?;
    if !value.fract().is_zero() {
        return Err(D::Error::custom(format_args!("`{text}` is not a whole number")));
    }
    i64::try_from(value).map_err(|_| D::Error::custom(format_args!("`{text}` does not fit 64 bits")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Row {
        #[serde(deserialize_with = "non_negative_or_comma")]
        amount: Decimal,
    }

    #[derive(Debug, Deserialize)]
    struct Optional {
        #[serde(default, deserialize_with = "non_negative_option")]
        price: Option<Decimal>,
    }

    #[test]
    fn numbers_and_strings_give_the_same_exact_decimal() {
        let check = |json: &str, want: Result<&str, &str>| {
            let got = serde_json::from_str::<Row>(&format!(r#"{{"amount":{json}}}"#));
            match (got, want) {
                (Ok(row), Ok(want)) => assert_eq!(row.amount.to_string(), want, "{json}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{json}: {error}"),
                (got, want) => panic!("{json}: {got:?}, wanted {want:?}"),
            }
        };
        check("42101.0", Ok("42101"));
        check(r#""42101""#, Ok("42101"));
        check("0.1", Ok("0.1"));
        check("1E-8", Ok("0.00000001"));
        check("12345678901234567.890123456", Ok("12345678901234567.890123456"));
        check(r#""9.7502186644553258""#, Ok("9.7502186644553258"));
        check(r#""9,7502186644553258""#, Ok("9.7502186644553258"));
        check(r#""0.00000000""#, Ok("0"));
        check(r#""-0""#, Ok("0"));
        check(r#""1.00000000000000000000000000000000""#, Ok("1"));
        check(r#""1,234.5""#, Err("not a decimal"));
        check(r#""1,2,3""#, Err("not a decimal"));
        check(r#""NaN""#, Err("not a decimal"));
        check(r#""Infinity""#, Err("not a decimal"));
        check(r#""""#, Err("not a decimal"));
        check(r#"" 1""#, Err("not a decimal"));
        check(r#""1_000""#, Err("not a decimal"));
        check(r#""+1""#, Err("not a decimal"));
        check("null", Err("not a decimal"));
        check("[1]", Err("not a decimal"));
        check("-1", Err("negative"));
        check(r#""-0.00000001""#, Err("negative"));
        check(r#""0.12345678901234567890123456789012""#, Err("more digits"));
        check(r#""99999999999999999999999999999999""#, Err("more digits"));
        check("NaN", Err(""));
    }

    #[test]
    fn an_absent_price_is_not_zero() {
        let check = |json: &str, want: Option<&str>| {
            let row: Optional = serde_json::from_str(json).unwrap();
            assert_eq!(row.price.map(|price| price.to_string()).as_deref(), want, "{json}");
        };
        check(r#"{}"#, None);
        check(r#"{"price":null}"#, None);
        check(r#"{"price":0.0}"#, Some("0"));
        check(r#"{"price":"1.5"}"#, Some("1.5"));
    }

    #[test]
    fn integers_come_in_every_dress() {
        #[derive(Deserialize)]
        struct Time {
            #[serde(deserialize_with = "integer")]
            at: i64,
        }
        let read = |json: &str| serde_json::from_str::<Time>(&format!(r#"{{"at":{json}}}"#)).map(|time| time.at);
        assert_eq!(read("1585634249342.0").unwrap(), 1_585_634_249_342);
        assert_eq!(read(r#""638900000000000001""#).unwrap(), 638_900_000_000_000_001);
        assert!(read("1.5").is_err());
        assert!(read("99999999999999999999").is_err());
    }

    proptest! {
        #[test]
        fn every_decimal_survives_as_text_and_as_number(mantissa in 0_i64.., scale in 0_u32..=18) {
            let value = Decimal::new(mantissa, scale);
            for json in [format!(r#"{{"amount":{value}}}"#), format!(r#"{{"amount":"{value}"}}"#)] {
                prop_assert_eq!(serde_json::from_str::<Row>(&json).unwrap().amount, value);
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = parse(&text);
        }
    }
}
