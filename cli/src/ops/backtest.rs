//! `spark backtest …`.

use crate::args::Global;
use crate::args::backtests::BacktestCommand;
use crate::exit::Failure;

/// Does what was asked.
///
/// # Errors
/// What is in the way.
pub fn run(_command: &BacktestCommand, _global: &Global) -> Result<(), Failure> {
    Err(Failure::internal("not there yet"))
}
