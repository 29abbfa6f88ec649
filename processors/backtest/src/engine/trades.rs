//! The list of trades, and its hash: by it a backtest and a paper run of the same past are compared.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spark_bus_schema::Timestamp;
use spark_bus_schema::market::Side;

/// One fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// Bought or sold.
    pub side: Side,
    /// Base currency.
    pub quantity: Decimal,
    /// Quote per base.
    pub price: Decimal,
    /// Not negative.
    pub fee: Decimal,
    /// Whether the fee is of what was bought (base currency); otherwise quote currency.
    pub fee_in_base: bool,
    /// When the decision was: the candle's `closed_at`.
    pub decided_at: Timestamp,
    /// Profit of what it closed, quote currency, its fees and those of the opening taken off; none when it closed nothing.
    pub profit: Option<Decimal>,
}

/// SHA-256 over the trades of one symbol, lower-case hex. Each is one line
///
/// ```text
/// BTCUSDT buy 0.01618 61837.63 0.00001618 1723161300000000000⏎
/// ```
///
/// symbol, side (`buy` or `sell`), quantity, price, fee (decimals without trailing zeros), `decided_at` in nanoseconds (the
/// candle's `closed_at`, which the intent carries), in the order of the fills. Neither the kind of strategy nor ids are in
/// it, so a backtest's and a paper run's are equal when the same was traded. No trades: the hash of nothing.
#[must_use]
pub fn trades_hash<'a>(symbol: &str, trades: impl IntoIterator<Item = &'a Trade>) -> String {
    let mut hash = Sha256::new();
    for trade in trades {
        hash.update(line(symbol, trade.side, trade.quantity, trade.price, trade.fee, trade.decided_at));
    }
    hex::encode(hash.finalize())
}

/// One line of [`trades_hash`], for whoever has fills of the LEDGER instead of [`Trade`]s.
#[must_use]
pub fn line(symbol: &str, side: Side, quantity: Decimal, price: Decimal, fee: Decimal, decided_at: Timestamp) -> String {
    let side = match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    };
    let (quantity, price, fee) = (quantity.normalize(), price.normalize(), fee.normalize());
    format!("{symbol} {side} {quantity} {price} {fee} {}\n", decided_at.as_nanos())
}
