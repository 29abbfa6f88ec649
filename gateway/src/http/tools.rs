//! `/api/tools`: series, figures and circuit breakers.

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::control::{BreakerCommand, BreakerMode};

use super::access::Caller;
use super::command::send;
use super::problem::Problem;
use super::query::Params;
use super::{Context, json};
use crate::app::Outgoing;
use crate::render::Figures;
use crate::view::windows::{P95_RULE, Point};

/// Characters of a reason.
const REASON_CHARS_MAX: usize = 200;

/// Figures over a window, oldest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Timeseries {
    data: Vec<Point>,
}

/// `GET /api/tools/metrics/timeseries?window=1h&exchange=`.
pub(super) async fn timeseries(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["window", "exchange"])?;
    let (window_s, exchange) = (params.window_s()?, params.exchange()?);
    let data = context.app.view().windows.timeseries(spark_nats::now(), window_s, exchange.map(|venue| venue.as_str()));
    Ok(json(&Timeseries { data }))
}

/// `GET /api/tools/get_metrics`.
pub(super) async fn get_metrics(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    Ok(json(&Figures::new(&context.app.view())))
}

/// `GET /api/chart?rule=&window=`: the history of one guardrail rule, a series per scope.
pub(super) async fn chart(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["rule", "window"])?;
    let window_s = params.window_s()?;
    let rule = params.get("rule").unwrap_or(P95_RULE);
    Ok(json(&context.app.view().windows.chart(spark_nats::now(), window_s, rule)))
}

/// What a circuit breaker was set to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BreakerAccepted")]
pub(super) struct Accepted {
    status: &'static str,
    exchange: spark_bus_schema::Venue,
    state: BreakerMode,
    sequence: u64,
}

/// `POST /api/tools/circuit-breaker?exchange=&state=open|closed|auto&reason=`.
pub(super) async fn circuit_breaker(State(context): State<Context>, caller: Caller, params: Params) -> Result<Response, Problem> {
    let command = breaker_command(&params.only(&["exchange", "state", "reason"])?, caller.actor())?;
    let (exchange, state) = (command.exchange, command.mode);
    let sequence = send(&context.app, Outgoing::Breaker(command)).await?;
    tracing::info!(%exchange, ?state, sequence, "circuit breaker set by hand");
    Ok(json(&Accepted { status: "accepted", exchange, state, sequence }))
}

fn breaker_command(params: &Params, actor: String) -> Result<BreakerCommand, Problem> {
    let missing = |place: &'static str, fix: &str| Problem::bad_value(place, "missing".to_owned(), fix.to_owned());
    let exchange = params.exchange()?.ok_or_else(|| missing("query: exchange", "exchange=binance would be right"))?;
    let mode = match params.get("state") {
        Some("open") => BreakerMode::Open,
        Some("closed") => BreakerMode::Closed,
        Some("auto") => BreakerMode::Auto,
        Some(other) => {
            let fix = "state=open stops calls, state=closed lets them through, state=auto lets the breaker decide".to_owned();
            return Err(Problem::bad_value("query: state", format!("unknown state `{other}`"), fix));
        }
        None => return Err(missing("query: state", "state=open, state=closed or state=auto would be right")),
    };
    let reason = params.get("reason").unwrap_or("not given").to_owned();
    if reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(char::is_control) {
        let fix = format!("at most {REASON_CHARS_MAX} printable characters");
        return Err(Problem::bad_value("query: reason", "too long, or with control characters".to_owned(), fix));
    }
    Ok(BreakerCommand { exchange, mode, actor, reason, at: spark_nats::now() })
}
