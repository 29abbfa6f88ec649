//! Prices to a side: sells above the mean of the last prices, buys below it.

use std::collections::VecDeque;

use rust_decimal::Decimal;
use spark_bus_schema::market::Side;

use crate::config::Spec;

/// Prices before the first decision: a mean of one says nothing.
const PRICES_MIN: usize = 2;

/// The last prices of one symbol.
#[derive(Clone, Debug, Default)]
pub struct MeanReversion {
    mids: VecDeque<Decimal>,
}

/// What it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Buy or sell.
    pub side: Side,
    /// Why, for people.
    pub reason: String,
}

impl MeanReversion {
    /// Takes in the next price, and says what to do at a position of `held`, base currency, with sign. Where the bound of
    /// the position stands against the side that the price asks for, it takes the other one: so it never sticks there.
    pub fn next(&mut self, spec: &Spec, mid: Decimal, held: Decimal) -> Option<Wish> {
        while self.mids.len() >= spec.window {
            self.mids.pop_front();
        }
        self.mids.push_back(mid);
        if self.mids.len() < PRICES_MIN {
            return None;
        }
        let sum = self.mids.iter().try_fold(Decimal::ZERO, |sum, mid| sum.checked_add(*mid))?;
        let mean = sum.checked_div(Decimal::from(self.mids.len()))?;
        let deviation = mid.checked_sub(mean)?.checked_div(mean)?.checked_mul(Decimal::ONE_HUNDRED)?.round_dp(6);
        if deviation.is_zero() || deviation.abs() < spec.threshold_pct {
            return None;
        }
        let (side, other) = if deviation > Decimal::ZERO { (Side::Sell, Side::Buy) } else { (Side::Buy, Side::Sell) };
        let after = match side {
            Side::Buy => held.checked_add(spec.quantity)?,
            Side::Sell => held.checked_sub(spec.quantity)?,
        };
        let story = format!("{deviation} % from the mean of {} prices", self.mids.len());
        if after.abs() > spec.position_max && after.abs() > held.abs() {
            let reason = format!("{story}, but the position of {held} is at its bound of {}", spec.position_max);
            return Some(Wish { side: other, reason });
        }
        Some(Wish { side, reason: story })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn above_the_mean_it_sells_below_it_buys_and_at_the_bound_it_turns() {
        let spec = |threshold: &str| Spec {
            threshold_pct: threshold.parse().unwrap(),
            window: 3,
            ..Config::default().run.into_iter().next().unwrap()
        };
        // Quantity 0.001, bound 0.003.
        let check = |threshold: &str, mids: &[i64], held: &str, want: Option<Side>| {
            let mut rule = MeanReversion::default();
            let mut last = None;
            for mid in mids {
                last = rule.next(&spec(threshold), Decimal::from(*mid), held.parse().unwrap());
            }
            assert_eq!(last.map(|wish| wish.side), want, "{threshold} {mids:?} {held}");
        };
        check("0", &[100], "0", None);
        check("0", &[100, 100], "0", None);
        check("0", &[100, 101], "0", Some(Side::Sell));
        check("0", &[100, 99], "0", Some(Side::Buy));
        check("0.6", &[100, 101], "0", None);
        check("0.4", &[100, 101], "0", Some(Side::Sell));
        // Only the window counts.
        check("0", &[1, 100, 100, 100], "0", None);
        check("0", &[100, 101], "-0.002", Some(Side::Sell));
        check("0", &[100, 101], "-0.003", Some(Side::Buy));
        check("0", &[100, 99], "0.003", Some(Side::Sell));
        // Beyond the bound (it was lowered): what reduces goes on.
        check("0", &[100, 101], "0.009", Some(Side::Sell));
        check("0", &[100, 99], "0.009", Some(Side::Sell));
    }
}
