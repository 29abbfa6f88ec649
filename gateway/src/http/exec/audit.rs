//! `POST /api/audit/list`: what was done, newest first; from a place on, oldest first.
//!
//! It answers from the LEDGER, of which the view holds the newest part. An item's `hash` is that of the auditor's chain, which
//! covers everything before it; null while the auditor has not chained it, or where its file cannot be read. `digest` is
//! SHA-256 of the message's own bytes, and `anchor` the first place of the chain, told on the bus, that covers it.

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spark_bus_schema::Timestamp;
use spark_bus_schema::audit::AuditAnchor;

use super::super::input::Payload;
use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json};
use super::body;
use crate::view::trading::actions::{Action, NAMES};

/// Items in an answer when the request does not say how many, and at most.
const LIMIT: (usize, usize) = (50, 500);

/// Of [`list`].
pub const EXAMPLE: &str = r#"{"limit":50,"action":"control.kill_switch","from":"2026-11-21T00:00:00Z"}"#;

/// Which actions are wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AuditRequest")]
pub struct Asked {
    /// 50 without it.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
    /// One action, or the part before the dot: everything below it.
    action: Option<String>,
    /// A time (RFC 3339), or a LEDGER sequence: oldest first from there on. Without it the newest first.
    #[schemars(with = "Option<From>")]
    from: Option<Value>,
    /// Only older ones than this LEDGER sequence, the newest first: `nextBefore` of the page before. Not with `from`.
    before: Option<u64>,
}

/// How `from` looks in the API's document.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "AuditFrom")]
#[expect(dead_code, reason = "it describes what `place` reads")]
enum From {
    Sequence(u64),
    #[schemars(extend("format" = "date-time"))]
    At(String),
}

/// What was done.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AuditList")]
pub struct List {
    items: Vec<Item>,
    /// Whether nothing that was asked for is older than what the gateway holds. Otherwise: `spark audit list`.
    complete: bool,
    /// `before` of the next page; null on the last one, and with `from`.
    next_before: Option<u64>,
    /// `from` of the next page, when `from` was given; null on the last one.
    next_from: Option<u64>,
}

/// One thing that was done.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditItem")]
struct Item {
    action: &'static str,
    actor: String,
    /// The message as it was stored.
    payload: Value,
    /// Of the auditor's chain; null while it is not chained, or where its file cannot be read.
    hash: Option<String>,
    digest: String,
    timestamp: String,
    sequence: u64,
    summary: String,
    anchor: Option<AuditAnchor>,
}

/// The list.
pub async fn list(State(context): State<Context>, params: Params, Payload(body): Payload) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: Asked = body::read(&body, EXAMPLE)?;
    let limit = asked.limit.unwrap_or(LIMIT.0);
    if !(1..=LIMIT.1).contains(&limit) {
        return Err(Problem::bad_value("body: limit", format!("{limit} is out of range"), format!("1 to {}", LIMIT.1)));
    }
    let action = asked.action.as_deref();
    if let Some(unknown) = action.filter(|action| !NAMES.iter().any(|name| below(action, name))) {
        return Err(Problem::bad_value("body: action", format!("unknown action `{unknown:.64}`"), NAMES.join(", ")));
    }
    let from = asked.from.as_ref().map(place).transpose()?;
    if from.is_some() && asked.before.is_some() {
        let fix = "`from` for the oldest first, `before` for the newest first".to_owned();
        return Err(Problem::bad_value("body: before", "it does not go with `from`".to_owned(), fix));
    }
    let wanted = Wanted { limit, action, from, before: asked.before };
    let (mut items, complete, more) = held(&context, wanted);
    let next = items.last().map(|item| item.sequence).filter(|_| more);
    let (next_before, next_from) = if from.is_some() { (None, next.map(|sequence| sequence + 1)) } else { (next, None) };
    let mut hashes = context.app.chain_hashes(items.iter().map(|item| item.sequence).collect()).await;
    for item in &mut items {
        item.hash = hashes.remove(&item.sequence);
    }
    Ok(json(&List { items, complete, next_before, next_from }))
}

/// Whether `name` is `action` or below it: `order` is above `order.intent`.
fn below(action: &str, name: &str) -> bool {
    name.strip_prefix(action).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What a request wants, checked.
struct Wanted<'a> {
    limit: usize,
    action: Option<&'a str>,
    from: Option<Place>,
    before: Option<u64>,
}

/// What the view holds of it, without the chain's hashes; whether nothing of it is missing; whether more follow.
fn held(context: &Context, asked: Wanted<'_>) -> (Vec<Item>, bool, bool) {
    let Wanted { limit, action, from, before } = asked;
    let view = context.app.view();
    let actions = &view.trading.actions;
    let fits = |held: &&Action| {
        action.is_none_or(|action| below(action, held.action))
            && from.is_none_or(|from| from.reaches(held))
            && before.is_none_or(|before| held.sequence < before)
    };
    let mut wanted: Vec<&Action> = match from {
        None => actions.newest().filter(fits).take(limit + 1).collect(),
        Some(_) => actions.oldest().filter(fits).take(limit + 1).collect(),
    };
    let more = wanted.len() > limit;
    wanted.truncate(limit);
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
    (items, complete, more)
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
