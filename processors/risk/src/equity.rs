//! What a strategy has earned, and the most it had earned within a day.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::{Timestamp, Venue};
use spark_ledger::money::{Rounding, add, mul_rounded, sub};
use spark_ledger::position::{is_base, quote_of};
use spark_ledger::{Inexact, Position};

/// The high-water mark looks back this many cells.
const CELLS: i64 = 24 * 12;
/// Length of one, ms. The oldest cell counts whole: the mark is that of 24 h to 24 h 5 min.
const CELL_MS: i64 = 5 * 60 * 1_000;
/// A position is not valued at a mark older than this, ms.
pub const VALUATION_AGE_MAX_MS: i64 = 5 * 60 * 1_000;

/// A mark with its place in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    /// Ledger sequence.
    pub sequence: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// The mark.
    pub mark: Mark,
}

impl Marked {
    /// How old the price is, ms: since it was stored or since the quote arrived, whichever is longer.
    #[must_use]
    pub fn age_ms(&self, at: Timestamp) -> i64 {
        at.since_ms(self.stored_at.min(self.mark.received_at)).max(0)
    }
}

/// The newest mark of every symbol, and what assets were worth at the last poll of the accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prices {
    marks: BTreeMap<Venue, BTreeMap<String, Marked>>,
    assets: BTreeMap<Venue, BTreeMap<String, Decimal>>,
}

impl Prices {
    /// A newer mark.
    pub fn mark(&mut self, marked: Marked) {
        self.marks.entry(marked.mark.venue).or_default().insert(marked.mark.symbol.clone(), marked);
    }

    /// What the assets of an account are worth, USD per unit.
    pub fn assets(&mut self, venue: Venue, assets: BTreeMap<String, Decimal>) {
        self.assets.insert(venue, assets);
    }

    /// The newest mark of a symbol.
    #[must_use]
    pub fn of(&self, venue: Venue, symbol: &str) -> Option<&Marked> {
        self.marks.get(&venue)?.get(symbol)
    }

    /// USD per unit of an asset that a fee was paid in.
    fn asset(&self, venue: Venue, asset: &str) -> Option<Decimal> {
        let at_venue = self.assets.get(&venue).and_then(|assets| assets.get(asset));
        let known = at_venue.or_else(|| self.assets.values().find_map(|assets| assets.get(asset)));
        known.copied().or_else(|| {
            let mark = &self.of(venue, &format!("{asset}USDT"))?.mark;
            mul_rounded(mark.price, mark.quote_usd, Rounding::Up).ok()
        })
    }
}

/// Why a profit is not known. Nothing that adds risk is approved then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unvalued {
    /// A symbol that was traded never had a mark.
    NoMark(Venue, String),
    /// The mark of an open position is too old: its age, ms.
    OldMark(Venue, String, i64),
    /// A fee was paid in an asset without a price.
    NoPrice(String),
    /// Too many digits.
    Inexact(Inexact),
}

impl From<Inexact> for Unvalued {
    fn from(inexact: Inexact) -> Self {
        Self::Inexact(inexact)
    }
}

impl fmt::Display for Unvalued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMark(venue, symbol) => write!(f, "there is no mark of {venue} {symbol}"),
            Self::OldMark(venue, symbol, age) => write!(f, "the mark of {venue} {symbol} is {age} ms old"),
            Self::NoPrice(asset) => write!(f, "fees were paid in {asset}, whose price is not known"),
            Self::Inexact(inexact) => inexact.fmt(f),
        }
    }
}

/// Realised and unrealised profit less fees, USD, with sign, rounded down at 12 decimals.
///
/// # Errors
/// [`Unvalued`].
pub fn profit<'a>(
    positions: impl Iterator<Item = (Venue, &'a str, &'a Position)>,
    prices: &Prices,
    at: Timestamp,
) -> Result<Decimal, Unvalued> {
    let mut total = Decimal::ZERO;
    for (venue, symbol, position) in positions {
        let Some(marked) = prices.of(venue, symbol) else { return Err(Unvalued::NoMark(venue, symbol.to_owned())) };
        let mut quote = position.realized;
        if !position.is_flat() {
            let age = marked.age_ms(at);
            if age > VALUATION_AGE_MAX_MS {
                return Err(Unvalued::OldMark(venue, symbol.to_owned(), age));
            }
            quote = add(quote, position.unrealized(marked.mark.price)?)?;
        }
        for (asset, fee) in &position.fees {
            if is_base(symbol, asset) {
                continue;
            }
            if asset == quote_of(symbol) {
                quote = sub(quote, *fee)?;
                continue;
            }
            let price = prices.asset(venue, asset).ok_or_else(|| Unvalued::NoPrice(asset.clone()))?;
            total = sub(total, mul_rounded(*fee, price, Rounding::Up)?)?;
        }
        total = add(total, mul_rounded(quote, marked.mark.quote_usd, Rounding::Floor)?)?;
    }
    Ok(total.normalize())
}

/// The highest profit of the last 24 hours: a sliding maximum in at most 290 cells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curve {
    /// Cell and highest profit in it; later cells are lower, or they would have replaced the earlier ones.
    cells: VecDeque<(i64, Decimal)>,
}

impl Curve {
    /// A profit was seen.
    pub fn see(&mut self, at: Timestamp, profit: Decimal) {
        let cell = cell(at);
        while self.cells.front().is_some_and(|(oldest, _)| *oldest < cell - CELLS) {
            self.cells.pop_front();
        }
        while self.cells.back().is_some_and(|(_, value)| *value <= profit) {
            self.cells.pop_back();
        }
        if self.cells.back().is_none_or(|(newest, _)| *newest != cell) {
            self.cells.push_back((cell, profit));
        }
    }

    /// The highest one; none when nothing was seen for 24 hours.
    #[must_use]
    pub fn highest(&self, at: Timestamp) -> Option<Decimal> {
        let cell = cell(at);
        self.cells.iter().find(|(seen, _)| *seen >= cell - CELLS).map(|(_, value)| *value)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.cells.clear();
    }
}

fn cell(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(CELL_MS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_highest_profit_is_that_of_every_cell_of_the_last_day(steps in proptest::collection::vec((0..4_000_i64, -50..50_i64), 1..300)) {
            let mut curve = Curve::default();
            let mut seen: Vec<(i64, Decimal)> = Vec::new();
            let mut now = 0;
            for (seconds, profit) in steps {
                now += seconds * 1_000;
                seen.push((now.div_euclid(CELL_MS), Decimal::from(profit)));
                curve.see(Timestamp::from_millis(now), Decimal::from(profit));
                let first = now.div_euclid(CELL_MS) - CELLS;
                let want = seen.iter().filter(|(cell, _)| *cell >= first).map(|(_, value)| *value).max();
                prop_assert_eq!(curve.highest(Timestamp::from_millis(now)), want);
                prop_assert!(i64::try_from(curve.cells.len()).unwrap() <= CELLS + 2);
            }
            prop_assert_eq!(curve.highest(Timestamp::from_millis(now + 25 * 3_600_000)), None);
        }
    }
}
