//! `POST /api/ml/score`: the score of a candle that the request brings.
//!
//! It fails closed. A feature that is null, not a number or infinite gets `advisory: true`, no score and the reason, with
//! status 200: the question was understood, and that is the answer. When `signal` does not answer, the same shape comes with
//! status 503: nothing is known, and a monitor should see it. Nothing is traded on any of these answers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::market::Side;
use spark_bus_schema::signals::{Score, ScoreRequest};
use spark_bus_schema::{Message, Timestamp, Venue, subject};
use spark_nats::Meta;
use tokio::time::Instant;

use super::super::access::Caller;
use super::super::exec::body;
use super::super::input::Payload;
use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json};
use crate::app::{App, Awaited};
use crate::auth::random;
use crate::view::View;

/// How long an answer may wait for `signal`.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Features of one request.
const FEATURES_MAX: usize = 64;
/// Characters of a feature's name.
const NAME_CHARS_MAX: usize = 64;
/// Without these there is no candle.
const CANDLE: [&str; 5] = ["o", "h", "l", "c", "v"];
/// Symbols named in a problem.
const NAMED_MAX: usize = 20;
/// Of [`score`].
pub const EXAMPLE: &str =
    r#"{"feature":{"ts":"2026-11-21T09:30:00Z","symbol":"BTCUSDT","tf":"1m","o":61837,"h":61850,"l":61820,"c":61840,"v":12.5}}"#;

/// A candle and what else the model knows of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScoreRequest")]
pub struct Asked {
    #[schemars(with = "Feature")]
    feature: Map<String, Value>,
}

/// How a feature looks in the API's document: open, high, low, close, volume, and any other figure by its name. One that is
/// null or no number is answered with `advisory` and no score.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what `request` reads")]
struct Feature {
    /// When the candle began: RFC 3339, or milliseconds since the epoch.
    #[serde(default)]
    ts: Value,
    /// Spark's spelling.
    #[schemars(length(min = 1, max = 32), extend("pattern" = "^[A-Z0-9]+$"))]
    symbol: String,
    tf: TimeFrame,
    /// `binance` without it.
    exchange: Option<Venue>,
    #[serde(default)]
    o: Value,
    #[serde(default)]
    h: Value,
    #[serde(default)]
    l: Value,
    #[serde(default)]
    c: Value,
    #[serde(default)]
    v: Value,
}

/// A score, or why there is none.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ScoreAnswer")]
pub struct Answer<'a> {
    id: &'a str,
    score: Option<f64>,
    confid: Option<f64>,
    #[serde(rename = "ml_bucket")]
    bucket: Option<&'a str>,
    #[serde(rename = "ml_signal_parts")]
    parts: BTreeMap<&'a str, f64>,
    side: Option<Side>,
    advisory: bool,
    reason: Option<String>,
    confid_floor: Option<f64>,
    assigned: bool,
    exchange: Venue,
    symbol: &'a str,
    tf: TimeFrame,
    ts: String,
    feature_version: Option<String>,
    model_version: Option<String>,
    model_hash: Option<String>,
}

/// Asks `signal`.
pub async fn score(
    State(context): State<Context>,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: Asked = body::read(&body, EXAMPLE)?;
    let app = &context.app;
    let request = request(&app.view(), &asked.feature, caller.actor(), spark_nats::now())?;
    let unusable: Vec<&str> =
        request.features.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
    let unusable = (!unusable.is_empty()).then(|| format!("not a finite number: {}", unusable.join(", ")));
    match ask(app, &request).await {
        // Whatever the model makes of it: from a feature that is no number no score follows.
        Ok(score) if unusable.is_some() && score.score.is_some() => Ok(json(&none(app, &request, unusable.unwrap_or_default()))),
        Ok(score) => Ok(json(&told(&request.id, &score))),
        Err(why) => match unusable {
            Some(unusable) => Ok(json(&none(app, &request, unusable))),
            None => Ok((StatusCode::SERVICE_UNAVAILABLE, json(&none(app, &request, why))).into_response()),
        },
    }
}

/// The answer of `signal`, or why there is none.
async fn ask(app: &App, request: &ScoreRequest) -> Result<Score, String> {
    let bus = app.bus().filter(|bus| bus.is_connected()).ok_or("the broker is not connected; nothing was asked")?;
    let _seat = app.scores.try_acquire().map_err(|_| "too many scores are being asked for at this moment")?;
    let late = || format!("signal did not answer within {} s", ANSWER_LIMIT.as_secs());
    let deadline = Instant::now() + ANSWER_LIMIT;
    let held = || app.view().signals.answer_to(&request.id).cloned();
    let waiting = app.answers.join(&Awaited::Score(request.id.clone())).ok_or("too many requests are waiting")?;
    let on = subject::score_request(&request.id);
    let stored = bus.publish(&on, request, Meta::default());
    match tokio::time::timeout_at(deadline, stored).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "ask for a score");
            return Err("the question could not be stored".to_owned());
        }
        Err(_) => return Err("the broker did not store the question in time".to_owned()),
    }
    loop {
        let notified = waiting.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if let Some(score) = held() {
            return Ok(score);
        }
        tokio::select! {
            () = notified => {}
            () = tokio::time::sleep_until(deadline) => return held().ok_or_else(late),
        }
    }
}

fn told<'a>(id: &'a str, score: &'a Score) -> Answer<'a> {
    Answer {
        id,
        score: score.score,
        confid: score.confid,
        bucket: score.ml_bucket.as_deref(),
        parts: score.ml_signal_parts.iter().map(|(part, value)| (part.as_str(), *value)).collect(),
        side: score.side,
        advisory: score.advisory,
        reason: score.reason.clone(),
        confid_floor: Some(score.confid_floor),
        assigned: score.assigned,
        exchange: score.venue,
        symbol: &score.symbol,
        tf: score.timeframe,
        ts: score.open_time.to_string(),
        feature_version: Some(score.model.feature_version.clone()),
        model_version: Some(score.model.model_version.clone()),
        model_hash: Some(score.model.hash.clone()),
    }
}

/// No score. The model is the one in force, if it is known.
fn none<'a>(app: &App, request: &'a ScoreRequest, reason: String) -> Answer<'a> {
    let view = app.view();
    let model = view.signals.model();
    Answer {
        id: &request.id,
        score: None,
        confid: None,
        bucket: None,
        parts: BTreeMap::new(),
        side: None,
        advisory: true,
        reason: Some(reason),
        confid_floor: model.map(|told| told.confid_floor),
        assigned: false,
        exchange: request.venue,
        symbol: &request.symbol,
        tf: request.timeframe,
        ts: request.open_time.to_string(),
        feature_version: model.map(|told| told.model.feature_version.clone()),
        model_version: model.map(|told| told.model.model_version.clone()),
        model_hash: model.map(|told| told.model.hash.clone()),
    }
}

fn request(view: &View, feature: &Map<String, Value>, actor: String, now: Timestamp) -> Result<ScoreRequest, Problem> {
    if feature.len() > FEATURES_MAX || feature.keys().any(|name| name.is_empty() || name.chars().count() > NAME_CHARS_MAX) {
        let detail = format!("{} features, or a name of none or too many characters", feature.len());
        let fix = format!("at most {FEATURES_MAX}, each with a name of 1 to {NAME_CHARS_MAX} characters");
        return Err(Problem::bad_value("body: feature", detail, fix));
    }
    let venue = match feature.get("exchange").or(feature.get("venue")) {
        None => Venue::Binance,
        Some(Value::String(name)) => {
            name.parse().map_err(|error: String| unprocessable("body: feature.exchange", error, "binance".to_owned()))?
        }
        Some(other) => {
            return Err(unprocessable("body: feature.exchange", format!("{other} is no exchange"), "\"binance\"".to_owned()));
        }
    };
    let symbol = symbol(view, venue, feature.get("symbol"))?;
    let known = || format!("one of {}", TimeFrame::ALL.map(TimeFrame::as_str).join(", "));
    let tf = feature.get("tf").and_then(Value::as_str);
    let timeframe = tf.ok_or_else(|| unprocessable("body: feature.tf", "it is missing, or no text".to_owned(), known()))?;
    let timeframe = timeframe.parse().map_err(|error: String| unprocessable("body: feature.tf", error, known()))?;
    let open_time = match feature.get("ts") {
        None => None,
        Some(value) => moment(value)?,
    };
    let words = ["ts", "symbol", "tf", "exchange", "venue"];
    let mut features: BTreeMap<String, Option<f64>> = CANDLE.into_iter().map(|name| (name.to_owned(), None)).collect();
    let given = feature.iter().filter(|(name, _)| !words.contains(&name.as_str()));
    features.extend(given.map(|(name, value)| (name.clone(), number(value))));
    if open_time.is_none() {
        features.insert("ts".to_owned(), None);
    }
    let request = ScoreRequest {
        id: random::hex(16),
        venue,
        symbol,
        timeframe,
        open_time: open_time.unwrap_or(now),
        features,
        actor,
        at: now,
    };
    request.validate().map_err(|what| unprocessable("body: feature", what, format!("e.g. {EXAMPLE}")))?;
    Ok(request)
}

/// A symbol that the venue is known to have, or any plausible one while nothing is known of the venue.
fn symbol(view: &View, venue: Venue, value: Option<&Value>) -> Result<String, Problem> {
    let place = "body: feature.symbol";
    let Some(name) = value.and_then(Value::as_str) else {
        return Err(unprocessable(
            place,
            "it is missing, or no text".to_owned(),
            "Spark's spelling, e.g. \"BTCUSDT\"".to_owned(),
        ));
    };
    let plausible = !name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if !plausible {
        return Err(unprocessable(place, format!("`{name:.64}` is no symbol"), "Spark's spelling, e.g. \"BTCUSDT\"".to_owned()));
    }
    let mut known: Vec<&str> = view.prices.symbols(venue).collect();
    if venue == Venue::Bist {
        known.extend(view.bist.symbols());
    }
    if known.is_empty() || known.contains(&name) {
        return Ok(name.to_owned());
    }
    known.truncate(NAMED_MAX);
    Err(unprocessable(place, format!("`{name}` is not known at {venue}"), format!("known are {}", known.join(", "))))
}

/// When the candle began: milliseconds since the epoch, or RFC 3339. None for what is null or no number; a text that is no
/// time is a mistake.
fn moment(value: &Value) -> Result<Option<Timestamp>, Problem> {
    match value {
        Value::String(text) => match Timestamp::parse(text) {
            Ok(at) => Ok(Some(at)),
            Err(_) if text.parse::<f64>().is_ok_and(|number| !number.is_finite()) => Ok(None),
            Err(_) => {
                let fix = "RFC 3339 such as \"2026-11-21T09:30:00Z\", or milliseconds since the epoch".to_owned();
                Err(unprocessable("body: feature.ts", format!("`{text:.64}` is no time"), fix))
            }
        },
        other => Ok(other.as_i64().map(Timestamp::from_millis)),
    }
}

/// What can be reckoned with: a finite number, or a text that is one.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

fn unprocessable(place: &'static str, detail: String, fix: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-feature", "The candle cannot be scored")
        .place(place)
        .detail(detail)
        .fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_finite_number_is_a_number() {
        let check = |json: &str, want: Option<f64>| {
            assert_eq!(number(&serde_json::from_str(json).unwrap()), want, "{json}");
        };
        check("1.5", Some(1.5));
        check("-3", Some(-3.0));
        check("\"61837.62\"", Some(61_837.62));
        for json in [
            "null",
            "\"NaN\"",
            "\"nan\"",
            "\"inf\"",
            "\"-Infinity\"",
            "\"\"",
            "\"1,5\"",
            "\"abc\"",
            "true",
            "[1]",
            "{}",
            "\"1e999\"",
        ] {
            check(json, None);
        }
    }
}
