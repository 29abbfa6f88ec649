//! `spark rollout …`.

use crate::args::Global;
use crate::args::signals::RolloutCommand;
use crate::exit::Failure;

/// Does what was asked.
///
/// # Errors
/// What is in the way.
pub fn run(_command: &RolloutCommand, _global: &Global) -> Result<(), Failure> {
    Err(Failure::internal("not there yet"))
}
