//! What a person can type about models and their rollout.

use clap::{Args, Subcommand};

use super::ProcessArgs;

/// Examples of `spark rollout`.
pub const ROLLOUT_HELP: &str = "Examples:\n  spark rollout status\n  spark rollout start --reason \"new weights\" --confirm\n  \
    spark rollout promote --reason \"enough seen\"   # without --confirm it only says what would happen\n  \
    spark rollout abort --reason \"not today\" --confirm\n  spark rollout history --json\n  \
    spark rollout                      # run the process";

/// Of a command that changes something, with an example.
macro_rules! tell_help {
    ($example:literal) => {
        concat!(
            "Without --confirm nothing is changed: it says what would happen and exits with 1.\n\nExample: spark rollout ",
            $example,
            " --confirm"
        )
    };
}

/// Example of `spark demo`.
pub const DEMO_HELP: &str = "Example: spark demo rollout";

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
    /// Shows where the rollout stands, gate by gate.
    #[command(after_help = "Example: spark rollout status --json")]
    Status,
    /// Shows what happened to rollouts, from the LEDGER.
    #[command(after_help = "Examples:\n  spark rollout history\n  spark rollout history --limit 5 --all")]
    History(RolloutHistoryArgs),
    /// Begins with the preview of the model in force.
    #[command(after_help = tell_help!("start --reason \"new weights\" --model ml-fusion-1.2"))]
    Start(RolloutTellArgs),
    /// Goes to the next stage now, whatever the gates' time.
    #[command(after_help = tell_help!("promote --reason \"enough seen\""))]
    Promote(RolloutTellArgs),
    /// Holds the stage; a red gate takes it back all the same.
    #[command(after_help = tell_help!("pause --reason \"a busy night\""))]
    Pause(RolloutTellArgs),
    /// Goes on: after a pause, or at the stage that a rollback went back to.
    #[command(after_help = tell_help!("resume --reason \"looked at it\""))]
    Resume(RolloutTellArgs),
    /// Takes the model off.
    #[command(after_help = tell_help!("abort --reason \"not today\""))]
    Abort(RolloutTellArgs),
}

/// Of a command that changes something.
#[derive(Clone, Debug, Args)]
pub struct RolloutTellArgs {
    /// Why; kept with the command.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The model it is about, by version or by the first digits of its hash: refused when it is another one.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Mean it.
    #[arg(long)]
    pub confirm: bool,
}

/// Of `spark rollout history`.
#[derive(Clone, Debug, Args)]
pub struct RolloutHistoryArgs {
    /// The newest so many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub limit: u64,
    /// Also what is told once a minute without a change.
    #[arg(long)]
    pub all: bool,
}

/// `spark demo …`.
#[derive(Clone, Debug, Subcommand)]
pub enum DemoCommand {
    /// A good model goes through every stage to 100 %, a bad one is rolled back: a whole system of its own, under two minutes.
    #[command(
        after_help = "Example: spark demo rollout\n\nIt needs nothing and leaves nothing: a temporary folder, free ports, \
        the simulated exchanges. Exit code 0 only when both happened. Ctrl-C stops it and cleans up."
    )]
    Rollout,
}
