//! Exact arithmetic. `Decimal`'s operators panic on overflow, and its checked ones round silently where digits run out;
//! these do neither: a result is exact, or it is refused.

use rust_decimal::{Decimal, RoundingStrategy};

/// Decimals of a quotient.
pub const DIVISION_DECIMALS: u32 = 12;

/// The exact result needs more than the 28 digits (96 bits, 28 decimals) that a decimal holds, or is a division by zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{left} {operator} {right} has no exact decimal")]
pub struct Inexact {
    /// The first operand.
    pub left: Decimal,
    /// `+`, `-`, `×` or `÷`.
    pub operator: char,
    /// The second operand.
    pub right: Decimal,
}

/// `left + right`, exact.
///
/// # Errors
/// [`Inexact`].
pub fn add(left: Decimal, right: Decimal) -> Result<Decimal, Inexact> {
    sum(left, right).ok_or(Inexact { left, operator: '+', right })
}

/// `left - right`, exact.
///
/// # Errors
/// [`Inexact`].
pub fn sub(left: Decimal, right: Decimal) -> Result<Decimal, Inexact> {
    sum(left, -right).ok_or(Inexact { left, operator: '-', right })
}

/// `left × right`, exact. Also refuses a product that needs more than 38 digits before its trailing zeros are dropped.
///
/// # Errors
/// [`Inexact`].
pub fn mul(left: Decimal, right: Decimal) -> Result<Decimal, Inexact> {
    // As in `sum`.
    let quick = left.checked_mul(right).filter(|product| product.scale() == left.scale() + right.scale() && !product.is_zero());
    if let Some(product) = quick {
        return Ok(product);
    }
    let product = |left: Decimal, right: Decimal| {
        let mantissa = left.mantissa().checked_mul(right.mantissa())?;
        fit(mantissa, left.scale() + right.scale())
    };
    product(left, right).or_else(|| product(left.normalize(), right.normalize())).ok_or(Inexact { left, operator: '×', right })
}

/// `left ÷ right`, **rounded** half to even at [`DIVISION_DECIMALS`] decimals (at fewer where the quotient has more than
/// 16 digits before the point). For averages and percentages; never for what must add up.
///
/// # Errors
/// [`Inexact`] for a division by zero and for a quotient above 7.9 × 10²⁸.
pub fn div_rounded(left: Decimal, right: Decimal) -> Result<Decimal, Inexact> {
    let quotient = left.checked_div(right).ok_or(Inexact { left, operator: '÷', right })?;
    Ok(quotient.round_dp_with_strategy(DIVISION_DECIMALS, RoundingStrategy::MidpointNearestEven).normalize())
}

/// Where the last decimal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Away from zero: for what must not be understated.
    Up,
    /// Towards negative infinity: for profit.
    Floor,
}

/// `left × right`, **rounded** at [`DIVISION_DECIMALS`] decimals. For values in another currency, whose rate is rounded
/// anyway; never for what must add up.
///
/// # Errors
/// [`Inexact`] when the product is too large.
pub fn mul_rounded(left: Decimal, right: Decimal, rounding: Rounding) -> Result<Decimal, Inexact> {
    let product = |left: Decimal| {
        let mantissa = left.mantissa().checked_mul(right.mantissa())?;
        let (mantissa, scale) = round(mantissa, left.scale() + right.scale(), rounding)?;
        fit(mantissa, scale)
    };
    product(left)
        .or_else(|| {
            let (mantissa, scale) = round(left.mantissa(), left.scale(), rounding)?;
            product(fit(mantissa, scale)?.normalize())
        })
        .ok_or(Inexact { left, operator: '×', right })
}

/// Whether `value` is a whole number of `step`s; every value is for a step of zero.
///
/// # Errors
/// [`Inexact`] when the two are too far apart to tell.
pub fn is_multiple(value: Decimal, step: Decimal) -> Result<bool, Inexact> {
    if step.is_zero() {
        return Ok(true);
    }
    let (left, right) = (value.normalize(), step.normalize());
    let scale = left.scale().max(right.scale());
    let aligned = |value: Decimal| value.mantissa().checked_mul(10_i128.checked_pow(scale - value.scale())?);
    match (aligned(left), aligned(right)) {
        (Some(value), Some(step)) => Ok(value % step == 0),
        _ => Err(Inexact { left: value, operator: '÷', right: step }),
    }
}

fn round(mantissa: i128, scale: u32, rounding: Rounding) -> Option<(i128, u32)> {
    let Some(extra) = scale.checked_sub(DIVISION_DECIMALS).filter(|&extra| extra > 0) else { return Some((mantissa, scale)) };
    let unit = 10_i128.checked_pow(extra)?;
    let (quotient, rest) = (mantissa.div_euclid(unit), mantissa.rem_euclid(unit));
    let up = rounding == Rounding::Up && mantissa > 0 && rest > 0;
    Some((quotient + i128::from(up), DIVISION_DECIMALS))
}

fn sum(left: Decimal, right: Decimal) -> Option<Decimal> {
    // Where `Decimal` kept every decimal it has rounded nothing, and is several times as fast.
    let quick = left.checked_add(right).filter(|sum| sum.scale() == left.scale().max(right.scale()) && !sum.is_zero());
    if quick.is_some() {
        return quick;
    }
    let total = |left: Decimal, right: Decimal| {
        let scale = left.scale().max(right.scale());
        let aligned = |value: Decimal| value.mantissa().checked_mul(10_i128.checked_pow(scale - value.scale())?);
        fit(aligned(left)?.checked_add(aligned(right)?)?, scale)
    };
    total(left, right).or_else(|| total(left.normalize(), right.normalize()))
}

/// `mantissa × 10^-scale` as a decimal, trailing zeros dropped where they do not fit; none when digits would be lost.
fn fit(mut mantissa: i128, mut scale: u32) -> Option<Decimal> {
    loop {
        if let Ok(value) = Decimal::try_from_i128_with_scale(mantissa, scale) {
            return Some(value);
        }
        if scale == 0 || mantissa % 10 != 0 {
            return None;
        }
        mantissa /= 10;
        scale -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn results_are_exact_or_refused() {
        let check = |operation: fn(Decimal, Decimal) -> Result<Decimal, Inexact>, left: &str, right: &str, want: Option<&str>| {
            assert_eq!(operation(d(left), d(right)).ok(), want.map(d), "{left} {right}");
        };
        check(add, "0.1", "0.2", Some("0.3"));
        check(add, "1000000000000", "0.00000001", Some("1000000000000.00000001"));
        check(sub, "0.00000001", "1000000000000", Some("-999999999999.99999999"));
        check(mul, "1000000000000", "0.00000001", Some("10000"));
        check(mul, "1000000000000", "1000000000000", Some("1000000000000000000000000"));
        check(mul, "0.00000001", "0.00000001", Some("0.0000000000000001"));
        check(mul, "0.00000001", "-1000000000000", Some("-10000"));
        check(mul, "1000000000000.00000000", "1000000000000.00000000", Some("1000000000000000000000000"));
        // 10^12 + 10^-18 needs 31 digits: `Decimal::checked_add` gives 10^12 without a word.
        check(add, "1000000000000", "0.000000000000000001", None);
        assert_eq!(d("1000000000000").checked_add(d("0.000000000000000001")), Some(d("1000000000000")));
        // So does `checked_mul` with 30 decimals.
        check(mul, "0.000000000000001", "0.000000000000001", None);
        assert_eq!(d("0.000000000000001").checked_mul(d("0.000000000000001")), Some(Decimal::ZERO));
        check(mul, "79228162514264337593543950335", "2", None);
        check(add, "79228162514264337593543950335", "1", None);
        check(sub, "-79228162514264337593543950335", "1", None);
        check(div_rounded, "1", "3", Some("0.333333333333"));
        check(div_rounded, "2", "3", Some("0.666666666667"));
        check(div_rounded, "1", "0", None);
        check(div_rounded, "79228162514264337593543950335", "0.1", None);
    }

    #[test]
    fn values_in_another_currency_are_rounded_to_the_safe_side() {
        let check = |left: &str, right: &str, up: &str, floor: &str| {
            assert_eq!(mul_rounded(d(left), d(right), Rounding::Up), Ok(d(up)), "{left} × {right} up");
            assert_eq!(mul_rounded(d(left), d(right), Rounding::Floor), Ok(d(floor)), "{left} × {right} floor");
        };
        check("2.5", "4", "10", "10");
        check("0.0000000001", "0.001", "0.000000000001", "0");
        check("-0.0000000001", "0.001", "-0.000000000001", "-0.000000000001");
        check("1234567890.1234567890123456", "0.023912345678", "29521414.151591220836", "29521414.151591220835");
        assert!(mul_rounded(Decimal::MAX, d("2"), Rounding::Up).is_err());
    }

    #[test]
    fn multiples_are_told_exactly() {
        let check = |value: &str, step: &str, want: bool| assert_eq!(is_multiple(d(value), d(step)), Ok(want), "{value} {step}");
        check("0.3", "0.1", true);
        check("0.30000001", "0.1", false);
        check("1000000000000", "0.00000001", true);
        check("7", "0", true);
        check("100.5", "0.25", true);
        assert!(is_multiple(Decimal::MAX, d("0.0000000000000000000000000003")).is_err());
    }

    #[test]
    fn the_quick_way_gives_the_same_digits_as_the_long_one() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut value = || {
            let (bits, scale, sign) = (next() % 97, next() % 29, next() % 2 == 0);
            let mantissa = (u128::from(next()) << 64 | u128::from(next())) & ((1_u128 << bits) - 1);
            let mantissa = i128::try_from(mantissa).unwrap();
            Decimal::from_i128_with_scale(if sign { mantissa } else { -mantissa }, u32::try_from(scale).unwrap())
        };
        let same = |quick: Option<Decimal>, long: Option<Decimal>, what: &str| {
            let digits = |value: Decimal| (value.mantissa(), value.scale(), value.is_sign_negative());
            assert_eq!(quick.map(digits), long.map(digits), "{what}");
        };
        for _ in 0..200_000 {
            let (left, right) = (value(), value());
            let scale = left.scale().max(right.scale());
            let aligned = |value: Decimal| value.mantissa().checked_mul(10_i128.checked_pow(scale - value.scale())?);
            let exact = aligned(left).zip(aligned(right)).and_then(|(left, right)| left.checked_add(right));
            if let Some(long) = exact.and_then(|exact| fit(exact, scale)) {
                same(add(left, right).ok(), Some(long), &format!("{left} + {right}"));
            }
            let exact = left.mantissa().checked_mul(right.mantissa());
            if let Some(long) = exact.and_then(|exact| fit(exact, left.scale() + right.scale())) {
                same(mul(left, right).ok(), Some(long), &format!("{left} × {right}"));
            }
        }
    }

    #[test]
    fn a_refusal_names_both_operands() {
        assert_eq!(mul(Decimal::MAX, d("2")).unwrap_err().to_string(), "79228162514264337593543950335 × 2 has no exact decimal");
    }
}
