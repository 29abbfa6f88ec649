//! Prices to a side: sells above the mean of the last prices, buys below it.

use std::collections::VecDeque;

use rust_decimal::Decimal;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::amount;

/// Prices before the first decision: a mean of one says nothing.
const PRICES_MIN: usize = 2;

/// Bounds of [`Rules::window`].
const WINDOW: (usize, usize) = (2, 10_000);

/// What it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Of each order, base currency.
    pub quantity: Decimal,
    /// Its position never goes beyond this on either side, base currency.
    pub position_max: Decimal,
    /// Prices that the mean is taken of.
    pub window: usize,
    /// Distance from the mean below which it does nothing, percent.
    pub threshold_pct: Decimal,
}

impl Rules {
    /// Every mistake: key, and value with what is wrong and what would be right.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        for (key, value) in [("quantity", self.quantity), ("position_max", self.position_max)] {
            if let Err(what) = amount(key, value) {
                problems.push((key, format!("\"{value}\": {what}; e.g. \"0.001\"")));
            }
        }
        if self.position_max < self.quantity {
            problems.push((
                "position_max",
                format!(
                    "\"{}\": below quantity = \"{}\", so it could never trade; write the same or more",
                    self.position_max, self.quantity
                ),
            ));
        }
        if !(WINDOW.0..=WINDOW.1).contains(&self.window) {
            problems.push(("window", format!("{}: out of range; write {} to {}", self.window, WINDOW.0, WINDOW.1)));
        }
        if self.threshold_pct < Decimal::ZERO || self.threshold_pct > Decimal::ONE_HUNDRED {
            problems.push(("threshold_pct", format!("\"{}\": out of range; write \"0\" to \"100\"", self.threshold_pct)));
        }
        problems
    }
}

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
    pub fn next(&mut self, rules: &Rules, mid: Decimal, held: Decimal) -> Option<Wish> {
        while self.mids.len() >= rules.window {
            self.mids.pop_front();
        }
        self.mids.push_back(mid);
        if self.mids.len() < PRICES_MIN {
            return None;
        }
        let sum = self.mids.iter().try_fold(Decimal::ZERO, |sum, mid| sum.checked_add(*mid))?;
        let mean = sum.checked_div(Decimal::from(self.mids.len()))?;
        let deviation = mid.checked_sub(mean)?.checked_div(mean)?.checked_mul(Decimal::ONE_HUNDRED)?.round_dp(6);
        if deviation.is_zero() || deviation.abs() < rules.threshold_pct {
            return None;
        }
        let (side, other) = if deviation > Decimal::ZERO { (Side::Sell, Side::Buy) } else { (Side::Buy, Side::Sell) };
        let after = match side {
            Side::Buy => held.checked_add(rules.quantity)?,
            Side::Sell => held.checked_sub(rules.quantity)?,
        };
        let story = format!("{deviation} % from the mean of {} prices", self.mids.len());
        if after.abs() > rules.position_max && after.abs() > held.abs() {
            let reason = format!("{story}, but the position of {held} is at its bound of {}", rules.position_max);
            return Some(Wish { side: other, reason });
        }
        Some(Wish { side, reason: story })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_the_mean_it_sells_below_it_buys_and_at_the_bound_it_turns() {
        let rules = |threshold: &str| Rules {
            quantity: Decimal::new(1, 3),
            position_max: Decimal::new(3, 3),
            threshold_pct: threshold.parse().unwrap(),
            window: 3,
        };
        let check = |threshold: &str, mids: &[i64], held: &str, want: Option<Side>| {
            let mut rule = MeanReversion::default();
            let mut last = None;
            for mid in mids {
                last = rule.next(&rules(threshold), Decimal::from(*mid), held.parse().unwrap());
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
