//! What is kept of a backtest, and within which bounds.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::backtests::{BacktestJob, BacktestMetrics, JobState};
use spark_bus_schema::market::Side;
use spark_bus_schema::strategies::Params;

/// Points of one equity curve.
pub const EQUITY_POINTS_MAX: usize = 2_000;
/// Fills of one job; of more, the newest are kept.
pub const TRADES_MAX: usize = 10_000;
/// Combinations of one sweep; of more, the best are kept.
pub const SWEEP_ROWS_MAX: usize = 10_000;
/// Windows of one walk-forward split.
pub const WINDOWS_MAX: usize = 1_000;
/// Jobs of one page.
pub const PAGE_MAX: usize = 200;

/// One job in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was asked for: id, strategy, symbol, data, who and why.
    pub job: BacktestJob,
    /// Where it stands.
    pub state: JobState,
    /// When a worker began with it, the last time.
    pub started_at: Timestamp,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
    /// Workers that had it.
    pub attempts: u32,
    /// The last of them.
    pub worker: String,
    /// The parameters that the figures are of: with a sweep the best ones.
    pub params: Params,
    /// The figures.
    pub metrics: Option<BacktestMetrics>,
    /// SHA-256 over the list of trades.
    pub trades_hash: Option<String>,
    /// SHA-256 of what was read.
    pub data_hash: Option<String>,
    /// Why there is no result.
    pub error: Option<String>,
    /// First moment of the first bar and end of the last one.
    pub range: Option<(Timestamp, Timestamp)>,
    /// What the run alone took, ms, without reading the data; all combinations together.
    pub took_ms: Option<f64>,
    /// Combinations of parameters that were run.
    pub combinations: u64,
    /// Returns of the tested parts of a walk-forward split one after the other, percent; none without one.
    pub walk_return_pct: Option<f64>,
}

/// A job with everything that is kept of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// What a list says of it.
    #[serde(flatten)]
    pub summary: Summary,
    /// At most [`EQUITY_POINTS_MAX`], in order of time.
    pub equity: Vec<EquityPoint>,
    /// The newest [`TRADES_MAX`], in order of time.
    pub trades: Vec<TradeRow>,
    /// The best [`SWEEP_ROWS_MAX`], best first; empty without a sweep.
    pub sweep: Vec<SweepRow>,
    /// In order of time; empty without a walk-forward split.
    pub walk: Vec<WindowRow>,
}

/// Equity at the close of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EquityPoint {
    /// When.
    pub at: Timestamp,
    /// Quote currency.
    pub equity: f64,
    /// Fall from the highest point before, percent, 0 to 100.
    pub drawdown_pct: f64,
    /// The bar's close, quote per base: what holding would have done.
    pub close: f64,
}

/// A fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeRow {
    /// Of all fills of the job, from 1.
    pub number: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// Bought or sold.
    pub side: Side,
    /// Base currency.
    pub quantity: Decimal,
    /// Quote per base.
    pub price: Decimal,
    /// Not negative.
    pub fee: Decimal,
    /// Whether the fee is in base currency.
    pub fee_in_base: bool,
    /// Profit of what it closed, quote currency; none when it closed nothing.
    pub profit: Option<Decimal>,
}

/// One combination of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepRow {
    /// The parameters.
    pub params: Params,
    /// What they came to; none when the rule refuses the parameters.
    pub metrics: Option<BacktestMetrics>,
    /// Why there is none.
    pub error: Option<String>,
}

/// One window of a walk-forward split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowRow {
    /// First moment of the training part.
    pub train_from: Timestamp,
    /// First moment of the tested part: the end of the training part.
    pub test_from: Timestamp,
    /// End of the tested part.
    pub test_to: Timestamp,
    /// The parameters that were best in training.
    pub params: Params,
    /// What they came to in training.
    pub train: BacktestMetrics,
    /// What they came to afterwards.
    pub test: BacktestMetrics,
}

/// The end of a job with everything that is kept of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Result {
    /// The parameters that the figures are of.
    pub params: Params,
    /// The figures.
    pub metrics: Option<BacktestMetrics>,
    /// SHA-256 over the list of trades.
    pub trades_hash: Option<String>,
    /// SHA-256 of what was read.
    pub data_hash: Option<String>,
    /// First moment of the first bar and end of the last one.
    pub range: Option<(Timestamp, Timestamp)>,
    /// What the run alone took, ns.
    pub took_ns: u64,
    /// Combinations that were run.
    pub combinations: u64,
    /// Thinned already, see [`EQUITY_POINTS_MAX`].
    pub equity: Vec<EquityPoint>,
    /// All fills, in order.
    pub trades: Vec<TradeRow>,
    /// Best first.
    pub sweep: Vec<SweepRow>,
    /// In order.
    pub walk: Vec<WindowRow>,
    /// Returns of the tested parts one after the other, percent.
    pub walk_return_pct: Option<f64>,
}

/// Which part of the list, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// How many; at most [`PAGE_MAX`].
    pub limit: usize,
    /// Go on behind this job: [`Listing::next`] of the page before.
    pub after: Option<String>,
}

/// A part of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// Newest first, by the time they were asked for.
    pub jobs: Vec<Summary>,
    /// Where the next page begins; none at the end.
    pub next: Option<String>,
}
