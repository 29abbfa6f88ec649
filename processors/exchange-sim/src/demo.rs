//! The demo: markets of both exchanges and one account at each, opened by a key that cannot trade and by one that can.

use rust_decimal::Decimal;

use crate::config::{AccountConfig, ApiKey, AssetConfig, Holding, MarketConfig, Venue};

/// Key of the demo account at the simulated Binance. Cannot trade.
pub const DEMO_BINANCE_KEY: &str = "demoBinanceKeyReadOnly0000000000000000000000000000000000000000AA";
/// Its secret: not a secret, it opens nothing but the simulator.
pub const DEMO_BINANCE_SECRET: &str = "demoBinanceSecretReadOnly00000000000000000000000000000000000000A";
/// Key of the demo account at the simulated BTCTurk. Cannot trade.
pub const DEMO_BTCTURK_KEY: &str = "00000000-dead-4bee-8fee-demo00000001";
/// Its secret, base64 as BTCTurk gives them out: not a secret, it opens nothing but the simulator.
pub const DEMO_BTCTURK_SECRET: &str = "ZGVtby1idGN0dXJrLXNlY3JldC1yZWFkLW9ubHktMDE=";

/// Key of the demo account at the simulated Binance that may trade.
pub const DEMO_BINANCE_TRADE_KEY: &str = "demoBinanceKeyTrading00000000000000000000000000000000000000000AA";
/// Its secret: not a secret, it opens nothing but the simulator.
pub const DEMO_BINANCE_TRADE_SECRET: &str = "demoBinanceSecretTrading000000000000000000000000000000000000000A";
/// Key of the demo account at the simulated BTCTurk that may trade.
pub const DEMO_BTCTURK_TRADE_KEY: &str = "00000000-dead-4bee-8fee-demo00000002";
/// Its secret, base64 as BTCTurk gives them out: not a secret, it opens nothing but the simulator.
pub const DEMO_BTCTURK_TRADE_SECRET: &str = "ZGVtby1idGN0dXJrLXNlY3JldC10cmFkaW5nLTAwMDI=";

/// Bearer key of the simulated vendor of Borsa Istanbul's prices: not a secret, it opens nothing but the simulator.
pub const DEMO_BIST_TOKEN: &str = "demo-bist-token-read-only";

/// Assets in August 2024, when the recording beside the tests was made.
pub(crate) fn assets() -> Vec<AssetConfig> {
    [
        ("USDT", 1.0, 0.0, 0.002),
        ("BTC", 61_700.0, 1.0, 0.12),
        ("ETH", 2_680.0, 1.25, 0.25),
        ("BNB", 515.0, 0.9, 0.25),
        ("SOL", 160.0, 1.5, 0.4),
        ("XRP", 0.61, 1.1, 0.35),
        ("TRY", 0.029_76, 0.0, 0.05),
    ]
    .map(|(asset, usd, beta, volatility)| AssetConfig { asset: asset.to_owned(), usd, beta, volatility })
    .to_vec()
}

/// Markets with the exchanges' own ticks and lots.
pub(crate) fn markets() -> Vec<MarketConfig> {
    use Venue::{Binance, Btcturk};
    // Ticks and lots are the exchanges'; tick and lot in units of 10^-8 to stay exact.
    let market = |venue, base: &str, quote: &str, tick: i64, lot: i64, spread_bps, orders_per_s, order_quote| MarketConfig {
        venue,
        symbol: format!("{base}{quote}"),
        base: base.to_owned(),
        quote: quote.to_owned(),
        tick: Decimal::new(tick, 8).normalize(),
        lot: Decimal::new(lot, 8).normalize(),
        spread_bps,
        orders_per_s,
        order_quote,
    };
    vec![
        market(Binance, "BTC", "USDT", 1_000_000, 1_000, 0.001, 8.0, 1_500.0),
        market(Binance, "ETH", "USDT", 1_000_000, 10_000, 0.03, 6.0, 900.0),
        market(Binance, "BNB", "USDT", 1_000_000, 100_000, 0.2, 2.0, 400.0),
        market(Binance, "SOL", "USDT", 1_000_000, 100_000, 0.6, 3.0, 500.0),
        market(Binance, "XRP", "USDT", 10_000, 10_000_000, 1.6, 2.0, 400.0),
        market(Binance, "USDT", "TRY", 1_000_000, 100_000_000, 3.0, 1.0, 30_000.0),
        market(Binance, "BTC", "TRY", 100_000_000, 1_000, 1.5, 0.6, 25_000.0),
        market(Btcturk, "BTC", "TRY", 100_000_000, 1, 6.0, 1.2, 20_000.0),
        market(Btcturk, "ETH", "TRY", 100_000_000, 1, 8.0, 0.7, 12_000.0),
        market(Btcturk, "USDT", "TRY", 100_000, 1_000_000, 2.0, 1.5, 25_000.0),
        market(Btcturk, "BTC", "USDT", 100_000_000, 1, 3.0, 0.5, 600.0),
    ]
}

fn account(keys: [(&str, &str, bool); 2], balances: &[(&str, i64, u32, i64, u32)]) -> AccountConfig {
    let holding = |(asset, free, free_scale, locked, locked_scale): &(&str, i64, u32, i64, u32)| {
        ((*asset).to_owned(), Holding { free: Decimal::new(*free, *free_scale), locked: Decimal::new(*locked, *locked_scale) })
    };
    AccountConfig {
        keys: keys.map(|(key, secret, can_trade)| ApiKey { key: key.to_owned(), secret: secret.into(), can_trade }).to_vec(),
        balances: balances.iter().map(holding).collect(),
    }
}

/// The demo account at Binance.
pub(crate) fn binance() -> AccountConfig {
    account(
        [(DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET, false), (DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET, true)],
        &[
            ("BTC", 42_183_500, 8, 1_500_000, 8),
            ("ETH", 61_204, 4, 0, 0),
            ("BNB", 12_405, 3, 0, 0),
            ("SOL", 85_120, 3, 0, 0),
            ("XRP", 42_000, 1, 0, 0),
            ("USDT", 1_845_277, 2, 92_550, 2),
        ],
    )
}

/// The demo account at BTCTurk.
pub(crate) fn btcturk() -> AccountConfig {
    account(
        [(DEMO_BTCTURK_KEY, DEMO_BTCTURK_SECRET, false), (DEMO_BTCTURK_TRADE_KEY, DEMO_BTCTURK_TRADE_SECRET, true)],
        &[
            ("BTC", 1_502_240_011, 10, 0, 0),
            ("ETH", 220_000_000, 8, 10_000_000, 8),
            ("TRY", 8_421_577, 2, 1_250_000, 2),
            ("USDT", 5_230_118, 3, 0, 0),
        ],
    )
}
