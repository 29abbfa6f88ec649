//! Exact decimals for the hot path: a mantissa and a scale, and columns of them.

use std::fmt;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// More decimals than this are refused: no venue quotes more, and 10^18 is the largest power of ten in an `i64`.
pub const SCALE_MAX: u8 = 18;

const POWERS: [i64; 19] = {
    let mut powers = [1_i64; 19];
    let mut i = 1;
    while i < 19 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// An exact decimal, `mantissa × 10^-scale`, without trailing zeros in the fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fixed {
    /// The digits as one integer.
    pub mantissa: i64,
    /// Digits after the point, at most [`SCALE_MAX`].
    pub scale: u8,
}

/// Why a text is not a [`Fixed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FixedError {
    /// Empty, `NaN`, `inf`, an exponent, a comma, a space …
    #[error("not a plain decimal number")]
    NotANumber,
    /// The digits do not fit 63 bits or there are more than 18 decimals.
    #[error("too many digits (63 bits and 18 decimals are the limit)")]
    TooManyDigits,
}

impl Fixed {
    /// Zero.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0 };

    /// Reads `[-]digits[.digits]`. Trailing zeros of the fraction are dropped: exchanges pad to 8 decimals.
    ///
    /// # Errors
    /// [`FixedError`]; exponents, `NaN`, infinities, commas and blanks are not numbers here.
    pub fn parse(text: &str) -> Result<Self, FixedError> {
        let bytes = text.as_bytes();
        let (negative, digits) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (whole, mut fraction) = match digits.iter().position(|&byte| byte == b'.') {
            Some(at) => (&digits[..at], &digits[at + 1..]),
            None => (digits, &[][..]),
        };
        if whole.is_empty() || (fraction.is_empty() && digits.len() != whole.len()) {
            return Err(FixedError::NotANumber);
        }
        while let [rest @ .., b'0'] = fraction {
            fraction = rest;
        }
        let scale = u8::try_from(fraction.len()).unwrap_or(u8::MAX);
        let mut mantissa: i64 = 0;
        for &byte in whole.iter().chain(fraction) {
            if !byte.is_ascii_digit() {
                return Err(FixedError::NotANumber);
            }
            mantissa = mantissa
                .checked_mul(10)
                .and_then(|value| value.checked_add(i64::from(byte - b'0')))
                .ok_or(FixedError::TooManyDigits)?;
        }
        if scale > SCALE_MAX {
            return Err(FixedError::TooManyDigits);
        }
        Ok(Self { mantissa: if negative { -mantissa } else { mantissa }, scale })
    }

    /// The same value as a [`Decimal`]; exact.
    #[must_use]
    pub fn to_decimal(self) -> Decimal {
        Decimal::new(self.mantissa, u32::from(self.scale))
    }

    /// For statistics only: money stays exact.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "statistics")]
    pub fn to_f64(self) -> f64 {
        self.mantissa as f64 / POWERS[usize::from(self.scale.min(SCALE_MAX))] as f64
    }
}

impl TryFrom<Decimal> for Fixed {
    type Error = FixedError;
    fn try_from(value: Decimal) -> Result<Self, FixedError> {
        let value = value.normalize();
        let mantissa = i64::try_from(value.mantissa()).map_err(|_| FixedError::TooManyDigits)?;
        let scale = u8::try_from(value.scale()).map_err(|_| FixedError::TooManyDigits)?;
        if scale > SCALE_MAX { Err(FixedError::TooManyDigits) } else { Ok(Self { mantissa, scale }) }
    }
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_decimal(), f)
    }
}

/// A column of exact decimals that share one scale: value `i` is `values[i] × 10^-scale`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecimalColumn {
    /// Digits after the point of every value.
    pub scale: u8,
    /// The mantissas.
    pub values: Vec<i64>,
}

/// The column cannot take this value without losing a digit: send what it holds and start another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("values of one column are too far apart for 63 bits")]
pub struct ColumnFull;

impl DecimalColumn {
    /// An empty column with room for `capacity` values.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { scale: 0, values: Vec::with_capacity(capacity) }
    }

    /// Whether [`push`](Self::push) would succeed.
    #[must_use]
    pub fn fits(&self, value: Fixed) -> bool {
        self.rescaled(value).is_some()
    }

    /// Appends; widens the scale of the whole column when `value` has more decimals.
    ///
    /// # Errors
    /// [`ColumnFull`], and the column is unchanged.
    pub fn push(&mut self, value: Fixed) -> Result<(), ColumnFull> {
        let (factor, mantissa) = self.rescaled(value).ok_or(ColumnFull)?;
        if factor > 1 {
            for held in &mut self.values {
                *held *= factor;
            }
            self.scale = value.scale;
        }
        self.values.push(mantissa);
        Ok(())
    }

    /// Factor for the values held and mantissa for the new one, or `None` on overflow.
    fn rescaled(&self, value: Fixed) -> Option<(i64, i64)> {
        if value.scale <= self.scale {
            let mantissa = value.mantissa.checked_mul(POWERS[usize::from(self.scale - value.scale)])?;
            return Some((1, mantissa));
        }
        let factor = *POWERS.get(usize::from(value.scale - self.scale))?;
        self.values.iter().all(|held| held.checked_mul(factor).is_some()).then_some((factor, value.mantissa))
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Empties the column and keeps its memory.
    pub fn clear(&mut self) {
        self.values.clear();
        self.scale = 0;
    }

    /// Value `index`, exact.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Fixed> {
        self.values.get(index).map(|&mantissa| Fixed { mantissa, scale: self.scale })
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = Fixed> + '_ {
        self.values.iter().map(|&mantissa| Fixed { mantissa, scale: self.scale })
    }

    /// What makes the column unusable, if anything: a scale above [`SCALE_MAX`] or a value that is not `> 0`
    /// (`>= 0` where `zero_allowed`).
    ///
    /// # Errors
    /// A sentence that names the column and the offending value.
    pub fn check(&self, name: &str, rows: usize, zero_allowed: bool) -> Result<(), String> {
        if self.scale > SCALE_MAX {
            return Err(format!("{name}: scale {} is above {SCALE_MAX}", self.scale));
        }
        if self.values.len() != rows {
            return Err(format!("{name}: {} values for {rows} rows", self.values.len()));
        }
        match self.values.iter().position(|&value| value < 0 || (value == 0 && !zero_allowed)) {
            Some(row) => Err(format!("{name}: row {row} is {}", self.values[row])),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_exchanges_send_and_nothing_else() {
        let check = |text: &str, want: Result<(i64, u8), FixedError>| {
            assert_eq!(Fixed::parse(text).map(|fixed| (fixed.mantissa, fixed.scale)), want, "{text}");
        };
        check("61837.63000000", Ok((6_183_763, 2)));
        check("0.00000001", Ok((1, 8)));
        check("1000000000000", Ok((1_000_000_000_000, 0)));
        check("1000000000000.00000100", Ok((1_000_000_000_000_000_001, 6)));
        check("-0.50", Ok((-5, 1)));
        check("100", Ok((100, 0)));
        check("0.00000000", Ok((0, 0)));
        for nonsense in ["", "-", ".", ".5", "5.", "NaN", "inf", "1e5", "1,5", " 1", "1 ", "--1", "1.2.3", "١"] {
            check(nonsense, Err(FixedError::NotANumber));
        }
        check("92233720368547758080", Err(FixedError::TooManyDigits));
        check("0.0000000000000000001", Err(FixedError::TooManyDigits));
    }

    #[test]
    fn a_column_widens_its_scale_and_refuses_what_it_cannot_hold_exactly() {
        let mut column = DecimalColumn::default();
        for text in ["100", "0.00000001", "61837.63"] {
            column.push(Fixed::parse(text).unwrap()).unwrap();
        }
        let texts: Vec<String> = column.iter().map(|value| value.to_decimal().normalize().to_string()).collect();
        assert_eq!(texts, ["100", "0.00000001", "61837.63"]);

        let huge = Fixed::parse("1000000000000").unwrap();
        assert_eq!(column.push(huge), Err(ColumnFull));
        assert_eq!(column.len(), 3, "a refused value leaves the column as it was");

        let mut column = DecimalColumn::default();
        column.push(huge).unwrap();
        assert_eq!(column.push(Fixed::parse("0.00000001").unwrap()), Err(ColumnFull));
        assert_eq!(column.get(0), Some(huge));
    }

    #[test]
    fn decimals_convert_both_ways_exactly() {
        for text in ["61837.63", "0.00000001", "1000000000000", "-7.5"] {
            let fixed = Fixed::parse(text).unwrap();
            assert_eq!(Fixed::try_from(fixed.to_decimal()), Ok(fixed));
            assert_eq!(fixed.to_string(), text);
        }
    }
}
