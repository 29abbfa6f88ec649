//! What a person can type to set Spark up: configuration, keys, streams, completions, help.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Examples of `spark config`.
pub const CONFIG_HELP: &str = "Without a command it prints what is in force; with --check it lints.\n\n\
Examples:\n  spark config init\n  spark config lint --config production.toml\n  spark config echo\n  \
spark config diff\n  SPARK_GATEWAY__RATE_BURST=50 spark config diff --json";

/// `spark config`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ConfigArgs {
    /// What to do; without it, print what is in force.
    #[command(subcommand)]
    pub command: Option<ConfigCommand>,
    /// The same as `spark config lint`.
    #[arg(long)]
    pub check: bool,
}

/// `spark config …`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Writes a file with every key, its default and what it means, all commented out.
    #[command(
        after_help = "Examples:\n  spark config init\n  spark config init --out /etc/spark.toml\n  spark config init --out - | less"
    )]
    Init(ConfigInitArgs),
    /// Names every mistake in the file and in the environment: where it is, what is wrong, what would be right.
    #[command(
        after_help = "Examples:\n  spark config lint\n  spark config lint --config production.toml --json\nExit code 64 when there is a mistake."
    )]
    Lint,
    /// Prints what is in force, without secrets, and where each value that is no default comes from.
    #[command(after_help = "Examples:\n  spark config echo\n  spark config echo --json\nWhat is printed can be read again.")]
    Echo,
    /// Prints what differs from the defaults, or from another file.
    #[command(
        after_help = "Examples:\n  spark config diff\n  spark config diff production.toml\n  spark config diff --json\nExit code 0 also when something differs."
    )]
    Diff {
        /// Compare with this file instead of the defaults.
        file: Option<PathBuf>,
    },
}

/// `spark config init`.
#[derive(Clone, Debug, Args)]
pub struct ConfigInitArgs {
    /// The file; `-` is stdout. One that is there is not replaced.
    #[arg(long, value_name = "FILE", default_value = "spark.toml")]
    pub out: PathBuf,
    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
}

/// Examples of `spark completions`.
pub const COMPLETIONS_HELP: &str = "Examples:\n  spark completions bash > ~/.local/share/bash-completion/completions/spark\n  \
spark completions zsh > ~/.zfunc/_spark            # with fpath+=~/.zfunc before compinit\n  \
spark completions fish > ~/.config/fish/completions/spark.fish";

/// `spark completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    pub shell: ShellName,
}

/// Shells that completions are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShellName {
    /// Bash 4 and later.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// Examples of `spark help`.
pub const HELP_HELP: &str = "Examples:\n  spark help\n  spark help order buy\n  spark help exit-codes\n  spark help connection";

/// `spark help`.
#[derive(Clone, Debug, Args)]
pub struct HelpArgs {
    /// A command, or one of: exit-codes, environment, connection, first-steps.
    #[arg(value_name = "COMMAND|TOPIC")]
    pub words: Vec<String>,
}

/// `spark setup`.
#[derive(Clone, Debug, Args)]
pub struct SetupArgs {
    /// Folder for `keys/` and `nats-server.conf`. Keys that are there stay.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Where the broker listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:4222")]
    pub listen: String,
    /// Where the broker's monitoring listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8222")]
    pub monitor: String,
    /// The broker's store, as the broker sees it.
    #[arg(long, value_name = "DIR", default_value = "/data/nats")]
    pub store: PathBuf,
    /// A cluster: writes `<NAME>.conf` for each node instead, all with the same users. The others reach a node at NAME:6222.
    #[arg(long, value_name = "NAME[=HOST:PORT],…", value_delimiter = ',', value_parser = spark_nats::server::Node::parse)]
    pub cluster: Vec<spark_nats::server::Node>,
    /// Where a node listens for the others.
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:6222", requires = "cluster")]
    pub cluster_listen: String,
}

/// `spark topology`.
#[derive(Clone, Debug, Args)]
pub struct TopologyArgs {
    /// Create what is missing and update what differs.
    #[arg(long)]
    pub apply: bool,
    /// Copies of each message in a cluster; without it the ones of `[nats] replicas`, which is 1 unless set.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub replicas: Option<u8>,
}

/// `spark broker`.
#[derive(Clone, Debug, Args)]
pub struct BrokerArgs {
    /// The nats-server binary.
    #[arg(long)]
    pub binary: PathBuf,
    /// Its folder: configuration, store, log.
    #[arg(long)]
    pub dir: PathBuf,
    /// Client port.
    #[arg(long)]
    pub port: u16,
    /// Monitoring port.
    #[arg(long)]
    pub monitor_port: u16,
}
