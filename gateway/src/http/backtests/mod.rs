//! `/api/backtest`: jobs, how far they are, what they came to.

pub mod place;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use spark_bus_schema::Message;
use spark_bus_schema::backtests::{BacktestJob, JobCancel};
use spark_bus_schema::subject::{self, JOBS, LEDGER};

use super::access::Caller;
use super::command::send;
use super::exec::body;
use super::exec::commands::ACCEPTED;
use super::input::{Payload, Segment};
use super::paging::{Page, linked};
use super::problem::Problem;
use super::query::Params;
use super::{Context, OwnPolicy, json as answer};
use crate::app::{App, Outgoing};
use crate::record::{Entry, Record};
use crate::view::backtests::{Backtests, DONE_MAX, JobRow, OPEN_MAX};
use crate::view::revisions::Part;
use crate::view::status::Word;

/// Backtests in an answer when the request does not say how many, and at most.
pub const LIMIT: (usize, usize) = (50, 200);
/// Backtests that are held at most.
pub const OFFSET_MAX: usize = DONE_MAX + 2 * OPEN_MAX;
/// Backtests that are compared at once.
pub const COMPARED_MAX: usize = 10;
/// How long one look at the broker may take.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// What a backtest can be.
pub const STATES: [&str; 5] = ["queued", "running", "done", "failed", "cancelled"];
/// A report brings its own style and script, and has an origin of its own: it reaches neither the gateway nor anything else.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts";

/// Backtests: those that have not ended first, then the newest.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Backtests")]
pub struct List<'a> {
    status: Word,
    items: Vec<JobRow<'a>>,
    total: usize,
    offset: usize,
    /// Where the next page begins; null on the last one.
    next_offset: Option<usize>,
    complete: bool,
}

/// `GET /api/backtest?state=&limit=&offset=`: those that have not ended first, then the newest.
pub async fn list(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["state", "limit", "offset"])?;
    let page = Page::read(&params, 1..=LIMIT.1, LIMIT.0, OFFSET_MAX)?;
    let state = params.get("state");
    if let Some(unknown) = state.filter(|state| !STATES.contains(state)) {
        return Err(Problem::bad_value("query: state", format!("unknown state `{unknown:.64}`"), STATES.join(", ")));
    }
    let view = context.app.view();
    let ids = view.backtests.newest();
    let rows = ids.into_iter().filter_map(|id| view.backtests.row(id));
    let rows: Vec<JobRow<'_>> = rows.filter(|row| state.is_none_or(|state| state == row.state)).collect();
    let total = rows.len();
    let next_offset = page.next(total);
    let told = answer(&List {
        status: view.status(spark_nats::now()).status,
        items: page.of(rows.into_iter()),
        total,
        offset: page.offset,
        next_offset,
        complete: view.trading.is_complete(),
    });
    Ok(linked(told, &params, "offset", next_offset))
}

/// One backtest.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BacktestWithDetails")]
pub struct One {
    #[serde(flatten)]
    #[schemars(with = "JobRow<'static>")]
    row: Value,
    /// `equity` and `trades`, each oldest first; null where their file is on another machine, and before it has ended.
    details: Option<Value>,
}

/// `GET /api/backtest/{id}`: with `details` (equity curve, trades) where their file is on this machine.
pub async fn one(State(context): State<Context>, Segment(id): Segment, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let app = &context.app;
    let row = row(app, &id).await?;
    let ended = !row["result"].is_null();
    let details = if ended { app.backtest_details(&id).await } else { None };
    Ok(answer(&One { row, details }))
}

/// Backtests side by side.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BacktestsCompared")]
pub struct Compared {
    #[schemars(with = "Vec<JobRow<'static>>")]
    items: Vec<Value>,
    /// Whether all of them ran on the same data; null as long as one has not ended.
    same_data: Option<bool>,
    /// Whether all of them made the same trades; null as long as one has not ended.
    same_trades: Option<bool>,
}

/// `GET /api/backtest/compare?ids=a,b`: side by side.
pub async fn compare(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["ids"])?;
    let ids: Vec<&str> = params.get("ids").unwrap_or_default().split(',').filter(|id| !id.is_empty()).collect();
    if !(2..=COMPARED_MAX).contains(&ids.len()) {
        let fix = format!("2 to {COMPARED_MAX} ids: ids=bt-1,bt-2");
        return Err(Problem::bad_value("query: ids", format!("{} ids", ids.len()), fix));
    }
    let mut items = Vec::new();
    for id in ids {
        items.push(row(&context.app, id).await?);
    }
    // Null as long as one of them has none.
    let same = |field: &str| {
        let hashes: Option<Vec<&str>> = items.iter().map(|item| item["result"][field].as_str()).collect();
        hashes.map(|hashes| hashes.windows(2).all(|pair| pair[0] == pair[1]))
    };
    let (same_data, same_trades) = (same("dataHash"), same("tradesHash"));
    Ok(answer(&Compared { items, same_data, same_trades }))
}

/// Of [`cancel`].
pub const CANCEL_EXAMPLE: &str = r#"{"reason":"the wrong file"}"#;

/// The backtest is to be taken back; its worker does so at its next look.
#[derive(Serialize, JsonSchema)]
pub struct BacktestCancelled {
    status: &'static str,
    id: String,
    /// LEDGER sequence of the command.
    sequence: u64,
    /// Where to look.
    #[serde(rename = "where")]
    place: String,
}

/// `POST /api/backtest/{id}/cancel`.
pub async fn cancel(
    State(context): State<Context>,
    Segment(id): Segment,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let (reason, actor) = (body::only_reason(&body, CANCEL_EXAMPLE)?, caller.actor());
    let row = row(&context.app, &id).await?;
    if !row["result"].is_null() {
        return Err(Problem::new(StatusCode::CONFLICT, "backtest-over", "The backtest is over")
            .place("path: id")
            .detail(format!("it is {}; there is nothing left to cancel", row["state"].as_str().unwrap_or("over")))
            .fix(format!("GET /api/backtest/{id} says what it came to")));
    }
    let command = JobCancel { id: id.clone(), actor, reason, at: spark_nats::now() };
    let sequence = send(&context.app, Outgoing::JobCancel(command)).await?;
    tracing::info!(id, sequence, "a backtest is to be cancelled");
    let place = format!("/api/backtest/{id}");
    Ok(answer(&BacktestCancelled { status: ACCEPTED, id, sequence, place }))
}

/// `GET /api/backtest/{id}/report`: one HTML file.
pub async fn report(State(context): State<Context>, Segment(id): Segment, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let row = row(&context.app, &id).await?;
    let Some(report) = context.app.backtest_report(&id).await else {
        let state = row["state"].as_str().unwrap_or_default();
        let (detail, fix) = if row["result"].is_null() {
            (format!("the backtest is {state}"), "try again when it is done")
        } else {
            (
                format!("the backtest is {state}; its file is not on the gateway's machine, or it has none"),
                "spark backtest report <id>",
            )
        };
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-report", "There is no report here")
            .place("path: id")
            .detail(detail)
            .fix(fix.to_owned()));
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(REPORT_POLICY)),
    ];
    let mut response = (headers, report).into_response();
    response.extensions_mut().insert(OwnPolicy);
    Ok(response)
}

/// What is known of a backtest: by the view, else by the LEDGER, else by the queue.
async fn row(app: &App, id: &str) -> Result<Value, Problem> {
    let plain = !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !plain {
        let fix = "the `id` of an earlier answer; GET /api/backtest lists them".to_owned();
        return Err(Problem::bad_value("path: id", format!("`{id:.64}` is no id"), fix));
    }
    if let Some(row) = app.view().backtests.row(id) {
        return Ok(json!(row));
    }
    let bus = app.bus().filter(|bus| bus.is_connected()).ok_or_else(|| away(&format!("nothing is known of {id} here")))?;
    let look = async {
        let ended = bus.last(LEDGER, &subject::backtest_done(id)).await?;
        let queued = if ended.is_none() { bus.last(JOBS, &subject::backtest(id)).await? } else { None };
        Ok::<_, spark_nats::Error>((ended, queued))
    };
    let (ended, queued) = match tokio::time::timeout(LOOK_LIMIT, look).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(away(&error.to_string())),
        Err(_) => return Err(away("it did not answer in time")),
    };
    if let Some(ended) = ended
        && let Ok(Some(record)) = Record::decode(&ended.subject, ended.kind.as_deref(), &ended.payload)
    {
        let mut old = Backtests::default();
        let kind = ended.kind.clone().unwrap_or_default();
        old.apply(ended.stored_at, &Entry { sequence: ended.sequence, kind, payload: ended.payload.clone(), record });
        if let Some(row) = old.row(id) {
            return Ok(json!(row));
        }
    }
    let job =
        queued.and_then(|delivery| delivery.decode::<BacktestJob>().ok()).filter(|job| job.id == id && job.validate().is_ok());
    if let Some(job) = job {
        let mut view = app.view_mut();
        view.backtests.asked(Arc::new(job));
        view.changed(Part::Backtests);
        return Ok(json!(view.backtests.row(id)));
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "unknown-backtest", "There is no such backtest")
        .place("path: id")
        .detail(format!("neither the queue nor the ledger knows {id}"))
        .fix("GET /api/backtest lists the newest".to_owned()))
}

/// The queue cannot be asked, or does not confirm.
fn away(detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "queue-away", "The queue cannot be reached")
        .detail(detail.to_owned())
        .fix("try again when the broker is back; with the same X-Idempotency-Key it is stored at most once".to_owned())
}
