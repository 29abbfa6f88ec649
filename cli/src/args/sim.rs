//! What a person can type about the simulated exchanges.

use clap::{Args, Subcommand};

/// `spark sim …`.
#[derive(Clone, Debug, Subcommand)]
pub enum SimCommand {
    /// Faults: add, list, remove.
    #[command(
        subcommand,
        after_help = "Examples:\n  \
        spark sim fault add delay exchange=binance ms=4000 for_ms=60000\n  \
        spark sim fault add freeze exchange=btcturk\n  \
        spark sim fault add garbage exchange=binance variant=bad_json n=5\n  \
        spark sim fault add revoke_key exchange=binance\n  \
        spark sim fault ls\n  spark sim fault rm 3\n  spark sim fault clear"
    )]
    Fault(FaultCommand),
}

/// `spark sim fault …`.
#[derive(Clone, Debug, Subcommand)]
pub enum FaultCommand {
    /// Adds a fault.
    #[command(
        after_help = "Examples:\n  spark sim fault add delay exchange=binance ms=4000 for_ms=60000\n  spark sim fault add freeze exchange=btcturk"
    )]
    Add(FaultArgs),
    /// Lists the faults in force.
    #[command(after_help = "Examples:\n  spark sim fault ls\n  spark sim fault ls --json")]
    Ls,
    /// Removes one.
    #[command(after_help = "Example: spark sim fault rm 3")]
    Rm {
        /// Its id, as `ls` shows it.
        id: String,
    },
    /// Removes all.
    #[command(after_help = "Example: spark sim fault clear")]
    Clear,
}

/// `spark sim fault add`.
#[derive(Clone, Debug, Args)]
pub struct FaultArgs {
    /// delay, status, drop, cut, freeze, skip, garbage, clock_skew or revoke_key.
    pub kind: String,
    /// exchange= (always); ms= code= body= retry_after= variant= place= key= (what); path= stream= symbol= (where); for_ms= n=
    /// probability= (how long, how often). The simulator says what fits together.
    #[arg(value_name = "KEY=VALUE")]
    pub parameters: Vec<String>,
}
