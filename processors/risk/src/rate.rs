//! How many orders a strategy has asked for lately.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;

/// Orders are counted over this long, seconds.
pub const WINDOW_S: i64 = 60;

/// Counts by the second, so memory is bounded whatever the rate. The oldest second counts whole: an order is counted for
/// 60 to 61 seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    cells: VecDeque<(i64, u32)>,
}

impl Rate {
    /// Counts one order; how many there are now, this one included.
    pub fn count(&mut self, at: Timestamp) -> u32 {
        let second = at.as_millis().div_euclid(1_000);
        while self.cells.front().is_some_and(|(oldest, _)| *oldest < second - WINDOW_S) {
            self.cells.pop_front();
        }
        match self.cells.back_mut() {
            Some((newest, count)) if *newest == second => *count = count.saturating_add(1),
            _ => self.cells.push_back((second, 1)),
        }
        self.cells.iter().fold(0, |sum: u32, (_, count)| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_forgotten_after_a_minute() {
        let mut rate = Rate::default();
        let mut check = |ms: i64, want: u32| assert_eq!(rate.count(Timestamp::from_millis(ms)), want, "{ms}");
        check(0, 1);
        check(999, 2);
        check(1_000, 3);
        check(60_000, 4);
        check(60_999, 5);
        check(61_000, 4);
        check(200_000, 1);
    }
}
