//! The week for people.

use super::Weekly;
use crate::chart::iso;
use crate::record::json;
use crate::report::page::{Block, Table, length, number, percent, to_html, to_markdown, value};

/// As Markdown. Charts are only in the HTML.
#[must_use]
pub fn markdown(weekly: &Weekly) -> String {
    to_markdown(&title(weekly), &blocks(weekly))
}

/// Self-contained, as the daily report.
#[must_use]
pub fn html(weekly: &Weekly) -> String {
    to_html(&title(weekly), weekly.verdict.as_str(), &blocks(weekly), &weekly.charts, &json(weekly))
}

fn title(weekly: &Weekly) -> String {
    format!("Spark, week to {:.10}: {}", weekly.window.to.to_string(), weekly.verdict.as_str())
}

fn heading(text: &str) -> Block {
    Block::Heading(text.to_owned())
}

fn table<const N: usize>(headings: [&'static str; N], rows: impl Iterator<Item = [String; N]>) -> Block {
    Block::Table(Table { headings: headings.to_vec(), rows: rows.map(Vec::from).collect() })
}

fn blocks(weekly: &Weekly) -> Vec<Block> {
    let days = weekly.days.iter().map(|day| {
        let verdict = day.verdict.map_or("–", |verdict| verdict.as_str());
        let uptime = day.uptime.map_or("–".to_owned(), percent);
        let p95 = value(day.p95_ms, "ms");
        let date = format!("{:.10}", day.window.from.to_string());
        [date, verdict.to_owned(), uptime, p95, day.failed_calls.to_string(), day.breaches.to_string(), day.rule.clone()]
    });
    let trends = weekly.trends.iter().map(|trend| {
        let change = trend.change.map_or("–".to_owned(), |change| {
            format!("{}{} {}", if change > 0.0 { "+" } else { "" }, number(change), trend.unit)
        });
        [trend.what.clone(), value(trend.now, &trend.unit), value(trend.before, &trend.unit), change]
    });
    let budget = &weekly.budget;
    let used = budget.used_share.map_or("nothing was observed".to_owned(), |share| format!("{} of it used", percent(share)));
    let processes = weekly.processes.iter().map(|row| [row.service.clone(), percent(row.uptime), row.starts.to_string()]);
    let alerts = weekly.by_alert.iter().map(|row| [row.alert.clone(), row.breaches.to_string(), length(row.seconds)]);
    let slow = weekly.slow.iter().map(|row| {
        let ms = |value| format!("{} ms", number(value));
        [row.exchange.clone(), row.count.to_string(), ms(row.p50_ms), ms(row.p95_ms), ms(row.p99_ms)]
    });
    vec![
        Block::Text(format!(
            "{} to {}, made {}. All times are UTC.",
            iso(weekly.window.from),
            iso(weekly.window.to),
            iso(weekly.generated_at)
        )),
        Block::Text(format!("Verdict {}: {}.", weekly.verdict.as_str(), weekly.rule.trim_end_matches('.'))),
        heading("Suggested work"),
        Block::List(weekly.work.clone()),
        heading("Days"),
        table(["day", "verdict", "uptime", "refresh p95", "failed calls", "breaches", "decided by"], days),
        heading("Against the week before"),
        table(["what", "this week", "before", "change"], trends),
        heading("Error budget"),
        Block::Text(format!(
            "Objective {}: {} may be lost, {} were, {used}.",
            percent(budget.objective),
            length(budget.allowed_s),
            length(budget.used_s)
        )),
        table(["process", "uptime", "starts"], processes),
        heading("Worst alerts"),
        table(["alert", "where", "severity", "from", "for", "worst"], weekly.top.iter().map(crate::report::breach_row)),
        table(["alert", "breaches", "firing"], alerts),
        heading("Slow exchanges"),
        table(["exchange", "polls", "p50", "p95", "p99"], slow),
    ]
}
