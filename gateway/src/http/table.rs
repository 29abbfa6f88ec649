//! The one table of routes: what there is, who may use it, and what it is for. The router, the check of roles, the API's document
//! and the test of roles all follow from it.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::access::{self, Access};
use super::{Context, actions, alertmanager, backtests, bist, exec, ml, read, rollout, strategies, tools};
use crate::auth::Role::{self, Admin, Operator};

/// The path of the kill switch: whoever may stop everything is never told to come back later.
pub(super) const KILL_SWITCH: &str = "/api/exec/kill-switch";
/// The path of the live stream: no rate limit and no time limit apply, its clients are bounded in number.
pub(super) const STREAM: &str = "/api/stream";

/// One method on one path.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    pub access: Access,
    pub handler: MethodRouter<Context>,
    /// What it is for, in one line.
    pub summary: &'static str,
}

fn route<H, T>(method: (Method, MethodFilter), path: &'static str, access: Access, handler: H, summary: &'static str) -> Route
where
    H: Handler<T, Context>,
    T: 'static,
{
    Route { method: method.0, path, access, handler: on(method.1, handler), summary }
}

/// Reads: a viewer may, or everybody where reading is open.
fn look<H: Handler<T, Context>, T: 'static>(path: &'static str, handler: H, summary: &'static str) -> Route {
    route((Method::GET, MethodFilter::GET), path, Access::Read, handler, summary)
}

/// Reads, and hides nothing from anybody.
fn open<H: Handler<T, Context>, T: 'static>(path: &'static str, handler: H, summary: &'static str) -> Route {
    route((Method::GET, MethodFilter::GET), path, Access::Open, handler, summary)
}

/// Asks a question that needs a body.
fn ask<H: Handler<T, Context>, T: 'static>(path: &'static str, handler: H, summary: &'static str) -> Route {
    route((Method::POST, MethodFilter::POST), path, Access::Read, handler, summary)
}

/// Changes something.
fn act<H: Handler<T, Context>, T: 'static>(path: &'static str, role: Role, handler: H, summary: &'static str) -> Route {
    route((Method::POST, MethodFilter::POST), path, Access::Role(role), handler, summary)
}

/// Ends something.
fn end<H: Handler<T, Context>, T: 'static>(path: &'static str, role: Role, handler: H, summary: &'static str) -> Route {
    route((Method::DELETE, MethodFilter::DELETE), path, Access::Role(role), handler, summary)
}

/// Every route but the page's own files.
///
/// Some do more or less by what the body says; the table holds the least that they take, and they ask for more themselves:
/// `/api/actions` (to change: operator, limits and thresholds admin), `/api/rollout` (start, promote and resume: admin),
/// `/api/strategies/{name}/promote` (to live: admin).
pub(super) fn routes() -> Vec<Route> {
    vec![
        open("/health", read::health, "Whether the gateway answers"),
        open("/api/healthz", read::healthz, "Whether the gateway answers, and which build it is"),
        route((Method::GET, MethodFilter::GET), "/api/whoami", Access::Anyone, access::whoami, "What the request's token is worth"),
        look("/metrics", read::metrics, "The whole system's metrics for Prometheus"),
        look("/api/portfolio", read::portfolio, "Balances of every exchange, valued in USD"),
        look("/api/alerts", read::alerts, "Alerts that fire or may fire, and the newest transitions"),
        look("/api/processes", read::processes, "Processes, feeds, broker and parked messages"),
        look("/api/prices", read::prices, "Best bid and ask, last trade and mark of every symbol"),
        look("/api/chart", tools::chart, "History of one guardrail rule, a series a scope"),
        open("/api/public/alert/last", read::last_alert, "The newest transition of an alert"),
        open("/api/public/metrics", read::public_metrics, "The figures that say how the system is"),
        open("/api/public/metrics.prom", read::metrics, "The whole system's metrics for Prometheus"),
        open("/api/public/smoke-last", read::smoke_last, "The last smoke check"),
        look("/api/tools/metrics/timeseries", tools::timeseries, "Refresh latency, staleness and error rate over a window"),
        look("/api/tools/get_metrics", tools::get_metrics, "Refresh latency, staleness and error rate now"),
        act("/api/tools/circuit-breaker", Operator, tools::circuit_breaker, "Sets the circuit breaker of an exchange by hand"),
        act("/api/exec/order", Operator, exec::place::place, "Places an order, once a key"),
        look("/api/exec/orders", exec::look::orders, "Orders, the newest first"),
        look("/api/exec/orders/{id}", exec::look::order, "One order of any age, with every step"),
        act("/api/exec/orders/{id}/cancel", Operator, exec::commands::cancel, "Takes an order back"),
        look("/api/exec/positions", exec::look::positions, "Positions at the newest marks, and the exposure"),
        act("/api/exec/start", Operator, exec::commands::start, "Lets a strategy's orders pass"),
        act("/api/exec/stop", Operator, exec::commands::stop, "Stops a strategy's orders"),
        look("/api/exec/strategies", exec::look::strategies, "What each strategy was told last"),
        look(KILL_SWITCH, exec::look::kill_switch, "Whether everything new is stopped"),
        act(KILL_SWITCH, Operator, exec::commands::kill_switch, "Stops everything new, or lets it go on"),
        look("/api/exec/limits", exec::look::limits, "The limits in force"),
        act("/api/exec/limits", Admin, exec::limits::set, "Sets other limits, once confirmed"),
        act("/api/exec/resume", Admin, exec::commands::resume, "Lifts a halt, once confirmed"),
        look("/api/exec/reconciliation", exec::look::reconciliation, "Comparisons with the exchanges, and halts"),
        ask("/api/audit/list", exec::audit::list, "Who did what, from the ledger, with the chain's hashes"),
        ask("/api/actions", actions::act, "For orchestrators: figures and reports, and changes in two calls"),
        look("/api/actions/log", read::actions_log, "What the guardrail did, the newest first"),
        look("/api/notifications", read::notifications, "Who was told what and whether it arrived, the newest first"),
        act("/api/processes/{service}/restart", Operator, actions::restart, "Restarts a process, once confirmed"),
        look("/api/v2/alerts", alertmanager::alerts::alerts, "Alertmanager's API: alerts"),
        look("/api/v2/alerts/groups", alertmanager::alerts::groups, "Alertmanager's API: alerts by group"),
        look("/api/v2/receivers", alertmanager::receivers, "Alertmanager's API: receivers"),
        look("/api/v2/status", alertmanager::status, "Alertmanager's API: status"),
        look("/api/v2/silences", alertmanager::silences::list, "Alertmanager's API: silences"),
        act("/api/v2/silences", Operator, alertmanager::silences::set, "Alertmanager's API: sets a silence"),
        look("/api/v2/silence/{id}", alertmanager::silences::one, "Alertmanager's API: one silence"),
        end("/api/v2/silence/{id}", Operator, alertmanager::silences::end, "Alertmanager's API: ends a silence"),
        ask("/api/ml/score", ml::score::score, "The model's word on a candle"),
        look("/api/ml/scores", ml::scores, "The newest scores"),
        look("/api/ml/version", ml::version, "The model in force"),
        look("/api/ml/calibration", ml::calibration, "How far scores can be believed"),
        look("/api/rollout", rollout::get, "Where a model stands on its way to live trading, and why"),
        act("/api/rollout", Operator, rollout::set, "Starts, promotes, pauses, resumes or aborts a rollout, once confirmed"),
        look("/api/strategies", strategies::list, "Registered strategies"),
        act("/api/strategies", Operator, strategies::register, "Registers a strategy, or gives it other parameters"),
        act("/api/strategies/{name}/promote", Operator, strategies::promote, "Takes a strategy to its next step"),
        act("/api/strategies/{name}/start", Operator, strategies::start, "Starts a strategy on paper"),
        act("/api/strategies/{name}/stop", Operator, strategies::stop, "Stops a strategy"),
        look("/api/backtest", backtests::list, "Backtests: those that have not ended first, then the newest"),
        act("/api/backtest", Operator, backtests::place::place, "Asks for a backtest"),
        look("/api/backtest/compare", backtests::compare, "Backtests side by side"),
        look("/api/backtest/{id}", backtests::one, "One backtest, with its equity curve and trades"),
        act("/api/backtest/{id}/cancel", Operator, backtests::cancel, "Takes a backtest back"),
        look("/api/backtest/{id}/report", backtests::report, "The report on a backtest: one HTML file"),
        look("/bist/snapshot", bist::snapshot, "Shares of Borsa Istanbul with phase, age and delay"),
        look(STREAM, read::stream, "Server-sent events: the whole picture, then what changes"),
    ]
}
