//! What can be typed about reports.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `spark report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// How much time it covers (30m, 24h, 7d).
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub window: String,
    /// The window's end, RFC 3339 (2026-11-21T00:00:00Z); without it now.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Where and as what it is written.
    #[command(flatten)]
    pub output: ReportOutput,
}

/// Where a report goes.
#[derive(Clone, Debug, Args)]
pub struct ReportOutput {
    /// Folder for the files; without it `reports` in the data folder. With --json files are written only when it is given.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Only the HTML file.
    #[arg(long, conflicts_with = "md_only")]
    pub html_only: bool,
    /// Only the Markdown file.
    #[arg(long)]
    pub md_only: bool,
}

/// `spark health …`.
#[derive(Clone, Debug, Subcommand)]
pub enum HealthCommand {
    /// Seven days: each day's verdict, trends, uptime and error budget, worst alerts, slow exchanges, what to work on.
    #[command(
        after_help = "Examples:\n  spark health weekly\n  spark health weekly --to 2026-11-23T00:00:00Z --out /srv/reports\n  \
        spark health weekly --json\nExit code 1 when the verdict is RED."
    )]
    Weekly(WeeklyArgs),
}

/// `spark health weekly`.
#[derive(Clone, Debug, Args)]
pub struct WeeklyArgs {
    /// The week's end, RFC 3339 (2026-11-23T00:00:00Z); without it now.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Where and as what it is written.
    #[command(flatten)]
    pub output: ReportOutput,
}
