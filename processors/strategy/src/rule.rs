//! Candles to orders: rules that know closed bars and nothing else. The same code runs live, on paper and in the backtest.
//!
//! Exact: sums are integers, so a rule gives the same answer after a million bars as after a restart that read only the last
//! `slow` of them. Money is [`Decimal`].

use rust_decimal::{Decimal, RoundingStrategy};
use spark_bus_schema::market::Side;
use spark_bus_schema::strategies::Params;
use spark_bus_schema::{Fixed, Timestamp};

/// Bars of a mean, at most: with prices up to [`PRICE_MAX`] and 18 decimals, sums and their products fit 127 bits.
pub const WINDOW_MAX: u32 = 10_000;
/// Prices above this are no prices (as of every amount on the bus).
const PRICE_MAX: i64 = 1_000_000_000_000;
/// Decimals of the quantity where a step of zero is given.
const QUANTITY_DECIMALS: u32 = 18;

/// One closed bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// First moment of it.
    pub open_time: Timestamp,
    /// First price, quote per base.
    pub open: Fixed,
    /// Highest price.
    pub high: Fixed,
    /// Lowest price.
    pub low: Fixed,
    /// Last price.
    pub close: Fixed,
    /// Base currency.
    pub volume: Fixed,
}

/// What a rule wants to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The asset.
    Long,
    /// Nothing.
    Flat,
}

/// Long while the mean of the last `fast` closes is above that of the last `slow`; flat while it is equal or below.
#[derive(Clone, Debug)]
pub struct SmaCross {
    fast: usize,
    slow: usize,
    /// The last `slow` closes as integers of `scale` decimals, a ring: `next` is the oldest once it is full.
    closes: Box<[i128]>,
    next: usize,
    /// Where the close is that leaves the fast mean next.
    leaves: usize,
    filled: usize,
    scale: u8,
    fast_sum: i128,
    slow_sum: i128,
}

impl SmaCross {
    /// # Errors
    /// What is wrong with the windows, and what would be right.
    pub fn new(fast: u32, slow: u32) -> Result<Self, String> {
        if fast == 0 || slow > WINDOW_MAX {
            return Err(format!(
                "fast = {fast}, slow = {slow}: out of range; write 1 to {WINDOW_MAX} bars, e.g. fast = 10, slow = 30"
            ));
        }
        if fast >= slow {
            return Err(format!(
                "fast = {fast}: not below slow = {slow}; write fewer bars for fast than for slow, e.g. 10 and 30"
            ));
        }
        // Windows are at most `WINDOW_MAX`.
        let (fast, slow) = (fast as usize, slow as usize);
        Ok(Self {
            fast,
            slow,
            closes: vec![0; slow].into_boxed_slice(),
            next: 0,
            leaves: 0,
            filled: 0,
            scale: 0,
            fast_sum: 0,
            slow_sum: 0,
        })
    }

    /// Reads `fast` and `slow`; both must be there and nothing else.
    ///
    /// # Errors
    /// The parameter that is missing, unknown or no number.
    pub fn from_params(params: &Params) -> Result<Self, String> {
        if let Some(unknown) = params.keys().find(|key| !matches!(key.as_str(), "fast" | "slow")) {
            return Err(format!(
                "{unknown:.64}: sma_cross has no such parameter; it has fast and slow, e.g. fast = 10, slow = 30"
            ));
        }
        let bars = |key: &str| {
            let text = params.get(key).ok_or_else(|| format!("{key}: is missing; write bars, e.g. fast = 10, slow = 30"))?;
            text.trim().parse::<u32>().map_err(|_| format!("{key} = {text:.64}: not a whole number of bars, e.g. 10"))
        };
        Self::new(bars("fast")?, bars("slow")?)
    }

    /// Bars that it needs before it says anything.
    #[must_use]
    pub fn warm_after(&self) -> usize {
        self.slow
    }

    /// Whether it has them.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.filled == self.slow
    }

    /// Forgets every bar: what comes next does not follow on what was there.
    pub fn reset(&mut self) {
        (self.next, self.leaves, self.filled, self.scale) = (0, 0, 0, 0);
        (self.fast_sum, self.slow_sum) = (0, 0);
    }

    /// Takes in the next bar; none while there are fewer than `slow` of them. A close that is no price (zero, negative, above
    /// 10¹², more than 18 decimals) is not known to mean anything: everything before it is forgotten.
    #[inline]
    pub fn on_bar(&mut self, bar: &Bar) -> Option<Want> {
        let Some(close) = self.scaled(bar.close) else {
            self.reset();
            return None;
        };
        if self.filled >= self.fast {
            self.fast_sum -= self.closes[self.leaves];
            self.leaves = self.after(self.leaves);
        }
        self.fast_sum += close;
        if self.filled == self.slow {
            self.slow_sum -= self.closes[self.next];
        } else {
            self.filled += 1;
        }
        self.slow_sum += close;
        self.closes[self.next] = close;
        self.next = self.after(self.next);
        if self.filled < self.slow {
            return None;
        }
        // fast_sum / fast > slow_sum / slow, without a division.
        let is_above = self.fast_sum * self.slow as i128 > self.slow_sum * self.fast as i128;
        Some(if is_above { Want::Long } else { Want::Flat })
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slow { 0 } else { at + 1 }
    }

    /// The close at the scale of the ring, which widens when a close has more decimals.
    #[inline]
    fn scaled(&mut self, close: Fixed) -> Option<i128> {
        if close.mantissa <= 0 || close.scale > spark_bus_schema::decimal::SCALE_MAX {
            return None;
        }
        if i128::from(close.mantissa) > i128::from(PRICE_MAX) * power(close.scale) {
            return None;
        }
        if close.scale > self.scale {
            let factor = power(close.scale - self.scale);
            self.closes.iter_mut().for_each(|held| *held *= factor);
            self.fast_sum *= factor;
            self.slow_sum *= factor;
            self.scale = close.scale;
        }
        Some(i128::from(close.mantissa) * power(self.scale - close.scale))
    }
}

const POWERS: [i128; 19] = {
    let mut powers = [1_i128; 19];
    let mut i = 1;
    while i < 19 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

fn power(scale: u8) -> i128 {
    POWERS[usize::from(scale)]
}

/// How much a strategy trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizing {
    /// Of each buy, base currency.
    Quantity(Decimal),
    /// What there is to buy with, quote currency: all of it.
    Cash(Decimal),
}

/// The order that leads from what is held to what is wanted; none when that is so already or nothing can be traded.
///
/// `held` base currency; `price` quote per base; `commission` a fraction of what is traded; `step` the venue's quantity step,
/// zero for none. All-in buys `cash / (price × (1 + commission))`; every quantity is rounded down to `step`. What is held of
/// less than a step (a fee taken of what was bought) counts as nothing.
#[must_use]
pub fn order(
    want: Want,
    held: Decimal,
    sizing: Sizing,
    price: Decimal,
    commission: Decimal,
    step: Decimal,
) -> Option<(Side, Decimal)> {
    let held = round_down(held, step).unwrap_or(Decimal::ZERO);
    let (side, quantity) = match (want, sizing) {
        (Want::Long, _) if held > Decimal::ZERO => return None,
        (Want::Long, Sizing::Quantity(quantity)) => (Side::Buy, quantity),
        (Want::Long, Sizing::Cash(cash)) => {
            let each = price.checked_mul(Decimal::ONE.checked_add(commission)?)?;
            if each <= Decimal::ZERO {
                return None;
            }
            (Side::Buy, cash.checked_div(each)?)
        }
        (Want::Flat, _) => (Side::Sell, held),
    };
    let quantity = round_down(quantity, step)?;
    (quantity > Decimal::ZERO).then_some((side, quantity))
}

/// The largest multiple of `step` that is not above `quantity`; none below zero.
fn round_down(quantity: Decimal, step: Decimal) -> Option<Decimal> {
    if quantity < Decimal::ZERO {
        return None;
    }
    if step <= Decimal::ZERO {
        return Some(quantity.round_dp_with_strategy(QUANTITY_DECIMALS, RoundingStrategy::ToZero).normalize());
    }
    quantity.checked_sub(quantity.checked_rem(step)?).map(|quantity| quantity.normalize())
}

#[cfg(test)]
mod tests;
