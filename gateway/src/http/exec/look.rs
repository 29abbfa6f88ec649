//! Reading: orders, positions, strategies, reconciliation.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use spark_bus_schema::Venue;
use spark_bus_schema::orders::OrderId;
use spark_bus_schema::risk::Verdict;

use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json};
use crate::desk;
use crate::view::trading::Halt;
use crate::view::trading::orders::{ORDERS_MAX, Order, OrderRow, Standing, StepRow};
use crate::view::trading::rows::{LimitsAnswer, ReconciliationRow, StrategyRow};

/// Orders in an answer when the request does not say how many.
const LIMIT: usize = 100;

/// `GET /api/exec/orders?state=&strategy=&symbol=&exchange=&limit=`: newest first.
pub async fn orders(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        orders: Vec<OrderRow<'a>>,
        /// Open ones in the whole ledger, whatever is listed.
        open_count: usize,
        complete: bool,
    }
    let params = params.only(&["state", "strategy", "symbol", "exchange", "limit"])?;
    let (limit, exchange, state) = (limit(&params)?, params.exchange()?, state(&params)?);
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
    let orders = trading.orders.newest().filter(wanted).take(limit).map(Order::row).collect();
    Ok(json(&List { orders, open_count: trading.open_count(), complete: trading.is_complete() }))
}

fn limit(params: &Params) -> Result<usize, Problem> {
    let Some(text) = params.get("limit") else { return Ok(LIMIT) };
    let fix = format!("a whole number from 1 to {ORDERS_MAX}; older orders are in the LEDGER: spark explain <order>");
    match text.parse::<usize>() {
        Ok(limit) if (1..=ORDERS_MAX).contains(&limit) => Ok(limit),
        _ => Err(Problem::bad_value("query: limit", format!("`{text:.64}` is out of range"), fix)),
    }
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

/// `GET /api/exec/orders/{id}`: of any age.
pub async fn order(State(context): State<Context>, Path(id): Path<String>, params: Params) -> Result<Response, Problem> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct One<'a> {
        #[serde(flatten)]
        row: OrderRow<'a>,
        key: &'a str,
        requested_at: String,
        why: Option<&'a str>,
        verdict: Option<&'a Verdict>,
        steps: Vec<&'a StepRow>,
    }
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

/// `GET /api/exec/kill-switch`.
pub async fn kill_switch(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Switch<'a> {
        on: bool,
        last: Option<crate::view::trading::rows::KillRow<'a>>,
        complete: bool,
    }
    params.only(&[])?;
    let view = context.app.view();
    let trading = &view.trading;
    Ok(json(&Switch { on: trading.is_killed(), last: trading.kill_switch().map(Into::into), complete: trading.is_complete() }))
}

/// `GET /api/exec/strategies`: what each was told last.
pub async fn strategies(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct List<'a> {
        strategies: Vec<StrategyRow<'a>>,
    }
    params.only(&[])?;
    Ok(json(&List { strategies: context.app.view().trading.strategies() }))
}

/// `GET /api/exec/reconciliation`.
pub async fn reconciliation(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Compared<'a> {
        exchanges: Vec<ReconciliationRow<'a>>,
        halts: Vec<&'a Halt>,
        /// Exchanges that were never compared.
        missing: Vec<Venue>,
        complete: bool,
    }
    params.only(&[])?;
    let view = context.app.view();
    let trading = &view.trading;
    let missing = [Venue::Binance, Venue::Btcturk].into_iter().filter(|venue| !trading.is_compared(*venue)).collect();
    let (exchanges, halts) = (trading.reconciliations(), trading.halts().collect());
    Ok(json(&Compared { exchanges, halts, missing, complete: trading.is_complete() }))
}
