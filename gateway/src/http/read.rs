//! Routes that only read. None of them fails because another process is down: what is not known is null.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::smoke::Smoke;

use super::problem::Problem;
use super::query::Params;
use super::{Context, json, json_bytes, metrics as prometheus};
use crate::render::{AlertsAnswer, PricesAnswer, PublicMetrics, System};
use crate::stream;
use crate::view::doings::Step;
use crate::view::people::NotificationRow;
use crate::view::status::Word;

/// A comment goes out on a silent live stream this often, so that nothing on the way closes it.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// `GET /health`: this process answers.
pub(super) async fn health() -> Response {
    json_bytes(Bytes::from_static(b"{\"ok\":true}"))
}

/// `GET /api/healthz`.
pub(super) async fn healthz(State(context): State<Context>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Healthz<'a> {
        ok: bool,
        build_sha: &'a str,
        version: &'a str,
    }
    let build_sha = context.app.config.build_sha();
    let answer = json(&Healthz { ok: true, build_sha, version: env!("CARGO_PKG_VERSION") });
    ([(HeaderName::from_static("x-build-sha"), build_sha.to_owned())], answer).into_response()
}

/// `GET /metrics` and `GET /api/public/metrics.prom`.
pub(super) async fn metrics(State(context): State<Context>) -> Response {
    let now = spark_nats::now();
    let status = context.app.view().status(now).status;
    let text = prometheus::render(&context.app, now);
    let headers = [
        (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"),
        (HeaderName::from_static("x-spark-status"), status.as_str()),
    ];
    (headers, text).into_response()
}

/// `GET /api/portfolio`.
pub(super) async fn portfolio(State(context): State<Context>) -> Response {
    json_bytes(context.app.portfolio_answer(spark_nats::now()))
}

/// `GET /api/alerts`.
pub(super) async fn alerts(State(context): State<Context>) -> Response {
    json(&AlertsAnswer::new(&context.app.view(), spark_nats::now()))
}

/// `GET /api/processes`.
pub(super) async fn processes(State(context): State<Context>) -> Response {
    json(&System::new(&context.app.view(), spark_nats::now()))
}

/// `GET /api/prices`.
pub(super) async fn prices(State(context): State<Context>) -> Response {
    let now = spark_nats::now();
    let view = context.app.view();
    let status = Some(view.status(now).status);
    json(&PricesAnswer { status, now_ms: now.as_millis(), prices: view.prices.rows(now) })
}

/// `GET /api/public/alert/last`: the newest transition; null before the first.
pub(super) async fn last_alert(State(context): State<Context>) -> Response {
    #[derive(Serialize)]
    struct Last<'a> {
        status: Word,
        alert: Option<&'a Alert>,
    }
    let view = context.app.view();
    json(&Last { status: view.status(spark_nats::now()).status, alert: view.alerts.recent().next() })
}

/// `GET /api/public/metrics`.
pub(super) async fn public_metrics(State(context): State<Context>) -> Response {
    json(&PublicMetrics::new(&context.app.view(), &context.app.config, spark_nats::now()))
}

/// `GET /api/public/smoke-last`: the stored result of the last smoke run. Null: no run has been stored.
pub(super) async fn smoke_last(State(context): State<Context>) -> Response {
    #[derive(Serialize)]
    struct Last<'a> {
        status: Word,
        smoke: Option<&'a Smoke>,
    }
    let view = context.app.view();
    json(&Last { status: view.status(spark_nats::now()).status, smoke: view.doings.smoke() })
}

/// `GET /api/actions/log`: steps of the guardrail's episodes, restarts and rollbacks, newest first.
pub(super) async fn actions_log(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Log<'a> {
        status: Word,
        items: Vec<&'a Step>,
        complete: bool,
    }
    params.only(&[])?;
    let view = context.app.view();
    let items = view.doings.steps().collect();
    Ok(json(&Log { status: view.status(spark_nats::now()).status, items, complete: view.trading.is_complete() }))
}

/// `GET /api/notifications`: who was told what, and whether it arrived, newest first.
pub(super) async fn notifications(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Told<'a> {
        status: Word,
        items: Vec<&'a NotificationRow>,
        complete: bool,
    }
    params.only(&[])?;
    let view = context.app.view();
    let items = view.people.notifications().collect();
    Ok(json(&Told { status: view.status(spark_nats::now()).status, items, complete: view.trading.is_complete() }))
}

/// `GET /api/stream`: server-sent events.
pub(super) async fn stream(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    if context.app.hub.clients() >= stream::CLIENTS_MAX {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "streams", "Too many live streams")
            .detail(format!("{} clients are connected", stream::CLIENTS_MAX))
            .fix("close one, or poll /api/prices within the rate limit".to_owned()));
    }
    let events = stream::events(context.app, context.shutdown);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}
