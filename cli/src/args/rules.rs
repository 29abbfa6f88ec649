//! What can be typed about the guardrail's rules.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `spark rules …`.
#[derive(Clone, Debug, Subcommand)]
pub enum RulesCommand {
    /// Names every mistake in rule files: where it is, what is wrong, what would be right.
    #[command(after_help = "Examples:\n  spark rules lint\n  spark rules lint my-rules.toml\n  \
        spark rules lint my-rules.toml other.toml --json\nWithout a file, the rules of the configuration. Exit code 64 when there is a mistake; a warning is none.")]
    Lint(LintArgs),
    /// Runs test files: which samples come when, and which alerts must follow.
    #[command(
        after_help = "Examples:\n  spark rules test processors/guardrail/rules.test.toml\n  spark rules test my-rules.test.toml --json\n\
        A test file:\n\n  rules = \"my-rules.toml\"        # relative to the test file; without it the built-in rules\n  [[test]]\n  \
        name = \"slow refreshes are critical\"\n  [[test.input]]\n  metric = \"refresh_latency_ms\"\n  labels = { exchange = \"binance\" }\n  \
        every = \"1s\"\n  values = \"100x60 4000x30\"       # also 3/100x5 (failed/all), 100..400x4 (a slope), _x30 (nothing)\n  [[test.expect]]\n  \
        at = \"80s\"                      # or between = [\"70s\", \"80s\"], during = [\"70s\", \"80s\"]\n  alert = \"PortfolioRefreshLatencyHighP95\"\n  \
        scope = { exchange = \"binance\" }\n  state = \"firing\"\n  severity = \"critical\"\n\n\
        Exit code 1 when an expectation does not hold, 64 when a file is wrong."
    )]
    Test(TestArgs),
    /// Says when each rule would have fired on what was recorded.
    #[command(
        after_help = "Examples:\n  spark rules replay --from 24h\n  spark rules replay --rules my-rules.toml --from 2026-11-20T00:00:00Z --to 2026-11-21T00:00:00Z\n  \
        spark rules replay --from 2h --compare --json\n\
        What lies up to an hour before --from is read too, so that windows are filled. Thresholds changed at run time are in force as they were."
    )]
    Replay(ReplayArgs),
}

/// `spark rules lint`.
#[derive(Clone, Debug, Args)]
pub struct LintArgs {
    /// Rule files.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `spark rules test`.
#[derive(Clone, Debug, Args)]
pub struct TestArgs {
    /// Test files.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// `spark rules replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The rules to suppose; without it those of the configuration.
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// From this time on (2026-11-21T09:30:00Z, or 2h for two hours ago); without it from the beginning of the record.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Up to this time; without it to the end of the record.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Say too which of them were recorded as alerts then, and which were recorded and would not have come.
    #[arg(long)]
    pub compare: bool,
}
