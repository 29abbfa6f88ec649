//! The report over a window: every figure from the history alone, each with its formula at the field that holds it.
//!
//! Times: what is kept as it came (calls, alerts, facts) counts by its own time, what is kept by the minute counts where the
//! minute's beginning lies in the window. Percentiles are exact, by nearest rank: of n sorted values the `⌈q·n⌉`-th.

mod alerts;
mod charts;
mod figures;
mod html;
mod judge;
mod markdown;
pub(crate) mod page;
pub(crate) mod uptime;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spark_bus_schema::alerts::Severity;
use spark_bus_schema::{Decimal, Timestamp};

use crate::chart::Chart;
use crate::history::{self, History, Window};

pub use figures::percentile;
pub use html::html;
pub use judge::{
    ERROR_RATE_S, ERROR_RATE_S_CRITICAL, P95_MS, P95_MS_CRITICAL, PARKED, STALENESS_S, STALENESS_S_CRITICAL, UPTIME,
};
pub(crate) use markdown::breach_row;
pub use markdown::markdown;

/// Breaches that are told in full.
pub const BREACHES_TOP: usize = 3;
/// Lines of a list, at most; the counts beside it are of everything.
pub const LINES_MAX: usize = 100;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The history cannot be read.
    #[error("read the history")]
    History(#[from] history::Error),
    /// A file cannot be written.
    #[error("write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The history knows nothing of that time.
    #[error("the history knows nothing between {} and {}; it {known}", .window.from, .window.to)]
    Nothing {
        /// What was asked for.
        window: Window,
        /// What there is.
        known: String,
    },
}

/// How well it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Nothing to do.
    Green,
    /// Look at it today.
    Yellow,
    /// Look at it now.
    Red,
}

impl Verdict {
    /// `GREEN`, `YELLOW`, `RED`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Green => "GREEN",
            Self::Yellow => "YELLOW",
            Self::Red => "RED",
        }
    }
}

/// A verdict, the rule that decided it, and what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The worst that any rule says; see [`judge`](self) for the rules in order.
    pub verdict: Verdict,
    /// The rule that decided: the first one of that colour.
    pub rule: String,
    /// Every other rule that is not green.
    pub also: Vec<String>,
    /// What to do, most urgent first.
    pub actions: Vec<String>,
}

/// Whole polls of one exchange (operation `refresh`), failed ones included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refresh {
    /// The exchange.
    pub exchange: String,
    /// Polls that began in the window.
    pub count: u64,
    /// Of them failed.
    pub failed: u64,
    /// 50th percentile of `latency_us`, ms.
    pub p50_ms: f64,
    /// 95th percentile, ms.
    pub p95_ms: f64,
    /// 99th percentile, ms.
    pub p99_ms: f64,
    /// The slowest, ms.
    pub max_ms: f64,
}

/// Single calls to one exchange (every operation but `refresh`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// The exchange.
    pub exchange: String,
    /// Calls that began in the window, every try counted.
    pub count: u64,
    /// Of them failed.
    pub failed: u64,
    /// `failed / observed seconds`, 1/s.
    pub errors_per_s: f64,
    /// `failed / count`; 0 without calls.
    pub error_ratio: f64,
    /// 95th percentile of `latency_us`, ms.
    pub p95_ms: f64,
    /// Failed calls by `error_type`.
    pub by_error: BTreeMap<String, u64>,
}

/// Age of one exchange's balances, from the guardrail's series of metric `portfolio_updates`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Staleness {
    /// The exchange.
    pub exchange: String,
    /// The last value, s; none without data.
    pub last_s: Option<f64>,
    /// Mean over all boundaries (`Σ total / Σ boundaries`), s.
    pub mean_s: Option<f64>,
    /// The largest value, s.
    pub max_s: Option<f64>,
}

/// Uptime of one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessUptime {
    /// The process.
    pub service: String,
    /// Seconds in which it was there: a heartbeat was sent in that second or the five before it.
    pub up_s: u64,
    /// `up_s / observed_s`.
    pub uptime: f64,
    /// Seconds in which it said `degraded`.
    pub degraded_s: u64,
    /// Starts within the window.
    pub starts: u64,
}

/// Uptime of everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Uptime {
    /// Seconds from the window's beginning, or the first heartbeat of any process after it, to the window's end.
    pub observed_s: u64,
    /// The share of them in which every process that was heard of at all was there; none when none was.
    pub overall: Option<f64>,
    /// Each process.
    pub processes: Vec<ProcessUptime>,
}

/// A stretch in which an alert fired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// The alert.
    pub alert: String,
    /// The rule.
    pub rule: String,
    /// Where.
    pub scope: BTreeMap<String, String>,
    /// The worst severity meanwhile.
    pub severity: Severity,
    /// From when, not before the window's beginning.
    pub from: Timestamp,
    /// Until when; the window's end while it still fires.
    pub to: Timestamp,
    /// `to − from`, s.
    pub seconds: f64,
    /// It fired at the window's end.
    pub open: bool,
    /// The value that was furthest beyond the threshold among the changes told.
    pub worst: Option<f64>,
    /// The threshold of that change.
    pub threshold: Option<f64>,
    /// Unit of both.
    pub unit: String,
    /// The alert's own sentence.
    pub summary: String,
    /// Probable cause.
    pub cause: String,
    /// What to do first.
    pub first_action: String,
    /// What keeps it from coming back.
    pub permanent_fix: String,
}

/// One alert's count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertCount {
    /// The alert.
    pub alert: String,
    /// Breaches in all scopes.
    pub breaches: u64,
    /// Sum of their seconds.
    pub seconds: f64,
    /// The worst severity.
    pub severity: Severity,
}

/// One change of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertLine {
    /// When.
    pub at: Timestamp,
    /// The alert.
    pub alert: String,
    /// Where.
    pub scope: BTreeMap<String, String>,
    /// `pending firing resolved inactive no_data`.
    pub state: String,
    /// `warning`, `critical`.
    pub severity: Option<Severity>,
    /// The alert's own sentence.
    pub summary: String,
}

/// What the guardrail said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    /// Changes of state in the window.
    pub changes: u64,
    /// Stretches of firing that touch the window.
    pub breaches: u64,
    /// The worst [`BREACHES_TOP`]: critical before warning, then the longest.
    pub top: Vec<Breach>,
    /// Those that fired at the window's end.
    pub firing: Vec<Breach>,
    /// By name, most seconds first.
    pub by_alert: Vec<AlertCount>,
    /// The newest [`LINES_MAX`] changes, oldest first.
    pub history: Vec<AlertLine>,
}

/// Scores of one symbol and time frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreSeries {
    /// `<venue>.<symbol> <timeframe>`.
    pub series: String,
    /// Scores in the window, those without a value included.
    pub count: u64,
    /// Of them without a value.
    pub failed: u64,
    /// The others by the bucket of their confidence; `below` is less than the lowest.
    pub by_bucket: BTreeMap<String, u64>,
    /// Outcomes that the last calibration is made of.
    pub samples: u64,
    /// Its Brier score, 0 to 1, lower is better; none without outcomes.
    pub brier: Option<f64>,
    /// Its population stability index; none before both windows are full.
    pub drift_psi: Option<f64>,
    /// Of the outcomes, those that the price followed.
    pub hits: u64,
}

/// Scores of the signal, and how far they can be believed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Series (symbol and time frame) that were scored.
    pub cardinality: u64,
    /// Each of them.
    pub series: Vec<ScoreSeries>,
    /// In words: what can be said about cardinality and calibration.
    pub said: String,
}

/// Orders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Approvals.
    pub approved: u64,
    /// Refusals.
    pub refused: u64,
    /// Refusals by guard.
    pub by_guard: BTreeMap<String, u64>,
    /// Transitions by the state that they lead to.
    pub states: BTreeMap<String, u64>,
}

/// Notifications to one receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Taken.
    pub delivered: u64,
    /// Not taken at first; each counts once, not its tries.
    pub retrying: u64,
    /// Given up.
    pub parked: u64,
    /// The longest from decision to delivery, ms.
    pub slowest_ms: u64,
}

/// A step of an episode of criticals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionLine {
    /// When.
    pub at: Timestamp,
    /// The episode.
    pub episode: String,
    /// `began restart_asked … ended`.
    pub stage: String,
    /// Only told.
    pub dry_run: bool,
    /// The process.
    pub service: Option<String>,
    /// The guardrail's own sentence.
    pub summary: String,
}

/// Smoke checks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Smokes {
    /// Checks made.
    pub runs: u64,
    /// Of them passed.
    pub passed: u64,
    /// When the last one was made.
    pub last_at: Option<Timestamp>,
    /// Whether it passed.
    pub last_pass: Option<bool>,
    /// Its checks that were not good.
    pub last_bad: Vec<String>,
}

/// Value of one exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// The exchange.
    pub exchange: String,
    /// Total of the window's first minute with a poll, USD.
    pub first_usd: Decimal,
    /// Total of its last, USD.
    pub last_usd: Decimal,
    /// The smallest last-of-a-minute total.
    pub low_usd: Decimal,
    /// The largest.
    pub high_usd: Decimal,
    /// Polls.
    pub polls: u64,
    /// Of them failed.
    pub failed: u64,
}

/// What the gateway answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Api {
    /// Answers.
    pub requests: u64,
    /// 95th percentile of the recorded latencies, ms; none without any.
    pub p95_ms: Option<f64>,
    /// Answers with 5xx divided by all; none without any.
    pub ratio_5xx: Option<f64>,
}

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When it was made.
    pub generated_at: Timestamp,
    /// What it covers.
    pub window: Window,
    /// The oldest thing in the history, where that is later than the window's beginning: before it nothing is known.
    pub known_from: Option<Timestamp>,
    /// How well it went.
    pub judgement: Judgement,
    /// Polls.
    pub refresh: Vec<Refresh>,
    /// Calls.
    pub calls: Vec<Calls>,
    /// Ages of balances.
    pub staleness: Vec<Staleness>,
    /// Uptime.
    pub uptime: Uptime,
    /// Alerts and breaches.
    pub alerts: Alerts,
    /// What the guardrail did.
    pub actions: Vec<ActionLine>,
    /// Scores.
    pub scores: Scores,
    /// Orders.
    pub orders: Orders,
    /// Notifications by receiver.
    pub deliveries: BTreeMap<String, Deliveries>,
    /// Smoke checks.
    pub smoke: Smokes,
    /// Values.
    pub values: Vec<Value>,
    /// Parked messages by the process that could not handle them.
    pub parked: BTreeMap<String, u64>,
    /// The gateway.
    pub api: Api,
    /// Charts.
    pub charts: Vec<Chart>,
}

/// What a report can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.md`
    Markdown,
    /// `.html`, one file that needs nothing else.
    Html,
    /// `.json`
    Json,
}

/// Makes the report. `now` is what it says of itself.
///
/// # Errors
/// The history cannot be read; [`Error::Nothing`].
pub fn build(history: &History, window: Window, now: Timestamp) -> Result<Report, Error> {
    let bounds = history.bounds()?;
    let known_from = match bounds {
        Some((first, last)) if first < window.to && last >= window.from - std::time::Duration::from_secs(60) => first,
        other => {
            let known = other.map_or("is empty".to_owned(), |(first, last)| format!("reaches from {first} to {last}"));
            return Err(Error::Nothing { window, known });
        }
    };
    let uptime = uptime::of(&history.presence(window)?, &history.runs(window)?, window);
    // A rate is over the time that is known, not over a day of which an hour is known.
    let observed_from = window.from.max(known_from);
    let observed_s = Window { from: observed_from, to: window.to }.seconds().max(1.0);
    let (refresh, calls) = figures::calls(history, window, observed_s)?;
    let mut report = Report {
        generated_at: now,
        window,
        known_from: Some(known_from).filter(|from| *from > window.from),
        judgement: Judgement { verdict: Verdict::Green, rule: String::new(), also: Vec::new(), actions: Vec::new() },
        refresh,
        calls,
        staleness: figures::staleness(history, window)?,
        uptime,
        alerts: alerts::of(history, window)?,
        actions: figures::actions(history, window)?,
        scores: figures::scores(history, window)?,
        orders: figures::orders(history, window)?,
        deliveries: figures::deliveries(history, window)?,
        smoke: figures::smokes(history, window)?,
        values: figures::values(history, window)?,
        parked: figures::parked(history, window)?,
        api: figures::api(history, window)?,
        charts: charts::of(history, window)?,
    };
    report.judgement = judge::judge(&report);
    Ok(report)
}

/// Writes `<folder>/<name>.md` and so on; each file appears whole or not at all. Returns the paths.
///
/// # Errors
/// A file cannot be written.
pub fn write(report: &Report, folder: &Path, name: &str, formats: &[Format]) -> Result<Vec<PathBuf>, Error> {
    let text = |format: Format| match format {
        Format::Markdown => markdown(report),
        Format::Html => html(report),
        Format::Json => crate::record::json(report),
    };
    formats.iter().map(|&format| page::store(folder, name, format, &text(format))).collect()
}
