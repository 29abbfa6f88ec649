//! Silences: looked at by anybody, made and taken back with the operator's token. Each word on one is a message of the
//! LEDGER; the answer comes when it is stored.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spark_alerting::{Labels, Matchers, SilenceState, silence as judged};
use spark_bus_schema::notify::{Matcher, Silence};
use spark_bus_schema::{Message, Timestamp};

use super::super::access::Caller;
use super::super::command::send;
use super::super::exec::body;
use super::super::input::{Payload, Segment};
use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json as answer};
use super::filter;
use crate::app::{App, Outgoing};
use crate::view::people::{SILENCE_BYTES_MAX, SILENCES_KEPT, SILENCES_MAX};
use crate::view::revisions::Part;

/// Of [`set`].
pub const EXAMPLE: &str = r#"{"matchers":[{"name":"alertname","value":"WSStaleness","isRegex":false,"isEqual":true}],"startsAt":"2026-11-21T09:00:00Z","endsAt":"2026-11-21T11:00:00Z","createdBy":"ayse","comment":"maintenance"}"#;

/// A silence as Alertmanager tells it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "GettableSilence")]
pub struct Gettable<'a> {
    id: &'a str,
    status: Status,
    updated_at: String,
    comment: &'a str,
    created_by: &'a str,
    ends_at: String,
    matchers: &'a [Matcher],
    starts_at: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SilenceStatus")]
struct Status {
    state: &'static str,
}

fn gettable(silence: &Silence, now: Timestamp) -> Gettable<'_> {
    Gettable {
        id: &silence.id,
        status: Status { state: judged::state(silence, now).name() },
        updated_at: silence.at.to_string(),
        comment: &silence.comment,
        created_by: &silence.created_by,
        ends_at: silence.ends_at.to_string(),
        matchers: &silence.matchers,
        starts_at: silence.starts_at.to_string(),
    }
}

/// `GET /api/v2/silences?filter=`: those in force by their end, then those to come, then those that are over.
pub async fn list(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only_repeating(&["filter"], &["filter"])?;
    let (filter, now) = (filter(&params)?, spark_nats::now());
    let view = context.app.view();
    let fits = |silence: &&Silence| {
        if silence.ends_at < now - SILENCES_KEPT {
            return false;
        }
        let labels: Labels = silence.matchers.iter().map(|matcher| (matcher.name.clone(), matcher.value.clone())).collect();
        filter.matches(&labels)
    };
    let mut silences: Vec<&Silence> = view.people.silences.iter().filter(fits).collect();
    silences.sort_by_key(|silence| {
        let state = judged::state(silence, now);
        let order = match state {
            SilenceState::Active => silence.ends_at.as_nanos(),
            SilenceState::Pending => silence.starts_at.as_nanos(),
            // The one that ended last comes first.
            SilenceState::Expired => silence.ends_at.as_nanos().saturating_neg(),
        };
        (state, order)
    });
    Ok(answer(&silences.into_iter().map(|silence| gettable(silence, now)).collect::<Vec<_>>()))
}

/// `GET /api/v2/silence/{id}`.
pub async fn one(State(context): State<Context>, Segment(id): Segment, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let view = context.app.view();
    let silence = view.people.silences.get(&id).ok_or_else(|| unknown(&id))?;
    Ok(answer(&gettable(silence, spark_nats::now())))
}

fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-silence", "There is no such silence")
        .place("path: id")
        .detail(format!("`{id:.64}` is not known, or ended days ago"))
        .fix("GET /api/v2/silences lists them".to_owned())
}

/// What a request says; members that the answers have beside these are not looked at, as in Alertmanager.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PostableSilence")]
pub struct Postable {
    id: Option<String>,
    matchers: Vec<Matcher>,
    #[schemars(extend("format" = "date-time"))]
    starts_at: String,
    #[schemars(extend("format" = "date-time"))]
    ends_at: String,
    created_by: String,
    comment: String,
}

/// Its id.
#[derive(Serialize, JsonSchema)]
pub struct SilenceSet {
    #[serde(rename = "silenceID")]
    silence_id: String,
}

/// `POST /api/v2/silences`: a new one; with an `id`, that one becomes another. What is silenced by it cannot be changed:
/// then it ends, and a new one begins.
pub async fn set(
    State(context): State<Context>,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    if body.len() > SILENCE_BYTES_MAX {
        let fix = format!("at most {SILENCE_BYTES_MAX} bytes; a regular expression takes many values at once");
        return Err(Problem::bad_value("body", format!("{} bytes", body.len()), fix));
    }
    let asked: Postable = body::read(&body, EXAMPLE)?;
    let now = spark_nats::now();
    let held = match asked.id.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => Some(context.app.view().people.silences.get(id).cloned().ok_or_else(|| unknown(id))?),
        None => None,
    };
    let mut silence = Silence {
        id: new_id(now, &body),
        matchers: asked.matchers,
        starts_at: time("startsAt", &asked.starts_at)?.max(now),
        ends_at: time("endsAt", &asked.ends_at)?,
        created_by: caller.actor_for(&asked.created_by),
        comment: asked.comment,
        at: now,
    };
    let replaced = held.filter(|held| judged::state(held, now) != SilenceState::Expired);
    let mut ended = None;
    match replaced {
        Some(held) if held.matchers == silence.matchers => {
            // It goes on from where it began.
            silence.starts_at =
                if judged::state(&held, now) == SilenceState::Active { held.starts_at } else { silence.starts_at };
            silence.id = held.id;
        }
        other => ended = other,
    }
    check(&silence, now)?;
    let no_room = {
        let view = context.app.view();
        let held = &view.people.silences;
        held.get(&silence.id).is_none() && held.iter().filter(|held| held.ends_at > now).count() >= SILENCES_MAX
    };
    if no_room {
        return Err(Problem::new(StatusCode::CONFLICT, "silences", "There are too many silences")
            .detail(format!("{SILENCES_MAX} are in force or to come"))
            .fix("silence more alerts with one, by a regular expression".to_owned()));
    }
    let id = silence.id.clone();
    // The new one first: at no time is neither of them in force.
    store(&context.app, silence).await?;
    if let Some(held) = ended {
        store(&context.app, over(held, &caller, now)).await?;
    }
    Ok(answer(&SilenceSet { silence_id: id }))
}

/// `DELETE /api/v2/silence/{id}`: it ends now.
pub async fn end(
    State(context): State<Context>,
    Segment(id): Segment,
    caller: Caller,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let now = spark_nats::now();
    let held = context.app.view().people.silences.get(&id).cloned().ok_or_else(|| unknown(&id))?;
    if judged::state(&held, now) == SilenceState::Expired {
        return Err(Problem::new(StatusCode::CONFLICT, "silence-over", "The silence is over")
            .place("path: id")
            .detail(format!("it ended at {}", held.ends_at))
            .fix("POST /api/v2/silences makes a new one".to_owned()));
    }
    store(&context.app, over(held, &caller, now)).await?;
    Ok(StatusCode::OK.into_response())
}

/// Ended, and by whom; one that has not begun never begins.
fn over(held: Silence, caller: &Caller, now: Timestamp) -> Silence {
    let whole = format!("{} (ended by {})", held.comment, caller.actor());
    let comment = if whole.len() <= SILENCE_BYTES_MAX { whole } else { held.comment };
    Silence { starts_at: held.starts_at.min(now), ends_at: now, at: now, comment, ..held }
}

async fn store(app: &App, silence: Silence) -> Result<(), Problem> {
    let sequence = send(app, Outgoing::Silence(Box::new(silence.clone()))).await?;
    tracing::info!(id = silence.id, ends_at = %silence.ends_at, sequence, "a silence");
    // The message comes back from the ledger; whoever asks at once shall find it already.
    let mut view = app.view_mut();
    view.people.silence(sequence, silence.at, &silence);
    view.changed(Part::Silences);
    Ok(())
}

fn time(field: &'static str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text).map_err(|error| {
        Problem::bad_value(format!("body: {field}"), error, "\"2026-11-21T09:00:00Z\" would be right".to_owned())
    })
}

fn check(silence: &Silence, now: Timestamp) -> Result<(), Problem> {
    let wrong = |what: String| Problem::bad_value("body", what, format!("e.g. {EXAMPLE}"));
    if silence.ends_at <= now {
        return Err(Problem::bad_value("body: endsAt", format!("{} is over", silence.ends_at), "a time to come".to_owned()));
    }
    silence.validate().map_err(wrong)?;
    Matchers::new(&silence.matchers).map(|_| ()).map_err(|error| wrong(format!("matchers: {error}")))
}

/// A UUID of version 4's form. It need not be secret: changing a silence takes the operator's token.
fn new_id(now: Timestamp, body: &Bytes) -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let mut hash = Sha256::new();
    for number in [now.as_nanos().unsigned_abs(), MADE.fetch_add(1, Ordering::Relaxed), u64::from(std::process::id())] {
        hash.update(number.to_be_bytes());
    }
    hash.update(body);
    let mut bytes: [u8; 32] = hash.finalize().into();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(&bytes[..16]);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
