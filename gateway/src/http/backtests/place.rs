//! `POST /api/backtest`: puts a job into the queue. It spends the machine's time, so it needs the operator's token.
//!
//! A key (`X-Idempotency-Key`) names the job: of any number of requests with one key one job is made, while it waits, while it
//! runs and after it has ended.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use spark_bus_schema::backtests::{BacktestDone, BacktestJob, DataSource, FillAt, WalkForward};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::orders::NAME_CHARS_MAX;
use spark_bus_schema::risk::Limits;
use spark_bus_schema::strategies::{Params as Named, StrategyKind, StrategyRegistered};
use spark_bus_schema::subject::{self, JOBS, LEDGER};
use spark_bus_schema::{Decimal, Message, Timestamp, Venue, encode};
use spark_nats::{AppendError, Bus, Meta, SubjectWriter};

use super::super::access::Caller;
use super::super::exec::body::{self, Exact};
use super::super::exec::commands::ACCEPTED;
use super::super::exec::place::KEY_HEADER;
use super::super::input::Payload;
use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json as answer};
use super::away;
use crate::app::App;
use crate::auth::random;
use crate::desk::STORE_LIMIT;
use crate::view::revisions::Part;

/// What a backtest begins with when the request does not say, quote currency.
const CASH: i64 = 10_000;
/// Of [`place`].
pub const EXAMPLE: &str = r#"{"kind":"sma_cross","params":{"fast":"10","slow":"30"},"exchange":"binance","symbol":"BTCUSDT","timeframe":"1h","data":{"csv":{"path":"/data/btcusdt-1h.csv"}},"cash":"10000","commissionPct":"0.1","reason":"first look"}"#;

/// A backtest. What is left out is as the registered strategy has it, if one is named.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "BacktestRequest")]
pub struct Asked {
    /// A registered strategy.
    strategy: Option<String>,
    kind: Option<StrategyKind>,
    params: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    sweep: BTreeMap<String, Vec<Value>>,
    walk_forward: Option<Split>,
    exchange: Option<Venue>,
    symbol: Option<String>,
    timeframe: Option<TimeFrame>,
    data: Data,
    cash: Option<Exact>,
    commission_pct: Option<Exact>,
    #[serde(default)]
    fill_at: FillAt,
    limits: Option<Box<Limits>>,
    #[schemars(with = "body::Reason")]
    reason: String,
}

/// Bars to choose parameters on, and bars to test them on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "WalkForwardRequest")]
struct Split {
    train_bars: u64,
    test_bars: u64,
}

/// Where candles come from; times as people write them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[schemars(rename = "DataRequest")]
enum Data {
    Csv { path: String },
    Feed { from: Option<Moment>, to: Option<Moment> },
    Exchange { from: Moment, to: Moment },
}

/// RFC 3339, or milliseconds since the epoch.
struct Moment(Timestamp);

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "RFC 3339, or milliseconds since the epoch.",
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "format": "int64"}],
            "examples": ["2026-11-01T00:00:00Z"],
        })
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let at = match &value {
            Value::String(text) => Timestamp::parse(text).ok(),
            other => other.as_i64().map(Timestamp::from_millis),
        };
        at.map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("{value} is no time; \"2026-11-01T00:00:00Z\" would be right")))
    }
}

/// The backtest is in the queue.
#[derive(Serialize, JsonSchema)]
pub struct BacktestAccepted<'a> {
    status: &'static str,
    id: &'a str,
    /// Where to look.
    #[serde(rename = "where")]
    place: &'a str,
}

/// Puts the job into the queue, or finds the one that is there under its key.
pub async fn place(
    State(context): State<Context>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    let app = &context.app;
    params.only(&[])?;
    let (key, actor, now) = (key(&headers)?, caller.actor(), spark_nats::now());
    let asked: Asked = body::read(&body, EXAMPLE)?;
    let job = job(app, asked, id(key.as_deref()), actor, now).await?;
    job.validate().map_err(|what| Problem::bad_value("body", what, format!("e.g. {EXAMPLE}")))?;
    let known = app.view().backtests.job(&job.id).cloned();
    match known {
        Some(known) => same(&known, &job)?,
        None => store(app, &job).await?,
    }
    let here = format!("/api/backtest/{}", job.id);
    let told = BacktestAccepted { status: ACCEPTED, id: &job.id, place: &here };
    let told = answer(&told);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, here)], told).into_response())
}

async fn store(app: &App, job: &BacktestJob) -> Result<(), Problem> {
    let bus = app.bus().filter(|bus| bus.is_connected()).ok_or_else(|| away("nothing was sent"))?;
    let stored = match tokio::time::timeout(STORE_LIMIT, append(bus, job)).await {
        Ok(stored) => stored?,
        Err(_) => return Err(away(&format!("no acknowledgement within {} s; it may be stored", STORE_LIMIT.as_secs()))),
    };
    let news = stored.is_none();
    let job = stored.unwrap_or_else(|| Arc::new(job.clone()));
    tracing::info!(id = job.id, news, "a backtest is in the queue");
    let mut view = app.view_mut();
    view.backtests.asked(job);
    view.changed(Part::Backtests);
    drop(view);
    app.hub.mark_signals();
    Ok(())
}

/// The job that is there already; none when it is this one.
async fn append(bus: &Bus, job: &BacktestJob) -> Result<Option<Arc<BacktestJob>>, Problem> {
    // What has ended is gone from the queue: the LEDGER knows.
    let ended = bus.last(LEDGER, &subject::backtest_done(&job.id)).await.map_err(|error| away(&error.to_string()))?;
    if let Some(ended) = ended {
        let done: BacktestDone = ended.decode().map_err(|error| away(&format!("LEDGER:{}: {error}", ended.sequence)))?;
        let params = if job.sweep.is_empty() && done.params != job.params { Some("params") } else { None };
        let differs = if done.kind != job.kind { Some("kind") } else { params };
        return differs.map_or_else(|| Ok(Some(Arc::new(job.clone()))), |field| Err(key_used(field)));
    }
    let mut writer = SubjectWriter::at(bus.clone(), JOBS, subject::backtest(&job.id), 0);
    let meta = Meta { msg_id: Some(format!("gateway:{}:{}", job.id, random::hex(16))), cause: None };
    match writer.append_with(BacktestJob::KIND, Bytes::from(encode(job)), &meta, &[]).await {
        Ok(_) => Ok(None),
        Err(AppendError::Conflict) => {
            let found = bus.last(JOBS, &subject::backtest(&job.id)).await.map_err(|error| away(&error.to_string()))?;
            let Some(found) = found else { return Ok(None) };
            let held: BacktestJob = found.decode().map_err(|error| away(&format!("JOBS:{}: {error}", found.sequence)))?;
            same(&held, job)?;
            Ok(Some(Arc::new(held)))
        }
        Err(AppendError::Refused(error)) => {
            tracing::error!(%error, "put a backtest into the queue");
            Err(away(&error.to_string()))
        }
    }
}

async fn job(app: &App, asked: Asked, id: String, actor: String, now: Timestamp) -> Result<BacktestJob, Problem> {
    let registered = match &asked.strategy {
        Some(name) => Some(registered(app, name).await?),
        None => None,
    };
    let of = registered.as_ref();
    let missing = |field: &'static str, right: &str| {
        Problem::bad_value(
            format!("body: {field}"),
            "it is missing, and no registered strategy says it".to_owned(),
            right.to_owned(),
        )
    };
    let params = match asked.params {
        Some(params) => texts(params)?,
        None => of.map(|held| held.params.clone()).unwrap_or_default(),
    };
    let mut sweep = BTreeMap::new();
    for (name, values) in asked.sweep {
        let values = values.iter().map(|value| text(&name, value)).collect::<Result<_, _>>()?;
        sweep.insert(name, values);
    }
    Ok(BacktestJob {
        id,
        kind: asked.kind.or(of.map(|held| held.kind)).ok_or_else(|| missing("kind", "\"sma_cross\""))?,
        params,
        sweep,
        walk_forward: asked.walk_forward.map(|split| WalkForward { train_bars: split.train_bars, test_bars: split.test_bars }),
        venue: asked.exchange.or(of.map(|held| held.exchange)).unwrap_or(Venue::Binance),
        symbol: asked.symbol.or(of.map(|held| held.symbol.clone())).ok_or_else(|| missing("symbol", "\"BTCUSDT\""))?,
        timeframe: asked.timeframe.or(of.and_then(|held| held.timeframe)),
        data: data(asked.data)?,
        cash: asked.cash.map(|Exact(value)| value).or(of.and_then(|held| held.cash)).unwrap_or(Decimal::from(CASH)),
        commission_pct: asked.commission_pct.map_or(Decimal::new(1, 1), |Exact(value)| value),
        fill_at: asked.fill_at,
        limits: asked.limits,
        strategy: asked.strategy,
        actor,
        reason: body::reason(&asked.reason)?,
        at: now,
    })
}

fn data(asked: Data) -> Result<DataSource, Problem> {
    let in_order = |from: Timestamp, to: Timestamp| {
        let fix = "from before to, e.g. \"2026-10-01T00:00:00Z\" and \"2026-11-01T00:00:00Z\"".to_owned();
        if from < to { Ok(()) } else { Err(Problem::bad_value("body: data", format!("from {from} is not before to {to}"), fix)) }
    };
    Ok(match asked {
        Data::Csv { path } => {
            if !std::path::Path::new(&path).is_absolute() || path.chars().any(char::is_control) {
                let fix = "an absolute path that the workers can read, e.g. \"/data/btcusdt-1h.csv\"".to_owned();
                return Err(Problem::bad_value("body: data.csv.path", format!("{path:.200?} is not absolute"), fix));
            }
            DataSource::Csv { path }
        }
        Data::Feed { from, to } => {
            let (from, to) = (from.map(|Moment(at)| at), to.map(|Moment(at)| at));
            from.zip(to).map_or(Ok(()), |(from, to)| in_order(from, to))?;
            DataSource::Feed { from, to }
        }
        Data::Exchange { from: Moment(from), to: Moment(to) } => {
            in_order(from, to)?;
            DataSource::Exchange { from, to }
        }
    })
}

async fn registered(app: &App, name: &str) -> Result<StrategyRegistered, Problem> {
    let bus = app.bus().filter(|bus| bus.is_connected()).ok_or_else(|| away("nothing was sent"))?;
    let found = super::super::strategies::stored(bus, name).await?;
    found.map(|(_, strategy)| strategy).ok_or_else(|| {
        let fix = "GET /api/strategies lists them; leave it out to test a kind with parameters".to_owned();
        Problem::bad_value("body: strategy", format!("`{name:.64}` is not registered"), fix)
    })
}

fn texts(params: BTreeMap<String, Value>) -> Result<Named, Problem> {
    params.into_iter().map(|(name, value)| Ok((name.clone(), text(&name, &value)?))).collect()
}

fn text(name: &str, value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => {
            let detail = format!("{name:.64}: {other} is neither a text nor a number");
            Err(Problem::bad_value("body: params", detail, "\"10\" or 10".to_owned()))
        }
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all(KEY_HEADER).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let text = key.to_str().unwrap_or_default().trim();
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX || keys.next().is_some() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "idempotency-key", "The idempotency key cannot be used")
            .place("header: X-Idempotency-Key")
            .detail("it is empty, too long, or given twice".to_owned())
            .fix(format!("1 to {NAME_CHARS_MAX} printable ASCII characters, e.g. a UUID; or no such header")));
    }
    Ok(Some(text.to_owned()))
}

fn id(key: Option<&str>) -> String {
    match key {
        None => format!("bt-{:.20}", random::hex(16)),
        Some(key) => {
            format!("bt-{}", hex::encode(&Sha256::digest(key)[..10]))
        }
    }
}

/// Whether a request is the one that is there; who asked, and when, may differ.
fn same(held: &BacktestJob, asked: &BacktestJob) -> Result<(), Problem> {
    let differs = [
        ("strategy", held.strategy != asked.strategy),
        ("kind", held.kind != asked.kind),
        ("params", held.params != asked.params),
        ("sweep", held.sweep != asked.sweep),
        ("walkForward", held.walk_forward != asked.walk_forward),
        ("exchange", held.venue != asked.venue),
        ("symbol", held.symbol != asked.symbol),
        ("timeframe", held.timeframe != asked.timeframe),
        ("data", held.data != asked.data),
        ("cash", held.cash != asked.cash),
        ("commissionPct", held.commission_pct != asked.commission_pct),
        ("fillAt", held.fill_at != asked.fill_at),
        ("limits", held.limits != asked.limits),
    ];
    differs.into_iter().find(|(_, differs)| *differs).map_or(Ok(()), |(field, _)| Err(key_used(field)))
}

fn key_used(field: &'static str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-used", "The idempotency key belongs to another backtest")
        .place(format!("body: {field}"))
        .detail(format!("the backtest under this key has another {field}"))
        .fix("a new key for a new backtest, the same body for the same one".to_owned())
}
