//! `POST /api/actions`: what an orchestrator may ask for and do.
//!
//! Reading is answered at once. Whatever changes live risk or thresholds takes the operator's token and two calls: the
//! first one is answered 202 with what would change and a confirmation, the second one, the same with that confirmation,
//! does it. `dryRun` only shows. Each change is a command in the LEDGER that carries who and why.

mod change;
mod queries;
mod report;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::Caller;
use super::command::send;
use super::exec::body;
use super::exec::commands::confirmation;
use super::problem::Problem;
use super::query::Params;
use super::{Context, json as answer};
use crate::confirm::Unconfirmed;
use crate::render::Figures;
use crate::view::View;
use crate::view::status::Word;
use change::Plan;

const EXAMPLE: &str =
    r#"{"action":"/tools/get_status"}, or {"action":"/guardrail/restart","params":{"service":"feed"},"reason":"no data"}"#;
/// What only reads.
pub const READING: [&str; 3] = ["/tools/get_status", "/tools/get_metrics", "/fusion/risk.report.daily"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    action: String,
    #[serde(default)]
    params: Value,
    #[serde(default, rename = "dryRun")]
    dry_run: bool,
    /// Accepted for the orchestrators that send it: what must be confirmed is not for the request to say.
    #[serde(default)]
    #[expect(dead_code, reason = "it is part of the request's form and changes nothing")]
    confirm_required: Option<bool>,
    #[serde(default)]
    reason: String,
    /// The confirmation that the first call was answered with.
    confirm: Option<String>,
}

/// An answer of what only reads.
#[derive(Serialize)]
struct Read<'a, T: Serialize> {
    action: &'a str,
    #[serde(rename = "dryRun")]
    dry_run: bool,
    confirm_required: bool,
    result: T,
}

/// `POST /api/actions`.
pub async fn act(State(context): State<Context>, caller: Caller, params: Params, body: Bytes) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: Asked = body::read(&body, EXAMPLE)?;
    let (action, dry_run) = (asked.action.as_str(), asked.dry_run);
    if !READING.contains(&action) {
        return change(&context, &caller, asked).await;
    }
    let now = spark_nats::now();
    Ok(match action {
        "/tools/get_status" => {
            no_params(&asked.params)?;
            answer(&Read { action, dry_run, confirm_required: false, result: Health::new(&context.app.view(), now) })
        }
        "/tools/get_metrics" => {
            let result = queries::answer(&context.app, &asked.params, now)?;
            answer(&Read { action, dry_run, confirm_required: false, result })
        }
        _ => {
            no_params(&asked.params)?;
            let view = context.app.view();
            let report = report::Report::new(&view, now);
            let markdown = report.markdown();
            answer(&Read { action, dry_run, confirm_required: false, result: Daily { report, markdown } })
        }
    })
}

#[derive(Serialize)]
struct Daily<'a> {
    report: report::Report<'a>,
    markdown: String,
}

fn no_params(params: &Value) -> Result<(), Problem> {
    let none = params.is_null() || params.as_object().is_some_and(serde_json::Map::is_empty);
    if none { Ok(()) } else { Err(Problem::bad_value("body: params", "it takes none".to_owned(), "\"params\":{}".to_owned())) }
}

/// The five figures of `/tools/get_status`; null where there is no data.
#[derive(Serialize)]
struct Health {
    health: Word,
    reasons: Vec<String>,
    p95: Option<f64>,
    staleness: Option<f64>,
    error_rate: Option<f64>,
    open_orders: usize,
    units: Value,
}

impl Health {
    fn new(view: &View, now: spark_bus_schema::Timestamp) -> Self {
        let (status, figures) = (view.status(now), Figures::new(view));
        Self {
            health: status.status,
            reasons: status.reasons,
            p95: figures.p95_ms,
            staleness: figures.staleness_s,
            error_rate: figures.error_rate,
            open_orders: view.trading.open_count(),
            units: json!({"p95": "ms", "staleness": "s", "error_rate": "1/s"}),
        }
    }
}

async fn change(context: &Context, caller: &Caller, asked: Asked) -> Result<Response, Problem> {
    let action = asked.action.as_str();
    let Some((role, planner)) = change::planner(action) else {
        let known: Vec<&str> = READING.into_iter().chain(change::CHANGING).collect();
        let detail = format!("unknown action `{action:.64}`");
        return Err(Problem::bad_value("body: action", detail, known.join(", ")).with("actions", json!(known)));
    };
    caller.may(role, action)?;
    let (reason, actor) = (body::reason(&asked.reason)?, caller.actor());
    let now = spark_nats::now();
    let request = |plan: &Plan| json!([action, asked.params, actor, reason, plan.basis]).to_string();
    let plan = planner(&context.app, &asked.params, &actor, &reason, now)?;
    let effect = &plan.effect;
    let Some(command) = plan.command.as_ref().filter(|_| !asked.dry_run) else {
        let status = if asked.dry_run { "dry_run" } else { "unchanged" };
        let body =
            json!({"status": status, "action": action, "dryRun": asked.dry_run, "confirm_required": true, "effect": effect});
        return Ok(answer(&body));
    };
    let Some(token) = &asked.confirm else {
        let (token, ends_at) = context.app.confirmations.ask(&request(&plan), now);
        let body = json!({
            "status": "confirmation_required",
            "action": action,
            "dryRun": false,
            "confirm_required": true,
            "confirm": token,
            "expires_at": ends_at.to_string(),
            "effect": effect,
        });
        return Ok((StatusCode::ACCEPTED, answer(&body)).into_response());
    };
    context.app.confirmations.confirm(token, &request(&plan), now).map_err(not_confirmed)?;
    let sequence = send(&context.app, command.clone()).await?;
    tracing::warn!(action, actor, sequence, "an action is carried out");
    Ok(answer(&json!({
        "status": "accepted", "action": action, "dryRun": false, "confirm_required": true, "effect": effect, "sequence": sequence,
    })))
}

fn not_confirmed(why: Unconfirmed) -> Problem {
    let detail = match why {
        Unconfirmed::Unknown => "the confirmation is not known, was used, or is too old; nothing was changed",
        Unconfirmed::Different => {
            "the confirmation was given for another request, or what this one would change has changed since; nothing was changed"
        }
    };
    Problem::new(StatusCode::CONFLICT, "not-confirmed", "The action is not confirmed")
        .place("body: confirm")
        .detail(detail.to_owned())
        .fix(
            "send it without \"confirm\", look at the effect, and send the very same again with the \"confirm\" of that answer"
                .to_owned(),
        )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartBody {
    reason: String,
    #[serde(default)]
    confirm: bool,
}

/// `POST /api/processes/{service}/restart`: asks for a confirmation first.
pub async fn restart(
    State(context): State<Context>,
    Path(service): Path<String>,
    caller: Caller,
    params: Params,
    body: Bytes,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: RestartBody = body::read(&body, r#"{"reason":"it does not answer","confirm":true}"#)?;
    let (reason, actor) = (body::reason(&asked.reason)?, caller.actor());
    let plan = change::restart(&context.app, &json!({"service": service}), &actor, &reason, spark_nats::now())?;
    let Some(command) = plan.command.filter(|_| asked.confirm) else {
        return Err(confirmation(format!("{service} would be stopped and started again")).with("effect", plan.effect));
    };
    let sequence = send(&context.app, command).await?;
    tracing::warn!(service, actor, sequence, "a process is to be restarted");
    Ok(answer(&json!({"status": "accepted", "service": service, "sequence": sequence})))
}
