//! The one table of routes: what there is, who may use it, and what it is for. The router, the check of roles, entity tags, the
//! API's document and the tests of all of them follow from it.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::access::{self, Access};
use super::doc::{Doc, answers, answers_nothing, answers_text, answers_with};
use super::{Context, actions, alertmanager, backtests, bist, exec, live, ml, openapi, read, rollout, strategies, tools};
use crate::auth::Role::{self, Admin, Operator};
use crate::render::{Figures, PricesAnswer, PublicMetrics, System};
use crate::view::alerts::TRANSITIONS_MAX;
use crate::view::doings::STEPS_MAX;
use crate::view::people::NOTIFICATIONS_MAX;
use crate::view::revisions::Part;
use crate::view::signals::SCORES_MAX;
use crate::view::trading::orders::{ORDERS_MAX, Standing};
use crate::view::trading::positions::Positions;
use crate::view::trading::rows::LimitsAnswer;
use crate::view::windows::Chart;
use crate::view::{portfolio, registry, trading};

/// The path of the kill switch: whoever may stop everything is never told to come back later.
pub(super) const KILL_SWITCH: &str = "/api/exec/kill-switch";
/// The path of the live stream: no time limit applies, its clients are bounded in number.
pub(super) const STREAM: &str = "/api/stream";
/// The path of the WebSocket: as [`STREAM`].
pub(super) const WEBSOCKET: &str = "/api/ws";

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const EXCHANGES: &[&str] = &["binance", "btcturk", "bist"];
const FRAMES: &[&str] = &["1s", "1m", "5m", "15m", "1h", "4h", "1d"];

/// One method on one path.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    pub access: Access,
    pub handler: MethodRouter<Context>,
    /// What it is for, in one line.
    pub summary: &'static str,
    /// What it takes and gives.
    pub doc: Doc,
}

fn route<H, T>(
    method: (Method, MethodFilter),
    path: &'static str,
    access: Access,
    handler: H,
    summary: &'static str,
    doc: Doc,
) -> Route
where
    H: Handler<T, Context>,
    T: 'static,
{
    Route { method: method.0, path, access, handler: on(method.1, handler), summary, doc }
}

/// Reads: a viewer may, or everybody where reading is open.
fn look<H: Handler<T, Context>, T: 'static>(path: &'static str, handler: H, summary: &'static str, doc: Doc) -> Route {
    route((Method::GET, MethodFilter::GET), path, Access::Read, handler, summary, doc)
}

/// Reads, and hides nothing from anybody.
fn open<H: Handler<T, Context>, T: 'static>(path: &'static str, handler: H, summary: &'static str, doc: Doc) -> Route {
    route((Method::GET, MethodFilter::GET), path, Access::Open, handler, summary, doc)
}

/// Asks a question that needs a body.
fn ask<H: Handler<T, Context>, T: 'static>(path: &'static str, handler: H, summary: &'static str, doc: Doc) -> Route {
    route((Method::POST, MethodFilter::POST), path, Access::Read, handler, summary, doc)
}

/// Changes something.
fn act<H: Handler<T, Context>, T: 'static>(path: &'static str, role: Role, handler: H, summary: &'static str, doc: Doc) -> Route {
    route((Method::POST, MethodFilter::POST), path, Access::Role(role), handler, summary, doc)
}

/// Ends something.
fn end<H: Handler<T, Context>, T: 'static>(path: &'static str, role: Role, handler: H, summary: &'static str, doc: Doc) -> Route {
    route((Method::DELETE, MethodFilter::DELETE), path, Access::Role(role), handler, summary, doc)
}

/// Every route but the page's own files.
///
/// Some do more or less by what the body says; the table holds the least that they take, and they ask for more themselves:
/// `/api/actions` (to change: operator, limits and thresholds admin), `/api/rollout` (start, promote and resume: admin),
/// `/api/strategies/{name}/promote` (to live: admin).
pub(super) fn routes() -> Vec<Route> {
    [system(), trading(), people(), models()].into_iter().flatten().collect()
}

fn system() -> Vec<Route> {
    let series = || {
        let about = "how far back: a whole number with a unit, from 1m to 24h";
        answers::<Chart>().pattern("window", "^([1-9][0-9]*)(s|m|h|d)$", "15m", about)
    };
    vec![
        open("/health", read::health, "Whether the gateway answers", answers::<read::Health>()),
        open(
            "/api/healthz",
            read::healthz,
            "Whether the gateway answers, and which build it is",
            answers::<read::Healthz<'_>>().header("X-Build-SHA", "the commit that the binary was built from"),
        ),
        route(
            (Method::GET, MethodFilter::GET),
            "/api/whoami",
            Access::Anyone,
            access::whoami,
            "What the request's token is worth",
            answers::<access::Me<'_>>(),
        ),
        open(
            "/api/openapi.json",
            openapi::answer,
            "This document",
            answers::<openapi::Document>().tags_itself(),
        ),
        look(
            "/metrics",
            read::metrics,
            "The whole system's metrics for Prometheus",
            answers_text(PROMETHEUS).header("X-Spark-Status", "DEMO, DEGRADED or LIVE"),
        ),
        look(
            "/api/portfolio",
            read::portfolio,
            "Balances of every exchange, valued in USD",
            answers::<portfolio::Answer<'_>>().shows(&[Part::Portfolio]).tags_itself(),
        ),
        look(
            "/api/alerts",
            read::alerts,
            "Alerts that fire or may fire, and the newest transitions",
            answers::<read::AlertsPage<'_>>()
                .shows(&[Part::Alerts, Part::Silences])
                .paged_by_offset(1..=TRANSITIONS_MAX, TRANSITIONS_MAX, TRANSITIONS_MAX),
        ),
        look(
            "/api/processes",
            read::processes,
            "Processes, feeds, broker and parked messages",
            answers::<System>().shows(&[Part::Processes, Part::Feeds, Part::Parked]),
        ),
        look(
            "/api/prices",
            read::prices,
            "Best bid and ask, and the last trade, of every symbol",
            answers::<PricesAnswer>().shows(&[Part::Prices]),
        ),
        look(
            "/api/chart",
            tools::chart,
            "History of one guardrail rule, a series a scope",
            series().text("rule", "portfolio_refresh_p95", "the rule; the refresh latency's without it"),
        ),
        open(
            "/api/public/alert/last",
            read::last_alert,
            "The newest transition of an alert",
            answers::<read::LastAlert<'_>>().shows(&[Part::Alerts]),
        ),
        open(
            "/api/public/metrics",
            read::public_metrics,
            "The figures that say how the system is",
            answers::<PublicMetrics>().shows(&[Part::Portfolio, Part::Alerts, Part::Windows, Part::Processes, Part::Feeds, Part::Parked]),
        ),
        open(
            "/api/public/metrics.prom",
            read::metrics,
            "The whole system's metrics for Prometheus",
            answers_text(PROMETHEUS).header("X-Spark-Status", "DEMO, DEGRADED or LIVE"),
        ),
        open(
            "/api/public/smoke-last",
            read::smoke_last,
            "The last smoke check",
            answers::<read::LastSmoke<'_>>().shows(&[Part::Smoke]),
        ),
        look(
            "/api/tools/metrics/timeseries",
            tools::timeseries,
            "Refresh latency, staleness and error rate over a window",
            answers::<tools::Timeseries>()
                .pattern("window", "^([1-9][0-9]*)(s|m|h|d)$", "15m", "how far back: a whole number with a unit, from 1m to 24h")
                .word("exchange", EXCHANGES, "of this exchange alone; the worst one's without it"),
        ),
        look(
            "/api/tools/get_metrics",
            tools::get_metrics,
            "Refresh latency, staleness and error rate now",
            answers::<Figures>().shows(&[Part::Windows]),
        ),
        act(
            "/api/tools/circuit-breaker",
            Operator,
            tools::circuit_breaker,
            "Sets the circuit breaker of an exchange by hand",
            answers::<tools::Accepted>()
                .word("exchange", EXCHANGES, "whose breaker")
                .required()
                .word("state", &["open", "closed", "auto"], "open stops calls, closed lets them through, auto lets the breaker decide")
                .required()
                .text("reason", "maintenance", "why: at most 200 printable characters")
                .sends(),
        ),
        look(
            STREAM,
            live::stream,
            "Server-sent events: the whole picture, then what changes",
            answers_text("text/event-stream")
                .about("Event ids are `<run>-<n>`. A client that comes back with the last one goes on from there where the gateway still holds what it missed; otherwise it gets a `resync` event with the whole picture.")
                .text("lastEventId", "1f-1042", "as the header `Last-Event-ID`, for clients that cannot send it")
                .text("events", "portfolio,prices", "kinds of events, separated by commas; all of them without it")
                .takes_header("Last-Event-ID", serde_json::json!({"type": "string"}), "the id of the last event that was seen")
                .problem(429, "streams")
                .problem(503, "streams")
                .endless(),
        ),
        look(
            WEBSOCKET,
            live::websocket,
            "WebSocket: messages of the bus by subject",
            answers_with_upgrade()
                .about("JSON text frames. `{\"op\":\"subscribe\",\"pattern\":\"market.ticks.>\"}` and `{\"op\":\"unsubscribe\",…}` go in, `{\"op\":\"message\",\"subject\",\"sequence\",\"stream\",\"at\",\"kind\",\"data\"}` come out. Browsers send the token as the subprotocol `bearer.<token>` beside `spark.v1`.")
                .problem(400, "bad-value")
                .problem(403, "origin")
                .problem(426, "websocket")
                .problem(429, "streams")
                .problem(503, "streams")
                .endless(),
        ),
    ]
}

fn answers_with_upgrade() -> Doc {
    Doc::default().or_nothing(101, "from here on it is a WebSocket")
}

fn trading() -> Vec<Route> {
    use exec::{audit, commands, limits, look as shown, place};
    let key = || serde_json::json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$", "example": "5f0c2b1e-order-1"});
    let states: Vec<&str> = std::iter::once("open").chain(Standing::WORDS).collect();
    vec![
        act(
            "/api/exec/order",
            Operator,
            place::place,
            "Places an order, once a key",
            answers::<place::Answer<'_>>()
                .or::<place::NotThereYet<'_>>(202, "it is stored, and not where the request wanted it when the wait was over")
                .about("The answer comes with the verdict of risk. A refused order is an answer too: `approved` is false. The same key with the same order gives the same answer, however often it is sent.")
                .takes_header("X-Idempotency-Key", key(), "names this order alone, e.g. a UUID; send it again to repeat the request safely")
                .required()
                .word("wait", &["verdict", "accepted", "final"], "how far the order shall be before the answer comes, for some seconds at most; verdict without it")
                .reads::<place::Asked>(place::EXAMPLE)
                .problem(400, "idempotency-key")
                .problem(422, "key-used")
                .problem(500, "refused")
                .problem(503, "not-stored"),
        ),
        look(
            "/api/exec/orders",
            shown::orders,
            "Orders, the newest first",
            answers::<shown::List<'_>>()
                .shows(&[Part::Orders, Part::Positions, Part::Complete])
                .word("state", &states, "`open`: something may still happen")
                .text("strategy", "manual", "of this strategy alone")
                .text("symbol", "BTCUSDT", "of this symbol alone")
                .word("exchange", EXCHANGES, "of this exchange alone")
                .paged_by_sequence(1..=ORDERS_MAX, shown::LIMIT),
        ),
        look(
            "/api/exec/orders/{id}",
            shown::order,
            "One order of any age, with every step",
            answers::<shown::One<'_>>().problem(404, "unknown-order").problem(503, "ledger-away"),
        ),
        act(
            "/api/exec/orders/{id}/cancel",
            Operator,
            commands::cancel,
            "Takes an order back",
            answers::<commands::CancelAccepted>()
                .reads::<exec::body::Reasoned>(commands::CANCEL_EXAMPLE)
                .problem(404, "unknown-order")
                .problem(409, "order-over")
                .problem(503, "ledger-away")
                .sends(),
        ),
        look(
            "/api/exec/positions",
            shown::positions,
            "Positions at the newest marks, and the exposure",
            answers::<Positions<'_>>().shows(&[Part::Positions, Part::Complete]),
        ),
        act(
            "/api/exec/start",
            Operator,
            commands::start,
            "Lets a strategy's orders pass",
            answers::<commands::StrategyAccepted>().reads::<commands::StrategyBody>(commands::STRATEGY_EXAMPLE).sends(),
        ),
        act(
            "/api/exec/stop",
            Operator,
            commands::stop,
            "Stops a strategy's orders",
            answers::<commands::StrategyAccepted>().reads::<commands::StrategyBody>(commands::STRATEGY_EXAMPLE).sends(),
        ),
        look(
            "/api/exec/strategies",
            shown::strategies,
            "What each strategy was told last",
            answers::<shown::StrategiesTold<'_>>()
                .shows(&[Part::Strategies])
                .paged_by_offset(1..=trading::STRATEGIES_MAX, trading::STRATEGIES_MAX, trading::STRATEGIES_MAX),
        ),
        look(
            KILL_SWITCH,
            shown::kill_switch,
            "Whether everything new is stopped",
            answers::<shown::Switch<'_>>().shows(&[Part::KillSwitch, Part::Complete]),
        ),
        act(
            KILL_SWITCH,
            Operator,
            commands::kill_switch,
            "Stops everything new, or lets it go on",
            answers::<commands::KillSwitchAccepted>()
                .about("The rate limit does not apply to whoever may do this.")
                .reads::<commands::Switch>(commands::SWITCH_EXAMPLE)
                .sends(),
        ),
        look(
            "/api/exec/limits",
            shown::limits,
            "The limits in force",
            answers::<LimitsAnswer<'_>>().shows(&[Part::Limits]),
        ),
        act(
            "/api/exec/limits",
            Admin,
            limits::set,
            "Sets other limits, once confirmed",
            answers::<limits::LimitsSet>()
                .reads::<limits::Asked>(limits::EXAMPLE)
                .problem(409, "limits-changed")
                .problem(428, "confirmation-required")
                .problem(503, "not-read")
                .sends(),
        ),
        act(
            "/api/exec/resume",
            Admin,
            commands::resume,
            "Lifts a halt, once confirmed",
            answers::<commands::ResumeAccepted>()
                .reads::<commands::Resume>(commands::RESUME_EXAMPLE)
                .problem(428, "confirmation-required")
                .sends(),
        ),
        look(
            "/api/exec/reconciliation",
            shown::reconciliation,
            "Comparisons with the exchanges, and halts",
            answers::<shown::Compared<'_>>().shows(&[Part::Reconciliation, Part::Complete]),
        ),
        ask(
            "/api/audit/list",
            audit::list,
            "Who did what, from the ledger, with the chain's hashes",
            answers::<audit::List>()
                .about("Pages follow by the body: `before` (the newest first) or `from` (the oldest first), with `nextBefore` or `nextFrom` of the page before.")
                .reads::<audit::Asked>(audit::EXAMPLE),
        ),
    ]
}

fn people() -> Vec<Route> {
    use alertmanager::{alerts, silences};
    let filters = |doc: Doc| {
        doc.flag("active", "also those that somebody is told of; true without it")
            .flag("silenced", "also silenced ones; true without it")
            .flag("inhibited", "also those that only follow from others; true without it")
            .flag("unprocessed", "taken for Alertmanager's clients; there are none")
            .flag("muted", "taken for Alertmanager's clients; there are none")
            .text("filter", "severity=~\"warning|critical\"", "a condition on labels, as amtool writes it")
            .repeats()
            .text("receiver", "slack|pager", "a regular expression that the receiver's whole name must match")
    };
    vec![
        ask(
            "/api/actions",
            actions::act,
            "For orchestrators: figures and reports, and changes in two calls",
            answers::<actions::Answer<'_>>()
                .or::<actions::ToConfirm<'_>>(202, "nothing is done yet: send the very same request with `confirm`")
                .about("Reading is answered at once. What changes something takes a role (limits and thresholds: admin; kill switch and restart: operator), a reason, and two calls: the first one shows the effect.")
                .reads::<actions::Asked>(actions::EXAMPLE)
                .problem(403, "role")
                .problem(403, "no-token")
                .problem(401, "unauthorized")
                .problem(409, "not-confirmed")
                .problem(503, "not-read")
                .sends(),
        ),
        look(
            "/api/actions/log",
            read::actions_log,
            "What the guardrail did, the newest first",
            answers::<read::Log<'_>>().shows(&[Part::Doings, Part::Complete]).paged_by_sequence(1..=STEPS_MAX, STEPS_MAX),
        ),
        look(
            "/api/notifications",
            read::notifications,
            "Who was told what and whether it arrived, the newest first",
            answers::<read::Told<'_>>()
                .shows(&[Part::Notifications, Part::Complete])
                .paged_by_sequence(1..=NOTIFICATIONS_MAX, NOTIFICATIONS_MAX),
        ),
        act(
            "/api/processes/{service}/restart",
            Operator,
            actions::restart,
            "Restarts a process, once confirmed",
            answers::<actions::RestartAccepted>()
                .reads::<actions::RestartBody>(actions::RESTART_EXAMPLE)
                .problem(428, "confirmation-required")
                .sends(),
        ),
        look("/api/v2/alerts", alerts::alerts, "Alertmanager's API: alerts", filters(answers::<Vec<alerts::Gettable>>())),
        look("/api/v2/alerts/groups", alerts::groups, "Alertmanager's API: alerts by group", filters(answers::<Vec<alerts::GroupRow>>())),
        look("/api/v2/receivers", alertmanager::receivers, "Alertmanager's API: receivers", answers::<Vec<alertmanager::Receiver>>()),
        look("/api/v2/status", alertmanager::status, "Alertmanager's API: status", answers::<alertmanager::AmStatus<'_>>()),
        look(
            "/api/v2/silences",
            silences::list,
            "Alertmanager's API: silences",
            answers::<Vec<silences::Gettable<'_>>>()
                .text("filter", "alertname=\"WSStaleness\"", "a condition on what is silenced, as amtool writes it")
                .repeats(),
        ),
        act(
            "/api/v2/silences",
            Operator,
            silences::set,
            "Alertmanager's API: sets a silence",
            answers::<silences::SilenceSet>()
                .reads::<silences::Postable>(silences::EXAMPLE)
                .problem(404, "unknown-silence")
                .problem(409, "silences")
                .sends(),
        ),
        look(
            "/api/v2/silence/{id}",
            silences::one,
            "Alertmanager's API: one silence",
            answers::<silences::Gettable<'_>>().problem(404, "unknown-silence"),
        ),
        end(
            "/api/v2/silence/{id}",
            Operator,
            silences::end,
            "Alertmanager's API: ends a silence",
            answers_nothing().problem(404, "unknown-silence").problem(409, "silence-over").sends(),
        ),
    ]
}

fn models() -> Vec<Route> {
    use ml::score;
    let series = |doc: Doc| {
        doc.text("symbol", "BTCUSDT", "of this symbol alone").word("tf", FRAMES, "of this time frame alone").word(
            "exchange",
            EXCHANGES,
            "of this exchange alone",
        )
    };
    let key = || serde_json::json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$", "example": "5f0c2b1e-job-1"});
    let step = || {
        answers::<strategies::StrategyMoved<'_>>()
            .reads::<strategies::Move>(strategies::PROMOTE_EXAMPLE)
            .problem(404, "unknown-strategy")
            .problem(409, "strategy-changed")
            .problem(409, "strategy-status")
            .problem(409, "unreadable")
            .problem(428, "confirmation-required")
            .sends()
    };
    vec![
        ask(
            "/api/ml/score",
            score::score,
            "The model's word on a candle",
            answers::<score::Answer<'_>>()
                .or::<score::Answer<'_>>(503, "nothing is known: `signal` does not answer; `reason` says more")
                .about("It fails closed: from a feature that is null or no number no score follows, and `advisory` is true. Nothing is traded on any of these answers.")
                .reads::<score::Asked>(score::EXAMPLE)
                .problem(422, "bad-feature"),
        ),
        look(
            "/api/ml/scores",
            ml::scores,
            "The newest scores",
            series(answers::<ml::List<'_>>().shows(&[Part::Scores])).paged_by_offset(1..=SCORES_MAX, ml::LIMIT, SCORES_MAX),
        ),
        look("/api/ml/version", ml::version, "The model in force", answers::<ml::Version<'_>>().shows(&[Part::Model])),
        look(
            "/api/ml/calibration",
            ml::calibration,
            "How far scores can be believed",
            series(answers::<ml::Told<'_>>().shows(&[Part::Calibrations, Part::Scores])),
        ),
        look(
            "/api/rollout",
            rollout::get,
            "Where a model stands on its way to live trading, and why",
            answers::<rollout::Told<'_>>().shows(&[Part::Rollouts, Part::Complete]),
        ),
        act(
            "/api/rollout",
            Operator,
            rollout::set,
            "Starts, promotes, pauses, resumes or aborts a rollout, once confirmed",
            answers::<rollout::RolloutDone>()
                .or::<rollout::RolloutAccepted>(202, "the command is stored, and the rollout has not answered yet")
                .about("Pause and abort take the role operator; start, promote and resume take admin.")
                .reads::<rollout::Asked>(rollout::EXAMPLE)
                .problem(409, "rollout-changed")
                .problem(409, "rollout-refused")
                .problem(409, "no-model")
                .problem(428, "confirmation-required")
                .problem(503, "not-read")
                .sends(),
        ),
        look(
            "/api/strategies",
            strategies::list,
            "Registered strategies",
            answers::<strategies::List<'_>>()
                .shows(&[Part::Registry, Part::Complete])
                .paged_by_offset(1..=registry::STRATEGIES_MAX, registry::STRATEGIES_MAX, registry::STRATEGIES_MAX),
        ),
        act(
            "/api/strategies",
            Operator,
            strategies::register,
            "Registers a strategy, or gives it other parameters",
            answers::<strategies::StrategyStored<'_>>()
                .header("Location", "where strategies are listed")
                .or::<strategies::StrategyStored<'_>>(201, "it is a new one")
                .header("Location", "where strategies are listed")
                .reads::<strategies::Asked>(strategies::EXAMPLE)
                .problem(409, "strategy-changed")
                .problem(409, "strategy-status")
                .problem(409, "unreadable")
                .sends(),
        ),
        act(
            "/api/strategies/{name}/promote",
            Operator,
            strategies::promote,
            "Takes a strategy to its next step",
            step().about("From draft to backtested, to paper, to live. To live it takes the role admin."),
        ),
        act("/api/strategies/{name}/start", Operator, strategies::start, "Starts a strategy on paper", step()),
        act("/api/strategies/{name}/stop", Operator, strategies::stop, "Stops a strategy", step()),
        look(
            "/api/backtest",
            backtests::list,
            "Backtests: those that have not ended first, then the newest",
            answers::<backtests::List<'_>>()
                .shows(&[Part::Backtests, Part::Complete])
                .word("state", &backtests::STATES, "in this state alone")
                .paged_by_offset(1..=backtests::LIMIT.1, backtests::LIMIT.0, backtests::OFFSET_MAX),
        ),
        act(
            "/api/backtest",
            Operator,
            backtests::place::place,
            "Asks for a backtest",
            answers_with::<backtests::place::BacktestAccepted<'_>>(202, "it is in the queue")
                .header("Location", "the backtest")
                .takes_header("X-Idempotency-Key", key(), "names this backtest alone; of any number of requests with one key one backtest is made")
                .reads::<backtests::place::Asked>(backtests::place::EXAMPLE)
                .problem(400, "idempotency-key")
                .problem(409, "unreadable")
                .problem(422, "key-used")
                .problem(503, "queue-away")
                .sends(),
        ),
        look(
            "/api/backtest/compare",
            backtests::compare,
            "Backtests side by side",
            answers::<backtests::Compared>()
                .pattern("ids", "^[A-Za-z0-9_-]+(,[A-Za-z0-9_-]+){1,9}$", "bt-1,bt-2", "2 to 10 ids, separated by commas")
                .required()
                .problem(404, "unknown-backtest")
                .problem(503, "queue-away"),
        ),
        look(
            "/api/backtest/{id}",
            backtests::one,
            "One backtest, with its equity curve and trades",
            answers::<backtests::One>().problem(404, "unknown-backtest").problem(503, "queue-away"),
        ),
        act(
            "/api/backtest/{id}/cancel",
            Operator,
            backtests::cancel,
            "Takes a backtest back",
            answers::<backtests::BacktestCancelled>()
                .reads::<exec::body::Reasoned>(backtests::CANCEL_EXAMPLE)
                .problem(404, "unknown-backtest")
                .problem(409, "backtest-over")
                .problem(503, "queue-away")
                .sends(),
        ),
        look(
            "/api/backtest/{id}/report",
            backtests::report,
            "The report on a backtest: one HTML file",
            answers_text("text/html; charset=utf-8")
                .problem(404, "no-report")
                .problem(404, "unknown-backtest")
                .problem(503, "queue-away"),
        ),
        look(
            "/bist/snapshot",
            bist::snapshot,
            "Shares of Borsa Istanbul with phase, age and delay",
            answers::<bist::Told<'_>>().shows(&[Part::Bist]),
        ),
    ]
}
