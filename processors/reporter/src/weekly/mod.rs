//! Seven days: each day's verdict, trends against the week before, the error budget, what to work on.

mod text;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::Severity;

use crate::chart::Chart;
use crate::history::{History, Window};
use crate::report::{self, AlertCount, Breach, Error, Format, ProcessUptime, Refresh, Report, UPTIME, Verdict, page};

pub use text::{html, markdown};

const DAY: Duration = Duration::from_secs(86_400);
/// Days of a week.
const DAYS: u32 = 7;

/// One day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// Its 24 hours.
    pub window: Window,
    /// As the day's own report says; none when the history knows nothing of the day.
    pub verdict: Option<Verdict>,
    /// The rule that decided.
    pub rule: String,
    /// As in the day's report.
    pub uptime: Option<f64>,
    /// The slowest exchange's refresh p95, ms.
    pub p95_ms: Option<f64>,
    /// Failed calls, all exchanges.
    pub failed_calls: u64,
    /// Breaches that touch the day.
    pub breaches: u64,
}

/// One figure, this week and the week before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// What.
    pub what: String,
    /// Its unit.
    pub unit: String,
    /// This week.
    pub now: Option<f64>,
    /// The week before.
    pub before: Option<f64>,
    /// `now − before`.
    pub change: Option<f64>,
}

/// How much may go wrong, and how much did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The objective, 0.995.
    pub objective: f64,
    /// `observed × (1 − objective)`, s.
    pub allowed_s: f64,
    /// Observed seconds in which a process was away.
    pub used_s: f64,
    /// `used / allowed`; none when nothing was observed.
    pub used_share: Option<f64>,
}

/// The week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weekly {
    /// When it was made.
    pub generated_at: Timestamp,
    /// The seven days.
    pub window: Window,
    /// The worst day's; RED too when the error budget is spent.
    pub verdict: Verdict,
    /// The rule that decided.
    pub rule: String,
    /// Each day, oldest first.
    pub days: Vec<Day>,
    /// Against the week before.
    pub trends: Vec<Trend>,
    /// The error budget.
    pub budget: Budget,
    /// Each process over the week.
    pub processes: Vec<ProcessUptime>,
    /// The worst breaches.
    pub top: Vec<Breach>,
    /// Alerts by the time that they fired.
    pub by_alert: Vec<AlertCount>,
    /// Exchanges by refresh p95, the slowest first.
    pub slow: Vec<Refresh>,
    /// What to work on, most urgent first.
    pub work: Vec<String>,
    /// Charts of the week.
    pub charts: Vec<Chart>,
}

/// Makes it. The window is cut into days from its end.
///
/// # Errors
/// The history cannot be read; [`Error::Nothing`].
pub fn build(history: &History, window: Window, now: Timestamp) -> Result<Weekly, Error> {
    let report = report::build(history, window, now)?;
    let length = Duration::from_secs(86_400 * u64::from(DAYS));
    let week_before = report::build(history, Window { from: window.from - length, to: window.from }, now);
    let before = known(week_before)?;
    let mut days = Vec::new();
    for back in (0..DAYS).rev() {
        let to = window.to - DAY * back;
        days.push(day(history, Window { from: (to - DAY).max(window.from), to }, now)?);
    }
    let budget = budget(&report);
    let worst = days.iter().filter(|day| day.verdict.is_some()).max_by(|a, b| a.verdict.cmp(&b.verdict));
    let mut verdict = worst.and_then(|day| day.verdict).unwrap_or(Verdict::Yellow);
    let mut rule =
        worst.map_or("nothing is known".to_owned(), |day| format!("{:.10}: {}", day.window.from.to_string(), day.rule));
    if budget.used_share.is_some_and(|share| share > 1.0) && verdict < Verdict::Red {
        verdict = Verdict::Red;
        rule = "the error budget is spent".to_owned();
    }
    let mut slow = report.refresh.clone();
    slow.sort_by(|a, b| b.p95_ms.total_cmp(&a.p95_ms));
    Ok(Weekly {
        generated_at: now,
        window,
        verdict,
        rule,
        days,
        trends: trends(history, &report, before.as_ref())?,
        work: work(&report, &budget),
        budget,
        processes: report.uptime.processes,
        top: report.alerts.top,
        by_alert: report.alerts.by_alert,
        slow,
        charts: report.charts,
    })
}

/// Writes `<folder>/<name>.md` and so on; each file appears whole or not at all. Returns the paths.
///
/// # Errors
/// A file cannot be written.
pub fn write(weekly: &Weekly, folder: &Path, name: &str, formats: &[Format]) -> Result<Vec<PathBuf>, Error> {
    let text = |format: Format| match format {
        Format::Markdown => markdown(weekly),
        Format::Html => html(weekly),
        Format::Json => crate::record::json(weekly),
    };
    formats.iter().map(|&format| page::store(folder, name, format, &text(format))).collect()
}

/// A time that nothing is known of is no failure here.
fn known(report: Result<Report, Error>) -> Result<Option<Report>, Error> {
    match report {
        Ok(report) => Ok(Some(report)),
        Err(Error::Nothing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn day(history: &History, window: Window, now: Timestamp) -> Result<Day, Error> {
    let report = known(report::build(history, window, now))?;
    let failed = |report: &Report| report.calls.iter().map(|row| row.failed).sum();
    Ok(Day {
        window,
        verdict: report.as_ref().map(|report| report.judgement.verdict),
        rule: report.as_ref().map_or_else(|| "nothing is known of this day".to_owned(), |report| report.judgement.rule.clone()),
        uptime: report.as_ref().and_then(|report| report.uptime.overall),
        p95_ms: report.as_ref().and_then(|report| report.refresh.iter().map(|row| row.p95_ms).reduce(f64::max)),
        failed_calls: report.as_ref().map_or(0, failed),
        breaches: report.as_ref().map_or(0, |report| report.alerts.breaches),
    })
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a week fit into 53 bits")]
fn budget(report: &Report) -> Budget {
    let observed = report.uptime.observed_s as f64;
    let allowed_s = observed * (1.0 - UPTIME);
    let used_s = observed * (1.0 - report.uptime.overall.unwrap_or(1.0));
    Budget { objective: UPTIME, allowed_s, used_s, used_share: (allowed_s > 0.0).then(|| used_s / allowed_s) }
}

#[expect(clippy::cast_precision_loss, reason = "counts fit into 53 bits")]
fn trends(history: &History, report: &Report, before: Option<&Report>) -> Result<Vec<Trend>, Error> {
    let week_before = before.map(|report| report.window);
    let trend = |what: &str, unit: &str, now: Option<f64>, before: Option<f64>| {
        let change = now.zip(before).map(|(now, before)| now - before);
        Trend { what: what.to_owned(), unit: unit.to_owned(), now, before, change }
    };
    let of = |figure: &dyn Fn(&Report) -> Option<f64>| (figure(report), before.and_then(figure));
    let uptime = of(&|report| report.uptime.overall.map(|share| share * 100.0));
    let breaches = of(&|report| Some(report.alerts.breaches as f64));
    let firing = of(&|report| Some(report.alerts.by_alert.iter().map(|row| row.seconds).sum()));
    let age = of(&|report| report.staleness.iter().filter_map(|row| row.mean_s).reduce(f64::max));
    let refused = of(&|report| Some(report.orders.refused as f64));
    let mut trends = vec![
        trend("uptime", "%", uptime.0, uptime.1),
        trend("breaches", "", breaches.0, breaches.1),
        trend("alerts firing", "s", firing.0, firing.1),
        trend("oldest mean age of balances", "s", age.0, age.1),
        trend("orders refused", "", refused.0, refused.1),
    ];
    for (what, metric) in [("refresh p95", "refresh_latency_ms"), ("failed calls", "call_errors")] {
        for series in history.series()?.into_iter().filter(|series| series.metric == metric) {
            let now = mean(history, series.id, report.window)?;
            let before = week_before.map_or(Ok(None), |window| mean(history, series.id, window))?;
            if now.is_some() || before.is_some() {
                trends.push(trend(&format!("{what}, {}", page::scope(&series.scope)), &series.unit, now, before));
            }
        }
    }
    // Two rules about the same figure say the same.
    trends.dedup_by(|a, b| a.what == b.what);
    Ok(trends)
}

/// The mean of a series over all boundaries of a window: `Σ total / Σ boundaries`. Single calls are not kept for two weeks.
#[expect(clippy::cast_precision_loss, reason = "boundaries fit into 53 bits")]
fn mean(history: &History, series: i64, window: Window) -> Result<Option<f64>, Error> {
    let minutes = history.minutes(series, window)?;
    let boundaries: u64 = minutes.iter().map(|minute| minute.boundaries).sum();
    Ok((boundaries > 0).then(|| minutes.iter().map(|minute| minute.total).sum::<f64>() / boundaries as f64))
}

fn work(report: &Report, budget: &Budget) -> Vec<String> {
    let mut work = Vec::new();
    if let Some(share) = budget.used_share.filter(|share| *share > 1.0) {
        let worst = report.uptime.processes.iter().min_by(|a, b| a.uptime.total_cmp(&b.uptime));
        let name = worst.map_or("a process", |row| row.service.as_str());
        work.push(format!(
            "The error budget is spent {share:.1} times over: find out why {name} was away before anything new is shipped."
        ));
    }
    for row in report.alerts.by_alert.iter().filter(|row| row.severity == Severity::Critical) {
        let fix = report.alerts.top.iter().find(|breach| breach.alert == row.alert).map(|breach| breach.permanent_fix.as_str());
        work.push(format!("{} was critical {} time(s): {}", row.alert, row.breaches, fix.unwrap_or("see its runbook.")));
    }
    // An alert that fires often and does no harm teaches people not to look.
    for row in report.alerts.by_alert.iter().filter(|row| row.severity == Severity::Warning && row.breaches >= 10) {
        work.push(format!(
            "{} fired {} times as a warning only: look at its threshold with `spark tune`.",
            row.alert, row.breaches
        ));
    }
    work.extend(report.judgement.actions.iter().cloned());
    work
}
