//! What a person can type about tokens for the gateway.

use clap::{Args, Subcommand, ValueEnum};

/// `spark token …`.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints it: once, on stdout alone. Only its hash is kept.
    #[command(
        after_help = "viewer: reads. operator: orders, kill switch, breaker, silences, restarts. admin: limits, thresholds, resume, rollout.\n\n\
        Examples:\n  spark token create ayse --role operator --for 30d\n  spark token create grafana --role viewer > grafana.token\n  \
        spark token create ci --role viewer --for 1d --json"
    )]
    Create(TokenCreateArgs),
    /// Lists tokens: who, what they may do, until when.
    #[command(after_help = "Examples:\n  spark token ls\n  spark token ls --json")]
    Ls,
    /// Takes a token back; the gateway notices at once, without a restart.
    #[command(after_help = "Example: spark token revoke 3fa2c1d0")]
    Revoke {
        /// Its id, as `spark token ls` shows it.
        id: String,
    },
}

/// `spark token create`.
#[derive(Clone, Debug, Args)]
pub struct TokenCreateArgs {
    /// Who or what will use it; it is the actor in the record.
    pub name: String,
    /// What it may do.
    #[arg(long, value_enum)]
    pub role: TokenRole,
    /// How long it is good for (12h, 30d); without it until it is revoked.
    #[arg(long = "for", value_name = "TIME")]
    pub length: Option<String>,
}

/// What a token may do; each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// Reads.
    Viewer,
    /// Trades, stops, silences, restarts.
    Operator,
    /// Changes limits and thresholds, resumes after a halt, steers a rollout.
    Admin,
}
