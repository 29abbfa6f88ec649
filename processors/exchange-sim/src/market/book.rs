//! Price levels of one market.

use std::collections::BTreeMap;

/// Side of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Those who buy.
    Bid,
    /// Those who sell.
    Ask,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Bid => Self::Ask,
            Self::Ask => Self::Bid,
        }
    }
}

/// Quantities by price, in units of 10⁻⁸ (or in ticks and lots: the book does not care).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Book {
    /// Sets a level; a quantity of 0 removes it.
    pub fn set(&mut self, side: Side, price: i64, quantity: i64) {
        let levels = match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        if quantity == 0 {
            levels.remove(&price);
        } else {
            levels.insert(price, quantity);
        }
    }

    /// Quantity at a price, 0 if none.
    #[must_use]
    pub fn at(&self, side: Side, price: i64) -> i64 {
        let levels = match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        };
        levels.get(&price).copied().unwrap_or(0)
    }

    /// Best level of a side.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<(i64, i64)> {
        match side {
            Side::Bid => self.bids.last_key_value(),
            Side::Ask => self.asks.first_key_value(),
        }
        .map(|(price, quantity)| (*price, *quantity))
    }

    /// Worst level of a side.
    #[must_use]
    pub fn worst(&self, side: Side) -> Option<(i64, i64)> {
        match side {
            Side::Bid => self.bids.first_key_value(),
            Side::Ask => self.asks.last_key_value(),
        }
        .map(|(price, quantity)| (*price, *quantity))
    }

    /// Levels of a side, best first.
    pub fn levels(&self, side: Side) -> Box<dyn Iterator<Item = (i64, i64)> + '_> {
        match side {
            Side::Bid => Box::new(self.bids.iter().rev().map(|(price, quantity)| (*price, *quantity))),
            Side::Ask => Box::new(self.asks.iter().map(|(price, quantity)| (*price, *quantity))),
        }
    }

    /// How many levels a side has.
    #[must_use]
    pub fn depth(&self, side: Side) -> usize {
        match side {
            Side::Bid => self.bids.len(),
            Side::Ask => self.asks.len(),
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }
}
