//! `spark demo …`: Spark at work on a system of its own that is gone afterwards.

mod rollout;
mod stage;

use crate::args::Global;
use crate::args::signals::DemoCommand;
use crate::exit::Failure;

/// Runs a demonstration.
///
/// # Errors
/// Exit 1: what it should show did not happen; 75: something is in the way.
pub fn run(command: &DemoCommand, global: &Global) -> Result<(), Failure> {
    match command {
        DemoCommand::Rollout => rollout::run(global),
    }
}
