//! A book built from one `obdiff` subscription: a full book first, then changes with consecutive numbers.

use std::collections::BTreeMap;

use spark_bus_schema::{Decimal, Fixed};

/// Levels that one side may hold; the venue's window has 100.
pub const LEVELS_MAX: usize = 1_000;

/// Price and amount.
pub type Level = (Fixed, Fixed);

/// What a change does to a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// CP 0 and 1: the amount at this price.
    Set(Level),
    /// CP 3: the level is gone.
    Delete(Fixed),
}

/// The changes do not follow on each other: subscribe again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// A change came before the full book.
    #[error("a change came before the full book")]
    NoBook,
    /// A change is missing.
    #[error("change {got} came after {last}")]
    Jump {
        /// Number of the newest change applied.
        last: u64,
        /// Number that came.
        got: u64,
    },
    /// More levels than the venue's window can hold: deletions are missing.
    #[error("more than {LEVELS_MAX} levels on one side")]
    TooManyLevels,
}

/// Both sides, by price.
#[derive(Debug, Default)]
pub struct Book {
    change_set: Option<u64>,
    bids: BTreeMap<Decimal, Level>,
    asks: BTreeMap<Decimal, Level>,
}

impl Book {
    /// Forgets everything: a new subscription.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether there was no full book yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.change_set.is_none()
    }

    /// Replaces everything by a full book.
    ///
    /// # Errors
    /// [`Gap::TooManyLevels`].
    pub fn replace(&mut self, change_set: u64, bids: &[Level], asks: &[Level]) -> Result<(), Gap> {
        if bids.len() > LEVELS_MAX || asks.len() > LEVELS_MAX {
            self.clear();
            return Err(Gap::TooManyLevels);
        }
        let side =
            |levels: &[Level]| levels.iter().filter(|level| level.1.mantissa > 0).map(|&l| (l.0.to_decimal(), l)).collect();
        *self = Self { change_set: Some(change_set), bids: side(bids), asks: side(asks) };
        Ok(())
    }

    /// Applies changes.
    ///
    /// # Errors
    /// [`Gap`]; the book is empty then and needs a full one.
    pub fn apply(&mut self, change_set: u64, bids: &[Change], asks: &[Change]) -> Result<(), Gap> {
        let last = self.change_set.ok_or(Gap::NoBook)?;
        if change_set != last.wrapping_add(1) {
            self.clear();
            return Err(Gap::Jump { last, got: change_set });
        }
        self.change_set = Some(change_set);
        change(&mut self.bids, bids);
        change(&mut self.asks, asks);
        if self.bids.len() > LEVELS_MAX || self.asks.len() > LEVELS_MAX {
            self.clear();
            return Err(Gap::TooManyLevels);
        }
        Ok(())
    }

    /// Best bid and best ask, when both sides have one.
    #[must_use]
    pub fn best(&self) -> Option<(Level, Level)> {
        let (_, bid) = self.bids.last_key_value()?;
        let (_, ask) = self.asks.first_key_value()?;
        Some((*bid, *ask))
    }
}

fn change(side: &mut BTreeMap<Decimal, Level>, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Set(level) if level.1.mantissa > 0 => {
                side.insert(level.0.to_decimal(), *level);
            }
            Change::Set((price, _)) | Change::Delete(price) => {
                side.remove(&price.to_decimal());
            }
        }
    }
}
