//! What a strategy holds and has spent, from its own fills. Exact.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Instrument;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::Fill;

/// Of one strategy, on paper or live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Bought less sold, base currency, with sign.
    pub position: Decimal,
    /// Fees that were taken in base currency.
    pub base_fees: Decimal,
    /// Received less spent, quote currency, fees in it taken off.
    pub quote: Decimal,
}

impl Holding {
    /// Adds a fill. Amounts are bounded, so sums hold for longer than anybody trades; were it not so, the position becomes so
    /// large that nothing is bought any more.
    pub fn fill(&mut self, instrument: &Instrument, side: Side, fill: &Fill) {
        let amount = fill.price.checked_mul(fill.quantity).unwrap_or(Decimal::MAX);
        let (base, quote) = if side == Side::Buy { (fill.quantity, -amount) } else { (-fill.quantity, amount) };
        self.position = self.position.checked_add(base).unwrap_or(Decimal::MAX);
        self.quote = self.quote.checked_add(quote).unwrap_or(Decimal::MIN);
        if fill.fee_asset == instrument.base {
            self.base_fees = self.base_fees.checked_add(fill.fee).unwrap_or(Decimal::MAX);
        } else if fill.fee_asset == instrument.quote {
            self.quote = self.quote.checked_sub(fill.fee).unwrap_or(Decimal::MIN);
        }
    }

    /// What there is to sell, base currency.
    #[must_use]
    pub fn held(&self) -> Decimal {
        self.position.checked_sub(self.base_fees).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::{Timestamp, Venue};

    use super::*;

    #[test]
    fn cash_and_what_is_held_follow_exactly_from_the_fills_and_their_fees() {
        let instrument = Instrument { venue: Venue::Binance, symbol: "BTCUSDT".into(), base: "BTC".into(), quote: "USDT".into() };
        let mut holding = Holding::default();
        let mut fill = |side, price: &str, quantity: &str, fee: &str, asset: &str| {
            let of = |text: &str| text.parse::<Decimal>().unwrap();
            let (price, quantity, fee, fee_asset) = (of(price), of(quantity), of(fee), asset.to_owned());
            let fill = Fill { trade_id: "1".into(), price, quantity, fee, fee_asset, is_maker: false, at: Timestamp::ZERO };
            holding.fill(&instrument, side, &fill);
            (holding.held().normalize().to_string(), holding.quote.normalize().to_string())
        };
        assert_eq!(fill(Side::Buy, "100.5", "2", "0.002", "BTC"), ("1.998".into(), "-201".into()));
        assert_eq!(fill(Side::Sell, "110", "1.99", "0.2189", "USDT"), ("0.008".into(), "17.6811".into()));
        // Paid with something else: neither of them.
        assert_eq!(fill(Side::Buy, "100", "1", "0.01", "BNB"), ("1.008".into(), "-82.3189".into()));
    }
}
