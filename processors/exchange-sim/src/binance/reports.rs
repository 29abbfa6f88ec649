//! Orders and what happens to them in Binance's words.

use serde_json::{Value, json};

use super::filters::side_text;
use crate::config::{Holding, Venue};
use crate::faults::USER_DATA;
use crate::hub::Frame;
use crate::orders::{Event, Execution, Fill, Kind, Order, Status, TimeInForce};
use crate::trading::in_units;
use crate::units::fixed;
use crate::world::World;

const STP_MODE: &str = "EXPIRE_MAKER";

/// A decimal as it is always written here: with eight places.
pub(crate) fn text(value: rust_decimal::Decimal) -> String {
    fixed(in_units(value))
}

fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Limit => "LIMIT",
        Kind::LimitMaker => "LIMIT_MAKER",
        Kind::Market => "MARKET",
    }
}

fn tif_text(time_in_force: TimeInForce) -> &'static str {
    match time_in_force {
        TimeInForce::Gtc => "GTC",
        TimeInForce::Ioc => "IOC",
        TimeInForce::Fok => "FOK",
    }
}

fn status_text(status: Status) -> &'static str {
    match status {
        Status::New => "NEW",
        Status::PartiallyFilled => "PARTIALLY_FILLED",
        Status::Filled => "FILLED",
        Status::Canceled => "CANCELED",
        Status::Expired => "EXPIRED",
        Status::Rejected => "REJECTED",
    }
}

/// How much a submit is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Ack,
    Result,
    Full,
}

/// Answer to a submit: the order as these steps left it. `unit` as in a call.
pub(crate) fn placed(executions: &[Execution], detail: Detail, skew: i64, unit: i64) -> Value {
    let Some(last) = executions.last() else { return Value::Null };
    let (order, at) = (&last.order, (last.at_ms + skew) * unit);
    let mut answer = json!({
        "symbol": &*order.symbol, "orderId": order.id, "orderListId": -1, "clientOrderId": order.client_id, "transactTime": at,
    });
    if detail == Detail::Ack {
        return answer;
    }
    let more = json!({
        "price": text(order.price),
        "origQty": text(order.quantity),
        "executedQty": text(order.filled),
        "origQuoteOrderQty": text(order.quote_quantity),
        "cummulativeQuoteQty": text(order.quote_filled),
        "status": status_text(order.status),
        "timeInForce": tif_text(order.time_in_force),
        "type": kind_text(order.kind),
        "side": side_text(order.side),
        "workingTime": at,
        "selfTradePreventionMode": STP_MODE,
    });
    extend(&mut answer, more);
    if detail == Detail::Full {
        let row = |fill: &Fill| {
            json!({
                "price": text(fill.price), "qty": text(fill.quantity), "commission": text(fill.commission),
                "commissionAsset": fill.commission_asset, "tradeId": fill.trade_id,
            })
        };
        answer["fills"] = executions.iter().filter_map(|step| step.fill.as_ref()).map(row).collect();
    }
    if let Event::Expired(reason) = last.event {
        answer["expiryReason"] = reason.into();
    }
    answer
}

fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}

/// An order as queries show it.
pub(crate) fn order(order: &Order, unit: i64) -> Value {
    json!({
        "symbol": &*order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "price": text(order.price),
        "origQty": text(order.quantity),
        "executedQty": text(order.filled),
        "cummulativeQuoteQty": text(order.quote_filled),
        "status": status_text(order.status),
        "timeInForce": tif_text(order.time_in_force),
        "type": kind_text(order.kind),
        "side": side_text(order.side),
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": order.created_ms * unit,
        "updateTime": order.updated_ms * unit,
        "isWorking": true,
        "workingTime": order.created_ms * unit,
        "origQuoteOrderQty": text(order.quote_quantity),
        "selfTradePreventionMode": STP_MODE,
    })
}

/// Answer to a cancel.
pub(crate) fn canceled(execution: &Execution, unit: i64) -> Value {
    let order = &execution.order;
    json!({
        "symbol": &*order.symbol,
        "origClientOrderId": order.client_id,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": execution.cancel_id.as_deref().unwrap_or_default(),
        "transactTime": execution.at_ms * unit,
        "price": text(order.price),
        "origQty": text(order.quantity),
        "executedQty": text(order.filled),
        "origQuoteOrderQty": text(order.quote_quantity),
        "cummulativeQuoteQty": text(order.quote_filled),
        "status": "CANCELED",
        "timeInForce": tif_text(order.time_in_force),
        "type": kind_text(order.kind),
        "side": side_text(order.side),
        "selfTradePreventionMode": STP_MODE,
    })
}

/// A fill as `myTrades` shows it.
pub(crate) fn trade(fill: &Fill, unit: i64) -> Value {
    json!({
        "symbol": &*fill.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "orderListId": -1,
        "price": text(fill.price),
        "qty": text(fill.quantity),
        "quoteQty": text(fill.amount),
        "commission": text(fill.commission),
        "commissionAsset": fill.commission_asset,
        "time": fill.at_ms * unit,
        "isBuyer": fill.side == crate::orders::Side::Buy,
        "isMaker": fill.maker,
        "isBestMatch": true,
    })
}

fn execution_report(execution: &Execution) -> Value {
    let (order, fill, at) = (&execution.order, execution.fill.as_ref(), execution.at_ms);
    let kind = match execution.event {
        Event::New => "NEW",
        Event::Trade => "TRADE",
        Event::Canceled => "CANCELED",
        Event::Expired(_) => "EXPIRED",
        Event::Rejected => "REJECTED",
    };
    let zero = rust_decimal::Decimal::ZERO;
    let (client, original) = match &execution.cancel_id {
        Some(cancel) => (cancel.as_str(), order.client_id.as_str()),
        None => (order.client_id.as_str(), ""),
    };
    let mut report = json!({
        "e": "executionReport", "E": at, "s": &*order.symbol, "c": client, "S": side_text(order.side),
        "o": kind_text(order.kind), "f": tif_text(order.time_in_force), "q": text(order.quantity), "p": text(order.price),
        "P": "0.00000000", "F": "0.00000000", "g": -1, "C": original, "x": kind, "X": status_text(order.status),
        "r": if execution.event == Event::Rejected { "INSUFFICIENT_BALANCES" } else { "NONE" },
        "i": order.id, "l": text(fill.map_or(zero, |fill| fill.quantity)), "z": text(order.filled),
        "L": text(fill.map_or(zero, |fill| fill.price)), "n": text(fill.map_or(zero, |fill| fill.commission)),
        "N": fill.map(|fill| fill.commission_asset.clone()), "T": at,
        "t": fill.map_or_else(|| Value::from(-1), |fill| fill.trade_id.into()),
        "I": execution.id, "w": order.status.is_open(), "m": fill.is_some_and(|fill| fill.maker), "M": false,
        "O": order.created_ms, "Z": text(order.quote_filled), "Y": text(fill.map_or(zero, |fill| fill.amount)),
        "Q": text(order.quote_quantity), "W": order.created_ms, "V": STP_MODE,
    });
    if let Event::Expired(reason) = execution.event {
        report["eR"] = reason.into();
    }
    report
}

fn position(holdings: &[(String, Holding)], at_ms: i64) -> Value {
    let row = |(asset, holding): &(String, Holding)| json!({ "a": asset, "f": text(holding.free), "l": text(holding.locked) });
    json!({ "e": "outboundAccountPosition", "E": at_ms, "u": at_ms, "B": holdings.iter().map(row).collect::<Vec<_>>() })
}

/// Tells a step to who listens to the account: the report, then the balances.
pub(crate) fn tell_execution(world: &World, execution: &Execution) {
    let symbol = execution.order.symbol.to_ascii_lowercase();
    publish(world, &format!("{symbol}@executionReport"), &execution_report(execution));
    publish(world, &format!("{symbol}@outboundAccountPosition"), &position(&execution.holdings, execution.at_ms));
}

/// Tells a deposit or, below zero, a withdrawal.
pub(crate) fn tell_transfer(world: &World, asset: &str, amount: rust_decimal::Decimal, holding: Holding) {
    let at = world.now_ms(Venue::Binance);
    let sign = if amount.is_sign_negative() { "-" } else { "" };
    let delta = format!("{sign}{}", text(amount.abs()));
    publish(world, "@outboundAccountPosition", &position(&[(asset.to_owned(), holding)], at));
    publish(world, "@balanceUpdate", &json!({ "e": "balanceUpdate", "E": at, "a": asset, "d": delta, "T": at }));
}

/// Sends an event to every subscription of the account, in its own wrapper.
fn publish(world: &World, topic: &str, event: &Value) {
    let hub = &world.binance.hub;
    let listeners = hub.listeners(USER_DATA);
    if listeners.is_empty() {
        return;
    }
    let topic: std::sync::Arc<str> = topic.into();
    for client in listeners {
        let wrapped = json!({ "subscriptionId": client.subscription(), "event": event });
        client.offer(Frame::whole(&topic, wrapped.to_string()));
    }
}
