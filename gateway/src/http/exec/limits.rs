//! `POST /api/exec/limits`: other limits at run time, confirmed and kept.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use spark_bus_schema::control::{LimitsCommand, LimitsSource};
use spark_bus_schema::risk::Limits;

use super::super::access::Caller;
use super::super::command::send;
use super::super::input::Payload;
use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json as answer};
use super::body;
use super::commands::{ACCEPTED, confirmation};
use crate::app::Outgoing;
use crate::changes;

/// Of [`set`].
pub const EXAMPLE: &str =
    r#"{"limits":{"default":{"notional_usd_max":"5000"}},"reason":"smaller orders overnight","confirm":true}"#;

/// Every limit; what is not given has its built-in value.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LimitsRequest")]
pub struct Asked {
    limits: Limits,
    #[schemars(with = "body::Reason")]
    reason: String,
    /// Without it nothing is done: 428 says what would be.
    #[serde(default)]
    confirm: bool,
    /// The `sequence` of the limits that this was decided on: somebody else may have changed them since.
    sequence: Option<u64>,
}

/// What has changed.
#[derive(Serialize, JsonSchema)]
pub struct LimitsSet {
    /// `accepted`, or `unchanged`: these limits are in force already.
    status: &'static str,
    /// LEDGER sequence of the limits in force.
    sequence: u64,
    changes: Vec<changes::Change>,
}

/// Replaces every limit; what is not given has its built-in value. Asks for a confirmation first.
pub async fn set(
    State(context): State<Context>,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: Asked = body::read(&body, EXAMPLE)?;
    let (reason, actor) = (body::reason(&asked.reason)?, caller.actor());
    let wrong = |what| Problem::bad_value("body: limits", what, "GET /api/exec/limits shows the ones in force".to_owned());
    asked.limits.check().map_err(wrong)?;
    let (in_force, sequence, complete) = {
        let view = context.app.view();
        let trading = &view.trading;
        (trading.limits_in_force(), trading.limits().map_or(0, |told| told.sequence), trading.is_complete())
    };
    if !complete {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-read", "The limits in force are not known yet")
            .detail("the gateway has not read the ledger to its end since its start".to_owned())
            .fix("try again in a moment".to_owned()));
    }
    if asked.sequence.is_some_and(|decided_on| decided_on != sequence) {
        return Err(Problem::new(StatusCode::CONFLICT, "limits-changed", "The limits have changed since")
            .place("body: sequence")
            .detail(format!("those in force have the sequence {sequence}"))
            .fix("look at GET /api/exec/limits and decide again".to_owned()));
    }
    let changes = changes::between(&in_force, &asked.limits);
    if changes.is_empty() {
        return Ok(answer(&LimitsSet { status: "unchanged", sequence, changes }));
    }
    if !asked.confirm {
        return Err(confirmation(format!("{} limits would change; see `changes`", changes.len()))
            .with("changes", json!(changes))
            .with("sequence", sequence.into()));
    }
    let command = LimitsCommand { limits: asked.limits, source: LimitsSource::Command, actor, reason, at: spark_nats::now() };
    let sequence = send(&context.app, Outgoing::Limits(Box::new(command))).await?;
    tracing::warn!(sequence, changed = changes.len(), "limits are set by hand");
    Ok(answer(&LimitsSet { status: ACCEPTED, sequence, changes }))
}
