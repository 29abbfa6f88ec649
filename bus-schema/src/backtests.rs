//! Backtests: jobs, their progress, their outcome.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::candles::TimeFrame;
use crate::codec::{Kind, Message};
use crate::control::reasoned;
use crate::instrument::Venue;
use crate::orders::{amount, name, symbol};
use crate::risk::Limits;
use crate::strategies::{Params, StrategyKind, check_params};
use crate::time::Timestamp;

/// Combinations of one sweep.
pub const COMBINATIONS_MAX: usize = 100_000;

/// Where the past comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataSource {
    /// A file that the worker can read: bars or klines.
    Csv {
        /// Absolute path.
        path: String,
    },
    /// What the bus recorded: trades and quotes of FEED.
    Feed {
        /// From here; none is from the oldest.
        from: Option<Timestamp>,
        /// Up to here, exclusive; none is up to the newest.
        to: Option<Timestamp>,
    },
    /// The exchange's own candles over REST, kept in files.
    Exchange {
        /// From here.
        from: Timestamp,
        /// Up to here, exclusive.
        to: Timestamp,
    },
}

/// At which price of bars an order is filled. Recorded quotes need none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FillAt {
    /// At the close of the bar that led to it: as live, where the order leaves milliseconds after the close.
    #[default]
    Close,
    /// At the open of the next bar.
    NextOpen,
}

/// Bars are split into windows; of each the best parameters of the training part are tried on the part after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WalkForward {
    /// Bars to choose parameters on.
    pub train_bars: u64,
    /// Bars to try them on.
    pub test_bars: u64,
}

/// One backtest. Subject `jobs.backtest.<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BacktestJob {
    /// Names it for ever: letters, digits, `-`, `_`.
    pub id: String,
    /// The registered strategy that it is about, if any.
    pub strategy: Option<String>,
    /// How it decides.
    pub kind: StrategyKind,
    /// With which parameters, e.g. `fast = "10"`.
    pub params: Params,
    /// Parameters to be tried in all combinations instead of one value each.
    pub sweep: BTreeMap<String, Vec<String>>,
    /// Split of the bars; with a sweep only.
    pub walk_forward: Option<WalkForward>,
    /// The venue whose rules, fees and symbols hold.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Of the bars; none is as the file has them.
    pub timeframe: Option<TimeFrame>,
    /// The past.
    pub data: DataSource,
    /// What it starts with, quote currency.
    #[schemars(with = "String")]
    pub cash: Decimal,
    /// Of what is traded, percent.
    #[schemars(with = "String")]
    pub commission_pct: Decimal,
    /// When orders are filled.
    pub fill_at: FillAt,
    /// Limits that risk holds orders to; none: the same guards, with no bound.
    pub limits: Option<Box<Limits>>,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Message for BacktestJob {
    const KIND: Kind = Kind { name: "backtest_job", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        job_id(&self.id)?;
        symbol(&self.symbol)?;
        amount("cash", self.cash)?;
        check_params(&self.params)?;
        if self.commission_pct < Decimal::ZERO || self.commission_pct >= Decimal::ONE_HUNDRED {
            return Err(format!("commission_pct: {} is not within 0 and 100", self.commission_pct));
        }
        let combinations = self.sweep.values().try_fold(1_usize, |all, values| all.checked_mul(values.len()));
        match combinations {
            Some(1..=COMBINATIONS_MAX) => {}
            Some(0) => return Err("sweep: a parameter without a value".to_owned()),
            _ => return Err(format!("sweep: more than {COMBINATIONS_MAX} combinations")),
        }
        if self.walk_forward.is_some_and(|split| split.train_bars == 0 || split.test_bars == 0) {
            return Err("walk_forward: train_bars and test_bars must be above 0".to_owned());
        }
        if let Some(limits) = &self.limits {
            limits.check()?;
        }
        reasoned(&self.actor, &self.reason)
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// No worker has it.
    Queued,
    /// A worker has it.
    Running,
    /// It has a result.
    Done,
    /// It cannot have one; `error` says why.
    Failed,
    /// Somebody took it back.
    Cancelled,
}

/// How far a worker is, a few times a second. Subject `telemetry.jobs.<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobProgress {
    /// Of the job.
    pub id: String,
    /// Where it stands.
    pub state: JobState,
    /// Bars (of all combinations) done.
    pub done: u64,
    /// Bars to do; 0 while that is not known.
    pub total: u64,
    /// 1 for the first worker that has it.
    pub attempt: u32,
    /// Which worker: process id and number.
    pub worker: String,
    /// When.
    pub at: Timestamp,
}

impl Message for JobProgress {
    const KIND: Kind = Kind { name: "job_progress", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        job_id(&self.id)
    }
}

/// Takes a job back. Subject `control.job.<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobCancel {
    /// Of the job.
    pub id: String,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Message for JobCancel {
    const KIND: Kind = Kind { name: "job_cancel", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        job_id(&self.id)?;
        reasoned(&self.actor, &self.reason)
    }
}

/// What a backtest came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BacktestMetrics {
    /// End over begin of equity, minus 1, percent.
    pub total_return_pct: f64,
    /// Annualised Sharpe ratio of the bars' returns without a risk-free rate; none without variance.
    pub sharpe: Option<f64>,
    /// Deepest fall of equity from its highest before, percent, 0 to 100.
    pub max_drawdown_pct: f64,
    /// Closed trades with a profit, percent of closed trades; none without one.
    pub win_rate_pct: Option<f64>,
    /// Profits over losses of closed trades; none without a loss.
    pub profit_factor: Option<f64>,
    /// Fills.
    pub trades: u64,
    /// Orders that risk refused.
    pub refused: u64,
    /// Bars, or candles made of recorded ticks.
    pub bars: u64,
    /// What there was at the end, quote currency.
    #[schemars(with = "String")]
    pub final_equity: Decimal,
}

/// The end of a job, once. Subject `audit.backtest.<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BacktestDone {
    /// Of the job.
    pub id: String,
    /// `done`, `failed` or `cancelled`.
    pub state: JobState,
    /// The registered strategy that it was about.
    pub strategy: Option<String>,
    /// How it decided.
    pub kind: StrategyKind,
    /// The parameters that the figures are of: with a sweep the best ones.
    pub params: Params,
    /// The figures.
    pub metrics: Option<BacktestMetrics>,
    /// SHA-256 over the list of trades, lower-case hex: the same decisions on the same past give the same.
    pub trades_hash: Option<String>,
    /// SHA-256 of the data that was read.
    pub data_hash: Option<String>,
    /// Why there is none.
    pub error: Option<String>,
    /// Workers that had it.
    pub attempts: u32,
    /// When.
    pub at: Timestamp,
}

impl Message for BacktestDone {
    const KIND: Kind = Kind { name: "backtest_done", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        job_id(&self.id)?;
        match (self.state, &self.metrics, &self.error) {
            (JobState::Done, Some(_), None) | (JobState::Cancelled, None, _) | (JobState::Failed, None, Some(_)) => Ok(()),
            _ => Err("state: does not fit to metrics and error".to_owned()),
        }
    }
}

fn job_id(id: &str) -> Result<(), String> {
    name("id", id)?;
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if plain { Ok(()) } else { Err(format!("id: {id:.64?} may hold only letters, digits, `-` and `_`")) }
}
