//! The report as blocks, and as Markdown.

use super::page::{Block, Table, length, number, percent, scope, to_markdown, value};
use super::{Breach, Report};
use crate::chart::iso;

/// As Markdown. Charts are only in the HTML.
#[must_use]
pub fn markdown(report: &Report) -> String {
    to_markdown(&title(report), &blocks(report))
}

pub(super) fn title(report: &Report) -> String {
    format!("Spark report, {}: {}", length(report.window.seconds()), report.judgement.verdict.as_str())
}

fn table<const N: usize>(headings: [&'static str; N], rows: impl Iterator<Item = [String; N]>) -> Block {
    Block::Table(Table { headings: headings.to_vec(), rows: rows.map(Vec::from).collect() })
}

/// As [`table`], with a word instead of nothing.
fn filled<const N: usize>(headings: [&'static str; N], rows: impl Iterator<Item = [String; N]>) -> Block {
    match table(headings, rows) {
        Block::Table(table) if table.rows.is_empty() => Block::Text("Nothing recorded.".to_owned()),
        block => block,
    }
}

fn heading(text: &str) -> Block {
    Block::Heading(text.to_owned())
}

/// Everything but the charts, in order.
pub(super) fn blocks(report: &Report) -> Vec<Block> {
    let mut out = verdict(report);
    out.extend(measurements(report));
    out.extend(uptime(report));
    out.extend(alerts(report));
    out.extend(trading(report));
    out.extend(operation(report));
    out
}

fn verdict(report: &Report) -> Vec<Block> {
    let judgement = &report.judgement;
    let mut out = vec![Block::Text(format!(
        "{} to {}, made {}. All times are UTC.",
        iso(report.window.from),
        iso(report.window.to),
        iso(report.generated_at)
    ))];
    if let Some(from) = report.known_from {
        out.push(Block::Text(format!("The history begins at {}; nothing is known before.", iso(from))));
    }
    out.push(Block::Text(format!("Verdict {}: {}.", judgement.verdict.as_str(), judgement.rule.trim_end_matches('.'))));
    if !judgement.also.is_empty() {
        out.push(Block::List(judgement.also.clone()));
    }
    out.push(heading("Suggested action"));
    out.push(Block::List(judgement.actions.clone()));
    out
}

fn measurements(report: &Report) -> Vec<Block> {
    let refresh = report.refresh.iter().map(|row| {
        let ms = |value| format!("{} ms", number(value));
        [
            row.exchange.clone(),
            row.count.to_string(),
            row.failed.to_string(),
            ms(row.p50_ms),
            ms(row.p95_ms),
            ms(row.p99_ms),
            ms(row.max_ms),
        ]
    });
    let calls = report.calls.iter().map(|row| {
        let errors: Vec<String> = row.by_error.iter().map(|(error, count)| format!("{error} {count}")).collect();
        let rate = format!("{}/s", number(row.errors_per_s));
        let p95 = format!("{} ms", number(row.p95_ms));
        [
            row.exchange.clone(),
            row.count.to_string(),
            row.failed.to_string(),
            rate,
            percent(row.error_ratio),
            p95,
            errors.join(", "),
        ]
    });
    let staleness = report
        .staleness
        .iter()
        .map(|row| [row.exchange.clone(), value(row.last_s, "s"), value(row.mean_s, "s"), value(row.max_s, "s")]);
    let values = report.values.iter().map(|row| {
        let usd = |value: spark_bus_schema::Decimal| format!("{} USD", value.round_dp(2));
        let polls = format!("{} ({} failed)", row.polls, row.failed);
        [row.exchange.clone(), usd(row.first_usd), usd(row.last_usd), usd(row.low_usd), usd(row.high_usd), polls]
    });
    vec![
        heading("Portfolio refresh"),
        filled(["exchange", "polls", "failed", "p50", "p95", "p99", "slowest"], refresh),
        heading("Calls to exchanges"),
        filled(["exchange", "calls", "failed", "errors", "ratio", "p95", "by type"], calls),
        heading("Staleness"),
        filled(["exchange", "last", "mean", "largest"], staleness),
        heading("Value"),
        filled(["exchange", "first", "last", "lowest", "highest", "polls"], values),
        heading("Gateway"),
        Block::Text(format!(
            "{} answers, p95 {}, 5xx {}.",
            report.api.requests,
            value(report.api.p95_ms, "ms"),
            report.api.ratio_5xx.map_or("–".to_owned(), percent)
        )),
    ]
}

fn uptime(report: &Report) -> Vec<Block> {
    let uptime = &report.uptime;
    let overall = uptime.overall.map_or("not known: no process was heard of".to_owned(), percent);
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let observed = length(uptime.observed_s as f64);
    let rows = uptime.processes.iter().map(|row| {
        let down = uptime.observed_s - row.up_s.min(uptime.observed_s);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let (down, degraded) = (length(down as f64), length(row.degraded_s as f64));
        [row.service.clone(), percent(row.uptime), down, degraded, row.starts.to_string()]
    });
    vec![
        heading("Uptime"),
        Block::Text(format!("Every process at once: {overall}, of {observed} observed.")),
        table(["process", "uptime", "away", "degraded", "starts"], rows),
    ]
}

/// One line about one breach.
pub(crate) fn breach_row(breach: &Breach) -> [String; 6] {
    [
        breach.alert.clone(),
        scope(&breach.scope),
        super::figures::word(&breach.severity),
        iso(breach.from),
        if breach.open { format!("{}, still fires", length(breach.seconds)) } else { length(breach.seconds) },
        format!("{} (threshold {})", value(breach.worst, &breach.unit), value(breach.threshold, &breach.unit)),
    ]
}

fn alerts(report: &Report) -> Vec<Block> {
    let alerts = &report.alerts;
    let counts = alerts
        .by_alert
        .iter()
        .map(|row| [row.alert.clone(), row.breaches.to_string(), length(row.seconds), super::figures::word(&row.severity)]);
    let history = alerts.history.iter().map(|row| {
        let severity = row.severity.map_or_else(String::new, |severity| format!(" ({})", super::figures::word(&severity)));
        [iso(row.at), row.alert.clone(), scope(&row.scope), format!("{}{severity}", row.state), row.summary.clone()]
    });
    let mut out = vec![
        heading("Breaches"),
        Block::Text(format!("{} in all, {} still fire. The worst:", alerts.breaches, alerts.firing.len())),
        table(["alert", "where", "severity", "from", "for", "worst"], alerts.top.iter().map(breach_row)),
    ];
    out.push(Block::List(
        alerts
            .top
            .iter()
            .map(|breach| format!("{}: {} Probable cause: {}", breach.alert, breach.summary, breach.cause))
            .collect(),
    ));
    out.push(table(["alert", "breaches", "firing", "worst"], counts));
    out.push(heading("Alert history"));
    out.push(Block::Text(format!("{} changes, the newest {}.", alerts.changes, alerts.history.len())));
    out.push(table(["at", "alert", "where", "state", "summary"], history));
    out
}

fn trading(report: &Report) -> Vec<Block> {
    let orders = &report.orders;
    let pairs = |map: &std::collections::BTreeMap<String, u64>| {
        map.iter().map(|(name, count)| [name.clone(), count.to_string()]).collect::<Vec<_>>()
    };
    let scores = report.scores.series.iter().map(|row| {
        let buckets: Vec<String> = row.by_bucket.iter().map(|(bucket, count)| format!("{bucket}: {count}")).collect();
        let figure = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
        let (samples, hits) = (row.samples.to_string(), row.hits.to_string());
        let (count, failed) = (row.count.to_string(), row.failed.to_string());
        [row.series.clone(), count, failed, buckets.join(", "), samples, hits, figure(row.brier), figure(row.drift_psi)]
    });
    vec![
        heading("Orders"),
        Block::Text(format!("{} approved, {} refused.", orders.approved, orders.refused)),
        table(["guard", "refusals"], pairs(&orders.by_guard).into_iter()),
        table(["state", "transitions to it"], pairs(&orders.states).into_iter()),
        heading("Scores"),
        Block::Text(report.scores.said.clone()),
        table(["series", "scores", "without", "by confidence", "outcomes", "followed", "Brier", "drift"], scores),
    ]
}

fn operation(report: &Report) -> Vec<Block> {
    let deliveries = report.deliveries.iter().map(|(receiver, row)| {
        [
            receiver.clone(),
            row.delivered.to_string(),
            row.retrying.to_string(),
            row.parked.to_string(),
            format!("{} ms", row.slowest_ms),
        ]
    });
    let actions = report.actions.iter().map(|row| {
        let stage = if row.dry_run { format!("{} (dry run)", row.stage) } else { row.stage.clone() };
        [iso(row.at), stage, row.service.clone().unwrap_or_default(), row.summary.clone()]
    });
    let parked = report.parked.iter().map(|(process, count)| [process.clone(), count.to_string()]);
    let smoke = &report.smoke;
    let mut out = vec![
        heading("Notifications"),
        filled(["receiver", "delivered", "retried", "given up", "slowest"], deliveries),
        heading("Guardrail actions"),
        Block::Text(format!("{} steps.", report.actions.len())),
        table(["at", "step", "process", "what"], actions),
        heading("Smoke checks"),
        Block::Text(format!("{} of {} passed.", smoke.passed, smoke.runs)),
    ];
    if !smoke.last_bad.is_empty() {
        out.push(Block::List(smoke.last_bad.clone()));
    }
    out.push(heading("Parked messages"));
    out.push(Block::Text(format!("{} in all.", report.parked.values().sum::<u64>())));
    out.push(table(["process", "parked"], parked));
    out
}
