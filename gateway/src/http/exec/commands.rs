//! Commands about orders and strategies, the kill switch, and halts.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use spark_bus_schema::Venue;
use spark_bus_schema::control::{CancelCommand, HaltScope, KillSwitch, ResumeCommand, StrategyCommand};
use spark_bus_schema::orders::{NAME_CHARS_MAX, OrderId, strategy_name};

use super::super::access::Caller;
use super::super::command::send;
use super::super::input::{Payload, Segment};
use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json as answer};
use super::body;
use super::look::{order_id, unknown};
use crate::app::Outgoing;
use crate::desk;
use crate::view::trading::scope_name;

/// The command is stored; who it is for acts on it.
pub const ACCEPTED: &str = "accepted";
/// Symbols of one strategy.
const SYMBOLS_MAX: usize = 64;

/// Of [`cancel`].
pub const CANCEL_EXAMPLE: &str = r#"{"reason":"the market turned"}"#;
/// Of [`start`] and [`stop`].
pub const STRATEGY_EXAMPLE: &str = r#"{"strategy":"sma-cross","reason":"maintenance is over"}"#;
/// Of [`kill_switch`].
pub const SWITCH_EXAMPLE: &str = r#"{"on":true,"cancelOpen":true,"reason":"prices look wrong"}"#;
/// Of [`resume`].
pub const RESUME_EXAMPLE: &str = r#"{"scope":"binance","reason":"the difference is explained","confirm":true}"#;

/// The order is to be cancelled; whether it is, its exchange decides.
#[derive(Serialize, JsonSchema)]
pub struct CancelAccepted {
    status: &'static str,
    order: OrderId,
    /// LEDGER sequence of the command.
    sequence: u64,
    /// Where to look.
    #[serde(rename = "where")]
    place: String,
}

/// `POST /api/exec/orders/{id}/cancel`.
pub async fn cancel(
    State(context): State<Context>,
    Segment(id): Segment,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let order = order_id(&id)?;
    let (reason, actor) = (body::only_reason(&body, CANCEL_EXAMPLE)?, caller.actor());
    let held = context.app.view().trading.orders.get(&order).map(crate::view::trading::orders::Order::standing);
    let standing = match held {
        Some(standing) => standing,
        None => desk::stored_order(&context.app, &order).await.ok_or_else(|| unknown(&context, &order))?.standing(),
    };
    if !standing.is_open() {
        return Err(Problem::new(StatusCode::CONFLICT, "order-over", "The order is over")
            .place("path: id")
            .detail(format!("it is {}; there is nothing left to cancel", standing.as_str()))
            .fix(format!("GET /api/exec/orders/{order} says what became of it")));
    }
    let command = CancelCommand { order: order.clone(), actor, reason, at: spark_nats::now() };
    let sequence = send(&context.app, Outgoing::Cancel(command)).await?;
    tracing::info!(%order, sequence, "an order is to be cancelled");
    let place = format!("/api/exec/orders/{order}");
    Ok(answer(&CancelAccepted { status: ACCEPTED, order, sequence, place }))
}

/// Which strategy is meant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StrategyCommandRequest")]
pub struct StrategyBody {
    /// Its name as orders carry it.
    #[schemars(length(min = 1, max = NAME_CHARS_MAX))]
    strategy: String,
    #[schemars(with = "body::Reason")]
    reason: String,
    /// `<exchange>.<symbol>` each; without them what it was told before.
    #[schemars(length(max = SYMBOLS_MAX))]
    symbols: Option<Vec<String>>,
}

/// What a strategy was told.
#[derive(Serialize, JsonSchema)]
pub struct StrategyAccepted {
    status: &'static str,
    strategy: String,
    run: bool,
    symbols: Vec<String>,
    /// LEDGER sequence of the command.
    sequence: u64,
}

/// `POST /api/exec/start`.
pub async fn start(context: State<Context>, caller: Caller, params: Params, Payload(body): Payload) -> Result<Response, Problem> {
    strategy(context.0, &caller, params, &body, true).await
}

/// `POST /api/exec/stop`.
pub async fn stop(context: State<Context>, caller: Caller, params: Params, Payload(body): Payload) -> Result<Response, Problem> {
    strategy(context.0, &caller, params, &body, false).await
}

async fn strategy(context: Context, caller: &Caller, params: Params, body: &Bytes, run: bool) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: StrategyBody = body::read(body, STRATEGY_EXAMPLE)?;
    let name =
        |what: String| Problem::bad_value("body: strategy", what, "its name as orders carry it, e.g. sma-cross".to_owned());
    strategy_name(&asked.strategy).map_err(name)?;
    let (reason, actor) = (body::reason(&asked.reason)?, caller.actor());
    let symbols = match asked.symbols {
        Some(symbols) => checked(symbols)?,
        // What it was told to trade before.
        None => context.app.view().trading.symbols_of(&asked.strategy),
    };
    let command = StrategyCommand { strategy: asked.strategy, run, symbols, actor, reason, at: spark_nats::now() };
    let (strategy, symbols) = (command.strategy.clone(), command.symbols.clone());
    let sequence = send(&context.app, Outgoing::Strategy(command)).await?;
    tracing::info!(strategy, run, sequence, "a strategy is told");
    Ok(answer(&StrategyAccepted { status: ACCEPTED, strategy, run, symbols, sequence }))
}

fn checked(symbols: Vec<String>) -> Result<Vec<String>, Problem> {
    let right = |symbol: &str| {
        symbol.split_once('.').is_some_and(|(venue, name)| {
            venue.parse::<Venue>().is_ok()
                && !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })
    };
    let fix = format!("at most {SYMBOLS_MAX} of the form <exchange>.<symbol>, e.g. [\"binance.BTCUSDT\"]");
    if symbols.len() > SYMBOLS_MAX {
        return Err(Problem::bad_value("body: symbols", format!("{} symbols", symbols.len()), fix));
    }
    match symbols.iter().find(|symbol| !right(symbol)) {
        Some(wrong) => Err(Problem::bad_value("body: symbols", format!("`{wrong:.64}`"), fix)),
        None => Ok(symbols),
    }
}

/// On or off.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "KillSwitchRequest")]
pub struct Switch {
    /// Nothing new may be sent.
    on: bool,
    /// Open orders are cancelled too; only when switching on.
    #[serde(default)]
    cancel_open: bool,
    #[schemars(with = "body::Reason")]
    reason: String,
}

/// What the kill switch was set to.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KillSwitchAccepted {
    status: &'static str,
    on: bool,
    cancel_open: bool,
    /// LEDGER sequence of the command.
    sequence: u64,
}

/// `POST /api/exec/kill-switch`.
pub async fn kill_switch(
    State(context): State<Context>,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: Switch = body::read(&body, SWITCH_EXAMPLE)?;
    if !asked.on && asked.cancel_open {
        let fix = "\"cancelOpen\" goes with \"on\": true; to cancel one order: POST /api/exec/orders/<order>/cancel".to_owned();
        return Err(Problem::bad_value("body: cancelOpen", "switching off cancels nothing".to_owned(), fix));
    }
    let (reason, actor) = (body::reason(&asked.reason)?, caller.actor());
    let command = KillSwitch { on: asked.on, cancel_open: asked.cancel_open, actor, reason, at: spark_nats::now() };
    let sequence = send(&context.app, Outgoing::KillSwitch(command)).await?;
    tracing::warn!(on = asked.on, cancel_open = asked.cancel_open, sequence, "kill switch");
    Ok(answer(&KillSwitchAccepted { status: ACCEPTED, on: asked.on, cancel_open: asked.cancel_open, sequence }))
}

/// Which halt is meant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResumeRequest")]
pub struct Resume {
    #[schemars(extend("enum" = ["ledger", "binance", "btcturk"]))]
    scope: String,
    #[schemars(with = "body::Reason")]
    reason: String,
    /// Without it nothing is done: 428 says what would be.
    #[serde(default)]
    confirm: bool,
}

/// The halt that is lifted.
#[derive(Serialize, JsonSchema)]
pub struct ResumeAccepted {
    status: &'static str,
    scope: String,
    /// LEDGER sequence of the command.
    sequence: u64,
}

/// `POST /api/exec/resume`: lifts a halt. Asks for a confirmation first.
pub async fn resume(
    State(context): State<Context>,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: Resume = body::read(&body, RESUME_EXAMPLE)?;
    let scope = match asked.scope.as_str() {
        "ledger" => HaltScope::Ledger,
        "binance" => HaltScope::Exchange(Venue::Binance),
        "btcturk" => HaltScope::Exchange(Venue::Btcturk),
        other => {
            let fix = "ledger, binance or btcturk".to_owned();
            return Err(Problem::bad_value("body: scope", format!("unknown scope `{other:.64}`"), fix));
        }
    };
    let (reason, actor) = (body::reason(&asked.reason)?, caller.actor());
    let name = scope_name(&scope);
    if !asked.confirm {
        let halt = context.app.view().trading.halts().find(|halt| halt.scope == name).map(|halt| json!(halt));
        let effect = match scope {
            HaltScope::Ledger => "trading goes on although the ledger is not what it was",
            HaltScope::Exchange(_) => "trading there goes on, and the balances of now become the new baseline",
        };
        return Err(confirmation(format!(
            "{effect}; halted is: {}",
            if halt.is_some() { "see `halt`" } else { "nothing that is known here" }
        ))
        .with("halt", halt.unwrap_or_default()));
    }
    let sequence = send(&context.app, Outgoing::Resume(ResumeCommand { scope, actor, reason, at: spark_nats::now() })).await?;
    tracing::warn!(scope = name, sequence, "a halt is lifted");
    Ok(answer(&ResumeAccepted { status: ACCEPTED, scope: name, sequence }))
}

/// Nothing was done: the request must say that it is meant.
pub fn confirmation(detail: String) -> Problem {
    Problem::new(StatusCode::PRECONDITION_REQUIRED, "confirmation-required", "This must be confirmed; nothing was changed")
        .place("body: confirm")
        .detail(detail)
        .fix("send it again with \"confirm\": true".to_owned())
}
