//! Orders over BTCTurk's REST interface.
//!
//! What differs from Binance: the answer to a submit tells neither state nor trades; a cancel is a request; client ids are not
//! unique and cannot be asked for, so an order is looked for in lists; market buys are for an amount of the quote currency;
//! there is no time in force but until cancelled.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use spark_bus_schema::Venue;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::TimeInForce;
use tokio::time::Instant;

use super::btcturk_types::{Known, OpenOrders, OrderBody, OrderRow, Submitted, TradeRow};
use super::outcome::{cancel_failed, is_unknown_at_btcturk, submit_failed};
use super::render::{plain, problem};
use super::{
    AccountFill, AssetBalance, CancelOutcome, FillsOf, Filters, LOOKUP_ROUNDS_MAX, Lookup, Moment, NewOrder, OrderKind, OrderRef,
    OrderReport, PAGES_MAX, ReportState, SubmitOutcome, TradingKey,
};
use crate::BtcTurk;
use crate::btcturk::{Envelope, Pair, PairAssets, read};
use crate::caller::{Ask, Effort, OnceError, lock};
use crate::error::{Error, ErrorType};
use crate::http::Reply;
use crate::signing::query;

/// A stamp is good for this long; there is no parameter to shorten it.
const STAMP_GOOD: Duration = Duration::from_millis(5_000);
/// After its stamp was looked at, a request may wait inside the exchange; how long is not documented.
const INSIDE_MAX: Duration = Duration::from_secs(10);
/// Lists are searched from this long before an order was placed.
const SEARCH_MARGIN_MS: i64 = 60_000;
/// Rows of a page.
const PAGE_ROWS: usize = 1_000;

fn failure(operation: &'static str, error_type: ErrorType, message: impl Into<String>) -> Error {
    Error::new(Venue::Btcturk, operation, error_type, message)
}

fn unreadable(operation: &'static str, what: impl Into<String>) -> Error {
    failure(operation, ErrorType::Parse, what)
}

impl BtcTurk {
    pub(super) async fn submit(&self, order: &NewOrder, at: Moment, lasts: Duration) -> SubmitOutcome {
        let body = match body(order) {
            Ok(body) => body,
            Err(reason) => return SubmitOutcome::Rejected { code: None, reason, sent: false },
        };
        let ask = Ask { operation: "new_order", weight: 1, effort: Effort::Once };
        let sent = self.send_once(ask, Method::POST, "/api/v1/order", Some(body), at, lasts, read_certain::<Submitted>).await;
        match sent {
            Ok(answer) => SubmitOutcome::Accepted(OrderReport {
                exchange_order_id: answer.id.to_string(),
                client_order_id: answer.new_order_client_id.unwrap_or_else(|| order.client_order_id.clone()),
                symbol: order.symbol.clone(),
                side: order.side,
                state: ReportState::Open,
                quantity: order.quantity,
                executed: Decimal::ZERO,
                quote_executed: None,
                fills: Vec::new(),
                fills_complete: false,
                at_ms: answer.datetime,
                reason: None,
            }),
            Err(failure) => submit_failed(failure),
        }
    }

    pub(super) fn conclusive_after(&self, lasts: Option<Duration>) -> Duration {
        lasts.map_or(STAMP_GOOD, |lasts| lasts.min(STAMP_GOOD)) + INSIDE_MAX
    }

    pub(super) async fn cancel(&self, order: &OrderRef) -> CancelOutcome {
        let id = match &order.exchange_order_id {
            Some(id) => id.clone(),
            None => match self.find(order).await {
                Ok(Some(known)) if known.report.state.is_final() => return CancelOutcome::NotOpen,
                Ok(Some(known)) => known.report.exchange_order_id,
                Ok(None) => return CancelOutcome::NotOpen,
                Err(error) => return CancelOutcome::NotSent { retry_after: error.retry_after, error },
            },
        };
        let ask = Ask { operation: "cancel_order", weight: 1, effort: Effort::Once };
        let path = format!("/api/v1/order?{}", query(&[("id", id)]));
        let read = read_certain::<serde::de::IgnoredAny>;
        match self.send_once(ask, Method::DELETE, &path, None, Moment::now(), STAMP_GOOD, read).await {
            Ok(_) => CancelOutcome::Requested,
            Err(failure) => cancel_failed(failure),
        }
    }

    /// One signed request that changes something: good until `at + lasts`, made at most once. As the exchange takes stamps for
    /// five seconds whatever we want, the stamp is set back so that these end when they should.
    #[expect(clippy::too_many_arguments, reason = "a request is all of these")]
    async fn send_once<T: Send>(
        &self,
        ask: Ask,
        method: Method,
        path: &str,
        body: Option<String>,
        at: Moment,
        lasts: Duration,
        read: impl Fn(&'static str, &Reply) -> Result<T, Error> + Send + Sync,
    ) -> Result<T, OnceError> {
        if lock(&self.key).is_none() {
            return Err(OnceError::NotSent(failure(ask.operation, ErrorType::Auth, "not sent: no API key is configured")));
        }
        let lasts = lasts.min(STAMP_GOOD);
        let send_before = at.monotonic + lasts;
        if Instant::now() < send_before && !matches!(tokio::time::timeout_at(send_before, self.keep_clock()).await, Ok(Ok(()))) {
            // The old offset, or none, may still do; if not, the exchange will say so.
            tracing::debug!(exchange = "btcturk", "the exchange's clock could not be read before an order");
        }
        let offset_used = self.clock_offset_ms();
        let set_back = i64::try_from((STAMP_GOOD - lasts).as_millis()).unwrap_or(0);
        let stamp = at.wall.as_millis().saturating_add(offset_used).saturating_sub(set_back);
        let build = || {
            let mut request = self.signed_request(method, ask.operation, path, stamp)?;
            if let Some(body) = body {
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                *request.body_mut() = Some(body.into());
            }
            Ok(request)
        };
        let outcome = self.caller.call_once(ask, send_before, build, |reply| read(ask.operation, reply)).await;
        match outcome {
            // A 401 says "wrong key" and "too late" with the same words.
            Err(OnceError::Answered(mut error)) if error.http_status == Some(401) => {
                let late = Instant::now() >= send_before;
                if late || self.correct_clock_or(error.clone(), offset_used).await.is_ok() {
                    error.error_type = ErrorType::Clock;
                }
                Err(OnceError::Answered(error))
            }
            outcome => outcome,
        }
    }

    /// Looks for an order: by its id where that is known, else through the open orders and then all orders, in this order, so
    /// that one that ends in between is seen.
    async fn find(&self, order: &OrderRef) -> Result<Option<Known>, Error> {
        if let Some(id) = &order.exchange_order_id {
            let path = format!("/api/v1/order/{}", crate::signing::percent_encode(id));
            let row: OrderRow = match self.private("order", &path).await {
                Ok(row) => row,
                Err(error) if is_unknown_at_btcturk(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            let known = row.known().map_err(|what| unreadable("order", what))?;
            let client_id = &known.report.client_order_id;
            if !client_id.is_empty() && client_id != &order.client_order_id {
                return Err(unreadable("order", format!("order {id} has another client id than it was sent with")));
            }
            return Ok(Some(known));
        }
        let of_ours = |rows: Vec<OrderRow>| -> Vec<OrderRow> {
            rows.into_iter().filter(|row| row.order_client_id.as_deref() == Some(&order.client_order_id)).collect()
        };
        let open = self.open_rows(Some(&order.symbol)).await?;
        let mut found = of_ours(open);
        found.extend(of_ours(self.all_rows(order).await?));
        found.sort_by_key(|row| row.id);
        // Of the two lists, the later one knows more of an order that is in both: `sort_by_key` keeps their order.
        found.reverse();
        found.dedup_by_key(|row| row.id);
        match found.len() {
            0 => Ok(None),
            1 => found.remove(0).known().map(Some).map_err(|what| unreadable("all_orders", what)),
            count => Err(unreadable("all_orders", format!("{count} orders have one client id; {} is one of them", found[0].id))),
        }
    }

    async fn open_rows(&self, symbol: Option<&str>) -> Result<Vec<OrderRow>, Error> {
        let filter = symbol.map(|symbol| format!("?{}", query(&[("pairSymbol", symbol.to_owned())]))).unwrap_or_default();
        let open: OpenOrders = self.private("open_orders", &format!("/api/v1/openOrders{filter}")).await?;
        Ok(open.bids.into_iter().chain(open.asks).collect())
    }

    /// All orders of a symbol since shortly before one was placed. Whether pages are counted from 0 or 1 is not documented: a
    /// page that tells nothing new is skipped once.
    async fn all_rows(&self, order: &OrderRef) -> Result<Vec<OrderRow>, Error> {
        let since = order.placed_at.as_millis().saturating_add(self.clock_offset_ms()).saturating_sub(SEARCH_MARGIN_MS).max(0);
        let mut rows: Vec<OrderRow> = Vec::new();
        let mut seen = HashSet::new();
        for page in 0..PAGES_MAX {
            let mut parameters =
                vec![("pairSymbol", order.symbol.clone()), ("startTime", since.to_string()), ("limit", PAGE_ROWS.to_string())];
            if page > 0 {
                parameters.push(("page", page.to_string()));
            }
            let got: Vec<OrderRow> = self.private("all_orders", &format!("/api/v1/allOrders?{}", query(&parameters))).await?;
            let whole = got.len() >= PAGE_ROWS;
            let before = rows.len();
            rows.extend(got.into_iter().filter(|row| seen.insert(row.id)));
            if !whole {
                return Ok(rows);
            }
            if rows.len() == before && page > 1 {
                break;
            }
        }
        Err(unreadable("all_orders", format!("more orders since then than can be paged through ({} were read)", rows.len())))
    }

    pub(super) async fn lookup(&self, order: &OrderRef) -> Lookup {
        let mut told = String::new();
        let mut paid_before = None;
        for _ in 0..LOOKUP_ROUNDS_MAX {
            let mut known = match self.find(order).await {
                Ok(Some(known)) => known,
                Ok(None) => return Lookup::NotFound,
                Err(error) => return Lookup::Unknown(error),
            };
            known.report.client_order_id.clone_from(&order.client_order_id);
            if known.report.fills_complete {
                return Lookup::Found(Box::new(known.report));
            }
            let since = order.placed_at.as_millis().saturating_add(self.clock_offset_ms()).saturating_sub(SEARCH_MARGIN_MS);
            let fills = match self.own_trades(&order.symbol, since, Some(&known.report.exchange_order_id)).await {
                Ok(fills) => fills,
                Err(error) => return Lookup::Unknown(error),
            };
            known.report.fills = fills.into_iter().map(|fill| fill.fill).collect();
            match settle(known, &mut paid_before) {
                Ok(report) => return Lookup::Found(Box::new(report)),
                Err(what) => told = what,
            }
            tokio::time::sleep(super::LOOKUP_PAUSE).await;
        }
        Lookup::Unknown(unreadable("order", format!("the answers contradict each other: {told}")))
    }

    pub(super) async fn open_orders(&self, symbol: Option<&str>) -> Result<Vec<OrderReport>, Error> {
        let rows = self.open_rows(symbol).await?;
        let report = |row: OrderRow| row.known().map(|known| known.report).map_err(|what| unreadable("open_orders", what));
        rows.into_iter().map(report).collect()
    }

    pub(super) async fn fills(&self, symbol: &str, of: FillsOf<'_>) -> Result<Vec<AccountFill>, Error> {
        match of {
            FillsOf::Order(id) => self.own_trades(symbol, 0, Some(id)).await,
            FillsOf::Since(at) => self.own_trades(symbol, at.as_millis(), None).await,
        }
    }

    /// Trades of a symbol since then, or all of one order, oldest first. Neither pages nor a limit are documented; a list of
    /// a page's length is taken for cut off, and what lies beyond its end is asked for.
    async fn own_trades(&self, symbol: &str, since_ms: i64, order: Option<&str>) -> Result<Vec<AccountFill>, Error> {
        let pair = self.pair(symbol).await?;
        let (mut begin, mut end) = (since_ms.max(0), None);
        let mut rows: Vec<TradeRow> = Vec::new();
        let mut seen = HashSet::new();
        for page in 0.. {
            let got: Vec<TradeRow> = self.private("user_trades", &trades_path(&pair, begin, end, order)).await?;
            let cut_off = got.len() >= PAGE_ROWS;
            let (first, last) = (got.first().map(TradeRow::at_ms), got.last().map(TradeRow::at_ms));
            let before = rows.len();
            rows.extend(got.into_iter().filter(|row| seen.insert(row.id())));
            if !cut_off {
                break;
            }
            if rows.len() == before || page >= PAGES_MAX {
                return Err(unreadable(
                    "user_trades",
                    format!("more trades than can be paged through ({} were read)", rows.len()),
                ));
            }
            // Newest first, as seen; should it be the other way round, the end that is missing is the other one.
            if first >= last { end = last } else { begin = last.unwrap_or(begin) }
        }
        let wanted = |row: &TradeRow| row.is_of(&pair) && order.is_none_or(|id| row.order_id.to_string() == id);
        rows.sort_by_key(|row| (row.at_ms(), row.id()));
        let fills: Result<Vec<AccountFill>, String> =
            rows.into_iter().filter(wanted).map(|row| row.fill(pair.fee_in_base)).collect();
        fills.map_err(|what| unreadable("user_trades", what))
    }

    /// What a pair is made of; read once.
    pub(super) async fn pair(&self, symbol: &str) -> Result<PairAssets, Error> {
        if let Some(pair) = lock(&self.pairs).get(symbol) {
            return Ok(pair.clone());
        }
        let rows = self.exchange_info().await?;
        let assets = |row: Pair| {
            let pair = PairAssets { base: row.numerator, quote: row.denominator, fee_in_base: row.commission_from_numerator };
            (row.name, pair)
        };
        let mut pairs = lock(&self.pairs);
        pairs.extend(rows.into_iter().map(assets));
        pairs.get(symbol).cloned().ok_or_else(|| unknown_pair(symbol))
    }

    pub(super) async fn trading_balances(&self) -> Result<Vec<AssetBalance>, Error> {
        let row = |row: crate::btcturk::Balance| AssetBalance { asset: row.asset, free: row.free, locked: row.locked };
        Ok(self.balances().await?.into_iter().map(row).collect())
    }

    pub(super) async fn all_filters(&self, symbols: &[&str]) -> Result<BTreeMap<String, Filters>, Error> {
        let wanted = self.exchange_info().await?.into_iter().filter(|row| symbols.contains(&row.name.as_str()));
        Ok(wanted.map(|row| (row.name.clone(), filters(row))).collect())
    }

    pub(super) async fn filters(&self, symbol: &str) -> Result<Filters, Error> {
        let rows = self.exchange_info().await?;
        rows.into_iter().find(|row| row.name == symbol).map(filters).ok_or_else(|| unknown_pair(symbol))
    }

    pub(super) async fn check_key(&self) -> Result<TradingKey, Error> {
        self.balances().await?;
        Ok(TradingKey { may_trade: None, beyond_trading: Vec::new() })
    }
}

fn trades_path(pair: &PairAssets, begin_ms: i64, end_ms: Option<i64>, order: Option<&str>) -> String {
    let mut parameters = vec![
        ("type", "buy".to_owned()),
        ("type", "sell".to_owned()),
        ("symbol", pair.base.to_ascii_lowercase()),
        ("symbol", pair.quote.to_ascii_lowercase()),
        // Without it the last 30 days are meant.
        ("startDate", begin_ms.to_string()),
    ];
    parameters.extend(end_ms.map(|end| ("endDate", end.to_string())));
    parameters.extend(order.map(|id| ("orderId", id.to_owned())));
    format!("/api/v1/users/transactions/trade?{}", query(&parameters))
}

fn unknown_pair(symbol: &str) -> Error {
    failure("exchange_info", ErrorType::Server, format!("unknown pair `{symbol:.32}`"))
}

/// Joins an order and its trades, or says how they contradict each other. `paid_before` is what the trades came to when they
/// were last read.
fn settle(mut known: Known, paid_before: &mut Option<Decimal>) -> Result<OrderReport, String> {
    let report = &mut known.report;
    let executed = super::sum(&report.fills).ok_or("its trades cannot be added up")?;
    let paid = report.fills.iter().try_fold(Decimal::ZERO, |paid, fill| paid.checked_add(fill.price.checked_mul(fill.quantity)?));
    let paid = paid.ok_or("its trades cannot be added up")?;
    match known.by_quote {
        None if executed == report.executed => {}
        None => return Err(format!("{} were executed, but its trades make {executed}", report.executed)),
        Some(spent) => {
            // Whether the amount that such an order speaks of has in it the commission, and what was too little for one more
            // step, is not documented. Far from it, the trades count as all there when they do not change any more.
            let near = (spent - paid).abs() * Decimal::ONE_HUNDRED <= spent;
            if !near && (paid.is_zero() || paid_before.replace(paid) != Some(paid)) {
                return Err(format!("{spent} were spent, but its trades make {paid}"));
            }
            report.executed = executed.normalize();
            report.quantity = report.executed;
        }
    }
    report.quote_executed = Some(paid.normalize());
    report.fills_complete = true;
    Ok(known.report)
}

/// The `data` of an envelope; one that says yes and no at once is unreadable.
fn read_certain<T: DeserializeOwned + Send>(operation: &'static str, reply: &Reply) -> Result<T, Error> {
    let contradicts = |envelope: &Envelope<'_>| envelope.success && envelope.code.is_some_and(|code| code != 0);
    match serde_json::from_slice::<Envelope<'_>>(&reply.body) {
        Ok(envelope) if reply.is_success() && contradicts(&envelope) => {
            Err(unreadable(operation, "the answer says success and an error code"))
        }
        _ => read(operation, reply),
    }
}

/// The request's body, or why BTCTurk has no such order.
fn body(order: &NewOrder) -> Result<String, String> {
    if let Some(problem) = problem(order) {
        return Err(problem);
    }
    let (method, quantity, price) = match (order.kind, order.side) {
        (OrderKind::Limit { price, time_in_force: TimeInForce::Gtc }, _) => ("limit", order.quantity, price),
        (OrderKind::Limit { .. }, _) => {
            return Err(
                "time_in_force: BTCTurk has neither ioc nor fok; limit orders there live until cancelled (gtc)".to_owned()
            );
        }
        (OrderKind::Market { .. }, Side::Sell) => ("market", order.quantity, Decimal::ZERO),
        (OrderKind::Market { quote_budget: Some(budget) }, Side::Buy) => ("market", budget, Decimal::ZERO),
        (OrderKind::Market { quote_budget: None }, Side::Buy) => {
            return Err("quote_budget: a market buy at BTCTurk is for an amount of the quote currency; give one".to_owned());
        }
    };
    let body = OrderBody {
        quantity: plain(quantity),
        price: plain(price),
        stop_price: "0",
        new_order_client_id: &order.client_order_id,
        order_method: method,
        order_type: if order.side == Side::Buy { "buy" } else { "sell" },
        pair_symbol: &order.symbol,
    };
    serde_json::to_string(&body).map_err(|error| error.to_string())
}

fn filters(row: Pair) -> Filters {
    let rule = |value: Option<Decimal>| value.filter(|value| !value.is_zero());
    let filter = row.filters.iter().find(|filter| filter.filter_type == "PRICE_FILTER");
    let scale_step = super::filters::step_of_scale(row.denominator_scale);
    let tick = rule(filter.and_then(|filter| filter.tick_size)).max(scale_step);
    let narrower = |one: Option<Decimal>, other: Option<Decimal>, low: bool| match (rule(one), rule(other)) {
        (Some(one), Some(other)) => Some(if low { one.max(other) } else { one.min(other) }),
        (one, other) => one.or(other),
    };
    Filters {
        trading: row.status == "TRADING",
        market_orders: row.order_methods.is_empty() || row.order_methods.iter().any(|method| method == "MARKET"),
        tick,
        min_price: narrower(filter.and_then(|filter| filter.min_price), row.minimum_limit_order_price, true),
        max_price: narrower(filter.and_then(|filter| filter.max_price), row.maximum_limit_order_price, false),
        step: super::filters::step_of_scale(row.numerator_scale),
        min_quantity: rule(filter.and_then(|filter| filter.min_amount)),
        max_quantity: narrower(filter.and_then(|filter| filter.max_amount), row.maximum_order_amount, false),
        market_step: None,
        market_min_quantity: None,
        market_max_quantity: None,
        min_notional: rule(filter.and_then(|filter| filter.min_exchange_value)),
        max_notional: None,
        quote_step: scale_step,
        symbol: row.name,
        base: row.numerator,
        quote: row.denominator,
    }
}
