//! Backtests: what was asked for here, how far workers are, how each ended.
//!
//! Ends follow from the LEDGER and are in the checkpoint; progress is read again, and what was asked for is known to the
//! gateway that was asked, and to the queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spark_bus_schema::backtests::{BacktestDone, BacktestJob, BacktestMetrics, JobProgress, JobState};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::strategies::{Params, StrategyKind};
use spark_bus_schema::{Timestamp, Venue};

use super::trading::At;
use super::words;
use crate::number::Number;
use crate::record::{Entry, Record};

/// Ends held; of more, the oldest is forgotten.
pub const DONE_MAX: usize = 1_000;
/// Bytes of an end's message; a larger one is not held.
pub const BYTES_MAX: usize = 64 * 1024;
/// Jobs held that have not ended, and those whose request is held: of more, the oldest is forgotten.
pub const OPEN_MAX: usize = 1_000;

/// Ends, in a checkpoint.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Ends {
    by_id: BTreeMap<String, At<Arc<BacktestDone>>>,
    cancelled: BTreeMap<String, u64>,
}

/// Backtests.
#[derive(Default)]
pub struct Backtests {
    ends: Ends,
    progress: BTreeMap<String, (Timestamp, JobProgress)>,
    asked: BTreeMap<String, (Timestamp, Arc<BacktestJob>)>,
}

impl Backtests {
    /// Takes in a message of the ledger, stored at `at`. False when there was no room for it.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry) -> bool {
        match &entry.record {
            Record::JobCancel(command) => {
                let cancelled = &mut self.ends.cancelled;
                cancelled.entry(command.id.clone()).or_insert(entry.sequence);
                while cancelled.len() > OPEN_MAX {
                    let oldest = cancelled.iter().min_by_key(|(_, sequence)| **sequence).map(|(id, _)| id.clone());
                    oldest.and_then(|oldest| cancelled.remove(&oldest));
                }
                true
            }
            Record::BacktestDone(done) => {
                if entry.payload.len() > BYTES_MAX {
                    return false;
                }
                let ends = &mut self.ends.by_id;
                // Once a job: the first word is the one that holds.
                let value = Arc::new(BacktestDone::clone(done));
                ends.entry(done.id.clone()).or_insert(At { sequence: entry.sequence, at, value });
                while ends.len() > DONE_MAX {
                    let oldest = ends.iter().min_by_key(|(_, held)| held.sequence).map(|(id, _)| id.clone());
                    oldest.and_then(|oldest| ends.remove(&oldest));
                }
                self.progress.remove(&done.id);
                true
            }
            _ => true,
        }
    }

    /// Takes in how far a job is, stored at `at`.
    pub fn progress(&mut self, at: Timestamp, told: JobProgress) {
        if self.ends.by_id.contains_key(&told.id) || self.progress.get(&told.id).is_some_and(|(held, _)| *held > at) {
            return;
        }
        self.progress.insert(told.id.clone(), (at, told));
        drop_oldest(&mut self.progress);
    }

    /// Takes in a job that was put into the queue here.
    pub fn asked(&mut self, job: Arc<BacktestJob>) {
        self.asked.insert(job.id.clone(), (job.at, job));
        drop_oldest(&mut self.asked);
    }

    /// What was asked for here under that id.
    #[must_use]
    pub fn job(&self, id: &str) -> Option<&Arc<BacktestJob>> {
        self.asked.get(id).map(|(_, job)| job)
    }

    /// How a job ended.
    #[must_use]
    pub fn done(&self, id: &str) -> Option<&BacktestDone> {
        self.ends.by_id.get(id).map(|held| held.value.as_ref())
    }

    /// Everything known of a job; none of an unknown one.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<JobRow<'_>> {
        let end = self.ends.by_id.get(id);
        let progress = self.progress.get(id);
        let asked = self.asked.get(id);
        let at = end.map(|held| held.at).or(progress.map(|(at, _)| *at)).or(asked.map(|(at, _)| *at))?;
        let job = asked.map(|(_, job)| job.as_ref());
        let state = match (end, progress) {
            (Some(held), _) => held.value.state,
            (None, Some((_, told))) => told.state,
            (None, None) => JobState::Queued,
        };
        Some(JobRow {
            id: end
                .map(|held| held.value.id.as_str())
                .or(progress.map(|(_, told)| told.id.as_str()))
                .or(job.map(|job| job.id.as_str()))?,
            state: words::job(state),
            cancel_asked: state_is_open(state) && self.ends.cancelled.contains_key(id),
            progress: progress.filter(|_| end.is_none()).map(|(_, told)| ProgressRow::from(told)),
            job: job.map(AskedRow::from),
            result: end.map(ResultRow::from),
            at: at.to_string(),
            at_ms: at.as_millis(),
        })
    }

    /// Ids, the ones that were heard of last first; those that have not ended before all others.
    #[must_use]
    pub fn newest(&self) -> Vec<&str> {
        let mut open: BTreeMap<&str, Timestamp> = self.asked.iter().map(|(id, (at, _))| (id.as_str(), *at)).collect();
        // Their place in the list is where they were asked for: it shall not jump about while they run.
        for (id, (at, _)) in &self.progress {
            open.entry(id).or_insert(*at);
        }
        open.retain(|id, _| !self.ends.by_id.contains_key(*id));
        let mut open: Vec<(Timestamp, &str)> = open.into_iter().map(|(id, at)| (at, id)).collect();
        open.sort_unstable_by(|a, b| b.cmp(a));
        let mut ended: Vec<(u64, &str)> = self.ends.by_id.iter().map(|(id, held)| (held.sequence, id.as_str())).collect();
        ended.sort_unstable_by(|a, b| b.cmp(a));
        open.into_iter().map(|(_, id)| id).chain(ended.into_iter().map(|(_, id)| id)).collect()
    }

    /// Jobs by state.
    #[must_use]
    pub fn open_count(&self) -> usize {
        let asked = self.asked.keys().filter(|id| !self.progress.contains_key(*id) && !self.ends.by_id.contains_key(*id)).count();
        asked + self.progress.len()
    }

    pub(super) fn to_save(&self) -> Ends {
        self.ends.clone()
    }

    pub(super) fn restore(&mut self, ends: Ends) {
        self.progress.retain(|id, _| !ends.by_id.contains_key(id));
        self.ends = ends;
    }
}

fn state_is_open(state: JobState) -> bool {
    matches!(state, JobState::Queued | JobState::Running)
}

fn drop_oldest<T>(held: &mut BTreeMap<String, (Timestamp, T)>) {
    while held.len() > OPEN_MAX {
        let oldest = held.iter().min_by_key(|(_, (at, _))| *at).map(|(id, _)| id.clone());
        oldest.and_then(|oldest| held.remove(&oldest));
    }
}

/// One backtest.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Backtest")]
pub struct JobRow<'a> {
    /// Its id.
    pub id: &'a str,
    /// `queued`, `running`, `done`, `failed`, `cancelled`.
    pub state: &'static str,
    /// Somebody took it back, and it has not ended yet.
    cancel_asked: bool,
    /// Null when no worker has said so.
    progress: Option<ProgressRow<'a>>,
    /// What was asked for; null when another gateway or an earlier run of this one was asked.
    job: Option<AskedRow<'a>>,
    /// Null until it has ended.
    pub result: Option<ResultRow<'a>>,
    at: String,
    at_ms: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BacktestProgress")]
struct ProgressRow<'a> {
    /// Bars done.
    done: u64,
    /// Bars to do; 0 while that is not known.
    total: u64,
    attempt: u32,
    worker: &'a str,
    at: String,
}

impl<'a> From<&'a JobProgress> for ProgressRow<'a> {
    fn from(told: &'a JobProgress) -> Self {
        Self { done: told.done, total: told.total, attempt: told.attempt, worker: &told.worker, at: told.at.to_string() }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BacktestAsked")]
struct AskedRow<'a> {
    strategy: Option<&'a str>,
    kind: StrategyKind,
    params: &'a Params,
    sweep: &'a BTreeMap<String, Vec<String>>,
    exchange: Venue,
    symbol: &'a str,
    timeframe: Option<TimeFrame>,
    cash: Number,
    commission_pct: Number,
    actor: &'a str,
    reason: &'a str,
    at: String,
}

impl<'a> From<&'a BacktestJob> for AskedRow<'a> {
    fn from(job: &'a BacktestJob) -> Self {
        Self {
            strategy: job.strategy.as_deref(),
            kind: job.kind,
            params: &job.params,
            sweep: &job.sweep,
            exchange: job.venue,
            symbol: &job.symbol,
            timeframe: job.timeframe,
            cash: Number(job.cash),
            commission_pct: Number(job.commission_pct),
            actor: &job.actor,
            reason: &job.reason,
            at: job.at.to_string(),
        }
    }
}

/// How it ended.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BacktestResult")]
pub struct ResultRow<'a> {
    sequence: u64,
    strategy: Option<&'a str>,
    kind: StrategyKind,
    params: &'a Params,
    /// Null when it has none.
    pub metrics: Option<MetricsRow>,
    trades_hash: Option<&'a str>,
    data_hash: Option<&'a str>,
    error: Option<&'a str>,
    attempts: u32,
}

impl<'a> From<&'a At<Arc<BacktestDone>>> for ResultRow<'a> {
    fn from(held: &'a At<Arc<BacktestDone>>) -> Self {
        let done = &held.value;
        Self {
            sequence: held.sequence,
            strategy: done.strategy.as_deref(),
            kind: done.kind,
            params: &done.params,
            metrics: done.metrics.as_ref().map(MetricsRow::from),
            trades_hash: done.trades_hash.as_deref(),
            data_hash: done.data_hash.as_deref(),
            error: done.error.as_deref(),
            attempts: done.attempts,
        }
    }
}

/// The figures; null where a figure has no value.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BacktestFigures")]
pub struct MetricsRow {
    total_return_pct: f64,
    sharpe: Option<f64>,
    max_drawdown_pct: f64,
    win_rate_pct: Option<f64>,
    profit_factor: Option<f64>,
    trades: u64,
    refused: u64,
    bars: u64,
    final_equity: Number,
}

impl From<&BacktestMetrics> for MetricsRow {
    fn from(told: &BacktestMetrics) -> Self {
        Self {
            total_return_pct: told.total_return_pct,
            sharpe: told.sharpe,
            max_drawdown_pct: told.max_drawdown_pct,
            win_rate_pct: told.win_rate_pct,
            profit_factor: told.profit_factor,
            trades: told.trades,
            refused: told.refused,
            bars: told.bars,
            final_equity: Number(told.final_equity),
        }
    }
}
