//! Binance's words for orders and trades.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use spark_bus_schema::market::Side;

use super::{AccountFill, FillReport, OrderReport, ReportState};
use crate::decimal;

/// `BUY`, `SELL`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum SideWord {
    #[serde(rename = "BUY")]
    Buy,
    #[serde(rename = "SELL")]
    Sell,
}

impl From<SideWord> for Side {
    fn from(word: SideWord) -> Self {
        match word {
            SideWord::Buy => Self::Buy,
            SideWord::Sell => Self::Sell,
        }
    }
}

/// Status of an order; a new word is an unreadable answer, never a guess.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    New,
    PendingNew,
    PartiallyFilled,
    Filled,
    Canceled,
    PendingCancel,
    Rejected,
    Expired,
    ExpiredInMatch,
}

impl Status {
    /// As a report says it. `PENDING_CANCEL` is documented as unused; the order is still there.
    fn state(self, executed: Decimal) -> ReportState {
        match self {
            Self::New | Self::PendingNew => ReportState::Open,
            Self::PendingCancel if executed.is_zero() => ReportState::Open,
            Self::PartiallyFilled | Self::PendingCancel => ReportState::PartiallyFilled,
            Self::Filled => ReportState::Filled,
            Self::Canceled => ReportState::Cancelled,
            Self::Rejected => ReportState::Rejected,
            Self::Expired | Self::ExpiredInMatch => ReportState::Expired,
        }
    }
}

/// An order, in the answer to a submit (`FULL`), a cancel, a question or a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderRow {
    symbol: String,
    pub order_id: u64,
    client_order_id: String,
    /// Of a cancel: the order's own id, while `client_order_id` is the cancel's.
    #[serde(default)]
    orig_client_order_id: Option<String>,
    #[serde(deserialize_with = "decimal::non_negative")]
    orig_qty: Decimal,
    #[serde(deserialize_with = "decimal::non_negative")]
    executed_qty: Decimal,
    /// Below zero in very old orders: not known.
    #[serde(default, deserialize_with = "some_decimal")]
    cummulative_quote_qty: Option<Decimal>,
    status: Status,
    side: SideWord,
    #[serde(default)]
    transact_time: Option<i64>,
    #[serde(default)]
    update_time: Option<i64>,
    #[serde(default)]
    time: Option<i64>,
    #[serde(default)]
    expiry_reason: Option<String>,
    #[serde(default)]
    fills: Option<Vec<FillRow>>,
}

/// A trade in the answer to a submit.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FillRow {
    #[serde(deserialize_with = "decimal::non_negative")]
    price: Decimal,
    #[serde(deserialize_with = "decimal::non_negative")]
    qty: Decimal,
    #[serde(deserialize_with = "decimal::non_negative")]
    commission: Decimal,
    #[serde(default)]
    commission_asset: Option<String>,
    trade_id: u64,
}

fn some_decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    decimal::any(deserializer).map(Some)
}

impl OrderRow {
    /// As a report, with the trades that came with it.
    pub fn report(self) -> OrderReport {
        let at_ms = self.transact_time.or(self.update_time).or(self.time).unwrap_or(0);
        let fills: Vec<FillReport> = self
            .fills
            .unwrap_or_default()
            .into_iter()
            .map(|fill| FillReport {
                trade_id: fill.trade_id.to_string(),
                price: fill.price,
                quantity: fill.qty,
                fee: fill.commission,
                fee_asset: fill.commission_asset.unwrap_or_default(),
                is_maker: Some(false),
                at_ms,
            })
            .collect();
        OrderReport {
            exchange_order_id: self.order_id.to_string(),
            client_order_id: self.orig_client_order_id.unwrap_or(self.client_order_id),
            symbol: self.symbol,
            side: self.side.into(),
            state: self.status.state(self.executed_qty),
            quantity: self.orig_qty,
            executed: self.executed_qty,
            quote_executed: self.cummulative_quote_qty.filter(|amount| !amount.is_sign_negative()),
            fills_complete: super::sum(&fills) == Some(self.executed_qty),
            fills,
            at_ms,
            reason: self.expiry_reason,
        }
    }
}

/// A trade of the account.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TradeRow {
    symbol: String,
    pub id: u64,
    order_id: u64,
    #[serde(deserialize_with = "decimal::non_negative")]
    price: Decimal,
    #[serde(deserialize_with = "decimal::non_negative")]
    qty: Decimal,
    #[serde(deserialize_with = "decimal::non_negative")]
    commission: Decimal,
    #[serde(default)]
    commission_asset: Option<String>,
    time: i64,
    is_buyer: bool,
    is_maker: bool,
}

impl From<TradeRow> for AccountFill {
    fn from(row: TradeRow) -> Self {
        Self {
            symbol: row.symbol,
            exchange_order_id: row.order_id.to_string(),
            client_order_id: None,
            side: if row.is_buyer { Side::Buy } else { Side::Sell },
            fill: FillReport {
                trade_id: row.id.to_string(),
                price: row.price,
                quantity: row.qty,
                fee: row.commission,
                fee_asset: row.commission_asset.unwrap_or_default(),
                is_maker: Some(row.is_maker),
                at_ms: row.time,
            },
        }
    }
}

/// What happened to an order, on the user data stream.
#[derive(Debug, Deserialize)]
pub(super) struct ExecutionReport {
    #[serde(rename = "s")]
    symbol: String,
    #[serde(rename = "c")]
    client_id: String,
    /// Of a cancel by a client: the order's own id, while `c` is the cancel's.
    #[serde(rename = "C", default)]
    original_client_id: Option<String>,
    #[serde(rename = "S")]
    side: SideWord,
    #[serde(rename = "q", deserialize_with = "decimal::non_negative")]
    quantity: Decimal,
    #[serde(rename = "x")]
    execution: String,
    #[serde(rename = "X")]
    status: Status,
    #[serde(rename = "r", default)]
    reject_reason: Option<String>,
    #[serde(rename = "eR", default)]
    expiry_reason: Option<String>,
    #[serde(rename = "i")]
    order_id: u64,
    #[serde(rename = "l", deserialize_with = "decimal::non_negative")]
    last_quantity: Decimal,
    #[serde(rename = "z", deserialize_with = "decimal::non_negative")]
    executed: Decimal,
    #[serde(rename = "L", deserialize_with = "decimal::non_negative")]
    last_price: Decimal,
    #[serde(rename = "n", default, deserialize_with = "decimal::non_negative_option")]
    commission: Option<Decimal>,
    #[serde(rename = "N", default)]
    commission_asset: Option<String>,
    #[serde(rename = "T")]
    at_ms: i64,
    #[serde(rename = "t")]
    trade_id: i64,
    #[serde(rename = "m", default)]
    is_maker: bool,
    #[serde(rename = "Z", default, deserialize_with = "some_decimal")]
    quote_executed: Option<Decimal>,
}

impl ExecutionReport {
    /// As a report that holds the one trade it is about, if any.
    pub fn report(self) -> OrderReport {
        let original = self.original_client_id.filter(|id| !id.is_empty());
        let fill = (self.execution == "TRADE" && self.trade_id >= 0).then(|| FillReport {
            trade_id: self.trade_id.to_string(),
            price: self.last_price,
            quantity: self.last_quantity,
            fee: self.commission.unwrap_or_default(),
            fee_asset: self.commission_asset.unwrap_or_default(),
            is_maker: Some(self.is_maker),
            at_ms: self.at_ms,
        });
        let fills: Vec<FillReport> = fill.into_iter().collect();
        OrderReport {
            exchange_order_id: self.order_id.to_string(),
            client_order_id: original.unwrap_or(self.client_id),
            symbol: self.symbol,
            side: self.side.into(),
            state: self.status.state(self.executed),
            quantity: self.quantity,
            executed: self.executed,
            quote_executed: self.quote_executed.filter(|amount| !amount.is_sign_negative()),
            fills_complete: super::sum(&fills) == Some(self.executed),
            fills,
            at_ms: self.at_ms,
            reason: self.expiry_reason.or(self.reject_reason.filter(|reason| reason != "NONE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_submit_tells_state_and_trades() {
        let row: OrderRow = serde_json::from_str(
            r#"{"symbol":"BTCUSDT","orderId":28,"orderListId":-1,"clientOrderId":"spark-a","transactTime":1507725176595,
                "price":"0.00000000","origQty":"10.00000000","executedQty":"10.00000000","origQuoteOrderQty":"0.000000",
                "cummulativeQuoteQty":"10.00000000","status":"FILLED","timeInForce":"GTC","type":"MARKET","side":"SELL",
                "workingTime":1507725176595,"selfTradePreventionMode":"NONE","someNewField":{},
                "fills":[{"price":"4000.00000000","qty":"1.00000000","commission":"4.00000000","commissionAsset":"USDT","tradeId":56},
                         {"price":"3999.00000000","qty":"9.00000000","commission":"19.99500000","commissionAsset":"USDT","tradeId":57}]}"#,
        )
        .unwrap();
        let report = row.report();
        assert_eq!((report.state, report.side, report.fills.len()), (ReportState::Filled, Side::Sell, 2));
        assert!(report.fills_complete);
        assert_eq!(report.fills[1].fee.to_string(), "19.995");
        assert_eq!(report.exchange_order_id, "28");
    }

    #[test]
    fn an_expired_order_keeps_its_trades_and_a_cancel_keeps_the_orders_own_id() {
        let cancel: OrderRow = serde_json::from_str(
            r#"{"symbol":"LTCBTC","origClientOrderId":"spark-a","orderId":4,"orderListId":-1,"clientOrderId":"cancel-1",
                "transactTime":1684804350068,"price":"2.0","origQty":"1.0","executedQty":"0.4","origQuoteOrderQty":"0",
                "cummulativeQuoteQty":"0.8","status":"CANCELED","timeInForce":"GTC","type":"LIMIT","side":"BUY"}"#,
        )
        .unwrap();
        let report = cancel.report();
        assert_eq!((report.client_order_id.as_str(), report.state), ("spark-a", ReportState::Cancelled));
        assert!(!report.fills_complete, "0.4 was traded, and a cancel does not tell how");

        let old = r#"{"symbol":"A","orderId":1,"clientOrderId":"x","origQty":"1","executedQty":"0.5","cummulativeQuoteQty":"-1.0",
            "status":"EXPIRED_IN_MATCH","side":"BUY","updateTime":5}"#;
        let report = serde_json::from_str::<OrderRow>(old).unwrap().report();
        assert_eq!((report.state, report.quote_executed, report.at_ms), (ReportState::Expired, None, 5));
    }

    #[test]
    fn an_answer_without_its_core_or_with_a_new_status_is_unreadable() {
        let check = |json: &str| assert!(serde_json::from_str::<OrderRow>(json).is_err(), "{json}");
        check(r#"{"symbol":"A","orderId":1,"orderListId":-1,"clientOrderId":"x","transactTime":1}"#);
        check(r#"{"symbol":"A","orderId":1,"clientOrderId":"x","origQty":"1","executedQty":"0","status":"PAUSED","side":"BUY"}"#);
        check(r#"{"symbol":"A","orderId":1,"clientOrderId":"x","origQty":"1","executedQty":"NaN","status":"NEW","side":"BUY"}"#);
        check("{}");
    }

    #[test]
    fn a_trade_on_the_stream_is_one_fill_and_a_cancel_there_keeps_the_orders_own_id() {
        let read = |change: &[(&str, &str)]| {
            let mut json =
                r#"{"e":"executionReport","E":1499405658658,"s":"ETHBTC","c":"spark-a","S":"BUY","o":"LIMIT","f":"GTC",
                "q":"1.00000000","p":"0.10264410","P":"0.0","F":"0.0","g":-1,"C":"","x":"NEW","X":"NEW","r":"NONE","i":4293153,
                "l":"0.00000000","z":"0.00000000","L":"0.00000000","n":"0","N":null,"T":1499405658657,"t":-1,"I":8641984,"w":true,
                "m":false,"M":false,"O":1499405658657,"Z":"0.00000000","Y":"0.00000000","Q":"0.00000000","V":"NONE"}"#
                    .to_owned();
            for (from, to) in change {
                assert!(json.contains(from), "{from}");
                json = json.replace(from, to);
            }
            serde_json::from_str::<ExecutionReport>(&json).unwrap().report()
        };
        let new = read(&[]);
        assert_eq!((new.state, new.fills.len(), new.fills_complete), (ReportState::Open, 0, true));
        let trade = read(&[
            (r#""x":"NEW","X":"NEW""#, r#""x":"TRADE","X":"PARTIALLY_FILLED""#),
            (
                r#""l":"0.00000000","z":"0.00000000","L":"0.00000000","n":"0","N":null"#,
                r#""l":"0.3","z":"0.7","L":"0.1","n":"0.0001","N":"ETH""#,
            ),
            (r#""t":-1"#, r#""t":77"#),
        ]);
        assert_eq!((trade.state, trade.fills_complete), (ReportState::PartiallyFilled, false));
        assert_eq!((trade.fills[0].trade_id.as_str(), trade.fills[0].fee_asset.as_str()), ("77", "ETH"));
        let cancelled = read(&[
            (r#""c":"spark-a""#, r#""c":"cancel-9""#),
            (r#""C":"""#, r#""C":"spark-a""#),
            (r#""x":"NEW","X":"NEW""#, r#""x":"CANCELED","X":"CANCELED""#),
        ]);
        assert_eq!((cancelled.client_order_id.as_str(), cancelled.state), ("spark-a", ReportState::Cancelled));
        let expired = read(&[(r#""x":"NEW","X":"NEW""#, r#""x":"EXPIRED","X":"EXPIRED","eR":"UNFILLED_IOC_QUANTITY_EXPIRED""#)]);
        assert_eq!(expired.reason.as_deref(), Some("UNFILLED_IOC_QUANTITY_EXPIRED"));
    }
}
