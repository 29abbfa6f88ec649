//! Orders over Binance's REST interface.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use spark_bus_schema::Venue;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::TimeInForce;
use tokio::time::Instant;

use super::binance_types::{OrderRow, TradeRow};
use super::outcome::{cancel_failed, is_unknown_at_binance, submit_failed};
use super::render::{plain, problem};
use super::{
    AccountFill, AssetBalance, CancelOutcome, FillsOf, Filters, LOOKUP_ROUNDS_MAX, Lookup, Moment, NewOrder, OrderKind, OrderRef,
    OrderReport, PAGES_MAX, SubmitOutcome, TradingKey,
};
use crate::Binance;
use crate::binance::{Symbol, read};
use crate::caller::{Ask, Effort, OnceError, lock};
use crate::error::{Error, ErrorType};

const ORDER: &str = "/api/v3/order";
/// Rows of a page of trades.
const PAGE_ROWS: usize = 1_000;
/// Binance looks at the timestamp again just before the matching engine; after that a question may be answered from a copy
/// that is a moment behind.
const COPY_LAG: Duration = Duration::from_secs(2);

fn failure(operation: &'static str, error_type: ErrorType, message: impl Into<String>) -> Error {
    Error::new(Venue::Binance, operation, error_type, message)
}

impl Binance {
    pub(super) async fn submit(&self, order: &NewOrder, at: Moment, lasts: Duration) -> SubmitOutcome {
        if let Some(reason) = problem(order) {
            return SubmitOutcome::Rejected { code: None, reason, sent: false };
        }
        let ask = Ask { operation: "new_order", weight: 1, effort: Effort::Once };
        let parameters = submit_parameters(order);
        let lasts = lasts.min(Duration::from_millis(self.recv_window_ms));
        let outcome = self.send_once(ask, Method::POST, &parameters, at, lasts).await;
        match outcome {
            Ok(row) => SubmitOutcome::Accepted(row.report()),
            Err(failure) => submit_failed(failure),
        }
    }

    pub(super) fn conclusive_after(&self, lasts: Option<Duration>) -> Duration {
        let window = Duration::from_millis(self.recv_window_ms);
        lasts.map_or(window, |lasts| lasts.min(window)) + COPY_LAG
    }

    pub(super) async fn cancel(&self, order: &OrderRef) -> CancelOutcome {
        let ask = Ask { operation: "cancel_order", weight: 1, effort: Effort::Once };
        let parameters = naming(order);
        let window = Duration::from_millis(self.recv_window_ms);
        match self.send_once(ask, Method::DELETE, &parameters, Moment::now(), window).await {
            Ok(row) => CancelOutcome::Done(Box::new(row.report())),
            Err(failure) => cancel_failed(failure),
        }
    }

    /// One signed request that changes something: signed with `at`, good for `lasts`, made at most once. A refused timestamp
    /// is not answered by trying again, but the clock is read before the next one.
    async fn send_once(
        &self,
        ask: Ask,
        method: Method,
        parameters: &[(&str, String)],
        at: Moment,
        lasts: Duration,
    ) -> Result<OrderRow, OnceError> {
        if lock(&self.key).is_none() {
            return Err(OnceError::NotSent(failure(ask.operation, ErrorType::Auth, "not sent: no API key is configured")));
        }
        let send_before = at.monotonic + lasts;
        if Instant::now() < send_before && !matches!(tokio::time::timeout_at(send_before, self.keep_clock()).await, Ok(Ok(()))) {
            // The old offset, or none, may still do; if not, the exchange will say so.
            tracing::debug!(exchange = "binance", "the exchange's clock could not be read before an order");
        }
        let window = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX).min(self.recv_window_ms);
        let build = || {
            let timestamp = at.wall.as_millis().saturating_add(self.clock_offset_ms());
            self.signed_request(method, ask.operation, ORDER, parameters, timestamp, window)
        };
        let outcome = self.caller.call_once(ask, send_before, build, |reply| read(ask.operation, reply)).await;
        if let Err(OnceError::Answered(error)) = &outcome
            && error.error_type == ErrorType::Clock
        {
            self.forget_clock();
        }
        outcome
    }

    pub(super) async fn lookup(&self, order: &OrderRef) -> Lookup {
        let parameters = naming(order);
        let mut told = String::new();
        for _ in 0..LOOKUP_ROUNDS_MAX {
            let row: OrderRow = match self.signed("order", 4, ORDER, &parameters).await {
                Ok(row) => row,
                Err(error) if is_unknown_at_binance(&error) => return Lookup::NotFound,
                Err(error) => return Lookup::Unknown(error),
            };
            let mut report = row.report();
            // After a cancel some answers carry the cancel's id; what was asked for is the order's own.
            report.client_order_id.clone_from(&order.client_order_id);
            if !report.executed.is_zero() {
                match self.fills(&order.symbol, FillsOf::Order(&report.exchange_order_id)).await {
                    Ok(fills) => report.fills = fills.into_iter().map(|fill| fill.fill).collect(),
                    Err(error) => return Lookup::Unknown(error),
                }
            }
            let total = super::sum(&report.fills);
            report.fills_complete = total == Some(report.executed);
            if report.fills_complete {
                return Lookup::Found(Box::new(report));
            }
            // It traded between the two questions, or the list of trades is a moment behind.
            told = format!("{} were executed, but its trades make {}", report.executed, total.unwrap_or_default());
            tokio::time::sleep(super::LOOKUP_PAUSE).await;
        }
        Lookup::Unknown(failure("order", ErrorType::Parse, format!("the answers contradict each other: {told}")))
    }

    pub(super) async fn open_orders(&self, symbol: Option<&str>) -> Result<Vec<OrderReport>, Error> {
        let parameters: Vec<_> = symbol.map(|symbol| ("symbol", symbol.to_owned())).into_iter().collect();
        let weight = if symbol.is_some() { 6 } else { 80 };
        let rows: Vec<OrderRow> = self.signed("open_orders", weight, "/api/v3/openOrders", &parameters).await?;
        Ok(rows.into_iter().map(OrderRow::report).collect())
    }

    pub(super) async fn fills(&self, symbol: &str, of: FillsOf<'_>) -> Result<Vec<AccountFill>, Error> {
        let (weight, scope) = match of {
            FillsOf::Order(id) => (5, ("orderId", id.to_owned())),
            FillsOf::Since(at) => (20, ("startTime", at.as_millis().max(0).to_string())),
        };
        let mut fills: Vec<AccountFill> = Vec::new();
        let mut from_id: Option<u64> = None;
        for _ in 0..PAGES_MAX {
            let mut parameters = vec![("symbol", symbol.to_owned()), ("limit", PAGE_ROWS.to_string())];
            // `fromId` goes with a symbol and an order, but not with a time.
            match from_id {
                Some(id) if matches!(of, FillsOf::Order(_)) => {
                    parameters.extend([scope.clone(), ("fromId", id.to_string())]);
                }
                Some(id) => parameters.push(("fromId", id.to_string())),
                None => parameters.push(scope.clone()),
            }
            let rows: Vec<TradeRow> = self.signed("my_trades", weight, "/api/v3/myTrades", &parameters).await?;
            let whole = rows.len() >= PAGE_ROWS;
            let newest = rows.iter().map(|row| row.id).max();
            fills.extend(rows.into_iter().map(AccountFill::from));
            match newest {
                Some(id) if whole => from_id = Some(id + 1),
                _ => return Ok(fills),
            }
        }
        Err(failure("my_trades", ErrorType::Parse, format!("more than {PAGES_MAX} pages of {PAGE_ROWS} trades; ask since later")))
    }

    pub(super) async fn trading_balances(&self) -> Result<Vec<AssetBalance>, Error> {
        let account = self.account().await?;
        let row = |row: crate::binance::Balance| AssetBalance { asset: row.asset, free: row.free, locked: row.locked };
        Ok(account.balances.into_iter().map(row).collect())
    }

    pub(super) async fn all_filters(&self, symbols: &[&str]) -> Result<BTreeMap<String, Filters>, Error> {
        let info = self.exchange_info(symbols).await?;
        let wanted = info.symbols.into_iter().filter(|row| symbols.contains(&row.symbol.as_str()));
        Ok(wanted.map(|row| (row.symbol.clone(), filters(row))).collect())
    }

    pub(super) async fn filters(&self, symbol: &str) -> Result<Filters, Error> {
        let info = self.exchange_info(&[symbol]).await?;
        let found = info.symbols.into_iter().find(|row| row.symbol == symbol);
        let row = found
            .ok_or_else(|| failure("exchange_info", ErrorType::Parse, format!("the answer does not speak of {symbol:.32}")))?;
        Ok(filters(row))
    }

    pub(super) async fn check_key(&self) -> Result<TradingKey, Error> {
        let Some(restrictions) = self.api_restrictions().await? else {
            let account = self.account().await?;
            // Where keys cannot be asked about, an account that may not trade is all that can be known.
            return Ok(TradingKey { may_trade: (!account.can_trade).then_some(false), beyond_trading: Vec::new() });
        };
        let mut beyond_trading = restrictions.beyond_reading();
        beyond_trading.retain(|name| *name != "enableSpotAndMarginTrading");
        Ok(TradingKey { may_trade: Some(restrictions.enable_spot_and_margin_trading), beyond_trading })
    }
}

/// How an order is named in questions and cancels.
fn naming(order: &OrderRef) -> Vec<(&'static str, String)> {
    let id = match &order.exchange_order_id {
        Some(id) => ("orderId", id.clone()),
        None => ("origClientOrderId", order.client_order_id.clone()),
    };
    vec![("symbol", order.symbol.clone()), id]
}

fn submit_parameters(order: &NewOrder) -> Vec<(&'static str, String)> {
    let side = match order.side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    };
    let mut parameters = vec![("symbol", order.symbol.clone()), ("side", side.to_owned())];
    match order.kind {
        OrderKind::Limit { price, time_in_force } => {
            let time_in_force = match time_in_force {
                TimeInForce::Gtc => "GTC",
                TimeInForce::Ioc => "IOC",
                TimeInForce::Fok => "FOK",
            };
            parameters.extend([
                ("type", "LIMIT".to_owned()),
                ("timeInForce", time_in_force.to_owned()),
                ("quantity", plain(order.quantity)),
                ("price", plain(price)),
            ]);
        }
        OrderKind::Market { .. } => {
            parameters.extend([("type", "MARKET".to_owned()), ("quantity", plain(order.quantity))]);
        }
    }
    parameters.extend([("newClientOrderId", order.client_order_id.clone()), ("newOrderRespType", "FULL".to_owned())]);
    parameters
}

fn filters(row: Symbol) -> Filters {
    let of = |types: &[&str]| row.filters.iter().find(|filter| types.contains(&filter.filter_type.as_str()));
    // A zero says that there is no such rule.
    let rule = |value: Option<rust_decimal::Decimal>| value.filter(|value| !value.is_zero());
    let (price, lot, market) = (of(&["PRICE_FILTER"]), of(&["LOT_SIZE"]), of(&["MARKET_LOT_SIZE"]));
    let notional = of(&["NOTIONAL", "MIN_NOTIONAL"]);
    Filters {
        trading: row.status == "TRADING",
        market_orders: row.order_types.is_empty() || row.order_types.iter().any(|kind| kind == "MARKET"),
        tick: rule(price.and_then(|filter| filter.tick_size)),
        min_price: rule(price.and_then(|filter| filter.min_price)),
        max_price: rule(price.and_then(|filter| filter.max_price)),
        step: rule(lot.and_then(|filter| filter.step_size)),
        min_quantity: rule(lot.and_then(|filter| filter.min_qty)),
        max_quantity: rule(lot.and_then(|filter| filter.max_qty)),
        market_step: rule(market.and_then(|filter| filter.step_size)),
        market_min_quantity: rule(market.and_then(|filter| filter.min_qty)),
        market_max_quantity: rule(market.and_then(|filter| filter.max_qty)),
        min_notional: rule(notional.and_then(|filter| filter.min_notional)),
        max_notional: rule(notional.and_then(|filter| filter.max_notional)),
        quote_step: row.quote_asset_precision.and_then(super::filters::step_of_scale),
        symbol: row.symbol,
        base: row.base_asset,
        quote: row.quote_asset,
    }
}
