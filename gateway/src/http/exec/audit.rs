//! `POST /api/audit/list`: what was done, newest first.
//!
//! It answers from the LEDGER, of which the view holds the newest part. The hash chain over all of it is kept by the
//! auditor, outside the broker; `spark audit verify` and `spark audit list` ask that one. An item's `hash` is SHA-256 of the
//! message's bytes, and `anchor` names the first place of the auditor's chain that covers it.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spark_bus_schema::Timestamp;
use spark_bus_schema::audit::AuditAnchor;

use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json};
use super::body;
use crate::view::trading::actions::NAMES;

/// Items in an answer when the request does not say how many, and at most.
const LIMIT: (usize, usize) = (50, 500);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    limit: Option<usize>,
    action: Option<String>,
    from: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    items: Vec<Item<'a>>,
    /// Whether nothing that was asked for is older than what the gateway holds. Otherwise: `spark audit list`.
    complete: bool,
}

#[derive(Serialize)]
struct Item<'a> {
    action: &'a str,
    actor: &'a str,
    payload: Value,
    hash: String,
    timestamp: String,
    sequence: u64,
    summary: &'a str,
    anchor: Option<&'a AuditAnchor>,
}

/// The list.
pub async fn list(State(context): State<Context>, params: Params, body: Bytes) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: Asked = body::read(&body, r#"{"limit":50,"action":"control.kill_switch","from":"2026-11-21T00:00:00Z"}"#)?;
    let limit = asked.limit.unwrap_or(LIMIT.0);
    if !(1..=LIMIT.1).contains(&limit) {
        return Err(Problem::bad_value("body: limit", format!("{limit} is out of range"), format!("1 to {}", LIMIT.1)));
    }
    let action = asked.action.as_deref();
    if let Some(unknown) = action.filter(|action| !NAMES.contains(action)) {
        return Err(Problem::bad_value("body: action", format!("unknown action `{unknown:.64}`"), NAMES.join(", ")));
    }
    let from = asked
        .from
        .as_deref()
        .map(Timestamp::parse)
        .transpose()
        .map_err(|what| Problem::bad_value("body: from", what, "a time such as 2026-11-21T09:30:00Z".to_owned()))?;
    let view = context.app.view();
    let actions = &view.trading.actions;
    let wanted = actions
        .newest()
        .take_while(|held| from.is_none_or(|from| held.at >= from))
        .filter(|held| action.is_none_or(|action| action == held.action))
        .take(limit);
    let items: Vec<Item<'_>> = wanted
        .map(|held| Item {
            action: held.action,
            actor: &held.actor,
            payload: held.payload(),
            hash: held.hash(),
            timestamp: held.at.to_string(),
            sequence: held.sequence,
            summary: &held.summary,
            anchor: actions.anchor(held.sequence),
        })
        .collect();
    let complete = view.trading.is_complete() && (items.len() == limit || actions.reach(from));
    Ok(json(&List { items, complete }))
}
