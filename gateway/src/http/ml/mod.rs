//! What the model says: its version, its newest scores, how far they can be believed; and scores of candles of one's own.

pub mod score;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::candles::TimeFrame;

use super::paging::{Page, linked};
use super::problem::Problem;
use super::query::Params;
use super::{Context, json};
use crate::view::signals::{BucketRow, CalibrationRow, Overall, SCORES_MAX, ScoreRow, VersionRow};
use crate::view::status::Word;

/// Scores in an answer when the request does not say how many.
pub const LIMIT: usize = 100;

/// The model in force, and how far to trust the picture.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelInForceNow")]
pub struct Version<'a> {
    status: Word,
    #[serde(flatten)]
    model: VersionRow<'a>,
}

/// `GET /api/ml/version`: the model in force; nulls, and `known: false`, when `signal` has never spoken.
pub async fn version(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let view = context.app.view();
    let model = VersionRow::from(view.signals.model());
    Ok(json(&Version { status: view.status(spark_nats::now()).status, model }))
}

/// Scores, the newest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Scores")]
pub struct List<'a> {
    status: Word,
    scores: Vec<ScoreRow<'a>>,
    /// How many of those held are in each bucket.
    buckets: Vec<BucketRow>,
    /// `offset` of the next page; null on the last one.
    #[serde(rename = "nextOffset")]
    next_offset: Option<usize>,
}

/// `GET /api/ml/scores?symbol=&tf=&limit=&offset=`: newest first, and how many of those held are in each bucket.
pub async fn scores(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["symbol", "tf", "exchange", "limit", "offset"])?;
    let (page, series) = (Page::read(&params, 1..=SCORES_MAX, LIMIT, SCORES_MAX)?, Wanted::read(&params)?);
    let view = context.app.view();
    let signals = &view.signals;
    let fits = |venue, symbol: &str, tf| series.fits(venue, symbol, tf);
    let scores: Vec<_> = signals.newest().filter(|score| fits(score.venue, &score.symbol, score.timeframe)).collect();
    let next_offset = page.next(scores.len());
    let scores = page.of(scores.into_iter().map(ScoreRow::from));
    let status = view.status(spark_nats::now()).status;
    let answer = json(&List { status, scores, buckets: signals.buckets(), next_offset });
    Ok(linked(answer, &params, "offset", next_offset))
}

/// How far scores can be believed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Calibrations")]
pub struct Told<'a> {
    status: Word,
    overall: Overall,
    series: Vec<CalibrationRow<'a>>,
    buckets: Vec<BucketRow>,
}

/// `GET /api/ml/calibration?symbol=&tf=&exchange=`: reliability, Brier score, correlation and drift by series, and all together.
pub async fn calibration(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["symbol", "tf", "exchange"])?;
    let wanted = Wanted::read(&params)?;
    let view = context.app.view();
    let signals = &view.signals;
    let series = signals.calibrations().filter(|told| wanted.fits(told.venue, &told.symbol, told.timeframe));
    Ok(json(&Told {
        status: view.status(spark_nats::now()).status,
        overall: signals.overall(),
        series: series.map(CalibrationRow::from).collect(),
        buckets: signals.buckets(),
    }))
}

/// Which series a request is about.
struct Wanted<'a> {
    exchange: Option<spark_bus_schema::Venue>,
    symbol: Option<&'a str>,
    tf: Option<TimeFrame>,
}

impl<'a> Wanted<'a> {
    fn read(params: &'a Params) -> Result<Self, Problem> {
        let tf = params.get("tf").map(str::parse).transpose();
        let tf = tf.map_err(|error: String| Problem::bad_value("query: tf", error, "tf=1m would be right".to_owned()))?;
        Ok(Self { exchange: params.exchange()?, symbol: params.get("symbol"), tf })
    }

    fn fits(&self, exchange: spark_bus_schema::Venue, symbol: &str, tf: TimeFrame) -> bool {
        self.exchange.is_none_or(|wanted| wanted == exchange)
            && self.symbol.is_none_or(|wanted| wanted == symbol)
            && self.tf.is_none_or(|wanted| wanted == tf)
    }
}
