//! `/api/backtest`: jobs, how far they are, what they came to.

pub mod place;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use spark_bus_schema::Message;
use spark_bus_schema::backtests::{BacktestJob, JobCancel};
use spark_bus_schema::subject::{self, JOBS, LEDGER};

use super::access::Caller;
use super::command::send;
use super::exec::body;
use super::problem::Problem;
use super::query::Params;
use super::{Context, OwnPolicy, json as answer};
use crate::app::{App, Outgoing};
use crate::record::{Entry, Record};
use crate::view::backtests::{Backtests, DONE_MAX, JobRow, OPEN_MAX};
use crate::view::status::Word;

/// Backtests in an answer when the request does not say how many, and at most.
const LIMIT: (usize, usize) = (50, 200);
/// Backtests that are compared at once.
const COMPARED_MAX: usize = 10;
/// How long one look at the broker may take.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
const STATES: [&str; 5] = ["queued", "running", "done", "failed", "cancelled"];
/// A report brings its own style and script, and has an origin of its own: it reaches neither the gateway nor anything else.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts";

/// `GET /api/backtest?state=&limit=&offset=`: those that have not ended first, then the newest.
pub async fn list(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        status: Word,
        items: Vec<JobRow<'a>>,
        total: usize,
        offset: usize,
        /// Where the next page begins; null on the last one.
        next_offset: Option<usize>,
        complete: bool,
    }
    let params = params.only(&["state", "limit", "offset"])?;
    let limit = number(&params, "limit", LIMIT.0, 1..=LIMIT.1)?;
    let offset = number(&params, "offset", 0, 0..=DONE_MAX + 2 * OPEN_MAX)?;
    let state = params.get("state");
    if let Some(unknown) = state.filter(|state| !STATES.contains(state)) {
        return Err(Problem::bad_value("query: state", format!("unknown state `{unknown:.64}`"), STATES.join(", ")));
    }
    let view = context.app.view();
    let ids = view.backtests.newest();
    let rows = ids.into_iter().filter_map(|id| view.backtests.row(id));
    let rows: Vec<JobRow<'_>> = rows.filter(|row| state.is_none_or(|state| state == row.state)).collect();
    let total = rows.len();
    let items: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
    let end = offset + items.len();
    Ok(answer(&List {
        status: view.status(spark_nats::now()).status,
        items,
        total,
        offset,
        next_offset: (end < total).then_some(end),
        complete: view.trading.is_complete(),
    }))
}

fn number(params: &Params, name: &'static str, default: usize, range: std::ops::RangeInclusive<usize>) -> Result<usize, Problem> {
    let Some(text) = params.get(name) else { return Ok(default) };
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let fix = format!("a whole number from {} to {}", range.start(), range.end());
            Err(Problem::bad_value(format!("query: {name}"), format!("`{text:.64}` is out of range"), fix))
        }
    }
}

/// `GET /api/backtest/{id}`: with `details` (equity curve, trades) where their file is on this machine.
pub async fn one(State(context): State<Context>, Path(id): Path<String>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let app = &context.app;
    let mut row = row(app, &id).await?;
    let ended = !row["result"].is_null();
    let details = if ended { app.backtest_details(&id).await } else { None };
    if let Value::Object(row) = &mut row {
        row.insert("details".to_owned(), details.unwrap_or_default());
    }
    Ok(answer(&row))
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
    let (data, trades) = (same("dataHash"), same("tradesHash"));
    Ok(answer(&json!({"items": items, "sameData": data, "sameTrades": trades})))
}

/// `POST /api/backtest/{id}/cancel`.
pub async fn cancel(
    State(context): State<Context>,
    Path(id): Path<String>,
    caller: Caller,
    params: Params,
    body: Bytes,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let (reason, actor) = (body::only_reason(&body, r#"{"reason":"the wrong file"}"#)?, caller.actor());
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
    Ok(answer(&json!({"status": "accepted", "id": id, "sequence": sequence, "where": format!("/api/backtest/{id}")})))
}

/// `GET /api/backtest/{id}/report`: one HTML file.
pub async fn report(State(context): State<Context>, Path(id): Path<String>, params: Params) -> Result<Response, Problem> {
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
