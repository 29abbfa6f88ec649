//! Binance's answers, trimmed to what connectors use. Unknown fields are ignored: Binance adds some every few months.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::decimal;

/// `{"code":-1121,"msg":"Invalid symbol."}`
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub code: i64,
    #[serde(default)]
    pub msg: String,
}

/// `{"serverTime":1499827319559}`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerTime {
    pub server_time: i64,
}

/// One asset of the account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Balance {
    /// `BTC`, `USDT` …
    pub asset: String,
    /// Free to use.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub free: Decimal,
    /// In open orders.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub locked: Decimal,
}

/// The account's balances and state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Whether the account may trade. Says nothing about the key, see [`ApiRestrictions`].
    pub can_trade: bool,
    /// Whether the account may withdraw.
    #[serde(default)]
    pub can_withdraw: bool,
    /// `SPOT` …
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Balances; all of them where the address ignores `omitZeroBalances`.
    pub balances: Vec<Balance>,
}

/// What a key may do. A permission that this build does not know stays unseen; the two that move money are mandatory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiRestrictions {
    /// May read.
    pub enable_reading: bool,
    /// May trade spot and margin.
    pub enable_spot_and_margin_trading: bool,
    /// May withdraw.
    pub enable_withdrawals: bool,
    /// May move funds between own accounts.
    #[serde(default)]
    pub permits_universal_transfer: bool,
    /// May move funds to sub-accounts and the like.
    #[serde(default)]
    pub enable_internal_transfer: bool,
    /// May borrow.
    #[serde(default)]
    pub enable_margin: bool,
    /// May trade futures.
    #[serde(default)]
    pub enable_futures: bool,
    /// May trade options.
    #[serde(default)]
    pub enable_vanilla_options: bool,
    /// May trade in a portfolio margin account.
    #[serde(default)]
    pub enable_portfolio_margin_trading: bool,
    /// May trade over FIX.
    #[serde(default)]
    pub enable_fix_api_trade: bool,
}

impl ApiRestrictions {
    /// The names, as Binance spells them, of what a key for reading must not have.
    #[must_use]
    pub fn beyond_reading(&self) -> Vec<&'static str> {
        [
            (self.enable_spot_and_margin_trading, "enableSpotAndMarginTrading"),
            (self.enable_withdrawals, "enableWithdrawals"),
            (self.permits_universal_transfer, "permitsUniversalTransfer"),
            (self.enable_internal_transfer, "enableInternalTransfer"),
            (self.enable_margin, "enableMargin"),
            (self.enable_futures, "enableFutures"),
            (self.enable_vanilla_options, "enableVanillaOptions"),
            (self.enable_portfolio_margin_trading, "enablePortfolioMarginTrading"),
            (self.enable_fix_api_trade, "enableFixApiTrade"),
        ]
        .into_iter()
        .filter_map(|(enabled, name)| enabled.then_some(name))
        .collect()
    }
}

/// Last price of one symbol.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TickerPrice {
    /// `BTCUSDT`
    pub symbol: String,
    /// Quote units per base unit.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub price: Decimal,
}

/// Best bid and ask of one symbol. Zero where a side is empty.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BookTicker {
    /// `BTCUSDT`
    pub symbol: String,
    /// Best bid.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub bid_price: Decimal,
    /// Base units bid there.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub bid_qty: Decimal,
    /// Best ask.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub ask_price: Decimal,
    /// Base units asked there.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub ask_qty: Decimal,
}

/// One trade.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trade {
    /// Consecutive per symbol.
    pub id: u64,
    /// Quote units per base unit.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub price: Decimal,
    /// Base units.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub qty: Decimal,
    /// Exchange time, ms.
    pub time: i64,
    /// True when the aggressor **sold**.
    pub is_buyer_maker: bool,
}

/// One candle, as Binance orders its columns.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "KlineRow")]
pub struct Kline {
    /// First millisecond.
    pub open_time: i64,
    /// First price.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// Base units traded.
    pub volume: Decimal,
    /// Last millisecond: next open time − 1.
    pub close_time: i64,
    /// Quote units traded.
    pub quote_volume: Decimal,
    /// Trades.
    pub trades: u64,
    /// Base units bought by aggressors.
    pub taker_buy_base: Decimal,
    /// Quote units paid by buying aggressors.
    pub taker_buy_quote: Decimal,
}

#[derive(Deserialize)]
struct KlineRow(
    i64,
    #[serde(deserialize_with = "decimal::non_negative")] Decimal,
    #[serde(deserialize_with = "decimal::non_negative")] Decimal,
    #[serde(deserialize_with = "decimal::non_negative")] Decimal,
    #[serde(deserialize_with = "decimal::non_negative")] Decimal,
    #[serde(deserialize_with = "decimal::non_negative")] Decimal,
    i64,
    #[serde(deserialize_with = "decimal::non_negative")] Decimal,
    u64,
    #[serde(deserialize_with = "decimal::non_negative")] Decimal,
    #[serde(deserialize_with = "decimal::non_negative")] Decimal,
    serde::de::IgnoredAny,
);

impl From<KlineRow> for Kline {
    fn from(row: KlineRow) -> Self {
        Self {
            open_time: row.0,
            open: row.1,
            high: row.2,
            low: row.3,
            close: row.4,
            volume: row.5,
            close_time: row.6,
            quote_volume: row.7,
            trades: row.8,
            taker_buy_base: row.9,
            taker_buy_quote: row.10,
        }
    }
}

/// What is traded, and how finely.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeInfo {
    /// Exchange time, ms.
    pub server_time: i64,
    /// The symbols asked for.
    pub symbols: Vec<Symbol>,
}

/// One symbol.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Symbol {
    /// `BTCUSDT`
    pub symbol: String,
    /// `TRADING`, `HALT`, `BREAK` …
    pub status: String,
    /// `BTC`
    pub base_asset: String,
    /// `USDT`
    pub quote_asset: String,
    /// `LIMIT`, `MARKET` … Empty in old editions of the answer.
    #[serde(default)]
    pub order_types: Vec<String>,
    /// Decimals of quote amounts.
    #[serde(default)]
    pub quote_asset_precision: Option<u32>,
    /// Trading rules, by type; kept as they come.
    #[serde(default)]
    pub filters: Vec<Filter>,
}

/// One trading rule; which decimals it has depends on its type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// `PRICE_FILTER`, `LOT_SIZE`, `NOTIONAL` …
    pub filter_type: String,
    /// Of `PRICE_FILTER`: prices are multiples of it; 0 is no rule.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub tick_size: Option<Decimal>,
    /// Of `PRICE_FILTER`: lowest price; 0 is no rule.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub min_price: Option<Decimal>,
    /// Of `PRICE_FILTER`: highest price; 0 is no rule.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub max_price: Option<Decimal>,
    /// Of `LOT_SIZE` and `MARKET_LOT_SIZE`: quantities are multiples of it; 0 is no rule.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub step_size: Option<Decimal>,
    /// Smallest quantity.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub min_qty: Option<Decimal>,
    /// Largest quantity.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub max_qty: Option<Decimal>,
    /// Of `NOTIONAL` and `MIN_NOTIONAL`: smallest price × quantity.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub min_notional: Option<Decimal>,
    /// Largest price × quantity.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub max_notional: Option<Decimal>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_answers_are_read() {
        let account: Account = serde_json::from_str(
            r#"{"makerCommission":15,"commissionRates":{"maker":"0.00150000"},"canTrade":true,"canWithdraw":true,
                "accountType":"SPOT","balances":[{"asset":"BTC","free":"1.00000000","locked":"0.00000000"}],
                "permissions":["SPOT"],"uid":354937868}"#,
        )
        .unwrap();
        assert!(account.can_trade);
        assert_eq!(account.balances[0].free, Decimal::ONE);

        let klines: Vec<Kline> = serde_json::from_str(
            r#"[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,
                "2434.19055334",308,"1756.87402397","28.46694368","0"]]"#,
        )
        .unwrap();
        assert_eq!((klines[0].trades, klines[0].close.to_string().as_str()), (308, "0.015771"));

        let trades: Vec<Trade> = serde_json::from_str(
            r#"[{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,
                "isBuyerMaker":true,"isBestMatch":true}]"#,
        )
        .unwrap();
        assert_eq!((trades[0].id, trades[0].is_buyer_maker), (28_457, true));

        let info: ExchangeInfo = serde_json::from_str(
            r#"{"timezone":"UTC","serverTime":1565246363776,"symbols":[{"symbol":"ETHBTC","status":"TRADING","baseAsset":"ETH",
                "quoteAsset":"BTC","filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01","maxPrice":"1","tickSize":"0.01000000"},
                {"filterType":"MAX_NUM_ORDERS","maxNumOrders":200}]}]}"#,
        )
        .unwrap();
        assert_eq!(info.symbols[0].filters[0].tick_size.unwrap().to_string(), "0.01");
        assert_eq!(info.symbols[0].filters[1].tick_size, None);
    }

    #[test]
    fn impossible_values_are_refused() {
        let check = |json: &str| assert!(serde_json::from_str::<Balance>(json).is_err(), "{json}");
        check(r#"{"asset":"BTC","free":"NaN","locked":"0"}"#);
        check(r#"{"asset":"BTC","free":"-1","locked":"0"}"#);
        check(r#"{"asset":"BTC","free":"1"}"#);
        check(r#"{"asset":"BTC","free":"1,5","locked":"0"}"#);
    }

    #[test]
    fn a_key_that_may_do_more_than_read_is_named_by_its_permissions() {
        let read = |json: &str| serde_json::from_str::<ApiRestrictions>(json);
        let reading = r#"{"ipRestrict":false,"createTime":1,"enableReading":true,"enableSpotAndMarginTrading":false,"enableWithdrawals":false}"#;
        assert_eq!(read(reading).unwrap().beyond_reading(), Vec::<&str>::new());
        let trading = reading.replace(r#"Trading":false"#, r#"Trading":true"#);
        assert_eq!(read(&trading).unwrap().beyond_reading(), ["enableSpotAndMarginTrading"]);
        assert!(read(r#"{"enableReading":true}"#).is_err(), "an answer that does not say is not a yes");
    }
}
