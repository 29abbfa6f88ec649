//! What the rules of a symbol allow.

use rust_decimal::Decimal;

/// The rules of one symbol at one exchange. `None` is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filters {
    /// Spark's spelling.
    pub symbol: String,
    /// What is bought and sold.
    pub base: String,
    /// What it is priced in.
    pub quote: String,
    /// Whether the exchange takes orders for it now.
    pub trading: bool,
    /// Whether it takes market orders.
    pub market_orders: bool,
    /// Prices are multiples of it.
    pub tick: Option<Decimal>,
    /// Lowest price.
    pub min_price: Option<Decimal>,
    /// Highest price.
    pub max_price: Option<Decimal>,
    /// Quantities are multiples of it.
    pub step: Option<Decimal>,
    /// Smallest quantity.
    pub min_quantity: Option<Decimal>,
    /// Largest quantity.
    pub max_quantity: Option<Decimal>,
    /// Market orders alone: quantities are multiples of it as well.
    pub market_step: Option<Decimal>,
    /// Market orders alone: smallest quantity.
    pub market_min_quantity: Option<Decimal>,
    /// Market orders alone: largest quantity.
    pub market_max_quantity: Option<Decimal>,
    /// Smallest price × quantity.
    pub min_notional: Option<Decimal>,
    /// Largest price × quantity.
    pub max_notional: Option<Decimal>,
    /// Amounts of quote currency (BTCTurk market buys) are multiples of it.
    pub quote_step: Option<Decimal>,
}

/// The smallest amount of `scale` decimals; none when no exact decimal has as many.
pub(super) fn step_of_scale(scale: u32) -> Option<Decimal> {
    (scale <= Decimal::MAX_SCALE).then(|| Decimal::new(1, scale))
}
