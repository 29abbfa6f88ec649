//! What a person can type to watch the running system.

use clap::{Args, ValueEnum};

/// Examples and keys of `spark top`.
pub const TOP_HELP: &str = "Keys: tab or 1-5 choose a section, arrows and page keys scroll, p pauses, q or Ctrl-C quits.\n\
Without a terminal on stdout, and with --once, it prints one picture; with --json the same as a document. That takes a\n\
few seconds: rates need two looks.\n\
What is grey is old: the connection is lost, and its age is shown. It reconnects by itself.\n\n\
Examples:\n  spark top\n  spark top --section windows\n  spark top --once > now.txt\n  spark top --json";

/// `spark top`.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// Print one picture and end.
    #[arg(long)]
    pub once: bool,
    /// Begin with this section.
    #[arg(long, value_enum, default_value_t = Section::Rates)]
    pub section: Section,
    /// How long the first picture is waited for (10s, 1m).
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub wait: String,
}

/// The sections of `spark top`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// Messages, trades and readers' lag.
    #[default]
    Rates,
    /// The guardrail's windows against their limits.
    Windows,
    /// Alerts that fire or are pending.
    Alerts,
    /// Processes and feeds.
    Processes,
    /// The newest orders.
    Orders,
}
