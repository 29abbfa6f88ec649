//! The order calls: read what was sent, check it, hand it to the desk.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::answers::Call;
use super::errors::ApiError;
use super::filters::{Filters, ORDERS_MAX};
use super::reports::{self, Detail};
use crate::config::Venue;
use crate::fault::Strike;
use crate::live::Symbol;
use crate::orders::{Amount, CancelEntry, Kind, New, Order, Origin, Outcome, Reject, Side, SubmitEntry, TimeInForce};
use crate::units;
use crate::world::clock_ms;

const PAGE: usize = 500;
const PAGE_MAX: usize = 1_000;
/// Longest time that a list may span, ms.
const SPAN_MAX_MS: i64 = 86_400_000;
/// Decimals of prices and quantities.
const DECIMALS: usize = 8;
const CLIENT_ID_RANGE: &str = "^[a-zA-Z0-9-_]{1,36}$";
const DECIMAL_RANGE: &str = "^([0-9]{1,20})(\\.[0-9]{1,20})?$";

/// A submit that was read and checked.
pub(crate) struct Submit {
    pub symbol: std::sync::Arc<Symbol>,
    pub new: New,
    pub detail: Detail,
}

impl Call<'_> {
    /// A decimal parameter in exact form.
    fn decimal(&self, name: &str) -> Result<Option<Decimal>, ApiError> {
        let Some(text) = self.params.get(name) else { return Ok(None) };
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let plain = |digits: &str| (1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(part) {
            return Err(ApiError::illegal(name, DECIMAL_RANGE));
        }
        if part.trim_end_matches('0').len() > DECIMALS {
            return Err(ApiError::bad(-1111, format!("Parameter '{name}' has too much precision.")));
        }
        let cut = format!("{whole}.{}", &part[..part.len().min(DECIMALS)]);
        let value = units::parse(&cut).ok_or_else(|| ApiError::bad(-1108, format!("Parameter '{name}' was overflowed.")))?;
        Ok(Some(crate::trading::decimal(value).normalize()))
    }

    fn client_id(&self, name: &str) -> Result<Option<String>, ApiError> {
        let Some(text) = self.params.get(name) else { return Ok(None) };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if text.len() > 36 || !text.bytes().all(legal) {
            return Err(ApiError::illegal(name, CLIENT_ID_RANGE));
        }
        Ok(Some(text.to_owned()))
    }

    /// Reads and checks a submit.
    fn submit(&self) -> Result<Submit, ApiError> {
        let symbol = self.symbol()?;
        let side = match self.params.get("side").ok_or_else(|| ApiError::missing("side"))? {
            "BUY" => Side::Buy,
            "SELL" => Side::Sell,
            _ => return Err(ApiError::bad(-1117, "Invalid side.")),
        };
        let kind = self.kind()?;
        let time_in_force = self.time_in_force(kind)?;
        let (quantity, quote) = (self.decimal("quantity")?, self.decimal("quoteOrderQty")?);
        let price = self.decimal("price")?;
        if kind == Kind::Market && price.is_some() {
            return Err(ApiError::bad(-1106, "Parameter 'price' sent when not required."));
        }
        let amount = match (kind, quantity, quote) {
            (Kind::Market, None, Some(quote)) => Amount::Quote(quote),
            (_, Some(_), Some(_)) | (_, None, Some(_)) => {
                return Err(ApiError::bad(-1128, "Combination of optional parameters invalid."));
            }
            (_, Some(quantity), None) => Amount::Base(quantity),
            (_, None, None) => return Err(ApiError::missing("quantity")),
        };
        let price = match kind {
            Kind::Market => Decimal::ZERO,
            _ => price.ok_or_else(|| ApiError::missing("price"))?,
        };
        if matches!(amount, Amount::Base(amount) | Amount::Quote(amount) if amount.is_zero()) {
            return Err(ApiError::bad(-1013, "Invalid quantity."));
        }
        if kind != Kind::Market && price.is_zero() {
            return Err(ApiError::bad(-1013, "Invalid price."));
        }
        let client_id = self.client_id("newClientOrderId")?.unwrap_or_else(made_up_id);
        let detail = match self.params.get("newOrderRespType") {
            None if kind == Kind::LimitMaker => Detail::Ack,
            Some("ACK") => Detail::Ack,
            Some("RESULT") => Detail::Result,
            None | Some("FULL") => Detail::Full,
            Some(_) => return Err(ApiError::invalid("newOrderRespType")),
        };
        for optional in ["strategyId", "strategyType", "selfTradePreventionMode"] {
            self.params.get(optional);
        }
        if self.params.get("icebergQty").is_some() {
            return Err(ApiError::rejected("Iceberg orders are not supported for this symbol."));
        }
        self.params.finish()?;
        let new = New { client_id, side, kind, time_in_force, amount, price, origin: Origin::Api };
        Filters::of(&symbol.config).check(&new, &symbol.live())?;
        Ok(Submit { symbol, new, detail })
    }

    fn kind(&self) -> Result<Kind, ApiError> {
        let unsupported = |name: &str| Err(ApiError::rejected(&format!("{name} orders are not supported for this symbol.")));
        match self.params.get("type").ok_or_else(|| ApiError::missing("type"))? {
            "LIMIT" => Ok(Kind::Limit),
            "LIMIT_MAKER" => Ok(Kind::LimitMaker),
            "MARKET" => Ok(Kind::Market),
            "STOP_LOSS" => unsupported("Stop loss"),
            "STOP_LOSS_LIMIT" => unsupported("Stop loss limit"),
            "TAKE_PROFIT" => unsupported("Take profit"),
            "TAKE_PROFIT_LIMIT" => unsupported("Take profit limit"),
            _ => Err(ApiError::bad(-1116, "Invalid orderType.")),
        }
    }

    fn time_in_force(&self, kind: Kind) -> Result<TimeInForce, ApiError> {
        match (kind, self.params.get("timeInForce")) {
            (Kind::Limit, None) => Err(ApiError::missing("timeInForce")),
            (Kind::Limit, Some("GTC")) | (_, None) => Ok(TimeInForce::Gtc),
            (Kind::Limit, Some("IOC")) => Ok(TimeInForce::Ioc),
            (Kind::Limit, Some("FOK")) => Ok(TimeInForce::Fok),
            (Kind::Limit, Some(_)) => Err(ApiError::bad(-1115, "Invalid timeInForce.")),
            (_, Some(_)) => Err(ApiError::bad(-1114, "TimeInForce parameter sent when not required.")),
        }
    }

    /// `POST order/test`: checks, and reaches no book.
    pub(crate) fn test_order(&self) -> Result<Value, ApiError> {
        self.params.get("computeCommissionRates");
        self.submit()?;
        Ok(json!({}))
    }

    /// `POST order`.
    pub(crate) fn place_order(&self) -> Result<Value, ApiError> {
        let result = self.placed();
        if let Err(error) = &result {
            self.log_refused(error);
        }
        result
    }

    fn placed(&self) -> Result<Value, ApiError> {
        let submit = self.submit()?;
        let world = self.world;
        if let Some(fault) = world.faults.order(Venue::Binance, &submit.symbol.name, Strike::Reject) {
            return Err(given_refusal(fault.body.as_ref()));
        }
        if world.binance.account.desk().open_orders(Some(&submit.symbol.name)).len() >= ORDERS_MAX {
            return Err(ApiError::filter("MAX_NUM_ORDERS"));
        }
        world.order_counts.count(clock_ms()).map_err(|(window, seconds)| {
            let interval = if window == 0 { "10 SECOND" } else { "1 DAY" };
            ApiError::too_many_orders(world.order_counts.limits()[window], interval, seconds)
        })?;
        let executions = world.place(&submit.symbol, submit.new).map_err(|reject| {
            world.order_counts.take_back(1);
            ApiError::rejected(match reject {
                Reject::Insufficient => "Account has insufficient balance for requested action.",
                Reject::Duplicate => "Duplicate order sent.",
                Reject::WouldTake => "Order would immediately match and take.",
            })
        })?;
        if executions.iter().any(|step| step.fill.is_some()) {
            world.order_counts.take_back(1);
        }
        Ok(reports::placed(&executions, submit.detail, 0, self.unit))
    }

    /// Writes down a submit that did not become an order.
    pub(crate) fn log_refused(&self, error: &ApiError) {
        let sent = |name: &str| self.params.get(name).unwrap_or_default().to_owned();
        let outcome = match (error.code, error.text.as_str()) {
            (-2010, "Duplicate order sent.") => Outcome::Duplicate,
            (-2010 | -1013 | -1010, _) => Outcome::Rejected,
            _ => Outcome::Refused,
        };
        let quantity = if self.params.get("quantity").is_some() { sent("quantity") } else { sent("quoteOrderQty") };
        self.world.binance.account.desk().log.submit(SubmitEntry {
            seq: 0,
            at_ms: clock_ms(),
            client_id: sent("newClientOrderId"),
            symbol: sent("symbol"),
            side: match self.params.get("side") {
                Some("BUY") => Some(Side::Buy),
                Some("SELL") => Some(Side::Sell),
                _ => None,
            },
            kind: sent("type").to_ascii_lowercase(),
            quantity,
            price: sent("price"),
            outcome,
            order_id: None,
            code: Some(error.code),
            message: Some(error.text.clone()),
            origin: Origin::Api,
        });
    }

    /// The order that `orderId` or `origClientOrderId` names, of this symbol.
    fn named_order(&self, symbol: &Symbol, missing: fn() -> ApiError) -> Result<Order, ApiError> {
        let (id, client) = (self.params.number("orderId")?, self.client_id("origClientOrderId")?);
        let desk = self.world.binance.account.desk();
        let found = match (id, &client) {
            (None, None) => {
                return Err(ApiError::bad(
                    -1102,
                    "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!",
                ));
            }
            (Some(id), _) => u64::try_from(id).ok().and_then(|id| desk.order(id)),
            (None, Some(client)) => desk.by_client(client),
        };
        let fits =
            |order: &&Order| *order.symbol == *symbol.name && (id.is_none() || client.iter().all(|c| *c == order.client_id));
        found.filter(fits).cloned().ok_or_else(missing)
    }

    /// `DELETE order`.
    pub(crate) fn cancel_order(&self) -> Result<Value, ApiError> {
        let symbol = self.symbol()?;
        let cancel_id = self.client_id("newClientOrderId")?.unwrap_or_else(made_up_id);
        let restriction = self.params.get("cancelRestrictions").map(str::to_owned);
        if restriction.as_deref().is_some_and(|text| text != "ONLY_NEW" && text != "ONLY_PARTIALLY_FILLED") {
            return Err(ApiError::bad(-1145, "Invalid cancelRestrictions"));
        }
        let named = self.named_order(&symbol, ApiError::unknown_order);
        self.params.finish()?;
        let allowed = |order: &Order| match restriction.as_deref() {
            Some("ONLY_NEW") => order.filled.is_zero(),
            Some(_) => !order.filled.is_zero(),
            None => true,
        };
        let result = named.and_then(|order| {
            if order.status.is_open() && !allowed(&order) {
                return Err(ApiError::bad(-2011, "Order was not canceled due to cancel restrictions."));
            }
            self.world.cancel(&symbol, order.id, Some(cancel_id)).ok_or_else(ApiError::unknown_order)
        });
        let asked = self.params.get("origClientOrderId").or_else(|| self.params.get("orderId")).unwrap_or_default();
        self.log_cancel(asked, result.as_ref().map(|execution| &execution.order));
        result.map(|execution| reports::canceled(&execution, self.unit))
    }

    fn log_cancel(&self, asked: &str, result: Result<&Order, &ApiError>) {
        let order = result.ok();
        self.world.binance.account.desk().log.cancel(CancelEntry {
            seq: 0,
            at_ms: clock_ms(),
            order_id: order.map(|order| order.id),
            client_id: order.map_or_else(|| asked.to_owned(), |order| order.client_id.clone()),
            outcome: if order.is_some() { "canceled" } else { "refused" },
            filled: order.map(|order| order.filled.normalize()),
            code: result.err().map(|error| error.code),
        });
    }

    /// `DELETE openOrders`.
    pub(crate) fn cancel_open_orders(&self) -> Result<Value, ApiError> {
        let symbol = self.symbol()?;
        self.params.finish()?;
        let ids: Vec<u64> =
            self.world.binance.account.desk().open_orders(Some(&symbol.name)).iter().map(|order| order.id).collect();
        let mut list = Vec::new();
        for id in ids {
            if let Some(execution) = self.world.cancel(&symbol, id, Some(made_up_id())) {
                self.log_cancel("", Ok(&execution.order));
                list.push(reports::canceled(&execution, self.unit));
            }
        }
        if list.is_empty() { Err(ApiError::unknown_order()) } else { Ok(list.into()) }
    }

    /// `GET order`.
    pub(crate) fn order(&self) -> Result<Value, ApiError> {
        let symbol = self.symbol()?;
        let order = self.named_order(&symbol, ApiError::no_order);
        self.params.finish()?;
        order.map(|order| reports::order(&order, self.unit))
    }

    /// `GET openOrders`.
    pub(crate) fn open_orders(&self) -> Result<Value, ApiError> {
        let symbol = if self.params.get("symbol").is_some() { Some(self.symbol()?) } else { None };
        self.params.finish()?;
        let desk = self.world.binance.account.desk();
        let orders = desk.open_orders(symbol.as_ref().map(|symbol| &*symbol.name));
        Ok(orders.iter().map(|order| reports::order(order, self.unit)).collect())
    }

    fn span(&self) -> Result<(Option<i64>, Option<i64>), ApiError> {
        let (begin, end) = (self.params.time_ms("startTime")?, self.params.time_ms("endTime")?);
        if let (Some(begin), Some(end)) = (begin, end)
            && end - begin > SPAN_MAX_MS
        {
            return Err(ApiError::bad(-1127, "More than 24 hours between startTime and endTime."));
        }
        Ok((begin, end))
    }

    /// `GET allOrders`.
    pub(crate) fn all_orders(&self) -> Result<Value, ApiError> {
        let symbol = self.symbol()?;
        let from = self.params.number("orderId")?.and_then(|id| u64::try_from(id).ok());
        let (begin, end) = self.span()?;
        let limit = self.params.limit(PAGE, PAGE_MAX)?;
        self.params.finish()?;
        let desk = self.world.binance.account.desk();
        let wanted = |order: &&Order| {
            order.symbol == symbol.name
                && from.is_none_or(|from| order.id >= from)
                && (from.is_some() || begin.is_none_or(|begin| order.created_ms >= begin))
                && (from.is_some() || end.is_none_or(|end| order.created_ms <= end))
        };
        let row = |order: &Order| reports::order(order, self.unit);
        Ok(page(desk.orders().values().filter(wanted), limit, from.is_some() || begin.is_some(), row))
    }

    /// `GET myTrades`.
    pub(crate) fn my_trades(&self) -> Result<Value, ApiError> {
        let symbol = self.symbol()?;
        let number = |name: &str| Ok::<_, ApiError>(self.params.number(name)?.and_then(|id| u64::try_from(id).ok()));
        let (order, from) = (number("orderId")?, number("fromId")?);
        let (begin, end) = self.span()?;
        let limit = self.params.limit(PAGE, PAGE_MAX)?;
        self.params.finish()?;
        if (order.is_some() || from.is_some()) && (begin.is_some() || end.is_some()) {
            return Err(ApiError::bad(-1128, "Combination of optional parameters invalid."));
        }
        let desk = self.world.binance.account.desk();
        let wanted = |fill: &&crate::orders::Fill| {
            fill.symbol == symbol.name
                && order.is_none_or(|order| fill.order_id == order)
                && from.is_none_or(|from| fill.trade_id >= from)
                && begin.is_none_or(|begin| fill.at_ms >= begin)
                && end.is_none_or(|end| fill.at_ms <= end)
        };
        let row = |fill: &crate::orders::Fill| reports::trade(fill, self.unit);
        Ok(page(desk.fills().iter().filter(wanted), limit, from.is_some() || begin.is_some(), row))
    }

    /// `GET rateLimit/order`.
    pub(crate) fn order_limits(&self) -> Result<Value, ApiError> {
        self.params.finish()?;
        let (limits, used) = (self.world.order_counts.limits(), self.world.order_counts.used(clock_ms()));
        Ok(json!([
            { "rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": limits[0], "count": used[0] },
            { "rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": limits[1], "count": used[1] },
        ]))
    }
}

/// A page of rows, oldest first: from the beginning, or the newest.
fn page<'a, T: 'a>(
    rows: impl DoubleEndedIterator<Item = &'a T>,
    limit: usize,
    from_begin: bool,
    show: impl Fn(&T) -> Value,
) -> Value {
    if from_begin {
        return rows.take(limit).map(show).collect();
    }
    let mut newest: Vec<Value> = rows.rev().take(limit).map(show).collect();
    newest.reverse();
    newest.into()
}

/// An id as the exchange makes them up.
fn made_up_id() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("sim{:019}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The refusal that a fault orders.
fn given_refusal(body: Option<&Value>) -> ApiError {
    let code = body.and_then(|body| body["code"].as_i64()).and_then(|code| i32::try_from(code).ok());
    let text = body.and_then(|body| body["msg"].as_str());
    ApiError::bad(code.unwrap_or(-2010), text.unwrap_or("Account has insufficient balance for requested action."))
}
