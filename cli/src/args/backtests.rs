//! What a person can type about backtests.

use clap::{Args, Subcommand};

use super::ProcessArgs;

/// Examples of `spark backtest`.
pub const BACKTEST_HELP: &str = "Examples:\n  spark backtest ls\n  spark backtest                     # run the process";

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
    /// Lists backtests.
    Ls,
}
