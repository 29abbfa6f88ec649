//! `POST /api/audit/list`: what was done, newest first; from a place on, oldest first.
//!
//! It answers from the LEDGER, of which the view holds the newest part. An item's `hash` is that of the auditor's chain, which
//! covers everything before it; null while the auditor has not chained it, or where its file cannot be read. `digest` is
//! SHA-256 of the message's own bytes, and `anchor` the first place of the chain, told on the bus, that covers it.

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
use crate::view::trading::actions::{Action, NAMES};

/// Items in an answer when the request does not say how many, and at most.
const LIMIT: (usize, usize) = (50, 500);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    limit: Option<usize>,
    /// One action, or the part before the dot: everything below it.
    action: Option<String>,
    /// A time, or a LEDGER sequence.
    from: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    items: Vec<Item>,
    /// Whether nothing that was asked for is older than what the gateway holds. Otherwise: `spark audit list`.
    complete: bool,
}

#[derive(Serialize)]
struct Item {
    action: &'static str,
    actor: String,
    payload: Value,
    hash: Option<String>,
    digest: String,
    timestamp: String,
    sequence: u64,
    summary: String,
    anchor: Option<AuditAnchor>,
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
    if let Some(unknown) = action.filter(|action| !NAMES.iter().any(|name| below(action, name))) {
        return Err(Problem::bad_value("body: action", format!("unknown action `{unknown:.64}`"), NAMES.join(", ")));
    }
    let from = asked.from.as_ref().map(place).transpose()?;
    let (mut items, complete) = held(&context, limit, action, from);
    let mut hashes = context.app.chain_hashes(items.iter().map(|item| item.sequence).collect()).await;
    for item in &mut items {
        item.hash = hashes.remove(&item.sequence);
    }
    Ok(json(&List { items, complete }))
}

/// Whether `name` is `action` or below it: `order` is above `order.intent`.
fn below(action: &str, name: &str) -> bool {
    name.strip_prefix(action).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What the view holds of it, without the chain's hashes, and whether nothing of it is missing.
fn held(context: &Context, limit: usize, action: Option<&str>, from: Option<Place>) -> (Vec<Item>, bool) {
    let view = context.app.view();
    let actions = &view.trading.actions;
    let fits =
        |held: &&Action| action.is_none_or(|action| below(action, held.action)) && from.is_none_or(|from| from.reaches(held));
    let wanted: Vec<&Action> = match from {
        None => actions.newest().filter(fits).take(limit).collect(),
        Some(_) => actions.oldest().filter(fits).take(limit).collect(),
    };
    let items: Vec<Item> = wanted
        .into_iter()
        .map(|held| Item {
            action: held.action,
            actor: held.actor.clone(),
            payload: held.payload(),
            hash: None,
            digest: held.hash(),
            timestamp: held.at.to_string(),
            sequence: held.sequence,
            summary: held.summary.clone(),
            anchor: actions.anchor(held.sequence).cloned(),
        })
        .collect();
    // The newest ones are all there if they are enough; those from a place on, if that place is still held.
    let enough = from.is_none() && items.len() == limit;
    let complete =
        view.trading.is_complete() && (enough || actions.reach(|oldest| from.is_some_and(|from| !from.reaches(oldest))));
    (items, complete)
}

/// Where a list begins.
#[derive(Clone, Copy)]
enum Place {
    At(Timestamp),
    Sequence(u64),
}

impl Place {
    fn reaches(self, held: &Action) -> bool {
        match self {
            Self::At(at) => held.at >= at,
            Self::Sequence(sequence) => held.sequence >= sequence,
        }
    }
}

fn place(from: &Value) -> Result<Place, Problem> {
    let parsed = match from {
        Value::Number(number) => number.as_u64().map(Place::Sequence),
        Value::String(text) => match text.parse() {
            Ok(sequence) => Some(Place::Sequence(sequence)),
            Err(_) => Timestamp::parse(text).ok().map(Place::At),
        },
        _ => None,
    };
    let fix = "a time such as \"2026-11-21T09:30:00Z\", or a LEDGER sequence such as 1042".to_owned();
    parsed.ok_or_else(|| Problem::bad_value("body: from", format!("{from} is neither a time nor a sequence"), fix))
}
