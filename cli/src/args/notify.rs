//! Silences and notifications, as they are typed.

use clap::{Args, Subcommand};

/// `spark silence …`.
#[derive(Clone, Debug, Subcommand)]
pub enum SilenceCommand {
    /// Nobody is told about the alerts that all matchers match, for a time.
    #[command(
        after_help = "Examples:\n  spark silence add alertname=WSStaleness venue=btcturk --for 2h --comment \"maintenance at BTCTurk\"\n  \
        spark silence add 'severity=\"warning\"' 'venue=~\"bist|btcturk\"' --for 30m --starts 2026-11-22T06:00:00Z --comment \"opening\""
    )]
    Add(SilenceArgs),
    /// Lists the silences that are active or begin later.
    #[command(after_help = "Examples:\n  spark silence ls\n  spark silence ls --all --json")]
    Ls {
        /// Those that are over, too.
        #[arg(long)]
        all: bool,
    },
    /// Ends a silence now.
    #[command(after_help = "Example:\n  spark silence expire 4f1c2d3e")]
    Expire {
        /// Its id, or the beginning of it, as `ls` shows it.
        id: String,
    },
}

/// `spark silence add`.
#[derive(Clone, Debug, Args)]
pub struct SilenceArgs {
    /// label=value, label!=value, label=~pattern, label!~pattern; all must match.
    #[arg(required = true, value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// How long: 30s, 5m, 2h, 1d.
    #[arg(long = "for", value_name = "TIME")]
    pub length: String,
    /// Why; it is kept with the silence.
    #[arg(long, value_name = "TEXT")]
    pub comment: String,
    /// Begin then instead of now, e.g. 2026-11-22T06:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub starts: Option<String>,
    /// Who.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    pub by: String,
}

/// `spark notify …`.
#[derive(Clone, Debug, Subcommand)]
pub enum NotifyCommand {
    /// The newest notification of each group and receiver, and what became of it.
    #[command(after_help = "Examples:\n  spark notify ls\n  spark notify ls --json --limit 200")]
    Ls {
        /// The newest so many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Sends one marked notification on its real way, and says whether it arrived.
    #[command(
        after_help = "Examples:\n  spark notify test pager\n  spark notify test chat --json\nExit code 1 when it did not arrive."
    )]
    Test {
        /// The receiver's name in [[notifier.receiver]].
        receiver: String,
    },
}
