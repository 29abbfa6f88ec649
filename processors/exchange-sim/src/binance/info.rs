//! `exchangeInfo` in the recorded shape.

use serde_json::{Value, json};

use crate::config::MarketConfig;
use crate::live::Symbol;
use crate::units::{self, fixed};

/// The whole answer for these symbols.
pub(crate) fn exchange_info(symbols: &[std::sync::Arc<Symbol>], now: i64, weight_limit: u32, permission_sets: bool) -> Value {
    json!({
        "timezone": "UTC",
        "serverTime": now,
        "rateLimits": [
            { "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit },
            { "rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100 },
            { "rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000 },
            { "rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000 },
        ],
        "exchangeFilters": [],
        "symbols": symbols.iter().map(|symbol| symbol_info(&symbol.config, permission_sets)).collect::<Vec<_>>(),
    })
}

fn symbol_info(market: &MarketConfig, permission_sets: bool) -> Value {
    let mut info = json!({
        "symbol": market.symbol,
        "status": "TRADING",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": true,
        "ocoAllowed": true,
        "otoAllowed": true,
        "opoAllowed": true,
        "quoteOrderQtyMarketAllowed": true,
        "allowTrailingStop": true,
        "cancelReplaceAllowed": true,
        "amendAllowed": true,
        "pegInstructionsAllowed": true,
        "isSpotTradingAllowed": true,
        "isMarginTradingAllowed": market.quote == "USDT",
        "filters": filters(market),
        "permissions": [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    });
    if permission_sets {
        info["permissionSets"] = json!([["SPOT", "MARGIN"]]);
    }
    info
}

fn filters(market: &MarketConfig) -> Value {
    // Checked when the configuration was read.
    let (tick, lot) = (market.tick_units().unwrap_or(1), market.lot_units().unwrap_or(1));
    let minimum = if market.quote == "TRY" { "100.00000000" } else { "5.00000000" };
    json!([
        { "filterType": "PRICE_FILTER", "minPrice": fixed(tick), "maxPrice": fixed(tick.saturating_mul(100_000_000).min(100_000_000 * units::ONE)), "tickSize": fixed(tick) },
        { "filterType": "LOT_SIZE", "minQty": fixed(lot), "maxQty": fixed(lot.saturating_mul(900_000_000).min(90_000_000 * units::ONE)), "stepSize": fixed(lot) },
        { "filterType": "ICEBERG_PARTS", "limit": 100 },
        { "filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": fixed(lot.saturating_mul(9_709_521).min(1_000_000 * units::ONE)), "stepSize": "0.00000000" },
        { "filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000, "minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000 },
        { "filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2", "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5 },
        { "filterType": "NOTIONAL", "minNotional": minimum, "applyMinToMarket": true, "maxNotional": "9000000.00000000", "applyMaxToMarket": false, "avgPriceMins": 5 },
        { "filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200 },
        { "filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5 },
    ])
}
