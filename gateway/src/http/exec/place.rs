//! `POST /api/exec/order`: the one way in for orders of people and programs outside.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{MANUAL, NAME_CHARS_MAX, OrderId, OrderIntent, OrderType, TimeInForce};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::{Message, Venue};

use super::super::access::Caller;
use super::super::input::Payload;
use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json};
use super::body::{self, Exact};
use crate::desk::{self, Goal, NotPlaced, Placed};
use crate::number::Number;
use crate::view::trading::orders::{Order, Outcome};

/// The header that makes a repeated request the same request.
pub const KEY_HEADER: &str = "x-idempotency-key";
/// How long an answer may wait for the verdict.
pub const VERDICT_LIMIT: Duration = Duration::from_secs(3);
/// How long it may then wait for the order to get where the request wants it.
pub const STATE_LIMIT: Duration = Duration::from_secs(3);
/// Of [`place`].
pub const EXAMPLE: &str =
    r#"{"exchange":"binance","symbol":"BTCUSDT","side":"buy","type":"limit","quantity":"0.001","price":"60000"}"#;

/// An order.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "OrderRequest")]
pub struct Asked {
    /// `binance` or `btcturk`.
    exchange: Venue,
    /// Spark's spelling, e.g. `BTCUSDT`.
    #[schemars(length(min = 1, max = 32), extend("pattern" = "^[A-Z0-9]+$"))]
    symbol: String,
    side: Side,
    #[serde(rename = "type")]
    order_type: OrderType,
    /// Base currency; above zero.
    quantity: Exact,
    /// Quote currency; needed with `limit`, refused with `market`.
    price: Option<Exact>,
    /// `gtc` for a limit order without it, `ioc` for a market order.
    time_in_force: Option<TimeInForce>,
    /// `manual` without it.
    #[schemars(length(min = 1, max = NAME_CHARS_MAX))]
    strategy: Option<String>,
    #[schemars(with = "Option<body::Reason>")]
    reason: Option<String>,
}

/// The answer: what follows from intent and verdict, the same for every repetition. Only with `?wait=` also how the order
/// stood when the wait was over.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OrderDecided")]
pub struct Answer<'a> {
    order: &'a OrderId,
    client_order_id: String,
    approved: bool,
    guard: Option<Guard>,
    reason: &'a str,
    strategy: &'a str,
    exchange: Venue,
    symbol: &'a str,
    side: Side,
    #[serde(rename = "type")]
    order_type: OrderType,
    time_in_force: TimeInForce,
    quantity: Number,
    price: Option<Number>,
    intent_sequence: u64,
    decided_at: String,
    verdict: &'a Verdict,
    #[serde(flatten)]
    outcome: Option<Outcome<'a>>,
}

/// Stored, and risk has not spoken yet: 202.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderWaiting<'a> {
    order: &'a OrderId,
    client_order_id: String,
    /// Null: not decided.
    approved: Option<bool>,
    state: &'static str,
    detail: &'static str,
    /// Where to look.
    #[serde(rename = "where")]
    place: String,
    fix: &'static str,
}

/// What 202 brings: no verdict yet, or one and an order that is not where the request wanted it.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "OrderNotThereYet")]
#[expect(dead_code, reason = "it describes two answers with one status")]
pub enum NotThereYet<'a> {
    Waiting(OrderWaiting<'a>),
    Decided(Box<Answer<'a>>),
}

/// Places an order, or finds the one that the key has placed before.
pub async fn place(
    State(context): State<Context>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    let goal = goal(&params.only(&["wait"])?)?;
    let intent = intent(&headers, caller.actor(), &body)?;
    let placed = desk::place(&context.app, intent).await.map_err(not_placed)?;
    if !placed.earlier {
        tracing::info!(order = %placed.intent.order, sequence = placed.sequence, "an order is asked for");
    }
    // Together they stay below the time that a request may take: an answer is better than a cut connection.
    let limit = |limit: Duration| limit.min(Duration::from_millis(context.app.config.request_timeout_ms) * 2 / 5);
    let Some(verdict) = desk::verdict(&context.app, &placed, limit(VERDICT_LIMIT)).await else {
        return Ok(no_verdict(&placed));
    };
    let Some(goal) = goal else { return Ok(answer(StatusCode::OK, &verdict, None)) };
    let order = desk::standing(&context.app, &verdict.order, goal, limit(STATE_LIMIT)).await;
    let order = order.unwrap_or_else(|| Order::decided(&verdict));
    let outcome = order.outcome(goal.is_reached(order.standing()));
    let code = if outcome.reached { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(answer(code, &verdict, Some(outcome)))
}

fn goal(params: &Params) -> Result<Option<Goal>, Problem> {
    match params.get("wait") {
        None | Some("verdict") => Ok(None),
        Some("accepted") => Ok(Some(Goal::Accepted)),
        Some("final") => Ok(Some(Goal::Final)),
        Some(other) => {
            let fix = "wait=verdict (as without it), wait=accepted (the exchange has it) or wait=final (it is over)".to_owned();
            Err(Problem::bad_value("query: wait", format!("unknown `{other:.64}`"), fix))
        }
    }
}

fn intent(headers: &HeaderMap, actor: String, body: &Bytes) -> Result<OrderIntent, Problem> {
    let key = key(headers)?;
    let asked: Asked = body::read(body, EXAMPLE)?;
    let reason = asked.reason.as_deref().map(body::reason).transpose()?;
    let strategy = asked.strategy.unwrap_or_else(|| MANUAL.to_owned());
    let time_in_force = asked.time_in_force.unwrap_or(match asked.order_type {
        OrderType::Limit => TimeInForce::Gtc,
        OrderType::Market => TimeInForce::Ioc,
    });
    if asked.exchange == Venue::Bist {
        let fix = "binance or btcturk would be right".to_owned();
        return Err(Problem::bad_value("body: exchange", "bist takes no orders from here".to_owned(), fix));
    }
    let intent = OrderIntent {
        order: OrderId::derive(&strategy, &key),
        key,
        strategy,
        actor,
        exchange: asked.exchange,
        symbol: asked.symbol,
        side: asked.side,
        order_type: asked.order_type,
        time_in_force,
        quantity: asked.quantity.0,
        limit_price: asked.price.map(|price| price.0),
        requested_at: spark_nats::now(),
        reason,
        decided_at: None,
    };
    intent.validate().map_err(|what| {
        let (field, detail) = what.split_once(": ").unwrap_or(("order", &what));
        let field = match field {
            "limit_price" => "price",
            "time_in_force" => "timeInForce",
            field => field,
        };
        Problem::bad_value(format!("body: {field}"), detail.to_owned(), format!("e.g. {EXAMPLE}"))
    })?;
    Ok(intent)
}

fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let wrong = |detail: &str| {
        let fix = format!(
            "send X-Idempotency-Key with 1 to {NAME_CHARS_MAX} printable characters that name this order alone, e.g. a UUID; \
             send the same key again to repeat the request safely"
        );
        Problem::new(StatusCode::BAD_REQUEST, "idempotency-key", "An order needs an idempotency key")
            .place("header: X-Idempotency-Key")
            .detail(detail.to_owned())
            .fix(fix)
    };
    let mut values = headers.get_all(KEY_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(wrong(if headers.contains_key(KEY_HEADER) { "given more than once" } else { "missing" }));
    };
    let key = std::str::from_utf8(value.as_bytes()).map_err(|_| wrong("not UTF-8"))?.trim();
    let chars = key.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || key.chars().any(char::is_control) {
        return Err(wrong(&format!("{chars} characters, or control characters")));
    }
    Ok(key.to_owned())
}

fn not_placed(why: NotPlaced) -> Problem {
    let unavailable = |detail: String| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-stored", "The order is not known to be stored").detail(detail).fix(
            "send it again with the same X-Idempotency-Key: it is then placed once, whatever became of this request".to_owned(),
        )
    };
    match why {
        NotPlaced::Different { field, stored, asked } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-used", "The idempotency key belongs to another order")
                .place(format!("body: {field}"))
                .detail(format!("{field} was {stored} when the key was first used, and is {asked} now"))
                .fix("use a new key for a new order, or repeat the first request as it was".to_owned())
        }
        NotPlaced::Refused(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "refused", "The ledger does not take the order")
            .detail(why.to_string())
            .fix("see the gateway's log, `spark doctor` and `spark audit verify`".to_owned()),
        NotPlaced::Away | NotPlaced::Unconfirmed(_) => unavailable(why.to_string()),
    }
}

/// Stored, and risk has not spoken yet. Follows from the order's id alone, so it too is the same for every repetition.
fn no_verdict(placed: &Placed) -> Response {
    let order = &placed.intent.order;
    let waiting = OrderWaiting {
        order,
        client_order_id: order.client_id(),
        approved: None,
        state: "waiting",
        detail: "the order is stored and has no verdict yet; is the process `risk` running?",
        place: format!("/api/exec/orders/{order}"),
        fix: "ask there, or send the same request with the same key again",
    };
    (StatusCode::ACCEPTED, json(&waiting)).into_response()
}

fn answer(code: StatusCode, verdict: &Arc<Verdict>, outcome: Option<Outcome<'_>>) -> Response {
    let intent = &verdict.intent;
    let answer = Answer {
        order: &verdict.order,
        client_order_id: verdict.order.client_id(),
        approved: verdict.approved,
        guard: verdict.guard,
        reason: &verdict.reason,
        strategy: &intent.strategy,
        exchange: intent.exchange,
        symbol: &intent.symbol,
        side: intent.side,
        order_type: intent.order_type,
        time_in_force: intent.time_in_force,
        quantity: Number(intent.quantity),
        price: intent.limit_price.map(Number),
        intent_sequence: verdict.intent_sequence,
        decided_at: verdict.decided_at.to_string(),
        verdict,
        outcome,
    };
    (code, json(&answer)).into_response()
}
