//! BTCTurk's answers, trimmed to what connectors use. Numbers come as strings or as numbers, whichever the day brings.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::decimal;
use crate::error::ErrorType;

/// `{"data":…,"success":true,"message":null,"code":0}`
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    pub success: bool,
    #[serde(default)]
    pub code: Option<i64>,
}

/// All pairs, each still to be read.
#[derive(Debug, Deserialize)]
pub(super) struct ExchangeInfo {
    pub symbols: Vec<Box<RawValue>>,
}

/// What a pair is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PairAssets {
    pub base: String,
    pub quote: String,
    /// Commissions are taken in the base currency.
    pub fee_in_base: bool,
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// `BTCTRY`
    pub name: String,
    /// `TRADING` …
    pub status: String,
    /// Base: `BTC`.
    pub numerator: String,
    /// Quote: `TRY`.
    pub denominator: String,
    /// Decimals of quantities.
    pub numerator_scale: u32,
    /// Decimals of prices and of amounts of quote.
    pub denominator_scale: u32,
    /// Rules.
    #[serde(default)]
    pub filters: Vec<PairFilter>,
    /// `MARKET`, `LIMIT` …
    #[serde(default)]
    pub order_methods: Vec<String>,
    /// Commissions are taken in the base currency.
    #[serde(default)]
    pub commission_from_numerator: bool,
    /// Largest quantity.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub maximum_order_amount: Option<Decimal>,
    /// Highest limit price now.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub maximum_limit_order_price: Option<Decimal>,
    /// Lowest limit price now.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub minimum_limit_order_price: Option<Decimal>,
}

/// A rule of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairFilter {
    /// `PRICE_FILTER`
    pub filter_type: String,
    /// Lowest price.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub min_price: Option<Decimal>,
    /// Highest price.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub max_price: Option<Decimal>,
    /// Prices are multiples of it.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub tick_size: Option<Decimal>,
    /// Smallest price × quantity.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub min_exchange_value: Option<Decimal>,
    /// Smallest quantity.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub min_amount: Option<Decimal>,
    /// Largest quantity.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub max_amount: Option<Decimal>,
}

/// `{"serverTime":1790133600027,…}`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerTime {
    #[serde(deserialize_with = "decimal::integer")]
    pub server_time: i64,
}

/// A decimal `>= 0` inside a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Loose(Decimal);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decimal::non_negative(deserializer).map(Self)
    }
}

/// Last, best bid and best ask of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticker {
    /// `BTCTRY`
    pub pair: String,
    /// What is traded: `BTC`. Old editions of the answer lack it.
    #[serde(default)]
    pub numerator_symbol: Option<String>,
    /// What it is priced in: `TRY`.
    #[serde(default)]
    pub denominator_symbol: Option<String>,
    /// `BTC_TRY`
    #[serde(default)]
    pub pair_normalized: Option<String>,
    /// Exchange time, ms.
    #[serde(deserialize_with = "decimal::integer")]
    pub timestamp: i64,
    /// Last price.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub last: Decimal,
    /// Best bid, where there is one.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub bid: Option<Decimal>,
    /// Best ask, where there is one.
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    pub ask: Option<Decimal>,
}

impl Ticker {
    /// Base and quote (`BTC`, `TRY`), from the fields that name them or else from the normalized pair.
    #[must_use]
    pub fn assets(&self) -> Option<(&str, &str)> {
        match (&self.numerator_symbol, &self.denominator_symbol) {
            (Some(base), Some(quote)) => Some((base, quote)),
            _ => self.pair_normalized.as_deref()?.split_once('_'),
        }
    }
}

/// One trade.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Trade {
    /// `BTCTRY`
    pub pair: String,
    /// Exchange time, ms.
    #[serde(deserialize_with = "decimal::integer")]
    pub date: i64,
    /// Id: a count of 100 ns ticks, above 2^53. Neither consecutive nor promised to be unique.
    #[serde(deserialize_with = "decimal::integer")]
    pub tid: i64,
    /// Quote units per base unit.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub price: Decimal,
    /// Base units.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub amount: Decimal,
    /// `buy` or `sell`: what the aggressor did.
    pub side: String,
}

/// Price and amount of one level.
pub type Level = (Decimal, Decimal);

/// A book: levels as (price, amount), best first. It has no sequence number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OrderBook {
    /// Exchange time, ms.
    #[serde(deserialize_with = "decimal::integer")]
    pub timestamp: i64,
    /// Best first: falling prices.
    #[serde(deserialize_with = "levels")]
    pub bids: Vec<Level>,
    /// Best first: rising prices.
    #[serde(deserialize_with = "levels")]
    pub asks: Vec<Level>,
}

fn levels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Level>, D::Error> {
    let rows = Vec::<(Loose, Loose)>::deserialize(deserializer)?;
    Ok(rows.into_iter().map(|(price, amount)| (price.0, amount.0)).collect())
}

/// One asset of the account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Balance {
    /// `TRY`, `BTC` …
    pub asset: String,
    /// Free to use.
    #[serde(deserialize_with = "decimal::non_negative_or_comma")]
    pub free: Decimal,
    /// In open orders and pending withdrawals.
    #[serde(deserialize_with = "decimal::non_negative_or_comma")]
    pub locked: Decimal,
}

/// One candle.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Candle {
    /// When it opened, **seconds**.
    #[serde(deserialize_with = "decimal::integer")]
    pub time: i64,
    /// First price.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub open: Decimal,
    /// Highest price.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub high: Decimal,
    /// Lowest price.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub low: Decimal,
    /// Last price.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub close: Decimal,
    /// Base units traded.
    #[serde(deserialize_with = "decimal::non_negative")]
    pub volume: Decimal,
}

/// `{"s":"ok","t":[seconds],"o":[],"h":[],"l":[],"c":[],"v":[]}`
#[derive(Debug, Deserialize)]
pub(super) struct CandleColumns {
    s: String,
    #[serde(default)]
    t: Vec<i64>,
    #[serde(default)]
    o: Vec<Loose>,
    #[serde(default)]
    h: Vec<Loose>,
    #[serde(default)]
    l: Vec<Loose>,
    #[serde(default)]
    c: Vec<Loose>,
    #[serde(default)]
    v: Vec<Loose>,
}

impl CandleColumns {
    /// Columns turned into rows, or why they cannot be.
    pub fn rows(self) -> Result<Vec<Candle>, (ErrorType, String)> {
        match self.s.as_str() {
            "ok" => {}
            "no_data" => return Ok(Vec::new()),
            other => return Err((ErrorType::Server, format!("candles: status {:?}", crate::error::shorten(other)))),
        }
        let rows = self.t.len();
        let lengths = [self.o.len(), self.h.len(), self.l.len(), self.c.len(), self.v.len()];
        if lengths.iter().any(|&length| length != rows) {
            return Err((ErrorType::Parse, format!("candles: {rows} times but columns of {lengths:?}")));
        }
        let row = |index: usize| Candle {
            time: self.t[index],
            open: self.o[index].0,
            high: self.h[index].0,
            low: self.l[index].0,
            close: self.c[index].0,
            volume: self.v[index].0,
        };
        Ok((0..rows).map(row).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickers_of_every_edition_are_read_exactly() {
        let check = |json: &str, last: &str, assets: Option<(&str, &str)>| {
            let ticker: Ticker = serde_json::from_str(json).unwrap();
            assert_eq!((ticker.last.to_string().as_str(), ticker.assets()), (last, assets), "{json}");
        };
        check(
            r#"{"pair":"BTCTRY","pairNormalized":"BTC_TRY","timestamp":1585634249342.0,"last":42101.0,"bid":42100.5,"ask":null}"#,
            "42101",
            Some(("BTC", "TRY")),
        );
        check(
            r#"{"pair":"USDTTRY","timestamp":1,"last":"41.523","numeratorSymbol":"USDT","denominatorSymbol":"TRY","order":1}"#,
            "41.523",
            Some(("USDT", "TRY")),
        );
        check(r#"{"pair":"X","timestamp":1,"last":0}"#, "0", None);
    }

    #[test]
    fn balances_books_and_trades_are_read_whatever_dress_their_numbers_wear() {
        let balance: Balance = serde_json::from_str(
            r#"{"asset":"TRY","assetname":"Türk Lirası","balance":"10","locked":"0,25","free":"9,7502186644553258","precision":2}"#,
        )
        .unwrap();
        assert_eq!((balance.free.to_string().as_str(), balance.locked.to_string().as_str()), ("9.7502186644553258", "0.25"));

        let book: OrderBook =
            serde_json::from_str(r#"{"timestamp":1.0,"bids":[["5168031","0.00795068"],[1,2]],"asks":[]}"#).unwrap();
        assert_eq!(book.bids[0].1.to_string(), "0.00795068");
        assert!(serde_json::from_str::<OrderBook>(r#"{"timestamp":1,"bids":[["NaN","1"]],"asks":[]}"#).is_err());

        let trade: Trade = serde_json::from_str(
            r#"{"pair":"BTCTRY","date":1700000000000,"tid":"638900000000000001","price":"1.5","amount":"2","side":"buy"}"#,
        )
        .unwrap();
        assert_eq!(trade.tid, 638_900_000_000_000_001);
    }

    #[test]
    fn candle_columns_must_have_one_length() {
        let rows = |json: &str| serde_json::from_str::<CandleColumns>(json).unwrap().rows();
        let good = rows(r#"{"s":"ok","t":[60,120],"o":[1,"2"],"h":[3,3],"l":[1,1],"c":[2,2.5],"v":[0,1e-8]}"#).unwrap();
        assert_eq!((good.len(), good[1].time, good[1].volume.to_string().as_str()), (2, 120, "0.00000001"));
        assert_eq!(rows(r#"{"s":"no_data"}"#), Ok(vec![]));
        assert_eq!(rows(r#"{"s":"error"}"#).unwrap_err().0, ErrorType::Server);
        assert_eq!(rows(r#"{"s":"ok","t":[1],"o":[],"h":[1],"l":[1],"c":[1],"v":[1]}"#).unwrap_err().0, ErrorType::Parse);
    }
}
