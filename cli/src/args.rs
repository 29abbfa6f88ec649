//! The command line, as a type: everything a person can type. [`manual`] is what `spark --help` tells around it.

pub mod audit;
pub mod backtests;
pub mod day;
pub mod look;
pub mod manual;
pub mod notify;
pub mod report;
pub mod rules;
pub mod setup;
pub mod signals;
pub mod sim;
pub mod tokens;
pub mod trading;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use audit::{AuditAcceptArgs, AuditCommand, AuditListArgs, AuditVerifyArgs};
use backtests::BacktestArgs;
use day::{EvidenceArgs, RunbookArgs, SmokeArgs, TuneArgs};
use look::TopArgs;
use notify::{NotifyCommand, SilenceCommand};
pub use setup::{BrokerArgs, ConfigArgs, SetupArgs, TopologyArgs};
use signals::RolloutArgs;
pub use sim::{FaultArgs, FaultCommand, SimCommand};
use tokens::TokenCommand;
use trading::{KillArgs, LimitsCommand, OrderArgs, OrderCommand, OrdersArgs, ResumeArgs, StrategyArgs, WhatifArgs};

/// Watches a trading operation and stops the damage before it costs money.
#[derive(Debug, Parser)]
#[command(name = "spark", version, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Cli {
    /// Options for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The heading of [`Global`] in each command's help.
const GLOBAL: &str = "Options of every command";

/// Options for every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Configuration file; without it ./spark.toml when it is there, else the defaults.
    #[arg(long, global = true, env = "SPARK_CONFIG", hide_env_values = true, value_name = "FILE", help_heading = GLOBAL)]
    pub config: Option<PathBuf>,
    /// Folder for everything Spark keeps: stores, states, keys, logs.
    #[arg(
        long,
        global = true,
        env = "SPARK_DATA",
        hide_env_values = true,
        value_name = "DIR",
        default_value = ".spark",
        help_heading = GLOBAL
    )]
    pub data: PathBuf,
    /// Address of the broker; without it see `spark help connection`.
    #[arg(long, global = true, env = "NATS_URL", hide_env_values = true, value_name = "URL", help_heading = GLOBAL)]
    pub url: Option<String>,
    /// Broker and credentials of this context of the NATS command line.
    #[arg(long, global = true, env = "NATS_CONTEXT", hide_env_values = true, value_name = "NAME", help_heading = GLOBAL)]
    pub context: Option<String>,
    /// Answer for programs instead of people: JSON.
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// No colours, even on a terminal (as NO_COLOR).
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub no_color: bool,
}

/// What is the same for every process, with an example of this one.
macro_rules! process_help {
    ($name:literal) => {
        concat!(
            "`spark up` starts all of them. Without it above, a process that is asked to restart stops in order with exit code 85.\n\n",
            "Environment: NATS_URL, SPARK_NKEY_SEED_FILE or NATS_CREDS, SPARK_LOG or RUST_LOG (e.g. info,spark_feed=debug),\n",
            "SPARK_LOG_FORMAT=json, SPARK_<SECTION>__<KEY>.\n\nExamples:\n  spark ",
            $name,
            " --url nats://nats-1:4222\n  spark ",
            $name,
            " --metrics 127.0.0.1:9101 --json"
        )
    };
}

/// What `spark` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts the broker and every process, and keeps them running.
    #[command(
        after_help = "Ctrl-C stops all of it in order; again, at once.\n\nExamples:\n  spark up\n  spark up --port 8080 --data /var/lib/spark\n  \
        spark up --replay day1.gz,day2.gz --speed max\n  spark up --live"
    )]
    Up(UpArgs),
    /// Runs one process: market data from the exchanges to the bus.
    #[command(after_help = process_help!("feed"))]
    Feed(ProcessArgs),
    /// Runs one process: balances of each exchange, valued in USD.
    #[command(after_help = process_help!("portfolio"))]
    Portfolio(ProcessArgs),
    /// Runs one process: windows over everything, thresholds, alerts.
    #[command(after_help = process_help!("guardrail"))]
    Guardrail(ProcessArgs),
    /// Runs one process: the hash chain over the LEDGER, outside the broker.
    #[command(after_help = process_help!("auditor"))]
    Auditor(ProcessArgs),
    /// Runs one process: says yes or no to every order, once.
    #[command(after_help = process_help!("risk"))]
    Risk(ProcessArgs),
    /// Runs one process: sends what was approved, on paper or live.
    #[command(after_help = process_help!("executor"))]
    Executor(ProcessArgs),
    /// Runs one process: candles, and the marks that decisions about money use.
    #[command(after_help = process_help!("candles"))]
    Candles(ProcessArgs),
    /// Runs one process: tells people about alerts, until it has arrived.
    #[command(after_help = process_help!("notifier"))]
    Notifier(ProcessArgs),
    /// Runs one process: history, smoke checks, daily and weekly reports.
    #[command(after_help = process_help!("reporter"))]
    Reporter(ProcessArgs),
    /// Strategies: register, promote, start, stop; or their process.
    #[command(after_help = STRATEGY_HELP)]
    Strategy(StrategyArgs),
    /// Runs one process: scores of candles, and what became of them.
    #[command(after_help = process_help!("signal"))]
    Signal(ProcessArgs),
    /// A model goes live in stages: look, steer; or runs the process.
    #[command(after_help = signals::ROLLOUT_HELP)]
    Rollout(RolloutArgs),
    /// Shows Spark at work on a system that is gone afterwards.
    #[command(subcommand, after_help = signals::DEMO_HELP)]
    Demo(signals::DemoCommand),
    /// Backtests: run, list, compare; or runs a worker for them.
    #[command(after_help = backtests::BACKTEST_HELP)]
    Backtest(BacktestArgs),
    /// Runs one process: HTTP, the live stream and the page.
    #[command(after_help = process_help!("gateway"))]
    Gateway(ProcessArgs),
    /// Runs one process: the simulated exchanges.
    #[command(after_help = process_help!("exchange-sim"))]
    ExchangeSim(ProcessArgs),
    /// Shows messages as they are stored, decoded, one a line.
    #[command(
        after_help = "Examples:\n  spark tail\n  spark tail 'alerts.>' --since 1h\n  spark tail market.ticks.binance.BTCUSDT --json --limit 10\n  \
        spark tail --stream PARKED --since 24h"
    )]
    Tail(TailArgs),
    /// Messages that could not be handled: list, show, publish again.
    #[command(
        subcommand,
        after_help = "Examples:\n  spark parked ls\n  spark parked show 17\n  spark parked replay 17\n  spark parked replay --all"
    )]
    Parked(ParkedCommand),
    /// Exports the messages' schemas for other languages.
    #[command(after_help = "Examples:\n  spark schema > asyncapi.json\n  spark schema --json-schema --out schemas/\n  \
        spark schema --markdown > docs/subjects.md")]
    Schema(SchemaArgs),
    /// Looks for what is wrong with a setup and names the fix.
    #[command(after_help = "Examples:\n  spark doctor\n  spark doctor --json\nExit code 1 when something fails.")]
    Doctor,
    /// Shows processes, their state, and what fires.
    #[command(after_help = "Examples:\n  spark status\n  spark status --json")]
    Status,
    /// The configuration: write, check, show, compare.
    #[command(
        after_help = setup::CONFIG_HELP
    )]
    Config(ConfigArgs),
    /// Faults for the simulated exchanges.
    #[command(
        subcommand,
        after_help = "Examples:\n  spark sim fault add delay exchange=binance ms=4000 for_ms=60000\n  spark sim fault ls"
    )]
    Sim(SimCommand),
    /// The record of everything: verify, list, accept.
    #[command(
        subcommand,
        after_help = "Examples:\n  spark audit verify\n  spark audit list --action order --limit 20\n  \
        spark audit accept --reason \"disk replaced, positions compared with the exchanges\"\n\
        Exit codes of verify: 0 clean, 1 broken, 2 cannot be opened."
    )]
    Audit(AuditCommand),
    /// One order: buy, sell, show, cancel.
    #[command(
        subcommand,
        after_help = "Examples:\n  spark order buy BTCUSDT 0.01\n  spark order sell ETHUSDT 0.5 --limit 3100 --tif gtc --reason \"take profit\"\n  \
        spark order buy BTCTRY 0.001 --exchange btcturk --key my-order-17 --json\n  spark order show <order>\n  \
        spark order cancel <order> --reason \"changed my mind\"\nExit code 1 when risk refuses it."
    )]
    Order(OrderCommand),
    /// Lists the newest orders.
    #[command(after_help = "Examples:\n  spark orders\n  spark orders --open\n  spark orders --state refused --limit 50 --json")]
    Orders(OrdersArgs),
    /// Lists positions with their worth at the newest marks.
    #[command(after_help = "Examples:\n  spark positions\n  spark positions --json")]
    Positions,
    /// Stops every new order, or lets them pass again.
    #[command(
        after_help = "Examples:\n  spark kill on --reason \"prices look wrong\"\n  spark kill on --cancel-open --reason \"exchange is down\"\n  \
        spark kill off --reason \"all well again\""
    )]
    Kill(KillArgs),
    /// The limits in force: show, or replace.
    #[command(
        after_help = "Examples:\n  spark limits\n  spark limits show > limits.toml\n  spark limits set limits.toml --reason \"smaller overnight\"\n  \
        spark limits set limits.toml --reason \"smaller overnight\" --confirm\nExit code 1 without --confirm."
    )]
    Limits {
        /// What to do; without it, show.
        #[command(subcommand)]
        command: Option<LimitsCommand>,
    },
    /// Lifts a halt of trading, after a person has looked.
    #[command(
        after_help = "Examples:\n  spark resume binance --reason \"the difference was a deposit\"\n  spark resume ledger --reason \"restored from the replica\""
    )]
    Resume(ResumeArgs),
    /// Tells the story of one order, and decides about it again.
    #[command(after_help = "Examples:\n  spark explain <order>\n  spark explain spark-<order> --json\n\
        Exit code 1 when there is no such order, or when its verdict does not follow from the LEDGER.")]
    Explain(OrderArgs),
    /// Which recorded orders other limits would have decided otherwise.
    #[command(
        name = "whatif",
        after_help = "Examples:\n  spark limits show > new.toml && $EDITOR new.toml\n  spark whatif --limits new.toml\n  \
        spark whatif --limits new.toml --from 24h\n  spark whatif --limits new.toml --from 2026-11-20T00:00:00Z --to 2026-11-21T00:00:00Z --json"
    )]
    Whatif(WhatifArgs),
    /// Six checks of the running system, one text to pass on.
    #[command(after_help = "Examples:\n  spark smoke\n  spark smoke --json\n  spark smoke --no-store --data /var/lib/spark\n\
        It passes with five good checks of six. Exit codes: 0 passed, 1 failed, 69 no gateway.")]
    Smoke(SmokeArgs),
    /// Stops one process in order and starts it again.
    #[command(after_help = "Examples:\n  spark restart feed --reason \"no prices for a minute\"\n  \
        spark restart nats-server --reason \"new configuration\" --json\n\
        Exit code 1 when it is refused, or when the process does not come back.")]
    Restart(RestartArgs),
    /// Writes or checks a ZIP of everything that shows what happened.
    #[command(after_help = "Examples:\n  spark evidence\n  spark evidence --window 7d --out incident.zip\n  \
        spark evidence verify incident.zip\nExit codes of verify: 0 as written, 1 changed, 2 cannot be opened.")]
    Evidence(EvidenceArgs),
    /// Proposes thresholds from what was observed.
    #[command(after_help = "Examples:\n  spark tune\n  spark tune --days 14 --per-exchange --out tuned\n  \
        spark tune --days 14 --per-exchange --confirm --prometheus http://127.0.0.1:9090\nWithout --confirm nothing changes but the two files.")]
    Tune(TuneArgs),
    /// Prints the runbook that follows from the dashboards.
    #[command(after_help = "Examples:\n  spark runbook\n  spark runbook --out RUNBOOK.md\n  \
        spark runbook --dashboard my-dashboard.json --check")]
    Runbook(RunbookArgs),
    /// Writes the last 24 hours as Markdown and HTML, with a verdict.
    #[command(after_help = "Examples:\n  spark report\n  spark report --window 24h --out /srv/reports\n  \
        spark report --window 7d --html-only\n  spark report --json\nExit code 1 when the verdict is RED.")]
    Report(report::ReportArgs),
    /// Writes the last seven days: verdicts, trends, error budget.
    #[command(subcommand, after_help = "Example: spark health weekly --out /srv/reports")]
    Health(report::HealthCommand),
    /// The guardrail's rules: lint, test, replay what was recorded.
    #[command(
        subcommand,
        after_help = "Examples:\n  spark rules lint my-rules.toml\n  spark rules test processors/guardrail/rules.test.toml\n  \
        spark rules replay --rules my-rules.toml --from 24h"
    )]
    Rules(rules::RulesCommand),
    /// Silences: nobody is told about some alerts for a time.
    #[command(
        subcommand,
        after_help = "Examples:\n  spark silence add alertname=WSStaleness venue=btcturk --for 2h --comment \"maintenance\"\n  \
        spark silence ls\n  spark silence expire 4f1c2d3e"
    )]
    Silence(SilenceCommand),
    /// Notifications: what was sent and whether it arrived; send a test.
    #[command(
        subcommand,
        after_help = "Examples:\n  spark notify ls\n  spark notify test pager\nExit code 1 when the test did not arrive."
    )]
    Notify(NotifyCommand),
    /// Sets the circuit breaker of an exchange by hand.
    #[command(
        after_help = "Examples:\n  spark breaker binance open --reason \"maintenance announced\"\n  spark breaker binance auto --reason \"maintenance over\""
    )]
    Breaker(BreakerArgs),
    /// Writes keys and the broker's configuration for other machines.
    #[command(
        after_help = "Examples:\n  spark setup --dir deploy\n  spark setup --dir deploy --listen 10.0.0.5:4222 --store /var/lib/nats\n  spark setup --dir deploy --cluster nats-1,nats-2,nats-3"
    )]
    Setup(SetupArgs),
    /// Compares the broker's streams with what Spark declares.
    #[command(after_help = "Examples:\n  spark topology\n  spark topology --apply --replicas 3\nExit code 1 when they differ.")]
    Topology(TopologyArgs),
    /// Tokens for the gateway: make, list, revoke.
    #[command(
        subcommand,
        after_help = "Examples:\n  spark token create ayse --role operator --for 30d\n  spark token ls\n  spark token revoke 3fa2c1d0"
    )]
    Token(TokenCommand),
    /// Watches rates, lag, windows, alerts, processes, orders, live.
    #[command(after_help = look::TOP_HELP)]
    Top(TopArgs),
    /// Prints the completions for a shell.
    #[command(after_help = setup::COMPLETIONS_HELP)]
    Completions(setup::CompletionsArgs),
    /// Prints this manual, the help of a command, or of a topic.
    #[command(after_help = setup::HELP_HELP)]
    Help(setup::HelpArgs),
    /// Runs nats-server as a child and stops it when its own stdin closes.
    #[command(hide = true)]
    Broker(BrokerArgs),
}

const STRATEGY_HELP: &str = "Examples:\n  spark strategy create cross-1 --kind sma_cross --param fast=10 --param slow=30 --symbol BTCUSDT --timeframe 1m --cash 1000 --reason \"first try\"\n  \
spark strategy promote cross-1 --reason \"the backtest is good\"\n  spark strategy start sma-cross --reason \"maintenance is over\" --symbols binance.BTCUSDT\n  \
spark strategy stop sma-cross --reason \"it buys too much\"\n  spark strategy ls\n  spark strategy                     # run the process";

/// `spark up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// Port of the page and the API; without it the one of `[gateway] listen`, which is 127.0.0.1:4001 unless set.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// Replay recorded Binance frames instead of the seeded market (files as in data/binance/ws_raw, gzip or plain).
    #[arg(long, value_name = "FILE[,FILE…]", value_delimiter = ',')]
    pub replay: Vec<PathBuf>,
    /// Replay speed: 1 is as recorded, 60 a minute a second, `max` as fast as it is taken.
    #[arg(long, value_name = "N|max", default_value = "1", requires = "replay")]
    pub speed: String,
    /// Connect to the real exchanges instead of the simulated ones. Keys come from the environment.
    #[arg(long, conflicts_with = "replay")]
    pub live: bool,
}

/// `spark <process>`.
#[derive(Clone, Debug, Args)]
pub struct ProcessArgs {
    /// Address of the process's own Prometheus /metrics, e.g. 127.0.0.1:9101. None without it.
    #[arg(long, env = "SPARK_METRICS_ADDR", value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
}

/// `spark tail`.
#[derive(Clone, Debug, Args)]
pub struct TailArgs {
    /// Subject or pattern: `*` is one token, `>` the rest.
    #[arg(default_value = ">")]
    pub subject: String,
    /// Begin this far back (30s, 5m, 2h, 1d) instead of now.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only this stream.
    #[arg(long, value_name = "STREAM", ignore_case = true)]
    pub stream: Option<StreamName>,
    /// Stop after this many messages.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

/// The streams a person can look into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StreamName {
    /// Market data and telemetry.
    #[value(name = "FEED")]
    Feed,
    /// Everything that decides.
    #[value(name = "LEDGER")]
    Ledger,
    /// What could not be handled.
    #[value(name = "PARKED")]
    Parked,
}

/// `spark parked …`.
#[derive(Clone, Debug, Subcommand)]
pub enum ParkedCommand {
    /// One line a parked message.
    #[command(after_help = "Examples:\n  spark parked ls\n  spark parked ls --json")]
    Ls,
    /// One parked message with its headers and bytes.
    #[command(after_help = "Examples:\n  spark parked show 17\n  spark parked show 17 --json")]
    Show {
        /// Its sequence in PARKED, as `ls` shows it.
        id: u64,
    },
    /// Publishes the original again on its subject, with the header Spark-Replay-Of, and takes it off the list.
    #[command(after_help = "Examples:\n  spark parked replay 17\n  spark parked replay --all")]
    Replay {
        /// Its sequence in PARKED.
        #[arg(required_unless_present = "all")]
        id: Option<u64>,
        /// Every parked message.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// `spark schema`.
#[derive(Clone, Debug, Args)]
pub struct SchemaArgs {
    /// One AsyncAPI 3 document (the default).
    #[arg(long, conflicts_with = "json_schema")]
    pub asyncapi: bool,
    /// JSON Schema of every kind.
    #[arg(long)]
    pub json_schema: bool,
    /// The reference of subjects and messages for people, as Markdown.
    #[arg(long, conflicts_with_all = ["asyncapi", "json_schema"])]
    pub markdown: bool,
    /// The HTTP API as an OpenAPI 3.1 document.
    #[arg(long, conflicts_with_all = ["asyncapi", "json_schema", "markdown"])]
    pub openapi: bool,
    /// The reference of the HTTP API for people, as Markdown.
    #[arg(long, conflicts_with_all = ["asyncapi", "json_schema", "markdown", "openapi"])]
    pub api_markdown: bool,
    /// Write files into this folder instead of stdout.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `spark restart`.
#[derive(Clone, Debug, Args)]
pub struct RestartArgs {
    /// Which, as `spark status` names it.
    pub service: String,
    /// Why; it is kept with the command.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// `spark breaker`.
#[derive(Clone, Debug, Args)]
pub struct BreakerArgs {
    /// binance or btcturk.
    pub exchange: String,
    /// open: no calls; closed: calls whatever happens; auto: the breaker decides.
    #[arg(value_enum)]
    pub mode: Mode,
    /// Why; it is kept with the command.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// A breaker's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// No calls.
    Open,
    /// Calls whatever happens.
    Closed,
    /// The breaker decides.
    Auto,
}
