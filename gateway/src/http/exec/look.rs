//! Reading: orders, positions, strategies, reconciliation.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::Venue;
use spark_bus_schema::orders::OrderId;
use spark_bus_schema::risk::Verdict;

use super::super::input::Segment;
use super::super::paging::{Before, Page, linked};
use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json};
use crate::desk;
use crate::view::trading::orders::{ORDERS_MAX, Order, OrderRow, Standing, StepRow};
use crate::view::trading::rows::{LimitsAnswer, ReconciliationRow, StrategyRow};
use crate::view::trading::{Halt, STRATEGIES_MAX};

/// Orders in an answer when the request does not say how many.
pub const LIMIT: usize = 100;

/// Orders, the newest first.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Orders")]
pub struct List<'a> {
    orders: Vec<OrderRow<'a>>,
    /// Open ones in the whole ledger, whatever is listed.
    open_count: usize,
    complete: bool,
    /// `before` of the next page; null on the last one. Orders older than those held: `spark explain <order>`.
    next_before: Option<u64>,
}

/// `GET /api/exec/orders?state=&strategy=&symbol=&exchange=&limit=`: newest first.
pub async fn orders(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["state", "strategy", "symbol", "exchange", "limit", "before"])?;
    let (page, exchange, state) = (Before::read(&params, 1..=ORDERS_MAX, LIMIT)?, params.exchange()?, state(&params)?);
    let fits = |wanted: Option<&str>, is: &str| wanted.is_none_or(|wanted| wanted == is);
    let view = context.app.view();
    let trading = &view.trading;
    let wanted = |order: &&Order| {
        let intent = &order.intent;
        fits(params.get("strategy"), &intent.strategy)
            && fits(params.get("symbol"), &intent.symbol)
            && exchange.is_none_or(|exchange| exchange == intent.exchange)
            && match state {
                None => true,
                Some("open") => order.standing().is_open(),
                Some(word) => order.standing().as_str() == word,
            }
    };
    let (rows, next_before) = page.of(trading.orders.newest().filter(wanted), |order| order.sequence);
    let orders = rows.into_iter().map(Order::row).collect();
    let answer = json(&List { orders, open_count: trading.open_count(), complete: trading.is_complete(), next_before });
    Ok(linked(answer, &params, "before", next_before))
}

fn state(params: &Params) -> Result<Option<&str>, Problem> {
    let Some(word) = params.get("state") else { return Ok(None) };
    if word == "open" || Standing::WORDS.contains(&word) {
        return Ok(Some(word));
    }
    let fix = format!("open, or one of {}", Standing::WORDS.join(", "));
    Err(Problem::bad_value("query: state", format!("unknown state `{word:.64}`"), fix))
}

/// The order id of a path.
pub fn order_id(text: &str) -> Result<OrderId, Problem> {
    let fix = "the `order` of an earlier answer; GET /api/exec/orders lists them".to_owned();
    OrderId::parse(text).map_err(|what| Problem::bad_value("path: id", what, fix))
}

/// An order with everything that is known of it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Order")]
pub struct One<'a> {
    #[serde(flatten)]
    row: OrderRow<'a>,
    /// Its idempotency key.
    key: &'a str,
    requested_at: String,
    /// The reason that was given for it.
    why: Option<&'a str>,
    verdict: Option<&'a Verdict>,
    /// Every transition, oldest first.
    steps: Vec<&'a StepRow>,
}

/// `GET /api/exec/orders/{id}`: of any age.
pub async fn order(State(context): State<Context>, Segment(id): Segment, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let id = order_id(&id)?;
    let held = context.app.view().trading.orders.get(&id).cloned();
    let order = match held {
        Some(order) => Some(order),
        None => desk::stored_order(&context.app, &id).await,
    };
    let order = order.ok_or_else(|| unknown(&context, &id))?;
    Ok(json(&One {
        row: order.row(),
        key: &order.intent.key,
        requested_at: order.intent.requested_at.to_string(),
        why: order.intent.reason.as_deref(),
        verdict: order.verdict.as_deref(),
        steps: order.steps.iter().collect(),
    }))
}

/// No such order; or, with the broker away, none that the view holds.
pub fn unknown(context: &Context, id: &OrderId) -> Problem {
    if !context.app.view().is_connected() {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ledger-away", "The ledger cannot be asked")
            .detail(format!("order {id} is not among the newest, and the broker is not connected"))
            .fix("try again when it is back".to_owned());
    }
    Problem::new(StatusCode::NOT_FOUND, "unknown-order", "There is no such order")
        .place("path: id")
        .detail(format!("the ledger holds no intent for {id}"))
        .fix("GET /api/exec/orders lists the newest".to_owned())
}

/// `GET /api/exec/positions`.
pub async fn positions(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    Ok(json(&context.app.view().trading.positions(spark_nats::now())))
}

/// `GET /api/exec/limits`.
pub async fn limits(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    Ok(json(&LimitsAnswer::new(context.app.view().trading.limits())))
}

/// The kill switch.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "KillSwitchState")]
pub struct Switch<'a> {
    /// Nothing new may be sent.
    on: bool,
    /// The last word about it; null before the first: off.
    last: Option<crate::view::trading::rows::KillRow<'a>>,
    complete: bool,
}

/// `GET /api/exec/kill-switch`.
pub async fn kill_switch(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let view = context.app.view();
    let trading = &view.trading;
    Ok(json(&Switch { on: trading.is_killed(), last: trading.kill_switch().map(Into::into), complete: trading.is_complete() }))
}

/// What strategies were told last, by name.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrategiesTold<'a> {
    strategies: Vec<StrategyRow<'a>>,
    total: usize,
    /// `offset` of the next page; null on the last one.
    next_offset: Option<usize>,
}

/// `GET /api/exec/strategies`: what each was told last.
pub async fn strategies(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["limit", "offset"])?;
    let page = Page::read(&params, 1..=STRATEGIES_MAX, STRATEGIES_MAX, STRATEGIES_MAX)?;
    let view = context.app.view();
    let rows = view.trading.strategies();
    let (total, next_offset) = (rows.len(), page.next(rows.len()));
    let answer = json(&StrategiesTold { strategies: page.of(rows.into_iter()), total, next_offset });
    Ok(linked(answer, &params, "offset", next_offset))
}

/// Comparisons of ledger and exchange.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Reconciliations")]
pub struct Compared<'a> {
    /// The newest comparison with each.
    exchanges: Vec<ReconciliationRow<'a>>,
    /// What has stopped until a person resumes it.
    halts: Vec<&'a Halt>,
    /// Exchanges that were never compared.
    missing: Vec<Venue>,
    complete: bool,
}

/// `GET /api/exec/reconciliation`.
pub async fn reconciliation(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let view = context.app.view();
    let trading = &view.trading;
    let missing = [Venue::Binance, Venue::Btcturk].into_iter().filter(|venue| !trading.is_compared(*venue)).collect();
    let (exchanges, halts) = (trading.reconciliations(), trading.halts().collect());
    Ok(json(&Compared { exchanges, halts, missing, complete: trading.is_complete() }))
}
