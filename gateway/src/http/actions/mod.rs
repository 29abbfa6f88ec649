//! `POST /api/actions`: what an orchestrator may ask for and do.
//!
//! Reading is answered at once. Whatever changes live risk or thresholds takes the operator's token and two calls: the
//! first one is answered 202 with what would change and a confirmation, the second one, the same with that confirmation,
//! does it. `dryRun` only shows. Each change is a command in the LEDGER that carries who and why.

mod change;
mod queries;
mod report;

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::Caller;
use super::command::send;
use super::exec::body;
use super::exec::commands::{ACCEPTED, confirmation};
use super::input::{Payload, Segment};
use super::problem::Problem;
use super::query::Params;
use super::{Context, json as answer};
use crate::confirm::Unconfirmed;
use crate::render::Figures;
use crate::view::View;
use crate::view::status::Word;
use change::Plan;

/// Of [`act`].
pub const EXAMPLE: &str =
    r#"{"action":"/tools/get_status"}, or {"action":"/guardrail/restart","params":{"service":"feed"},"reason":"no data"}"#;
/// Every action, for the API's document.
const ACTIONS: [&str; 7] = {
    let ([a, b, c], [d, e, f, g]) = (READING, change::CHANGING);
    [a, b, c, d, e, f, g]
};
/// What only reads.
pub const READING: [&str; 3] = ["/tools/get_status", "/tools/get_metrics", "/fusion/risk.report.daily"];

/// An action.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ActionRequest")]
pub struct Asked {
    #[schemars(extend("enum" = ACTIONS))]
    action: String,
    /// By the action; those of `/tools/get_status` are none.
    #[serde(default)]
    params: Value,
    /// Only shows what would change.
    #[serde(default, rename = "dryRun")]
    dry_run: bool,
    /// Accepted for the orchestrators that send it: what must be confirmed is not for the request to say.
    #[serde(default)]
    #[expect(dead_code, reason = "it is part of the request's form and changes nothing")]
    confirm_required: Option<bool>,
    /// Needed for whatever changes something.
    #[serde(default)]
    reason: String,
    /// The confirmation that the first call was answered with.
    confirm: Option<String>,
}

/// What an action is answered with.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "ActionAnswer")]
pub enum Answer<'a> {
    /// Of what only reads.
    Read(Read<'a>),
    /// Of what changes something, shown or done.
    Changed(Changed<'a>),
}

/// An answer of what only reads.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ActionRead")]
pub struct Read<'a> {
    action: &'a str,
    #[serde(rename = "dryRun")]
    dry_run: bool,
    confirm_required: bool,
    result: Outcome<'a>,
}

/// What was asked for.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "ActionResult")]
enum Outcome<'a> {
    /// Of `/tools/get_status`.
    Health(Health),
    /// Of `/tools/get_metrics`.
    Metrics(Vec<queries::Answered>),
    /// Of `/fusion/risk.report.daily`.
    Daily(Box<Daily<'a>>),
}

/// What changed, or would.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ActionChanged")]
pub struct Changed<'a> {
    /// `accepted`; `dry_run`; `unchanged`: it is so already.
    status: &'static str,
    action: &'a str,
    #[serde(rename = "dryRun")]
    dry_run: bool,
    confirm_required: bool,
    effect: &'a change::Effect,
    /// LEDGER sequence of the command; left out where none was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
}

/// What would change, and what confirms it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ActionToConfirm")]
pub struct ToConfirm<'a> {
    status: &'static str,
    action: &'a str,
    #[serde(rename = "dryRun")]
    dry_run: bool,
    confirm_required: bool,
    /// To be sent with the very same request.
    confirm: &'a str,
    /// Until then.
    expires_at: String,
    effect: &'a change::Effect,
}

/// `POST /api/actions`.
pub async fn act(
    State(context): State<Context>,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: Asked = body::read(&body, EXAMPLE)?;
    let (action, dry_run) = (asked.action.as_str(), asked.dry_run);
    if !READING.contains(&action) {
        return change(&context, &caller, asked).await;
    }
    let now = spark_nats::now();
    let view;
    let result = match action {
        "/tools/get_status" => {
            no_params(&asked.params)?;
            Outcome::Health(Health::new(&context.app.view(), now))
        }
        "/tools/get_metrics" => Outcome::Metrics(queries::answer(&context.app, &asked.params, now)?),
        _ => {
            no_params(&asked.params)?;
            view = context.app.view();
            let report = report::Report::new(&view, now);
            let markdown = report.markdown();
            Outcome::Daily(Box::new(Daily { report, markdown }))
        }
    };
    Ok(answer(&Answer::Read(Read { action, dry_run, confirm_required: false, result })))
}

/// The day's risk, for programs and for people.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DailyReport")]
struct Daily<'a> {
    report: report::Report<'a>,
    markdown: String,
}

fn no_params(params: &Value) -> Result<(), Problem> {
    let none = params.is_null() || params.as_object().is_some_and(serde_json::Map::is_empty);
    if none { Ok(()) } else { Err(Problem::bad_value("body: params", "it takes none".to_owned(), "\"params\":{}".to_owned())) }
}

/// The five figures of `/tools/get_status`; null where there is no data.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "HealthFigures")]
struct Health {
    health: Word,
    reasons: Vec<String>,
    p95: Option<f64>,
    staleness: Option<f64>,
    error_rate: Option<f64>,
    open_orders: usize,
    units: BTreeMap<&'static str, &'static str>,
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
            units: BTreeMap::from([("p95", "ms"), ("staleness", "s"), ("error_rate", "1/s")]),
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
        let dry_run = asked.dry_run;
        let told = Changed { status, action, dry_run, confirm_required: true, effect, sequence: None };
        return Ok(answer(&Answer::Changed(told)));
    };
    let Some(token) = &asked.confirm else {
        let (token, ends_at) = context.app.confirmations.ask(&request(&plan), now);
        let body = ToConfirm {
            status: "confirmation_required",
            action,
            dry_run: false,
            confirm_required: true,
            confirm: &token,
            expires_at: ends_at.to_string(),
            effect,
        };
        return Ok((StatusCode::ACCEPTED, answer(&body)).into_response());
    };
    context.app.confirmations.confirm(token, &request(&plan), now).map_err(not_confirmed)?;
    let sequence = send(&context.app, command.clone()).await?;
    tracing::warn!(action, actor, sequence, "an action is carried out");
    let sequence = Some(sequence);
    let told = Changed { status: ACCEPTED, action, dry_run: false, confirm_required: true, effect, sequence };
    Ok(answer(&Answer::Changed(told)))
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

/// Of [`restart`].
pub const RESTART_EXAMPLE: &str = r#"{"reason":"it does not answer","confirm":true}"#;

/// Why, and that it is meant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RestartRequest")]
pub struct RestartBody {
    #[schemars(with = "body::Reason")]
    reason: String,
    /// Without it nothing is done: 428 says what would be.
    #[serde(default)]
    confirm: bool,
}

/// The process is to be restarted.
#[derive(Serialize, JsonSchema)]
pub struct RestartAccepted {
    status: &'static str,
    service: String,
    /// LEDGER sequence of the command.
    sequence: u64,
}

/// `POST /api/processes/{service}/restart`: asks for a confirmation first.
pub async fn restart(
    State(context): State<Context>,
    Segment(service): Segment,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: RestartBody = body::read(&body, RESTART_EXAMPLE)?;
    let (reason, actor) = (body::reason(&asked.reason)?, caller.actor());
    let plan = change::restart(&context.app, &json!({"service": service}), &actor, &reason, spark_nats::now())?;
    let Some(command) = plan.command.filter(|_| asked.confirm) else {
        return Err(confirmation(format!("{service} would be stopped and started again")).with("effect", json!(plan.effect)));
    };
    let sequence = send(&context.app, command).await?;
    tracing::warn!(service, actor, sequence, "a process is to be restarted");
    Ok(answer(&RestartAccepted { status: ACCEPTED, service, sequence }))
}
