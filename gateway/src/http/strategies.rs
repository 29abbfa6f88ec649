//! `/api/strategies`: registered strategies, and how far each has come. A change is stored only if nobody else made one in
//! between.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::control::StrategyCommand;
use spark_bus_schema::orders::strategy_name;
use spark_bus_schema::strategies::{Refused, Step, StrategyKind, StrategyRegistered, StrategyStatus};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Message, Venue, encode};
use spark_nats::{AppendError, Bus, Meta, SubjectWriter};

use super::access::Caller;
use super::command::send;
use super::exec::body::{self, Exact};
use super::exec::commands::confirmation;
use super::input::{Payload, Segment};
use super::paging::{Page, linked};
use super::problem::Problem;
use super::query::Params;
use super::{Context, json as answer};
use crate::app::{App, Outgoing};
use crate::auth::Role;
use crate::auth::random;
use crate::desk::STORE_LIMIT;
use crate::view::registry::{RegisteredRow, STRATEGIES_MAX};
use crate::view::status::Word;

/// Of [`register`].
pub const EXAMPLE: &str = r#"{"name":"sma-1","kind":"sma_cross","params":{"fast":"10","slow":"30"},"exchange":"binance","symbol":"BTCUSDT","timeframe":"1m","cash":"1000","reason":"first try"}"#;
/// Of [`promote`], [`start`] and [`stop`].
pub const PROMOTE_EXAMPLE: &str = r#"{"reason":"a week on paper","confirm":true}"#;

/// Registered strategies, by name.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Strategies")]
pub struct List<'a> {
    status: Word,
    strategies: Vec<RegisteredRow<'a>>,
    complete: bool,
    total: usize,
    /// `offset` of the next page; null on the last one.
    #[serde(rename = "nextOffset")]
    next_offset: Option<usize>,
}

/// `GET /api/strategies?limit=&offset=`.
pub async fn list(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["limit", "offset"])?;
    let page = Page::read(&params, 1..=STRATEGIES_MAX, STRATEGIES_MAX, STRATEGIES_MAX)?;
    let view = context.app.view();
    let rows = view.registry.rows();
    let (total, next_offset) = (rows.len(), page.next(rows.len()));
    let told = answer(&List {
        status: view.status(spark_nats::now()).status,
        strategies: page.of(rows.into_iter()),
        complete: view.trading.is_complete(),
        total,
        next_offset,
    });
    Ok(linked(told, &params, "offset", next_offset))
}

/// A strategy.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StrategyRequest")]
pub struct Asked {
    name: String,
    kind: StrategyKind,
    /// By the parameter's name.
    #[serde(default)]
    params: BTreeMap<String, Text>,
    /// `binance` without it.
    exchange: Option<Venue>,
    #[schemars(length(min = 1, max = 32), extend("pattern" = "^[A-Z0-9]+$"))]
    symbol: String,
    timeframe: Option<TimeFrame>,
    quantity: Option<Exact>,
    cash: Option<Exact>,
    #[schemars(with = "body::Reason")]
    reason: String,
    /// The revision that this was decided on; needed to change one that is there.
    revision: Option<u64>,
}

/// A parameter's value: a text, or a number as it is written.
pub struct Text(String);

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "StrategyParameter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "A text, or a number as it is written.", "type": ["string", "number"], "examples": ["10"]})
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(D::Error::custom(format!("{other} is neither a text nor a number; \"10\" would be right"))),
        }
    }
}

/// `POST /api/strategies`: registers one, or gives one other parameters, with which it begins again.
pub async fn register(
    State(context): State<Context>,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: Asked = body::read(&body, EXAMPLE)?;
    let (reason, actor) = (body::reason(&asked.reason)?, caller.actor());
    let wrong = |what: String| Problem::bad_value("body", what, format!("e.g. {EXAMPLE}"));
    let mut strategy = StrategyRegistered {
        name: asked.name,
        revision: 1,
        kind: asked.kind,
        params: asked.params.into_iter().map(|(name, Text(value))| (name, value)).collect(),
        exchange: asked.exchange.unwrap_or(Venue::Binance),
        symbol: asked.symbol,
        timeframe: asked.timeframe,
        quantity: asked.quantity.map(|Exact(value)| value),
        cash: asked.cash.map(|Exact(value)| value),
        status: StrategyStatus::Draft,
        backtest: None,
        actor,
        reason,
        at: spark_nats::now(),
    };
    strategy.validate().map_err(wrong)?;
    let bus = bus(&context.app)?;
    let stored = stored(bus, &strategy.name).await?;
    let (last, created) = match &stored {
        None => (0, true),
        Some((sequence, held)) => {
            if asked.revision != Some(held.revision) {
                return Err(changed(held, "it is registered already"));
            }
            strategy = strategy.over(Some(held)).map_err(|why| not_now(&why))?;
            (*sequence, false)
        }
    };
    let sequence = store(bus, &strategy, last).await?;
    tracing::info!(strategy = strategy.name, revision = strategy.revision, sequence, "a strategy is registered");
    let row = RegisteredRow::new(sequence, strategy.at, &strategy);
    let location = [(header::LOCATION, "/api/strategies".to_owned())];
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, location, answer(&StrategyStored { status: "stored", strategy: row })).into_response())
}

/// The next step of a strategy's life.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StrategyStepRequest")]
pub struct Move {
    #[schemars(with = "body::Reason")]
    reason: String,
    /// The revision that this was decided on.
    revision: Option<u64>,
    /// The backtest that a draft is promoted on.
    backtest: Option<String>,
    #[serde(default)]
    confirm: bool,
}

/// A strategy as it is stored now.
#[derive(Serialize, JsonSchema)]
pub struct StrategyStored<'a> {
    status: &'static str,
    strategy: RegisteredRow<'a>,
}

/// A strategy after its step.
#[derive(Serialize, JsonSchema)]
pub struct StrategyMoved<'a> {
    status: &'static str,
    from: StrategyStatus,
    strategy: RegisteredRow<'a>,
}

/// `POST /api/strategies/{name}/promote`: to the next step of its life. To live it is confirmed.
pub async fn promote(
    State(context): State<Context>,
    Segment(name): Segment,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    step(&context, &name, &caller, params, &body, Step::Promote).await
}

/// `POST /api/strategies/{name}/start`: on paper, after a backtest or a stop.
pub async fn start(
    State(context): State<Context>,
    Segment(name): Segment,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    step(&context, &name, &caller, params, &body, Step::Start).await
}

/// `POST /api/strategies/{name}/stop`.
pub async fn stop(
    State(context): State<Context>,
    Segment(name): Segment,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    step(&context, &name, &caller, params, &body, Step::Stop).await
}

async fn step(
    context: &Context,
    name: &str,
    caller: &Caller,
    params: Params,
    body: &Bytes,
    verb: Step,
) -> Result<Response, Problem> {
    let app = &context.app;
    params.only(&[])?;
    let fix = || "its name as GET /api/strategies lists it".to_owned();
    strategy_name(name).map_err(|what| Problem::bad_value("path: name", what, fix()))?;
    let asked: Move = body::read(body, PROMOTE_EXAMPLE)?;
    let (reason, actor) = (body::reason(&asked.reason)?, caller.actor());
    let bus = bus(app)?;
    let Some((last, held)) = stored(bus, name).await? else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown-strategy", "There is no such strategy")
            .place("path: name")
            .detail(format!("`{name}` is not registered"))
            .fix("GET /api/strategies lists them; POST /api/strategies registers one".to_owned()));
    };
    if asked.revision.is_some_and(|revision| revision != held.revision) {
        return Err(changed(&held, "it has changed since"));
    }
    let ended = asked.backtest.as_deref().and_then(|id| app.view().backtests.done(id).cloned());
    let next = held.take(verb, ended.as_ref(), asked.confirm).map_err(|why| match (&why, &asked.backtest) {
        (Refused::NotConfirmed(_), _) => confirmation(format!("{why}; see `strategy`"))
            .with("strategy", json!(RegisteredRow::new(last, held.at, &held)))
            .with("revision", held.revision.into()),
        (Refused::NoBacktest { .. }, Some(id)) if ended.is_none() => {
            Problem::bad_value("body: backtest", format!("no backtest `{id:.64}` has ended"), backtest_first(&held))
        }
        (Refused::NoBacktest { .. }, _) => Problem::bad_value("body: backtest", why.to_string(), backtest_first(&held)),
        _ => not_now(&why),
    })?;
    let (next, to) = (StrategyRegistered { actor, reason, at: spark_nats::now(), ..next.clone() }, next.status);
    if to == StrategyStatus::Live {
        caller.may(Role::Admin, "promotion to live")?;
    }
    // What stops is stopped at risk before it is said to be; what trades is let through after it was said.
    if to == StrategyStatus::Stopped {
        tell(app, &next, false).await?;
    }
    let sequence = store(bus, &next, last).await?;
    if matches!(to, StrategyStatus::Paper | StrategyStatus::Live) {
        tell(app, &next, true).await?;
    }
    tracing::warn!(strategy = name, from = held.status.as_str(), to = to.as_str(), sequence, "a strategy moves on");
    let row = RegisteredRow::new(sequence, next.at, &next);
    Ok(answer(&StrategyMoved { status: "stored", from: held.status, strategy: row }))
}

/// `control.strategy.<name>`: risk lets its orders pass or does not, and marks of its symbol are made while it runs.
async fn tell(app: &App, strategy: &StrategyRegistered, run: bool) -> Result<(), Problem> {
    let command = StrategyCommand {
        strategy: strategy.name.clone(),
        run,
        symbols: vec![format!("{}.{}", strategy.exchange, strategy.symbol)],
        actor: strategy.actor.clone(),
        reason: strategy.reason.clone(),
        at: strategy.at,
    };
    send(app, Outgoing::Strategy(command)).await.map(|_| ())
}

fn backtest_first(held: &StrategyRegistered) -> String {
    format!("POST /api/backtest with \"strategy\":\"{}\" and its parameters, then name its id here", held.name)
}

fn bus(app: &App) -> Result<&Bus, Problem> {
    app.bus()
        .filter(|bus| bus.is_connected())
        .ok_or_else(|| unconfirmed("the broker is not connected; nothing was sent".to_owned()))
}

fn unconfirmed(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-confirmed", "The change is not confirmed")
        .detail(detail)
        .fix("look at GET /api/strategies, then try again: it is stored at most once".to_owned())
}

/// The newest word on a strategy, from the LEDGER itself.
pub(super) async fn stored(bus: &Bus, name: &str) -> Result<Option<(u64, StrategyRegistered)>, Problem> {
    let found = tokio::time::timeout(STORE_LIMIT, bus.last(LEDGER, &subject::registry(name))).await;
    let found = found.map_err(|_| unconfirmed("the ledger did not answer in time; nothing was sent".to_owned()))?;
    let found = found.map_err(|error| unconfirmed(format!("{error}; nothing was sent")))?;
    found
        .map(|delivery| match delivery.decode::<StrategyRegistered>() {
            Ok(strategy) => Ok((delivery.sequence, strategy)),
            Err(error) => {
                Err(Problem::new(StatusCode::CONFLICT, "unreadable", "What is registered under this name cannot be read")
                    .detail(format!("LEDGER:{}: {error}", delivery.sequence))
                    .fix("register it under another name".to_owned()))
            }
        })
        .transpose()
}

async fn store(bus: &Bus, strategy: &StrategyRegistered, last: u64) -> Result<u64, Problem> {
    strategy.validate().map_err(|what| Problem::bad_value("body", what, format!("e.g. {EXAMPLE}")))?;
    let mut writer = SubjectWriter::at(bus.clone(), LEDGER, subject::registry(&strategy.name), last);
    // Of this attempt alone, so that nobody else's change passes for it.
    let meta = Meta { msg_id: Some(format!("gateway:{}:{}", strategy.name, random::hex(16))), cause: None };
    let appended = writer.append_with(StrategyRegistered::KIND, Bytes::from(encode(strategy)), &meta, &[]);
    match tokio::time::timeout(STORE_LIMIT, appended).await {
        Ok(Ok(sequence)) => Ok(sequence),
        Ok(Err(AppendError::Conflict)) => Err(changed(strategy, "somebody else has changed it at this moment")),
        Ok(Err(AppendError::Refused(error))) => {
            tracing::error!(%error, "store a strategy");
            Err(unconfirmed(error.to_string()))
        }
        Err(_) => Err(unconfirmed(format!("no acknowledgement within {} s; it may be stored", STORE_LIMIT.as_secs()))),
    }
}

fn changed(held: &StrategyRegistered, what: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "strategy-changed", "The strategy is not what the request says")
        .place("body: revision")
        .detail(format!("{}: {what}; its revision is {}", held.name, held.revision))
        .fix("look at GET /api/strategies and decide again, with the revision that you saw".to_owned())
        .with("revision", held.revision.into())
}

fn not_now(why: &Refused) -> Problem {
    Problem::new(StatusCode::CONFLICT, "strategy-status", "The strategy cannot do that now").detail(why.to_string()).fix(
        "draft → backtested → paper → live by promote; stop from paper and live; start from backtested and stopped".to_owned(),
    )
}
