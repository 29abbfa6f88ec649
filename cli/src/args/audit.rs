//! What a person can type about the record of everything.

use clap::{Args, Subcommand};

/// `spark audit …`.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Checks every entry of the audit database, and every message of the LEDGER against it.
    #[command(
        after_help = "Examples:\n  spark audit verify\n  spark audit verify --offline --json\nExit codes: 0 clean, 1 broken, 2 cannot be opened."
    )]
    Verify(AuditVerifyArgs),
    /// Lists the record: the newest entries, or from a place on.
    #[command(
        after_help = "Examples:\n  spark audit list\n  spark audit list --action order --limit 50\n  spark audit list --from 2026-11-21T09:30:00Z --json"
    )]
    List(AuditListArgs),
    /// Accepts the damage that was found: the LEDGER as it is now begins a new era, and trading may resume.
    #[command(after_help = "Example: spark audit accept --reason \"disk replaced, positions compared with the exchanges\"")]
    Accept(AuditAcceptArgs),
}

/// `spark audit verify`.
#[derive(Clone, Debug, Args)]
pub struct AuditVerifyArgs {
    /// Only the audit database; no broker is needed.
    #[arg(long)]
    pub offline: bool,
}

/// `spark audit list`.
#[derive(Clone, Debug, Args)]
pub struct AuditListArgs {
    /// How many entries at most, up to 1000.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Only this action (order.intent), or everything below it (order).
    #[arg(long, value_name = "ACTION")]
    pub action: Option<String>,
    /// Begin at this LEDGER sequence or time (2026-11-21T09:30:00Z), oldest first.
    #[arg(long, value_name = "SEQUENCE|TIME")]
    pub from: Option<String>,
}

/// `spark audit accept`.
#[derive(Clone, Debug, Args)]
pub struct AuditAcceptArgs {
    /// Why; it becomes part of the chain.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Do not lift the halt; no broker is needed.
    #[arg(long)]
    pub keep_halted: bool,
}
