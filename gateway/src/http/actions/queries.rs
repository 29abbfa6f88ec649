//! `/tools/get_metrics`: PromQL for each metric of the contract, with its value now.
//!
//! Values come from what `/metrics` tells at this moment: a selector, `sum max min avg count` over one, with `by` or
//! without, and `time() - …` of these. Rates and quantiles come from the guardrail's windows, which are the same figures.
//! Whatever else PromQL can do, Prometheus does.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spark_alerting::{Labels, Matchers, matcher};
use spark_bus_schema::Timestamp;

use super::super::metrics;
use super::super::problem::Problem;
use crate::app::App;
use crate::view::windows::{ERROR_RATE_RULE, P95_RULE};

/// Queries in one request.
const QUERIES_MAX: usize = 64;
/// Characters of one query.
const QUERY_CHARS_MAX: usize = 1_000;
/// Values of one query; more are counted only.
const VALUES_MAX: usize = 200;
/// A quantile of the last minutes, which the guardrail keeps.
const P95: &str = "histogram_quantile(0.95, sum by (exchange, le) (rate(spark_portfolio_refresh_latency_ms_bucket[5m])))";
/// A rate of the last minutes, which the guardrail keeps.
const ERROR_RATE: &str = "sum by (exchange) (rate(spark_exchange_api_error_total[5m]))";
/// Each metric of the contract, and what is asked about it.
const CONTRACT: [(&str, &str); 13] = [
    ("spark_up", "min by (service) (spark_up)"),
    ("spark_portfolio_refresh_latency_ms", P95),
    ("spark_exchange_api_error_total", ERROR_RATE),
    ("spark_portfolio_total_value_usd", "sum(spark_portfolio_total_value_usd)"),
    ("spark_portfolio_asset_count", "sum by (exchange) (spark_portfolio_asset_count)"),
    ("spark_portfolio_last_update_timestamp", "time() - min(spark_portfolio_last_update_timestamp)"),
    ("spark_last_update_timestamp", "time() - max(spark_last_update_timestamp)"),
    ("spark_dlq_size", "max(spark_dlq_size)"),
    ("spark_risk_block_total", "sum by (reason) (spark_risk_block_total)"),
    ("spark_risk_killswitch_active", "max(spark_risk_killswitch_active)"),
    ("spark_ws_staleness_seconds", "max by (exchange) (spark_ws_staleness_seconds)"),
    ("http_requests_total", "sum by (code) (http_requests_total)"),
    ("http_request_duration_seconds", "sum(http_request_duration_seconds_sum) / sum(http_request_duration_seconds_count)"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    queries: Vec<String>,
}

/// One query and its values.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "QueryAnswered")]
pub struct Answered {
    /// The metric of the contract that it is about.
    metric: Option<&'static str>,
    query: String,
    /// By labels; empty: there is no data.
    values: Vec<Sample>,
    /// The one value, where there is exactly one.
    value: Option<f64>,
    truncated: usize,
    /// Why there is none.
    detail: Option<String>,
}

#[derive(Clone, Serialize, JsonSchema)]
struct Sample {
    labels: Labels,
    value: f64,
}

/// The contract's queries, or the ones that are asked for.
pub fn answer(app: &App, params: &Value, now: Timestamp) -> Result<Vec<Answered>, Problem> {
    let none = params.is_null() || params.as_object().is_some_and(serde_json::Map::is_empty);
    let queries: Vec<(Option<&'static str>, String)> = if none {
        CONTRACT.iter().map(|(metric, query)| (Some(*metric), (*query).to_owned())).collect()
    } else {
        let fix = r#"{"queries":["sum(spark_portfolio_total_value_usd)"]}, or none for those of the contract"#.to_owned();
        let asked =
            Asked::deserialize(params).map_err(|error| Problem::bad_value("body: params", error.to_string(), fix.clone()))?;
        if asked.queries.len() > QUERIES_MAX || asked.queries.iter().any(|query| query.chars().count() > QUERY_CHARS_MAX) {
            let detail = format!("at most {QUERIES_MAX} queries of at most {QUERY_CHARS_MAX} characters");
            return Err(Problem::bad_value("body: params.queries", detail, fix));
        }
        let metric = |query: &str| CONTRACT.iter().find(|(_, known)| *known == query).map(|(metric, _)| *metric);
        asked.queries.into_iter().map(|query| (metric(&query), query)).collect()
    };
    let text = metrics::render(app, now);
    Ok(queries.into_iter().map(|(metric, query)| answered(app, &text, metric, query, now)).collect())
}

fn answered(app: &App, text: &str, metric: Option<&'static str>, query: String, now: Timestamp) -> Answered {
    let found = match query.as_str() {
        P95 => Ok(windows(app, P95_RULE)),
        ERROR_RATE => Ok(windows(app, ERROR_RATE_RULE)),
        other => evaluate(text, other, now),
    };
    let (mut values, detail) = match found {
        Ok(values) => (values, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let truncated = values.len().saturating_sub(VALUES_MAX);
    values.truncate(VALUES_MAX);
    let value = if let [only] = values.as_slice() { Some(only.value) } else { None };
    Answered { metric, query, values, value, truncated, detail }
}

fn windows(app: &App, rule: &str) -> Vec<Sample> {
    let view = app.view();
    let values = view.windows.of_rule(rule);
    values.filter_map(|value| Some(Sample { labels: value.scope.clone(), value: value.value? })).collect()
}

/// The value of an expression over the samples of `text`.
fn evaluate(text: &str, query: &str, now: Timestamp) -> Result<Vec<Sample>, String> {
    let query = query.trim();
    if let Some(rest) = query.strip_prefix("time()") {
        let inner = rest.trim_start().strip_prefix('-').ok_or_else(beyond)?;
        let at = now.as_secs_f64();
        return Ok(evaluate(text, inner, now)?.into_iter().map(|one| Sample { value: at - one.value, ..one }).collect());
    }
    if let Some((above, below)) = query.split_once(" / ") {
        let (above, below) = (evaluate(text, above, now)?, evaluate(text, below, now)?);
        return match (above.as_slice(), below.as_slice()) {
            ([above], [below]) if below.value != 0.0 => {
                Ok(vec![Sample { labels: Labels::new(), value: above.value / below.value }])
            }
            ([] | [_], [] | [_]) => Ok(Vec::new()),
            _ => Err(beyond()),
        };
    }
    let word = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    let rest = query[word.len()..].trim_start();
    if !["sum", "max", "min", "avg", "count"].contains(&word) {
        return select(text, query);
    }
    let (by, rest) = match rest.strip_prefix("by") {
        Some(rest) => {
            let (labels, rest) = rest.trim_start().strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(beyond)?;
            (labels.split(',').map(|label| label.trim().to_owned()).collect(), rest.trim())
        }
        None => (Vec::new(), rest),
    };
    let inner = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(beyond)?;
    aggregate(word, &by, select(text, inner)?)
}

fn aggregate(word: &str, by: &[String], samples: Vec<Sample>) -> Result<Vec<Sample>, String> {
    let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for sample in samples {
        let labels = sample.labels.into_iter().filter(|(name, _)| by.contains(name)).collect();
        groups.entry(labels).or_default().push(sample.value);
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of samples")]
    let value = |values: &[f64]| match word {
        "sum" => values.iter().sum(),
        "max" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "min" => values.iter().copied().fold(f64::INFINITY, f64::min),
        "avg" => values.iter().sum::<f64>() / values.len() as f64,
        _ => values.len() as f64,
    };
    Ok(groups.into_iter().map(|(labels, values)| Sample { labels, value: value(&values) }).collect())
}

/// The samples that a selector takes.
fn select(text: &str, selector: &str) -> Result<Vec<Sample>, String> {
    let selector = selector.trim();
    let (name, conditions) = match selector.split_once('{') {
        Some((name, rest)) => (name.trim(), Some(rest.strip_suffix('}').ok_or_else(beyond)?)),
        None => (selector, None),
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':') {
        return Err(beyond());
    }
    let conditions = match conditions.map(str::trim) {
        None | Some("") => Matchers::default(),
        Some(conditions) => Matchers::parse(conditions).map_err(|error| error.to_string())?,
    };
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "));
    let samples = lines.filter_map(|(labels, value)| {
        let labels = matcher::parse(labels).ok()?.into_iter().map(|label| (label.name, label.value)).collect();
        Some(Sample { labels, value: value.parse().ok()? })
    });
    Ok(samples.filter(|sample| conditions.matches(&sample.labels)).collect())
}

fn beyond() -> String {
    "only a selector, sum max min avg count over one, time() - …, one value / one value, and the queries of the contract; ask Prometheus"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_queries_have_the_value_that_prometheus_would_give() {
        let text = "# TYPE a gauge\na{e=\"x\",s=\"1\"} 2\na{e=\"y\",s=\"2\"} 5\nab{e=\"x\"} 100\nt{e=\"x\"} 90\n";
        let now = Timestamp::from_millis(100_000);
        let check = |query: &str, want: &str| {
            let got = evaluate(text, query, now).map(|samples| {
                let show = |one: Sample| format!("{}{}", one.labels.into_values().collect::<Vec<_>>().join(","), one.value);
                samples.into_iter().map(show).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(got.unwrap_or_else(|_| "beyond".to_owned()), want, "{query}");
        };
        check("a", "x,12 y,25");
        check("a{e=\"x\"}", "x,12");
        check("a{e=~\"x|y\",s!=\"1\"}", "y,25");
        check("sum(a)", "7");
        check("max by (e) (a)", "x2 y5");
        check("avg(a)", "3.5");
        check("count(a{e=\"z\"})", "");
        check("time() - max(t)", "10");
        check("sum(a) / sum(t)", "0.07777777777777778");
        check("nothing", "");
        for other in ["rate(a[5m])", "a + 1", "sum(rate(a[5m]))", "sum by (e a)", "a{e=\"x\"", ""] {
            check(other, "beyond");
        }
    }
}
