//! Sums of trades: exact integers, merged in any order.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Decimals that a [`Decimal`] can hold.
const DECIMAL_SCALE_MAX: u32 = 28;

/// Scales of one symbol's integers: prices are `mantissa × 10^-price`, quantities `mantissa × 10^-quantity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scales {
    pub price: u8,
    pub quantity: u8,
}

impl Scales {
    pub fn amount(self) -> u32 {
        u32::from(self.price) + u32::from(self.quantity)
    }
}

/// `10^exponent`; the exponent is at most twice the largest scale of a column, 36.
pub(super) fn power(exponent: u8) -> i128 {
    10_i128.pow(u32::from(exponent.min(36)))
}

/// Exact while it fits 127 bits at the symbol's scale, then to 28 significant digits, as every [`Decimal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sum {
    Exact(i128),
    Rounded(Decimal),
}

impl Sum {
    pub const ZERO: Self = Self::Exact(0);

    /// `scale` is that of both.
    pub fn add(&mut self, other: Self, scale: u32) {
        if let (Self::Exact(mine), Self::Exact(theirs)) = (*self, other)
            && let Some(sum) = mine.checked_add(theirs)
        {
            *self = Self::Exact(sum);
            return;
        }
        *self = Self::Rounded(self.decimal(scale).saturating_add(other.decimal(scale)));
    }

    /// From `scale` to one that has more decimals by `factor`.
    pub fn widened(self, factor: i128, scale: u32) -> Self {
        match self {
            Self::Exact(mantissa) => {
                mantissa.checked_mul(factor).map_or_else(|| Self::Rounded(decimal(mantissa, scale)), Self::Exact)
            }
            rounded @ Self::Rounded(_) => rounded,
        }
    }

    pub fn decimal(self, scale: u32) -> Decimal {
        match self {
            Self::Exact(mantissa) => decimal(mantissa, scale),
            Self::Rounded(value) => value,
        }
    }
}

/// Without trailing zeros; rounded when it has more digits than a [`Decimal`].
pub(super) fn decimal(mut mantissa: i128, mut scale: u32) -> Decimal {
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    loop {
        if scale <= DECIMAL_SCALE_MAX
            && let Ok(value) = Decimal::try_from_i128_with_scale(mantissa, scale)
        {
            return value;
        }
        if scale == 0 {
            return if mantissa < 0 { Decimal::MIN } else { Decimal::MAX };
        }
        mantissa = (mantissa + if mantissa < 0 { -5 } else { 5 }) / 10;
        scale -= 1;
    }
}

/// One or more trades of one interval, at the symbol's [`Scales`]. Time and id order them, so that the order in which they
/// come is of no matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    /// Time (ns) and id of the first trade.
    pub first: (i64, u64),
    pub last: (i64, u64),
    pub open: i128,
    pub high: i128,
    pub low: i128,
    pub close: i128,
    pub volume: Sum,
    pub amount: Sum,
    pub trades: u64,
}

impl Piece {
    pub fn merge(&mut self, other: &Self, scales: Scales) {
        if other.first < self.first {
            (self.first, self.open) = (other.first, other.open);
        }
        if other.last >= self.last {
            (self.last, self.close) = (other.last, other.close);
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        self.volume.add(other.volume, u32::from(scales.quantity));
        self.amount.add(other.amount, scales.amount());
        self.trades += other.trades;
    }

    /// At scales that have more decimals.
    pub fn widened(self, from: Scales, to: Scales) -> Self {
        let price = power(to.price - from.price);
        let quantity = power(to.quantity - from.quantity);
        Self {
            // 63 bits times 10^18 at most: a price comes from an i64 and no scale is above 18.
            open: self.open.saturating_mul(price),
            high: self.high.saturating_mul(price),
            low: self.low.saturating_mul(price),
            close: self.close.saturating_mul(price),
            volume: self.volume.widened(quantity, u32::from(from.quantity)),
            amount: self.amount.widened(price.saturating_mul(quantity), from.amount()),
            ..self
        }
    }
}

/// Trades of one batch that belong to the same intervals, at the batch's scales.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    first: (i64, u64),
    last: (i64, u64),
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    volume: i128,
    amount: i128,
    trades: u64,
}

impl Run {
    pub const EMPTY: Self = Self {
        first: (i64::MAX, u64::MAX),
        last: (i64::MIN, 0),
        open: 0,
        high: i64::MIN,
        low: i64::MAX,
        close: 0,
        volume: 0,
        amount: 0,
        trades: 0,
    };

    /// False, and unchanged, when the amount would not fit.
    #[inline]
    pub fn add(&mut self, at: (i64, u64), price: i64, quantity: i64) -> bool {
        let Some(amount) = self.amount.checked_add(i128::from(price) * i128::from(quantity)) else { return false };
        self.amount = amount;
        self.volume += i128::from(quantity);
        if at < self.first {
            (self.first, self.open) = (at, price);
        }
        if at >= self.last {
            (self.last, self.close) = (at, price);
        }
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.trades += 1;
        true
    }

    pub fn newest_ns(&self) -> i64 {
        self.last.0
    }

    /// As a piece at `to`, which has no fewer decimals than `from`; none when there is no trade.
    pub fn piece(&self, from: Scales, to: Scales) -> Option<Piece> {
        let piece = Piece {
            first: self.first,
            last: self.last,
            open: self.open.into(),
            high: self.high.into(),
            low: self.low.into(),
            close: self.close.into(),
            volume: Sum::Exact(self.volume),
            amount: Sum::Exact(self.amount),
            trades: self.trades,
        };
        (self.trades > 0).then(|| piece.widened(from, to))
    }
}
