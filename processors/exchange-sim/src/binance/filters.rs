//! Filters of a symbol: shown by `exchangeInfo`, enforced for orders.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::errors::ApiError;
use crate::config::MarketConfig;
use crate::live::Live;
use crate::orders::{Amount, Kind, New, Side};
use crate::trading::{decimal, in_units};
use crate::units::{self, fixed};

/// Open orders of one symbol.
pub(crate) const ORDERS_MAX: usize = 200;
const NOTIONAL_MAX: i64 = 9_000_000;
/// A limit price lies within these multiples of the average price.
const PRICE_UP: i64 = 5;
const PRICE_DOWN_DIVISOR: i64 = 5;

/// Bounds and steps in 10⁻⁸ units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filters {
    tick: i64,
    price_max: i64,
    lot: i64,
    quantity_max: i64,
    market_quantity_max: i64,
    notional_min: i64,
}

impl Filters {
    pub(crate) fn of(market: &MarketConfig) -> Self {
        // Checked when the configuration was read.
        let (tick, lot) = (market.tick_units().unwrap_or(1), market.lot_units().unwrap_or(1));
        Self {
            tick,
            price_max: tick.saturating_mul(100_000_000).min(100_000_000 * units::ONE),
            lot,
            quantity_max: lot.saturating_mul(900_000_000).min(90_000_000 * units::ONE),
            market_quantity_max: lot.saturating_mul(9_709_521).min(1_000_000 * units::ONE),
            notional_min: if market.quote == "TRY" { 100 * units::ONE } else { 5 * units::ONE },
        }
    }

    pub(crate) fn shown(&self) -> Value {
        json!([
            { "filterType": "PRICE_FILTER", "minPrice": fixed(self.tick), "maxPrice": fixed(self.price_max), "tickSize": fixed(self.tick) },
            { "filterType": "LOT_SIZE", "minQty": fixed(self.lot), "maxQty": fixed(self.quantity_max), "stepSize": fixed(self.lot) },
            { "filterType": "ICEBERG_PARTS", "limit": 100 },
            { "filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": fixed(self.market_quantity_max), "stepSize": "0.00000000" },
            { "filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000, "minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000 },
            { "filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2", "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5 },
            { "filterType": "NOTIONAL", "minNotional": fixed(self.notional_min), "applyMinToMarket": true, "maxNotional": fixed(NOTIONAL_MAX * units::ONE), "applyMaxToMarket": false, "avgPriceMins": 5 },
            { "filterType": "MAX_NUM_ORDERS", "maxNumOrders": ORDERS_MAX },
            { "filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5 },
        ])
    }

    /// Refuses an order that does not pass.
    pub(crate) fn check(&self, new: &New, live: &Live) -> Result<(), ApiError> {
        let average = live.candles.average_5m().filter(|price| *price > 0).or_else(|| live.last_price()).unwrap_or(0);
        let market = new.kind == Kind::Market;
        if !market {
            let price = in_units(new.price);
            if price < self.tick || price > self.price_max || price % self.tick != 0 {
                return Err(ApiError::filter("PRICE_FILTER"));
            }
            let far = price > average.saturating_mul(PRICE_UP) || price < average / PRICE_DOWN_DIVISOR;
            if average > 0 && far {
                return Err(ApiError::filter("PERCENT_PRICE_BY_SIDE"));
            }
        }
        let notional = match new.amount {
            Amount::Base(quantity) => {
                let quantity = in_units(quantity);
                if quantity < self.lot || quantity > self.quantity_max || quantity % self.lot != 0 {
                    return Err(ApiError::filter("LOT_SIZE"));
                }
                if market && quantity > self.market_quantity_max {
                    return Err(ApiError::filter("MARKET_LOT_SIZE"));
                }
                decimal(quantity) * if market { decimal(average) } else { new.price }
            }
            Amount::Quote(amount) => amount,
        };
        if notional < decimal(self.notional_min) || (!market && notional > Decimal::from(NOTIONAL_MAX)) {
            return Err(ApiError::filter("NOTIONAL"));
        }
        Ok(())
    }
}

/// Text of a side.
pub(crate) fn side_text(side: Side) -> &'static str {
    match side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    }
}
