//! What can be typed about the operator's day: smoke check, evidence, thresholds, runbook.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `spark smoke`.
#[derive(Clone, Debug, Args)]
pub struct SmokeArgs {
    /// Only check and print: nothing is stored in the LEDGER.
    #[arg(long)]
    pub no_store: bool,
}

/// `spark evidence`: writes a file, or checks one.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EvidenceArgs {
    /// What to do with a file that is there; without it, write one.
    #[command(subcommand)]
    pub command: Option<EvidenceCommand>,
    /// How far back the report and the extract of the LEDGER reach (30m, 24h, 7d).
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub window: String,
    /// The file; without it spark-evidence-<time>.zip here. One that is there is not replaced.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Messages of the LEDGER at most, the newest ones; 0 is all of the window.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub messages: u64,
}

/// `spark evidence …`.
#[derive(Clone, Debug, Subcommand)]
pub enum EvidenceCommand {
    /// Compares every entry of a file with its manifest.
    #[command(
        after_help = "Example: spark evidence verify incident.zip\nExit codes: 0 as written, 1 changed, 2 cannot be opened."
    )]
    Verify {
        /// The file.
        file: PathBuf,
    },
}

/// `spark tune`.
#[derive(Clone, Debug, Args)]
pub struct TuneArgs {
    /// Days of history to look at.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=90))]
    pub days: u32,
    /// Thresholds for each exchange (each scope of a rule) of its own, beside the one for all.
    #[arg(long)]
    pub per_exchange: bool,
    /// Only this rule; may be given more than once.
    #[arg(long, value_name = "ID")]
    pub rule: Vec<String>,
    /// Criticals may become looser than specified (the built-in rules; of rules of one's own, their file).
    #[arg(long)]
    pub allow_looser: bool,
    /// Folder for spark-portfolio-tuned.rules.yml and guardrail-tuned.toml.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// It is meant: the guardrail takes the thresholds, and Prometheus is told to read its rules again.
    #[arg(long)]
    pub confirm: bool,
    /// Why; it is kept with the command.
    #[arg(long, value_name = "TEXT", default_value = "thresholds from observed percentiles")]
    pub reason: String,
    /// Prometheus, e.g. http://127.0.0.1:9090; it must run with --web.enable-lifecycle.
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<String>,
}

/// `spark runbook`.
#[derive(Clone, Debug, Args)]
pub struct RunbookArgs {
    /// A Grafana dashboard (JSON); without it the built-in ones. May be given more than once.
    #[arg(long, value_name = "FILE")]
    pub dashboard: Vec<PathBuf>,
    /// Write here instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit code 1 when a panel lacks one of its texts.
    #[arg(long)]
    pub check: bool,
}
