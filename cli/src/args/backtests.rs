//! What a person can type about backtests.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ProcessArgs;

/// Examples of `spark backtest`.
pub const BACKTEST_HELP: &str = "Examples:\n  spark backtest run --strategy sma_cross --fast 10 --slow 30 --data bars.csv\n  \
spark backtest ls\n  spark backtest compare ID ID\n  spark backtest                     # run the process";

const RUN_HELP: &str = "Examples:\n  spark backtest run --strategy sma_cross --fast 10 --slow 30 --data bars.csv\n  \
spark backtest run --strategy sma_cross --symbol ETHUSDT --timeframe 1h --from 2024-01-01T00:00:00Z --to 2024-07-01T00:00:00Z\n  \
spark backtest run --strategy sma_cross --data bars.csv --sweep fast=5..20 --sweep slow=20..100:10 --walk-forward 10000:2000\n  \
spark backtest run --strategy sma_cross --fast 3 --slow 9 --feed --timeframe 1m --queue\n\
A file holds one bar a line: open time, open, high, low, close, volume (with a header in any order, or as Binance publishes klines).\n\
Exit codes: 0 done, 1 failed or cancelled in the queue, 64 wrong parameters or data, 69 no broker or exchange, 75 a file is in the way.";

/// `spark backtest`: the process itself, or a word about it.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BacktestArgs {
    /// What to do; without it, run the process.
    #[command(subcommand)]
    pub command: Option<BacktestCommand>,
    /// For the process.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// `spark backtest …`.
#[derive(Clone, Debug, Subcommand)]
pub enum BacktestCommand {
    /// Runs a backtest here, without a broker; with --queue by a worker of the running system.
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArgs>),
    /// Lists results, newest first.
    #[command(after_help = "Examples:\n  spark backtest ls\n  spark backtest ls --limit 100 --json")]
    Ls {
        /// How many at most, up to 200.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// Go on behind this one.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Shows one result; with --json everything that is kept of it.
    #[command(after_help = "Example:\n  spark backtest show 20261121T094500Z-3fa2")]
    Show {
        /// As `spark backtest ls` shows it.
        id: String,
    },
    /// Shows results side by side.
    #[command(after_help = "Example:\n  spark backtest compare 20261121T094500Z-3fa2 20261121T101500Z-91c0")]
    Compare {
        /// As `spark backtest ls` shows them.
        #[arg(required = true, num_args = 2.., value_name = "ID")]
        ids: Vec<String>,
    },
    /// Takes a job back that waits or runs.
    #[command(after_help = "Example:\n  spark backtest cancel 20261121T094500Z-3fa2 --reason \"wrong file\"")]
    Cancel {
        /// The job.
        id: String,
        /// Why; it is kept with the command.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Writes the HTML report of a result again, and says where it is.
    #[command(after_help = "Example:\n  spark backtest report 20261121T094500Z-3fa2 --out report.html")]
    Report {
        /// As `spark backtest ls` shows it.
        id: String,
        /// The file; without it beside the results.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// `spark backtest run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// How it decides: sma_cross, mean_reversion or ml_fusion.
    #[arg(long, value_name = "KIND")]
    pub strategy: String,
    /// The same as --param fast=N.
    #[arg(long, value_name = "N")]
    pub fast: Option<String>,
    /// The same as --param slow=N.
    #[arg(long, value_name = "N")]
    pub slow: Option<String>,
    /// A parameter of the strategy; may be repeated. One that does not exist is an error that lists those that do.
    #[arg(long, value_name = "KEY=VALUE")]
    pub param: Vec<String>,
    /// A file of bars. A folder is Spark's own, as everywhere.
    #[arg(long, value_name = "FILE|DIR")]
    pub data: Option<PathBuf>,
    /// The same file, when --data names the folder.
    #[arg(long, value_name = "FILE")]
    pub bars: Option<PathBuf>,
    /// What the running system recorded: trades and quotes.
    #[arg(long)]
    pub feed: bool,
    /// binance, btcturk or bist.
    #[arg(long, value_name = "NAME", default_value = "binance")]
    pub exchange: String,
    /// What is traded, Spark's spelling.
    #[arg(long, value_name = "SYMBOL", default_value = "BTCUSDT")]
    pub symbol: String,
    /// Length of a bar: 1m, 5m, 15m, 1h, 4h, 1d. Without it as the file's bars are, 1m for --feed, 1h for the exchange's.
    #[arg(long, value_name = "TIME")]
    pub timeframe: Option<String>,
    /// Begin here (2024-01-01T00:00:00Z); without --data and --feed the exchange's own candles are asked for.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// End before this.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// What it starts with, quote currency.
    #[arg(long, value_name = "AMOUNT", default_value = "10000")]
    pub cash: String,
    /// Of what is traded, percent; without it the paper fee of the exchange ([executor] taker_fee_pct, 0.1 at Binance).
    #[arg(long, value_name = "PERCENT")]
    pub commission: Option<String>,
    /// At which price of bars orders are filled.
    #[arg(long, value_enum, default_value_t = Fill::Close)]
    pub fill: Fill,
    /// Limits that risk holds orders to: none (the guards run without a bound), live (those of the running system) or a TOML file.
    #[arg(long, value_name = "none|live|FILE", default_value = "none")]
    pub limits: String,
    /// Tries these values of a parameter, in all combinations: fast=5..20, slow=20..100:10, fast=5,10,20. May be repeated.
    #[arg(long, value_name = "KEY=VALUES")]
    pub sweep: Vec<String>,
    /// Chooses parameters on TRAIN bars and tries them on the TEST bars after them, window by window.
    #[arg(long, value_name = "TRAIN:TEST")]
    pub walk_forward: Option<String>,
    /// The registered strategy that it is about.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Gives the job to a worker of the running system and waits for its end.
    #[arg(long)]
    pub queue: bool,
    /// With --queue: do not wait for the end.
    #[arg(long, requires = "queue")]
    pub no_wait: bool,
    /// Why; it is kept with the job.
    #[arg(long, value_name = "TEXT", default_value = "spark backtest run")]
    pub reason: String,
}

/// When orders are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fill {
    /// At the close of the bar that led to the order.
    Close,
    /// At the open of the next bar.
    #[value(name = "next_open")]
    NextOpen,
}
