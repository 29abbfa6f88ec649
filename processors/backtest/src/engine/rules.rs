//! What can decide, behind one question. Rules are generic in the loop: no bar pays for a call through a table.

use rust_decimal::Decimal;
use spark_bus_schema::market::Side;
use spark_strategy::rule::{Bar, SmaCross, Want};

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To hold it or not.
    Want(Want),
    /// An order.
    Trade(Side, Decimal),
}

/// Decides on closed bars.
pub(crate) trait Rule {
    /// Bars before it says anything.
    fn warm_after(&self) -> usize;
    /// The next bar, and what is held, base currency.
    fn on_bar(&mut self, bar: &Bar, held: Decimal) -> Option<Ask>;
}

impl Rule for SmaCross {
    fn warm_after(&self) -> usize {
        Self::warm_after(self)
    }

    #[inline]
    fn on_bar(&mut self, bar: &Bar, _: Decimal) -> Option<Ask> {
        Self::on_bar(self, bar).map(Ask::Want)
    }
}
