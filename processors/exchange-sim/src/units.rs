//! Exact numbers of the simulated market: prices and quantities as whole 10⁻⁸ units in an `i64`.
//!
//! Every venue here quotes at most eight decimals, so that nothing is ever rounded, and formatting needs no division by a tick.

use std::fmt::Write as _;

/// Units in 1.
pub const ONE: i64 = 100_000_000;
const DECIMALS: usize = 8;

/// Parses a plain decimal (`-12.5`, `0.00000001`). `None` for anything else, for more than eight decimals, and out of range.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || fraction.len() > DECIMALS {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let mut part: i64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    for _ in fraction.len()..DECIMALS {
        part *= 10;
    }
    let value = whole.checked_mul(ONE)?.checked_add(part)?;
    Some(if negative { -value } else { value })
}

/// With exactly eight decimals, as Binance writes it: `61837.63000000`.
#[must_use]
pub fn fixed(value: i64) -> String {
    scaled(value, DECIMALS)
}

/// With exactly `scale` decimals (at most eight), cut and not rounded.
#[must_use]
pub fn scaled(value: i64, scale: usize) -> String {
    let mut text = String::with_capacity(24);
    let sign = if value < 0 { "-" } else { "" };
    let magnitude = value.unsigned_abs();
    let (whole, part) = (magnitude / ONE.unsigned_abs(), magnitude % ONE.unsigned_abs());
    // Writing into a String cannot fail.
    let _ = write!(text, "{sign}{whole}.{part:08}");
    let cut = DECIMALS - scale.min(DECIMALS);
    text.truncate(text.len() - cut);
    if scale == 0 {
        text.pop();
    }
    text
}

/// Without trailing zeros, as BTCTurk writes most amounts: `0.01669`, `86689`.
#[must_use]
pub fn trimmed(value: i64) -> String {
    let mut text = fixed(value);
    let kept = text.trim_end_matches('0').trim_end_matches('.').len();
    text.truncate(kept);
    text
}

/// `a × b`, both in units, cut to units. Saturates.
#[must_use]
pub fn product(a: i64, b: i64) -> i64 {
    let wide = i128::from(a) * i128::from(b) / i128::from(ONE);
    i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX })
}

/// `a / b`, both in units, cut to units. 0 when `b` is 0.
#[must_use]
pub fn quotient(a: i64, b: i64) -> i64 {
    if b == 0 {
        return 0;
    }
    let wide = i128::from(a) * i128::from(ONE) / i128::from(b);
    i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX })
}

/// For statistics and for JSON numbers only.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn float(value: i64) -> f64 {
    value as f64 / ONE as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_come_back_as_they_were_written() {
        for text in ["61837.63000000", "0.00017000", "-1.50000000", "0.00000001", "0.00000000"] {
            assert_eq!(fixed(parse(text).unwrap()), text);
        }
        assert_eq!(parse("5"), Some(5 * ONE));
        for text in ["", ".5", "1e3", "NaN", "1.123456789", "99999999999999999999", "1,5", "--1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn scales_cut_and_trims_drop_zeros() {
        let value = parse("1234.56780000").unwrap();
        assert_eq!(
            (scaled(value, 0), scaled(value, 2), scaled(value, 3), trimmed(value)),
            ("1234".into(), "1234.56".into(), "1234.567".into(), "1234.5678".into())
        );
        assert_eq!(trimmed(parse("500").unwrap()), "500");
        assert_eq!(product(parse("61837.63").unwrap(), parse("0.02").unwrap()), parse("1236.7526").unwrap());
        assert_eq!(quotient(parse("10").unwrap(), parse("4").unwrap()), parse("2.5").unwrap());
    }
}
