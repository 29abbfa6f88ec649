//! What a person can type about models and their rollout.

use clap::{Args, Subcommand};

use super::ProcessArgs;

/// Examples of `spark rollout`.
pub const ROLLOUT_HELP: &str = "Examples:\n  spark rollout status\n  spark rollout                      # run the process";

/// `spark rollout`: the process itself, or a word about it.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RolloutArgs {
    /// What to do; without it, run the process.
    #[command(subcommand)]
    pub command: Option<RolloutCommand>,
    /// For the process.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// `spark rollout …`.
#[derive(Clone, Debug, Subcommand)]
pub enum RolloutCommand {
    /// Shows where the rollout stands.
    Status,
}
