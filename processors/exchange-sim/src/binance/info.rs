//! `exchangeInfo` in the recorded shape.

use serde_json::{Value, json};

use super::filters::Filters;
use crate::config::MarketConfig;
use crate::live::Symbol;

/// The whole answer for these symbols.
pub(crate) fn exchange_info(
    symbols: &[std::sync::Arc<Symbol>],
    now: i64,
    weight_limit: u32,
    order_limits: [u32; 2],
    permission_sets: bool,
) -> Value {
    json!({
        "timezone": "UTC",
        "serverTime": now,
        "rateLimits": [
            { "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit },
            { "rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": order_limits[0] },
            { "rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": order_limits[1] },
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
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": false,
        "ocoAllowed": false,
        "otoAllowed": false,
        "opoAllowed": false,
        "quoteOrderQtyMarketAllowed": true,
        "allowTrailingStop": false,
        "cancelReplaceAllowed": false,
        "amendAllowed": false,
        "pegInstructionsAllowed": false,
        "isSpotTradingAllowed": true,
        "isMarginTradingAllowed": market.quote == "USDT",
        "filters": Filters::of(market).shown(),
        "permissions": [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    });
    if permission_sets {
        info["permissionSets"] = json!([["SPOT", "MARGIN"]]);
    }
    info
}
