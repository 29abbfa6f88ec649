//! The order calls. A submit answers no state and no fills, a cancel answers before it has happened, market buys are in the quote
//! currency, and nothing ends by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::answers::{Call, Refusal, invalid, normalized};
use crate::config::Venue;
use crate::fault::Strike;
use crate::live::Symbol;
use crate::market;
use crate::orders::{
    Amount, CancelEntry, Fill, Kind, New, Order, Origin, Outcome, Reject, Side, Status, SubmitEntry, TimeInForce,
};
use crate::trading::{decimal, in_units};
use crate::units;
use crate::world::{World, clock_ms};

const LIST: usize = 100;
const LIST_MAX: usize = 1_000;
/// Fills go back this far when no date is given, ms.
const FILLS_BACK_MS: i64 = 30 * 86_400_000;
/// A limit price lies between a tenth and ten times the last one.
const PRICE_TIMES: i64 = 10;
const CLIENT_ID_MAX: usize = 100;

/// Text of a side.
pub(crate) fn side_text(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

/// An amount as it is written here: no zeros at the end.
pub(crate) fn text(value: Decimal) -> String {
    value.normalize().to_string()
}

/// An order's quantity as it was asked for, and what is left of it: market buys count in the quote currency.
pub(crate) fn amounts(order: &Order) -> (Decimal, Decimal) {
    if order.quote_quantity.is_zero() {
        return (order.quantity, order.left());
    }
    // What less than one lot would cost stays with the buyer; the order is done all the same.
    let left = if order.status == Status::Filled { Decimal::ZERO } else { order.quote_quantity - order.quote_filled };
    (order.quote_quantity, left)
}

fn refusal(message: &str, code: i32) -> Refusal {
    (message.to_owned(), code)
}

fn least_total(symbol: &Symbol) -> Decimal {
    if symbol.config.quote == "TRY" { Decimal::new(9_991, 2) } else { Decimal::from(5) }
}

/// A decimal that may be a text or a number.
fn number(body: &Value, name: &str) -> Result<Option<Decimal>, Refusal> {
    let text = match body.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(invalid()),
    };
    // Numbers may come in scientific form.
    let value = text.parse::<Decimal>().or_else(|_| Decimal::from_scientific(&text)).map_err(|_| invalid())?;
    if value < Decimal::ZERO || value > Decimal::from(i64::MAX / units::ONE) {
        return Err(invalid());
    }
    Ok(Some(value))
}

fn has_scale(value: Decimal, step: Decimal) -> bool {
    (value % step).is_zero()
}

impl Call<'_> {
    /// `POST order`.
    pub(crate) fn submit(&self, body: &[u8]) -> Result<Value, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|_| invalid())?;
        let result = self.submitted(&body);
        if let Err((message, code)) = &result {
            log_refused(self.world, &body, message, *code, if *code == 1037 { Outcome::Refused } else { Outcome::Rejected });
        }
        result
    }

    fn submitted(&self, body: &Value) -> Result<Value, Refusal> {
        let word = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name = word("pairSymbol").ok_or_else(invalid)?;
        let symbol = self.find(name).ok_or_else(|| (format!("Pair {name} does not exists."), 1037))?;
        let side = match word("orderType").map(str::to_ascii_lowercase).as_deref() {
            Some("buy") => Side::Buy,
            Some("sell") => Side::Sell,
            _ => return Err(refusal("ORDER_TYPE_NOT_SUPPORTED", 1193)),
        };
        let kind = match word("orderMethod").map(str::to_ascii_lowercase).as_deref() {
            Some("limit") => Kind::Limit,
            Some("market") => Kind::Market,
            _ => return Err(refusal("ORDER_METHOD_NOT_SUPPORTED", 1134)),
        };
        let quantity = number(body, "quantity")?.filter(|quantity| !quantity.is_zero()).ok_or_else(invalid)?;
        let client_id = word("newOrderClientId").map_or_else(|| guid(clock_ms()), str::to_owned);
        if client_id.len() > CLIENT_ID_MAX {
            return Err(invalid());
        }
        let price = match kind {
            // Whatever price comes with a market order is ignored.
            Kind::Market => Decimal::ZERO,
            _ => number(body, "price")?.filter(|price| !price.is_zero()).ok_or_else(invalid)?,
        };
        let amount = if kind == Kind::Market && side == Side::Buy { Amount::Quote(quantity) } else { Amount::Base(quantity) };
        check(symbol, amount, price)?;
        if let Some(fault) = self.world.faults.order(Venue::Btcturk, &symbol.name, Strike::Reject) {
            let given = fault.body.unwrap_or_default();
            let code = given["code"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(1122);
            return Err(refusal(given["message"].as_str().unwrap_or("FAILED_ORDER_WITH_OPEN_ORDERS"), code));
        }
        let new = New { client_id, side, kind, time_in_force: TimeInForce::Gtc, amount, price, origin: Origin::Api };
        let executions = self.world.place(symbol, new).map_err(|reject| match reject {
            Reject::Insufficient | Reject::Duplicate | Reject::WouldTake => refusal("FAILED_ORDER_WITH_OPEN_ORDERS", 1122),
        })?;
        let order = &executions.first().ok_or_else(invalid)?.order;
        Ok(json!({
            "id": order.id,
            "datetime": order.created_ms,
            "type": side_text(side),
            "method": if kind == Kind::Market { "market" } else { "limit" },
            "price": if kind == Kind::Market { "0".to_owned() } else { text(price) },
            "stopPrice": null,
            "quantity": text(quantity),
            "pairSymbol": &*symbol.name,
            "pairSymbolNormalized": normalized(symbol),
            "newOrderClientId": order.client_id,
        }))
    }

    /// The order that a cancel names, when it can be cancelled, and whether this is the first request to.
    pub(crate) fn cancelable(&self) -> Result<(Arc<Symbol>, u64, bool), Refusal> {
        let asked = self.get("id").unwrap_or_default();
        let world = self.world;
        let mut desk = world.btcturk.account.desk();
        let found = asked.parse().ok().and_then(|id| desk.order(id)).cloned();
        let result = match &found {
            None => Err(refusal("NO_ORDER_MATCHES_YOUR_REQUEST", 1152)),
            Some(order) if !order.status.is_open() => Err(refusal("ORDER_COULD_NOT_BE_CANCELED", 1151)),
            Some(order) => {
                let symbol = world.btcturk.symbol(&order.symbol).cloned().ok_or_else(invalid)?;
                Ok((symbol, order.id, desk.mark_canceling(order.id)))
            }
        };
        desk.log.cancel(CancelEntry {
            seq: 0,
            at_ms: clock_ms(),
            order_id: found.as_ref().map(|order| order.id),
            client_id: found.as_ref().map_or_else(|| asked.to_owned(), |order| order.client_id.clone()),
            outcome: if result.is_ok() { "accepted" } else { "refused" },
            filled: found.as_ref().map(|order| order.filled.normalize()),
            code: result.as_ref().err().map(|(_, code)| *code),
        });
        result
    }

    /// `GET order/{id}`: shows the first fill's price when there is one.
    pub(crate) fn order(&self, id: &str) -> Result<Value, Refusal> {
        let desk = self.world.btcturk.account.desk();
        let order = id.parse().ok().and_then(|id| desk.order(id)).ok_or_else(|| refusal("Order not found", 1152))?;
        let price = if order.first_price.is_zero() { order.price } else { order.first_price };
        Ok(self.row(order, price, side_text(order.side)))
    }

    fn row(&self, order: &Order, price: Decimal, side: &str) -> Value {
        let (amount, left) = amounts(order);
        let status = match order.status {
            Status::New => "Untouched",
            Status::PartiallyFilled => "Partial",
            Status::Filled => "Closed",
            Status::Canceled | Status::Expired | Status::Rejected => "Canceled",
        };
        json!({
            "id": order.id,
            "price": text(price),
            "amount": text(amount),
            "quantity": text(amount),
            "stopPrice": "0",
            "pairSymbol": &*order.symbol,
            "pairSymbolNormalized": self.find(&order.symbol).map(|symbol| normalized(symbol)),
            "type": side,
            "method": if order.kind == Kind::Market { "market" } else { "limit" },
            "orderClientId": order.client_id,
            "time": order.created_ms,
            "updateTime": order.updated_ms,
            "status": status,
            "leftAmount": text(left),
        })
    }

    /// `GET openOrders`.
    pub(crate) fn open_orders(&self) -> Result<Value, Refusal> {
        let symbol = if self.get("pairSymbol").is_some() { Some(self.pair("pairSymbol")?.name.clone()) } else { None };
        let desk = self.world.btcturk.account.desk();
        let orders = desk.open_orders(symbol.as_deref());
        let side = |side: Side| -> Vec<Value> {
            let rows = orders.iter().filter(|order| order.side == side);
            rows.map(|order| self.row(order, order.price, side_text(side))).collect()
        };
        Ok(json!({ "asks": side(Side::Sell), "bids": side(Side::Buy) }))
    }

    fn long(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.get(name).map(|text| text.parse::<i64>().map_err(|_| invalid())).transpose()
    }

    /// `GET allOrders`: newest first. Sides are capitalised here and nowhere else.
    pub(crate) fn all_orders(&self) -> Result<Value, Refusal> {
        let symbol = self.pair("pairSymbol")?;
        let from = self.long("orderId")?;
        let (begin, end) = (self.long("startTime")?, self.long("endTime")?);
        let limit = self.number("limit", LIST, LIST_MAX)?.max(1);
        let page = self.number("page", 1, usize::MAX)?.max(1);
        let desk = self.world.btcturk.account.desk();
        let wanted = |order: &&Order| {
            order.symbol == symbol.name
                && from.is_none_or(|from| i64::try_from(order.id).is_ok_and(|id| id >= from))
                && begin.is_none_or(|begin| order.created_ms >= begin)
                && end.is_none_or(|end| order.created_ms <= end)
        };
        let capital = |order: &Order| if order.side == Side::Buy { "Buy" } else { "Sell" };
        let rows = desk.orders().values().rev().filter(wanted).skip((page - 1).saturating_mul(limit)).take(limit);
        Ok(rows.map(|order| self.row(order, order.price, capital(order))).collect())
    }

    /// `GET users/transactions/trade`: newest first. `query` as it came: names may repeat.
    pub(crate) fn fills(&self, query: &str) -> Result<Value, Refusal> {
        let all = |wanted: &str| -> Vec<String> {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value.to_ascii_lowercase()).collect()
        };
        let (types, assets) = (all("type"), all("symbol"));
        let order = self.long("orderId")?;
        let begin = self.long("startDate")?.unwrap_or_else(|| self.now_ms() - FILLS_BACK_MS);
        let end = self.long("endDate")?.unwrap_or(i64::MAX);
        let desk = self.world.btcturk.account.desk();
        let wanted = |fill: &&Fill| {
            let Some(symbol) = self.world.btcturk.symbol(&fill.symbol) else { return false };
            let asset = |asset: &String| {
                asset.eq_ignore_ascii_case(&symbol.config.base) || asset.eq_ignore_ascii_case(&symbol.config.quote)
            };
            (types.is_empty() || types.iter().any(|kind| kind == side_text(fill.side)))
                && (assets.is_empty() || assets.iter().any(asset))
                && order.is_none_or(|order| i64::try_from(fill.order_id) == Ok(order))
                && (begin..=end).contains(&fill.at_ms)
        };
        let row = |fill: &Fill| {
            let market = self.world.btcturk.symbol(&fill.symbol).map(|symbol| &symbol.config);
            let amount = if fill.side == Side::Sell { -fill.quantity } else { fill.quantity };
            json!({
                "price": text(fill.price),
                "numeratorSymbol": market.map(|market| &market.base),
                "denominatorSymbol": market.map(|market| &market.quote),
                "orderType": side_text(fill.side),
                "orderId": fill.order_id,
                "orderClientId": fill.client_id,
                "id": fill.trade_id,
                "timestamp": fill.at_ms,
                "amount": text(amount),
                "fee": text(-fill.commission),
                "tax": "0",
            })
        };
        Ok(desk.fills().iter().rev().filter(wanted).take(LIST_MAX).map(row).collect())
    }
}

/// Checks an order against the pair's rules.
fn check(symbol: &Symbol, amount: Amount, price: Decimal) -> Result<(), Refusal> {
    let live = symbol.live();
    let last = decimal(live.last_price().unwrap_or(0));
    let best = live.book.best(market::Side::Bid).map_or(last, |(price, _)| decimal(price));
    drop(live);
    let limit = !price.is_zero();
    if limit && !has_scale(price, symbol.config.tick) {
        return Err(refusal("FAILED_INVALID_PRICE_SCALE", 1126));
    }
    let total = match amount {
        Amount::Base(quantity) if !has_scale(quantity, symbol.config.lot) => {
            return Err(refusal("FAILED_INVALID_QUANTITY_SCALE", 1127));
        }
        Amount::Base(quantity) => quantity * if limit { price } else { best },
        Amount::Quote(total) if decimal(in_units(total)) != total => {
            return Err(refusal("FAILED_INVALID_QUANTITY_SCALE", 1127));
        }
        Amount::Quote(total) => total,
    };
    if limit && price > last * Decimal::from(PRICE_TIMES) {
        return Err(refusal("PRICE_MUST_BE_LESS_THAN_MAXPRICE", 1226));
    }
    if limit && price < last / Decimal::from(PRICE_TIMES) {
        return Err(refusal("PRICE_MUST_BE_GREATER_THAN_MINPRICE", 1227));
    }
    if total < least_total(symbol) {
        return Err(refusal("FAILED_MIN_TOTAL_AMOUNT", 1123));
    }
    Ok(())
}

/// Writes down a submit that did not become an order.
pub(crate) fn log_refused(world: &World, body: &Value, message: &str, code: i32, outcome: Outcome) {
    let sent = |name: &str| match body.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    world.btcturk.account.desk().log.submit(SubmitEntry {
        seq: 0,
        at_ms: clock_ms(),
        client_id: sent("newOrderClientId"),
        symbol: sent("pairSymbol"),
        side: match sent("orderType").to_ascii_lowercase().as_str() {
            "buy" => Some(Side::Buy),
            "sell" => Some(Side::Sell),
            _ => None,
        },
        kind: sent("orderMethod"),
        quantity: sent("quantity"),
        price: sent("price"),
        outcome,
        order_id: None,
        code: Some(code),
        message: Some(message.to_owned()),
        origin: Origin::Api,
    });
}

/// Lets an accepted cancel take effect after its time.
pub(crate) fn cancel_later(world: Arc<World>, symbol: Arc<Symbol>, id: u64) {
    tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(world.config.btcturk_cancel_ms)) => {}
            () = world.shutdown.cancelled() => return,
        }
        let done = world.cancel(&symbol, id, None);
        let mut desk = world.btcturk.account.desk();
        // Forgotten meanwhile: there is nothing to write down.
        let Some(order) = desk.order(id).cloned() else { return };
        desk.log.cancel(CancelEntry {
            seq: 0,
            at_ms: clock_ms(),
            order_id: Some(id),
            client_id: order.client_id,
            outcome: if done.is_some() { "canceled" } else { "too_late" },
            filled: Some(order.filled.normalize()),
            code: None,
        });
    });
}

/// An id in the form of a GUID, for orders that came without one.
fn guid(now_ms: i64) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!(
        "00000000-0000-4000-8000-{:012x}",
        NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(now_ms.unsigned_abs() << 12) & 0xffff_ffff_ffff
    )
}

/// Parameters of a query; of a name that repeats the last one.
pub(crate) fn parameters(query: &str) -> HashMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (crate::percent::decode(name), crate::percent::decode(value))).collect()
}
