//! What is told on a socket that logged in, without asking for it. Amounts are texts, ids and kinds numbers.

use serde_json::{Value, json};

use super::frames;
use super::orders::{amounts, side_text, text};
use crate::faults::USER_DATA;
use crate::hub::Frame;
use crate::live::Symbol;
use crate::orders::{Event, Execution, Fill, Kind, Order, Side};
use crate::world::World;

const USER_ID: u64 = 1_000_001;

/// Tells a step in an order's life to every socket that logged in.
pub(crate) fn tell_execution(world: &World, execution: &Execution) {
    if world.btcturk.hub.listeners(USER_DATA).is_empty() {
        return;
    }
    let order = &execution.order;
    let Some(symbol) = world.btcturk.symbol(&order.symbol) else { return };
    match (execution.event, &execution.fill) {
        (Event::New, _) => publish(world, symbol, 451, state(world, symbol, order)),
        (Event::Trade, Some(fill)) => {
            publish(world, symbol, 441, matched(order, fill));
            publish(world, symbol, 423, user_trade(symbol, fill));
            let kind = if order.status.is_open() { 453 } else { 452 };
            publish(world, symbol, kind, state(world, symbol, order));
        }
        _ => publish(world, symbol, 452, state(world, symbol, order)),
    }
}

fn publish(world: &World, symbol: &Symbol, kind: u16, mut body: Value) {
    body["type"] = kind.into();
    let topic: std::sync::Arc<str> = format!("{kind}:{}", symbol.name).into();
    let frame = Frame::whole(&topic, json!([kind, body]).to_string());
    for client in world.btcturk.hub.listeners(USER_DATA) {
        client.offer(frame.clone());
    }
}

fn side_number(side: Side) -> u8 {
    u8::from(side == Side::Sell)
}

fn method_number(order: &Order) -> u8 {
    u8::from(order.kind == Kind::Market)
}

/// 451, 452, 453.
fn state(world: &World, symbol: &Symbol, order: &Order) -> Value {
    let (amount, left) = amounts(order);
    let left_in_quote = if order.quote_quantity.is_zero() { left * order.price } else { left };
    let left_in_base = if order.quote_quantity.is_zero() { left } else { rust_decimal::Decimal::ZERO };
    json!({
        "id": order.id,
        "symbol": &*symbol.name,
        "pairId": frames::pair_id(&world.btcturk.symbols, symbol),
        "userId": USER_ID,
        "orderType": side_number(order.side),
        "orderMethod": method_number(order),
        "method": method_number(order),
        "price": text(order.price),
        "amount": text(amount),
        "numLeft": text(left_in_base),
        "denomLeft": text(left_in_quote),
        "newOrderClientId": order.client_id,
    })
}

/// 441.
fn matched(order: &Order, fill: &Fill) -> Value {
    json!({
        "id": order.id,
        "method": method_number(order),
        "pair": &*order.symbol,
        "symbol": &*order.symbol,
        "timestamp": fill.at_ms,
        "isBid": order.side == Side::Buy,
        "price": text(fill.price),
        "amount": text(fill.quantity),
        "clientId": order.client_id,
    })
}

/// 423.
fn user_trade(symbol: &Symbol, fill: &Fill) -> Value {
    let amount = if fill.side == Side::Sell { -fill.quantity } else { fill.quantity };
    json!({
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "timestamp": fill.at_ms,
        "numeratorSymbol": symbol.config.base,
        "denominatorSymbol": symbol.config.quote,
        "amount": text(amount),
        "preciseAmount": text(amount),
        "fee": text(-fill.commission),
        "tax": "0",
        "price": text(fill.price),
        "orderType": side_text(fill.side),
        "orderClientId": fill.client_id,
    })
}
