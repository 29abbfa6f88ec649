//! Values as text, the same on the page and on the command line.

use spark_bus_schema::Timestamp;
use spark_bus_schema::backtests::{BacktestMetrics, DataSource, JobState};
use spark_bus_schema::risk::Limits;
use spark_bus_schema::strategies::Params;

/// Text for HTML and SVG, in attributes too.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `2026-11-21T09:30:00Z`, without fractions of a second.
#[must_use]
pub fn iso(at: Timestamp) -> String {
    Timestamp::from_millis(at.as_millis().div_euclid(1_000) * 1_000).to_string()
}

/// At most four digits after the point, fewer for large values.
#[must_use]
pub fn number(value: f64) -> String {
    let text = if value.abs() >= 1_000.0 { format!("{value:.2}") } else { format!("{value:.4}") };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// `+1.25 %`, with its sign.
#[must_use]
pub fn percent(value: f64) -> String {
    format!("{value:+.2} %")
}

/// The figures of one run, each with its name.
#[must_use]
pub fn metric_rows(metrics: &BacktestMetrics) -> Vec<(&'static str, String)> {
    let optional = |value: Option<f64>, shown: fn(f64) -> String| value.map_or_else(|| "–".to_owned(), shown);
    vec![
        ("total return", percent(metrics.total_return_pct)),
        ("Sharpe", optional(metrics.sharpe, number)),
        ("max drawdown", format!("{:.2} %", metrics.max_drawdown_pct)),
        ("win rate", optional(metrics.win_rate_pct, |rate| format!("{rate:.1} %"))),
        ("profit factor", optional(metrics.profit_factor, number)),
        ("trades", metrics.trades.to_string()),
        ("refused by risk", metrics.refused.to_string()),
        ("bars", metrics.bars.to_string()),
        ("final equity", metrics.final_equity.round_dp(2).to_string()),
    ]
}

/// `fast=10 slow=30`.
#[must_use]
pub fn params_text(params: &Params) -> String {
    let pairs: Vec<String> = params.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "defaults".to_owned() } else { pairs.join(" ") }
}

/// Where the past came from.
#[must_use]
pub fn data_text(data: &DataSource) -> String {
    let time = |at: &Option<Timestamp>, none: &str| at.map_or_else(|| none.to_owned(), iso);
    match data {
        DataSource::Csv { path } => path.clone(),
        DataSource::Feed { from, to } => format!("recorded FEED, {} to {}", time(from, "oldest"), time(to, "newest")),
        DataSource::Exchange { from, to } => format!("the exchange's candles, {} to {}", iso(*from), iso(*to)),
    }
}

/// Which limits held.
#[must_use]
pub fn limits_text(limits: Option<&Limits>) -> String {
    match limits {
        None => "none: the same guards ran without a bound".to_owned(),
        Some(limits) => serde_json::to_string(limits).unwrap_or_default(),
    }
}

/// A state in one word.
#[must_use]
pub fn state(state: JobState) -> String {
    format!("{state:?}").to_lowercase()
}
