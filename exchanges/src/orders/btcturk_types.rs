//! BTCTurk's words for orders and trades.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::market::Side;

use super::{AccountFill, FillReport, OrderReport, ReportState};
use crate::btcturk::PairAssets;
use crate::decimal;

/// What is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderBody<'a> {
    pub quantity: String,
    pub price: String,
    pub stop_price: &'static str,
    pub new_order_client_id: &'a str,
    pub order_method: &'static str,
    pub order_type: &'static str,
    pub pair_symbol: &'a str,
}

/// The answer to a submit: neither state nor trades.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Submitted {
    #[serde(deserialize_with = "decimal::integer")]
    pub id: i64,
    #[serde(deserialize_with = "decimal::integer")]
    pub datetime: i64,
    #[serde(default)]
    pub new_order_client_id: Option<String>,
}

/// Open orders.
#[derive(Debug, Deserialize)]
pub(super) struct OpenOrders {
    pub asks: Vec<OrderRow>,
    pub bids: Vec<OrderRow>,
}

/// An order.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderRow {
    #[serde(deserialize_with = "decimal::integer")]
    pub id: i64,
    /// The same as `quantity`; old editions of the answer lack one of them.
    #[serde(default, deserialize_with = "some")]
    amount: Option<Decimal>,
    #[serde(default, deserialize_with = "some")]
    quantity: Option<Decimal>,
    #[serde(deserialize_with = "decimal::any")]
    left_amount: Decimal,
    #[serde(alias = "pairsymbol")]
    pair_symbol: String,
    #[serde(rename = "type")]
    side: String,
    method: String,
    #[serde(default)]
    pub order_client_id: Option<String>,
    #[serde(deserialize_with = "decimal::integer")]
    time: i64,
    #[serde(default, deserialize_with = "decimal::non_negative_option")]
    update_time: Option<Decimal>,
    status: String,
}

/// An order whose words were understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub report: OrderReport,
    /// Ordered by an amount of the quote currency, of which so much is spent: `report.executed` follows from its trades alone.
    pub by_quote: Option<Decimal>,
}

impl OrderRow {
    /// As a report without trades.
    ///
    /// # Errors
    /// A word that is not known, or amounts that cannot be.
    pub fn known(self) -> Result<Known, String> {
        let side = side(&self.side)?;
        let amount = self.amount.or(self.quantity).ok_or_else(|| format!("order {}: no amount", self.id))?.abs();
        let left = self.left_amount.abs();
        let done = amount
            .checked_sub(left)
            .map(|done| done.normalize())
            .filter(|done| !done.is_sign_negative())
            .ok_or_else(|| format!("order {}: {left} are left of {amount}", self.id))?;
        let by_quote = (side == Side::Buy && self.method.eq_ignore_ascii_case("market")).then_some(done);
        let executed = if by_quote.is_some() { Decimal::ZERO } else { done };
        let state = match self.status.to_ascii_lowercase().as_str() {
            "untouched" => ReportState::Open,
            "partial" => ReportState::PartiallyFilled,
            // A market buy by amount leaves what is less than the smallest quantity.
            "closed" if left.is_zero() || by_quote.is_some() => ReportState::Filled,
            "closed" => ReportState::Expired,
            "canceled" | "cancelled" => ReportState::Cancelled,
            other => return Err(format!("order {}: unknown status `{other:.32}`", self.id)),
        };
        let updated = self.update_time.and_then(|at| i64::try_from(at.trunc()).ok()).filter(|at| *at > 0);
        Ok(Known {
            report: OrderReport {
                exchange_order_id: self.id.to_string(),
                client_order_id: self.order_client_id.unwrap_or_default(),
                symbol: self.pair_symbol.replace('_', "").to_ascii_uppercase(),
                side,
                state,
                quantity: if by_quote.is_some() { Decimal::ZERO } else { amount },
                executed,
                quote_executed: by_quote,
                fills: Vec::new(),
                fills_complete: done.is_zero(),
                at_ms: updated.unwrap_or(self.time),
                reason: None,
            },
            by_quote,
        })
    }
}

/// `buy`, `Buy`, `0`; `sell`, `Sell`, `1`.
pub(super) fn side(word: &str) -> Result<Side, String> {
    match word.to_ascii_lowercase().as_str() {
        "buy" | "0" => Ok(Side::Buy),
        "sell" | "1" => Ok(Side::Sell),
        other => Err(format!("unknown side `{other:.32}`")),
    }
}

/// A trade of the account, in the list and (with the same names) in frame 423.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TradeRow {
    #[serde(deserialize_with = "decimal::integer")]
    id: i64,
    #[serde(deserialize_with = "decimal::integer")]
    pub order_id: i64,
    #[serde(default)]
    order_client_id: Option<String>,
    #[serde(deserialize_with = "decimal::integer")]
    timestamp: i64,
    numerator_symbol: String,
    denominator_symbol: String,
    order_type: serde_json::Value,
    #[serde(deserialize_with = "decimal::non_negative")]
    price: Decimal,
    #[serde(deserialize_with = "decimal::any")]
    amount: Decimal,
    #[serde(default, deserialize_with = "some")]
    precise_amount: Option<Decimal>,
    #[serde(deserialize_with = "decimal::any")]
    fee: Decimal,
    #[serde(default, deserialize_with = "some")]
    tax: Option<Decimal>,
}

fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
    let text = raw.get().trim().trim_matches('"');
    if text == "null" || text.is_empty() {
        return Ok(None);
    }
    decimal::parse(text).map(Some).map_err(serde::de::Error::custom)
}

impl TradeRow {
    /// Its id.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// When it was, ms.
    pub fn at_ms(&self) -> i64 {
        self.timestamp
    }

    /// Base and quote.
    pub fn assets(&self) -> (String, String) {
        (self.numerator_symbol.to_ascii_uppercase(), self.denominator_symbol.to_ascii_uppercase())
    }

    /// Whether it is of this pair.
    pub fn is_of(&self, pair: &PairAssets) -> bool {
        self.numerator_symbol.eq_ignore_ascii_case(&pair.base) && self.denominator_symbol.eq_ignore_ascii_case(&pair.quote)
    }

    /// As a fill; sells come with negative amounts, fees and taxes with a minus.
    ///
    /// # Errors
    /// A side that is not known, or a fee that cannot be added up.
    pub fn fill(self, fee_in_base: bool) -> Result<AccountFill, String> {
        let side = match &self.order_type {
            serde_json::Value::String(word) => side(word)?,
            serde_json::Value::Number(number) => side(&number.to_string())?,
            _ => return Err(format!("trade {}: no side", self.id)),
        };
        let tax = self.tax.unwrap_or_default().abs();
        let fee = self.fee.abs().checked_add(tax).ok_or_else(|| format!("trade {}: fee and tax are too large", self.id))?;
        let (base, quote) = self.assets();
        // The precise amount has the digits that the other one is rounded to.
        let quantity = self.precise_amount.filter(|amount| !amount.is_zero()).unwrap_or(self.amount).abs();
        if quantity.is_zero() {
            return Err(format!("trade {}: of nothing", self.id));
        }
        Ok(AccountFill {
            symbol: format!("{base}{quote}"),
            exchange_order_id: self.order_id.to_string(),
            client_order_id: self.order_client_id.filter(|id| !id.is_empty()),
            side,
            fill: FillReport {
                trade_id: self.id.to_string(),
                price: self.price,
                quantity,
                fee,
                fee_asset: if fee_in_base { base } else { quote },
                is_maker: None,
                at_ms: self.timestamp,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r#"{"id":9932534,"price":"20000.00","amount":"0.001","stopPrice":"0.00","pairSymbol":"BTCTRY",
        "pairSymbolNormalized":"BTC_TRY","type":"Buy","method":"limit","orderClientId":"spark-a","time":1543996112263,
        "updateTime":1543996112264,"status":"Untouched","leftAmount":"0.001"}"#;

    #[test]
    fn an_order_is_read_in_every_spelling() {
        let check = |change: &[(&str, &str)], want: Result<(ReportState, &str), &str>| {
            let mut json = ORDER.to_owned();
            for (from, to) in change {
                assert!(json.contains(from), "{from}");
                json = json.replace(from, to);
            }
            let got = serde_json::from_str::<OrderRow>(&json).map_err(|error| error.to_string()).and_then(OrderRow::known);
            match (got, want) {
                (Ok(known), Ok((state, executed))) => {
                    assert_eq!((known.report.state, known.report.executed.to_string().as_str()), (state, executed), "{json}");
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (got, want) => panic!("{json}: {got:?}, wanted {want:?}"),
            }
        };
        let left = r#""leftAmount":"0.001""#;
        check(&[], Ok((ReportState::Open, "0")));
        check(&[(r#""pairSymbol""#, r#""pairsymbol""#)], Ok((ReportState::Open, "0")));
        check(&[("Untouched", "Partial"), (left, r#""leftAmount":0.0004"#)], Ok((ReportState::PartiallyFilled, "0.0006")));
        check(&[("Untouched", "Closed"), (left, r#""leftAmount":"0""#)], Ok((ReportState::Filled, "0.001")));
        check(&[("Untouched", "Closed"), (left, r#""leftAmount":"0.0001""#)], Ok((ReportState::Expired, "0.0009")));
        check(&[("Untouched", "Canceled"), (left, r#""leftAmount":"0.0001""#)], Ok((ReportState::Cancelled, "0.0009")));
        check(&[("Untouched", "Frozen")], Err("unknown status"));
        check(&[(r#""Buy""#, r#""Swap""#)], Err("unknown side"));
        check(&[(r#""amount":"0.001""#, r#""amount":"0.001","quantity":"0.001""#)], Ok((ReportState::Open, "0")));
        check(&[(r#""amount":"0.001""#, r#""quantity":"0.001""#)], Ok((ReportState::Open, "0")));
        check(&[(r#""amount""#, r#""total""#)], Err("no amount"));
        check(&[(left, r#""leftAmount":"2""#)], Err("left of"));
        check(&[(left, r#""leftAmount":null"#)], Err("not a decimal"));
    }

    #[test]
    fn a_market_buy_is_by_quote_and_its_quantity_follows_from_its_trades() {
        let json = ORDER.replace("limit", "market").replace("0.001", "1500").replace("Untouched", "Closed");
        let json = json.replace(r#""leftAmount":"1500""#, r#""leftAmount":"0.37""#);
        let known = serde_json::from_str::<OrderRow>(&json).unwrap().known().unwrap();
        assert_eq!(known.by_quote.unwrap().to_string(), "1499.63");
        assert_eq!((known.report.state, known.report.fills_complete), (ReportState::Filled, false));
    }

    #[test]
    fn fees_and_amounts_lose_their_signs_and_ids_their_dress() {
        let read = |json: &str| serde_json::from_str::<TradeRow>(json).unwrap().fill(false);
        let sell = read(
            r#"{"price":"1000.5","numeratorSymbol":"BTC","denominatorSymbol":"TRY","orderType":"sell","orderId":"17",
                "orderClientId":"spark-a","id":99,"timestamp":1700000000000.0,"amount":-0.5,"fee":-1.2,"tax":"-0.2"}"#,
        )
        .unwrap();
        assert_eq!((sell.side, sell.symbol.as_str(), sell.exchange_order_id.as_str()), (Side::Sell, "BTCTRY", "17"));
        assert_eq!((sell.fill.quantity.to_string().as_str(), sell.fill.fee.to_string().as_str()), ("0.5", "1.4"));
        assert_eq!((sell.fill.fee_asset.as_str(), sell.fill.is_maker), ("TRY", None));
        let frame = read(
            r#"{"type":423,"id":1,"orderId":2,"timestamp":3,"numeratorSymbol":"BTC","denominatorSymbol":"TRY","amount":"0.12",
                "preciseAmount":"0.12345678","fee":"0","tax":null,"price":"9","orderType":0}"#,
        )
        .unwrap();
        assert_eq!((frame.side, frame.fill.quantity.to_string().as_str()), (Side::Buy, "0.12345678"));
    }
}
