//! GREEN, YELLOW or RED, by rules in a fixed order, and what to do about it (the alert → action matrix).

use spark_bus_schema::alerts::Severity;

use super::page::{length, number, percent, scope};
use super::{Judgement, ProcessUptime, Report, Verdict};

/// Refresh latency, p95 of an exchange, ms: above, YELLOW.
pub const P95_MS: f64 = 1_500.0;
/// Above, RED.
pub const P95_MS_CRITICAL: f64 = 3_000.0;
/// Largest age of balances, s: above, YELLOW.
pub const STALENESS_S: f64 = 60.0;
/// Age of balances at the end, s: above, RED.
pub const STALENESS_S_CRITICAL: f64 = 300.0;
/// Failed calls of an exchange, 1/s: above, YELLOW.
pub const ERROR_RATE_S: f64 = 0.01;
/// Above, RED.
pub const ERROR_RATE_S_CRITICAL: f64 = 0.05;
/// Share of time in which every process was there: below, YELLOW. The service level.
pub const UPTIME: f64 = 0.995;
/// Below, RED: ten times the error budget.
const UPTIME_CRITICAL: f64 = 0.95;
/// An absence shorter than this is a start, s: in a short window it must not decide.
const AWAY_S_MIN: u64 = 30;
/// Parked messages: more, YELLOW.
pub const PARKED: u64 = 2;

/// The worst colour that any rule has; of that colour the first rule decides. Rules in order: criticals that fire at the end;
/// steps of a rollback; uptime below 95 %; p95, error rate or age at the end beyond its critical threshold; a last smoke check
/// that failed; then YELLOW: criticals that fired; warnings that fire at the end; uptime below 99.5 %; p95, error rate or
/// largest age beyond its warning threshold; notifications given up; parked messages.
pub(super) fn judge(report: &Report) -> Judgement {
    let mut found = red(report);
    found.extend(yellow(report));
    let mut found = found.into_iter();
    let (verdict, rule) = found.next().unwrap_or_else(|| (Verdict::Green, "No rule for YELLOW or RED holds.".to_owned()));
    Judgement {
        verdict,
        rule,
        also: found.map(|(verdict, rule)| format!("{}: {rule}", verdict.as_str())).collect(),
        actions: actions(report),
    }
}

fn red(report: &Report) -> Vec<(Verdict, String)> {
    let mut found = Vec::new();
    for breach in report.alerts.firing.iter().filter(|breach| breach.severity == Severity::Critical) {
        found.push(format!(
            "{} ({}) is critical and still fires, for {}",
            breach.alert,
            scope(&breach.scope),
            length(breach.seconds)
        ));
    }
    let rollbacks = report.actions.iter().filter(|action| action.stage == "rollback_asked" && !action.dry_run).count();
    if rollbacks > 0 {
        found.push(format!("{rollbacks} rollback(s)"));
    }
    if let Some(uptime) = uptime_lost(report).filter(|uptime| *uptime < UPTIME_CRITICAL) {
        found.push(format!("uptime {} is below {}", percent(uptime), percent(UPTIME_CRITICAL)));
    }
    for row in report.refresh.iter().filter(|row| row.p95_ms > P95_MS_CRITICAL) {
        found.push(format!("refresh p95 of {} {} ms is above {P95_MS_CRITICAL} ms", row.exchange, number(row.p95_ms)));
    }
    for row in report.calls.iter().filter(|row| row.errors_per_s > ERROR_RATE_S_CRITICAL) {
        found.push(format!("error rate of {} {}/s is above {ERROR_RATE_S_CRITICAL}/s", row.exchange, number(row.errors_per_s)));
    }
    for (row, age) in report.staleness.iter().filter_map(|row| Some((row, row.last_s.filter(|age| *age > STALENESS_S_CRITICAL)?)))
    {
        found.push(format!(
            "balances of {} are {} s old at the end, more than {STALENESS_S_CRITICAL} s",
            row.exchange,
            number(age)
        ));
    }
    if report.smoke.last_pass == Some(false) {
        found.push("the last smoke check failed".to_owned());
    }
    found.into_iter().map(|rule| (Verdict::Red, rule)).collect()
}

/// Uptime, where more was lost than a start takes.
fn uptime_lost(report: &Report) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a window fit into 53 bits")]
    let (observed, least) = (report.uptime.observed_s as f64, AWAY_S_MIN as f64);
    report.uptime.overall.filter(|uptime| (1.0 - uptime) * observed > least)
}

fn yellow(report: &Report) -> Vec<(Verdict, String)> {
    let mut found = Vec::new();
    for breach in report.alerts.top.iter().filter(|breach| breach.severity == Severity::Critical && !breach.open) {
        found.push(format!("{} ({}) was critical for {}", breach.alert, scope(&breach.scope), length(breach.seconds)));
    }
    for breach in report.alerts.firing.iter().filter(|breach| breach.severity == Severity::Warning) {
        found.push(format!(
            "{} ({}) still fires as a warning, for {}",
            breach.alert,
            scope(&breach.scope),
            length(breach.seconds)
        ));
    }
    if report.uptime.overall.is_none() {
        found.push("no process was heard of".to_owned());
    }
    if let Some(uptime) = uptime_lost(report).filter(|uptime| (UPTIME_CRITICAL..UPTIME).contains(uptime)) {
        found.push(format!("uptime {} is below {}", percent(uptime), percent(UPTIME)));
    }
    for row in report.refresh.iter().filter(|row| row.p95_ms > P95_MS && row.p95_ms <= P95_MS_CRITICAL) {
        found.push(format!("refresh p95 of {} {} ms is above {P95_MS} ms", row.exchange, number(row.p95_ms)));
    }
    for row in &report.calls {
        if row.errors_per_s > ERROR_RATE_S && row.errors_per_s <= ERROR_RATE_S_CRITICAL {
            found.push(format!("error rate of {} {}/s is above {ERROR_RATE_S}/s", row.exchange, number(row.errors_per_s)));
        }
    }
    for (row, age) in report.staleness.iter().filter_map(|row| Some((row, row.max_s.filter(|age| *age > STALENESS_S)?))) {
        found.push(format!("balances of {} were up to {} s old, more than {STALENESS_S} s", row.exchange, number(age)));
    }
    let given_up: u64 = report.deliveries.values().map(|row| row.parked).sum();
    if given_up > 0 {
        found.push(format!("{given_up} notification(s) were given up"));
    }
    let parked: u64 = report.parked.values().sum();
    if parked > PARKED {
        found.push(format!("{parked} messages were parked, more than {PARKED}"));
    }
    found.into_iter().map(|rule| (Verdict::Yellow, rule)).collect()
}

/// First action and permanent fix for each thing that was found.
fn actions(report: &Report) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |text: String| {
        if !found.contains(&text) {
            found.push(text);
        }
    };
    for breach in report.alerts.firing.iter().chain(&report.alerts.top) {
        let own = [breach.first_action.as_str(), breach.permanent_fix.as_str()].map(str::trim);
        let advice = matrix(&breach.alert).map(str::to_owned).unwrap_or_else(|| own.join(" Then: "));
        add(format!("{}: {advice}", breach.alert));
    }
    for row in report.refresh.iter().filter(|row| row.p95_ms > P95_MS) {
        add(format!("Refresh of {}: {LATENCY}", row.exchange));
    }
    for row in report.calls.iter().filter(|row| row.errors_per_s > ERROR_RATE_S) {
        for error in row.by_error.keys() {
            add(format!("{} errors of {}: {}", error, row.exchange, for_error(error)));
        }
    }
    if report.staleness.iter().any(|row| row.max_s.is_some_and(|age| age > STALENESS_S)) {
        add(format!("Stale balances: {STALE}"));
    }
    let lost = |row: &&ProcessUptime| row.uptime < UPTIME && report.uptime.observed_s.saturating_sub(row.up_s) > AWAY_S_MIN;
    let away: Vec<&str> = report.uptime.processes.iter().filter(lost).map(|row| row.service.as_str()).collect();
    if !away.is_empty() {
        add(format!("Away for longer than the objective allows: {}. Look at the end of their logs.", away.join(", ")));
    }
    if report.parked.values().sum::<u64>() > PARKED {
        add("Parked messages: look at them with `spark parked ls`, mend the sender, then `spark parked replay`.".to_owned());
    }
    if report.deliveries.values().any(|row| row.parked > 0) {
        add("Notifications given up: check the receiver's address and credentials.".to_owned());
    }
    if found.is_empty() {
        found.push("Nothing to do.".to_owned());
    }
    found
}

const LATENCY: &str = "lengthen the refresh from 60 to 120 s; permanently: back-off, and fewer calls at once.";
const STALE: &str = "check the process's health; permanently: a restart, and a probe that restarts it.";
const VALUE: &str = "clear the price cache and cross-check the price; permanently: a second source, and the ±20 % check.";
const NO_ASSETS: &str = "check key and permission; permanently: validate them at the start.";

/// What an alert calls for; none: the alert says so itself.
fn matrix(alert: &str) -> Option<&'static str> {
    Some(match alert {
        "PortfolioRefreshLatencyHighP95" | "HighLatency" => LATENCY,
        "PortfolioDataStale" => STALE,
        "PortfolioValueDropAnomaly" => VALUE,
        "PortfolioNoAssets" => NO_ASSETS,
        _ => return None,
    })
}

fn for_error(error: &str) -> &'static str {
    match error {
        "auth" => "check key, permissions and clock; permanently: new keys every 90 days.",
        "ratelimit" => "batch calls and lower the burst; permanently: a token bucket.",
        "timeout" => "raise the time-out from 5 to 10 s; permanently: the breaker, and a second endpoint.",
        "clock" => "set the clock (NTP); permanently: watch the skew.",
        _ => "look at the exchange's status page and open the breaker while it lasts.",
    }
}
