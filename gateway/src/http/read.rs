//! Routes that only read. None of them fails because another process is down: what is not known is null.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::smoke::Smoke;

use super::paging::{Before, Page, linked};
use super::problem::Problem;
use super::query::Params;
use super::{Context, json, metrics as prometheus, shown};
use crate::render::{AlertsAnswer, PricesAnswer, PublicMetrics, System};
use crate::view::alerts::TRANSITIONS_MAX;
use crate::view::doings::{STEPS_MAX, Step};
use crate::view::people::{NOTIFICATIONS_MAX, NotificationRow};
use crate::view::status::Word;

/// This process answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    ok: bool,
}

/// `GET /health`: this process answers.
pub(super) async fn health() -> Response {
    json(&Health { ok: true })
}

/// Which build answers.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Healthz<'a> {
    ok: bool,
    build_sha: &'a str,
    version: &'a str,
}

/// `GET /api/healthz`.
pub(super) async fn healthz(State(context): State<Context>) -> Response {
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

/// `GET /api/portfolio`. The answer and its tag are kept together: asking for either costs no rendering most of the time.
pub(super) async fn portfolio(State(context): State<Context>, headers: HeaderMap) -> Response {
    let (body, tag) = context.app.portfolio_tagged(spark_nats::now());
    if shown::is_known(&headers, &tag) {
        return shown::not_modified(tag);
    }
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::ETAG, tag)];
    (headers, body).into_response()
}

/// Alerts, and a page of their transitions.
#[derive(Serialize, JsonSchema)]
pub(super) struct AlertsPage<'a> {
    #[serde(flatten)]
    alerts: AlertsAnswer<'a>,
    /// `offset` of the next page of `recent`; null on the last one.
    #[serde(rename = "nextOffset")]
    next_offset: Option<usize>,
}

/// `GET /api/alerts?limit=&offset=`.
pub(super) async fn alerts(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["limit", "offset"])?;
    let page = Page::read(&params, 1..=TRANSITIONS_MAX, TRANSITIONS_MAX, TRANSITIONS_MAX)?;
    let view = context.app.view();
    let mut alerts = AlertsAnswer::new(&view, spark_nats::now());
    let next_offset = page.next(alerts.recent.len());
    alerts.recent = page.of(alerts.recent.into_iter());
    Ok(linked(json(&AlertsPage { alerts, next_offset }), &params, "offset", next_offset))
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

/// The newest transition of an alert.
#[derive(Serialize, JsonSchema)]
pub(super) struct LastAlert<'a> {
    status: Word,
    alert: Option<&'a Alert>,
}

/// `GET /api/public/alert/last`: the newest transition; null before the first.
pub(super) async fn last_alert(State(context): State<Context>) -> Response {
    let view = context.app.view();
    json(&LastAlert { status: view.status(spark_nats::now()).status, alert: view.alerts.recent().next() })
}

/// `GET /api/public/metrics`.
pub(super) async fn public_metrics(State(context): State<Context>) -> Response {
    json(&PublicMetrics::new(&context.app.view(), &context.app.config, spark_nats::now()))
}

/// The last smoke check; null: none was stored.
#[derive(Serialize, JsonSchema)]
pub(super) struct LastSmoke<'a> {
    status: Word,
    smoke: Option<&'a Smoke>,
}

/// `GET /api/public/smoke-last`: the stored result of the last smoke run. Null: no run has been stored.
pub(super) async fn smoke_last(State(context): State<Context>) -> Response {
    let view = context.app.view();
    json(&LastSmoke { status: view.status(spark_nats::now()).status, smoke: view.doings.smoke() })
}

/// What was done about alerts, the newest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ActionsLog")]
pub(super) struct Log<'a> {
    status: Word,
    items: Vec<&'a Step>,
    complete: bool,
    /// `before` of the next page; null on the last one.
    #[serde(rename = "nextBefore")]
    next_before: Option<u64>,
}

/// `GET /api/actions/log`: steps of the guardrail's episodes, restarts and rollbacks, newest first.
pub(super) async fn actions_log(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["limit", "before"])?;
    let page = Before::read(&params, 1..=STEPS_MAX, STEPS_MAX)?;
    let view = context.app.view();
    let (items, next_before) = page.of(view.doings.steps(), |step| step.sequence);
    let (status, complete) = (view.status(spark_nats::now()).status, view.trading.is_complete());
    Ok(linked(json(&Log { status, items, complete, next_before }), &params, "before", next_before))
}

/// Who was told what, the newest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Notifications")]
pub(super) struct Told<'a> {
    status: Word,
    items: Vec<&'a NotificationRow>,
    complete: bool,
    /// `before` of the next page; null on the last one.
    #[serde(rename = "nextBefore")]
    next_before: Option<u64>,
}

/// `GET /api/notifications`: who was told what, and whether it arrived, newest first.
pub(super) async fn notifications(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["limit", "before"])?;
    let page = Before::read(&params, 1..=NOTIFICATIONS_MAX, NOTIFICATIONS_MAX)?;
    let view = context.app.view();
    let (items, next_before) = page.of(view.people.notifications(), |row| row.sequence);
    let (status, complete) = (view.status(spark_nats::now()).status, view.trading.is_complete());
    Ok(linked(json(&Told { status, items, complete, next_before }), &params, "before", next_before))
}
