//! One backtest as one HTML file that asks for nothing: styles, script, charts and the values behind them are in it.
//!
//! [`html`] is a pure function of what the results hold; [`write()`] puts it beside them. Nothing from outside becomes markup.

mod chart;
mod sweep;
mod text;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rust_decimal::Decimal;
use spark_bus_schema::backtests::{BacktestMetrics, FillAt};
use spark_bus_schema::market::Side;

use crate::store::{Detail, Summary};
pub use text::{data_text, escape, iso, limits_text, metric_rows, number, params_text, percent};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
/// Trades in the page's table; the database has more.
pub const TRADES_SHOWN: usize = 500;

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub struct WriteError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// Writes the report of a job to `path`, and its folder; whoever reads it sees the old file or the new one whole.
///
/// # Errors
/// The file cannot be written.
pub fn write(detail: &Detail, path: &Path) -> Result<(), WriteError> {
    let failed = |source| WriteError { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let unfinished = path.with_extension(format!("html.{}", std::process::id()));
    let put = |text: &str| {
        let mut file = std::fs::File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&unfinished, path)
    };
    put(&html(detail)).map_err(failed)
}

/// The page.
#[must_use]
pub fn html(detail: &Detail) -> String {
    let summary = &detail.summary;
    let job = &summary.job;
    let title = format!("Backtest {} · {} {}", job.id, job.kind, job.symbol);
    let mut body = format!("<h1>{}</h1>\n{}", escape(&title), lead(summary));
    if let Some(metrics) = &summary.metrics {
        body.push_str(&tiles(metrics));
    }
    if !detail.equity.is_empty() {
        body.push_str("<h2>Equity</h2>\n");
        body.push_str(&chart::equity(detail));
        body.push_str("<h2>Drawdown</h2>\n");
        body.push_str(&chart::drawdown(detail));
    }
    body.push_str(&setting(summary));
    body.push_str(&sweep::section(detail));
    body.push_str(&walk(detail));
    body.push_str(&trades(detail));
    // Inside a script element only what begins with this character is not data.
    let values = chart::values(detail).replace('<', "\\u003c");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title><style>{STYLE}</style></head>\n<body><main>{body}</main>\
         <div id=\"tip\" role=\"status\" hidden></div><script type=\"application/json\" id=\"values\">{values}</script>\n\
         <script>{SCRIPT}</script></body></html>\n",
        escape(&title)
    )
}

fn lead(summary: &Summary) -> String {
    let error = summary.error.as_ref().map(|error| format!("<p class=\"error\">{}</p>\n", escape(error)));
    let finished = summary.finished_at.map(|at| format!(", finished {}", iso(at))).unwrap_or_default();
    let job = &summary.job;
    format!(
        "<p class=\"soft\">{} by {}: {}{finished}</p>\n{}",
        escape(&text::state(summary.state)),
        escape(&job.actor),
        escape(&job.reason),
        error.unwrap_or_default()
    )
}

fn tiles(metrics: &BacktestMetrics) -> String {
    let tile = |(name, value): (&str, String)| {
        let sign = match value.as_bytes().first() {
            Some(b'-') => " down",
            Some(b'+') => " up",
            _ => "",
        };
        format!("<div><dt>{}</dt><dd class=\"n{sign}\">{}</dd></div>", escape(name), escape(&value))
    };
    let tiles: String = metric_rows(metrics).into_iter().map(tile).collect();
    format!("<dl class=\"tiles\">{tiles}</dl>\n")
}

/// What was asked for, and what it was run on.
fn setting(summary: &Summary) -> String {
    let job = &summary.job;
    let fill = match job.fill_at {
        FillAt::Close => "close of the bar that led to the order",
        FillAt::NextOpen => "open of the next bar",
    };
    let range = summary.range.map_or_else(|| "–".to_owned(), |(first, last)| format!("{} to {}", iso(first), iso(last)));
    let speed = summary.took_ms.map_or_else(|| "–".to_owned(), |took| format!("{} ms", number(took)));
    let timeframe = job.timeframe.map_or_else(|| "as in the data".to_owned(), |frame| frame.to_string());
    let rows = [
        ("Strategy", job.strategy.clone().unwrap_or_else(|| "not registered".to_owned())),
        ("Kind", job.kind.to_string()),
        ("Parameters", params_text(&summary.params)),
        ("Venue, symbol", format!("{} {}", job.venue, job.symbol)),
        ("Bars", timeframe),
        ("Data", data_text(&job.data)),
        ("Range", range),
        ("Data hash", summary.data_hash.clone().unwrap_or_else(|| "–".to_owned())),
        ("Trades hash", summary.trades_hash.clone().unwrap_or_else(|| "–".to_owned())),
        ("Cash", job.cash.normalize().to_string()),
        ("Commission", format!("{} %", job.commission_pct.normalize())),
        ("Filled at", fill.to_owned()),
        ("Limits", limits_text(job.limits.as_deref())),
        ("Combinations", summary.combinations.to_string()),
        ("Run took", speed),
        ("Worker", format!("{}, attempt {}", summary.worker, summary.attempts)),
    ];
    let rows: String = rows.iter().map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>", escape(value))).collect();
    format!("<h2>Setting</h2>\n<div class=\"wide\"><table class=\"pairs\">{rows}</table></div>\n")
}

fn walk(detail: &Detail) -> String {
    if detail.walk.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for (place, window) in (1..).zip(&detail.walk) {
        // Writing to a string cannot fail.
        let _ = write!(
            rows,
            "<tr><td>{place}</td><td>{} to {}</td><td>{} to {}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            iso(window.train_from),
            iso(window.test_from),
            iso(window.test_from),
            iso(window.test_to),
            escape(&params_text(&window.params)),
            percent(window.train.total_return_pct),
            percent(window.test.total_return_pct),
            window.test.sharpe.map_or_else(|| "–".to_owned(), number),
        );
    }
    format!(
        "<h2>Walk-forward</h2>\n<p class=\"soft\">In each window the parameters that were best in training are tried on the bars after \
         it; one after the other they came to {}.</p>\n<div class=\"wide\"><table><thead><tr><th>#</th><th>Trained on</th><th>Tried on</th><th>Parameters</th><th class=\"n\">Return \
         in training</th><th class=\"n\">Return after it</th><th class=\"n\">Sharpe after it</th></tr></thead><tbody>{rows}</tbody></table></div>\n",
        detail.summary.walk_return_pct.map_or_else(|| "–".to_owned(), percent)
    )
}

fn trades(detail: &Detail) -> String {
    let total = detail.summary.metrics.as_ref().map_or(0, |metrics| metrics.trades);
    if detail.trades.is_empty() {
        return "<h2>Trades</h2>\n<p class=\"soft\">none</p>\n".to_owned();
    }
    let shown = &detail.trades[detail.trades.len().saturating_sub(TRADES_SHOWN)..];
    let plain = |value: Decimal| value.normalize().to_string();
    let mut rows = String::new();
    for trade in shown.iter().rev() {
        let side = if trade.side == Side::Buy { "buy" } else { "sell" };
        let sign = trade.profit.map_or("", |profit| if profit < Decimal::ZERO { " down" } else { " up" });
        let profit = trade.profit.map_or_else(|| "–".to_owned(), |profit| plain(profit.round_dp(2)));
        let unit = if trade.fee_in_base { " (base)" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td class=\"{side}\">{side}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}{unit}</td><td class=\"n{sign}\">{profit}</td></tr>",
            trade.number,
            iso(trade.at),
            plain(trade.quantity),
            plain(trade.price),
            plain(trade.fee.round_dp(8)),
        );
    }
    let count = shown.len();
    let bound = if u64::try_from(count).is_ok_and(|count| count < total) {
        format!("<p class=\"soft\">The newest {count} of {total}.</p>\n")
    } else {
        String::new()
    };
    format!(
        "<h2>Trades</h2>\n{bound}<div class=\"wide\"><table><thead><tr><th>#</th><th>Decided at</th><th>Side</th><th class=\"n\">Quantity</th>\
         <th class=\"n\">Price</th><th class=\"n\">Fee</th><th class=\"n\">Profit</th></tr></thead><tbody>{rows}</tbody></table></div>\n"
    )
}

#[cfg(test)]
mod tests;
