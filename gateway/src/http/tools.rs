//! `/api/tools`: series, figures and the one command of today.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use spark_bus_schema::control::{BreakerCommand, BreakerMode};
use tokio::sync::oneshot;

use super::problem::Problem;
use super::query::Params;
use super::{Context, json};
use crate::app::{App, Command};
use crate::render::Figures;
use crate::token::{TOKEN_CHARS_MIN, TOKEN_VARIABLE};
use crate::view::windows::{P95_RULE, Point};

/// How long a command may wait for the broker's acknowledgement.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 200;

/// `GET /api/tools/metrics/timeseries?window=1h&exchange=`.
pub(super) async fn timeseries(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Timeseries {
        data: Vec<Point>,
    }
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

/// `POST /api/tools/circuit-breaker?exchange=&state=open|closed|auto&reason=`.
pub(super) async fn circuit_breaker(
    State(context): State<Context>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Accepted {
        status: &'static str,
        exchange: spark_bus_schema::Venue,
        state: BreakerMode,
        sequence: u64,
    }
    authorize(&context.app, &headers)?;
    let command = breaker_command(&params.only(&["exchange", "state", "reason"])?)?;
    let (exchange, state) = (command.exchange, command.mode);
    let sequence = send(&context.app, command).await?;
    tracing::info!(%exchange, ?state, sequence, "circuit breaker set by hand");
    Ok(json(&Accepted { status: "accepted", exchange, state, sequence }))
}

fn authorize(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = &app.token else {
        let fix = format!(
            "put a token of at least {TOKEN_CHARS_MIN} characters into a file and name it in gateway.operator_token_file, or \
             set {TOKEN_VARIABLE}; then restart the gateway"
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, "no-token", "Commands are switched off")
            .detail("no operator token is configured".to_owned())
            .fix(fix));
    };
    let offered = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let refused = |detail: &str| {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Commands need the operator's token")
            .place("header: Authorization")
            .detail(detail.to_owned())
            .fix("send `Authorization: Bearer <token>`".to_owned())
    };
    match offered {
        None => Err(refused("no bearer token")),
        Some(offered) if token.matches(offered.trim()) => Ok(()),
        Some(_) => Err(refused("another token is configured")),
    }
}

fn breaker_command(params: &Params) -> Result<BreakerCommand, Problem> {
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
    Ok(BreakerCommand { exchange, mode, actor: "operator".to_owned(), reason, at: spark_nats::now() })
}

async fn send(app: &App, command: BreakerCommand) -> Result<u64, Problem> {
    let unavailable = |detail: String, fix: &str| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-confirmed", "The command is not confirmed")
            .detail(detail)
            .fix(fix.to_owned())
    };
    if !app.view().is_connected() {
        return Err(unavailable("the broker is not connected; nothing was sent".to_owned(), "try again when it is back"));
    }
    let (done, answer) = oneshot::channel();
    if app.commands.try_send(Command { command, done }).is_err() {
        return Err(unavailable("too many commands are waiting; nothing was sent".to_owned(), "try again"));
    }
    let may_have = "it may have taken effect: the latest command decides, so sending it again is safe";
    match tokio::time::timeout(COMMAND_LIMIT, answer).await {
        Ok(Ok(Ok(sequence))) => Ok(sequence),
        Ok(Ok(Err(reason))) => Err(unavailable(reason, "see the gateway's log and `spark doctor`")),
        Ok(Err(_)) => Err(unavailable("the gateway is stopping".to_owned(), may_have)),
        Err(_) => Err(unavailable(format!("no acknowledgement within {} s", COMMAND_LIMIT.as_secs()), may_have)),
    }
}
