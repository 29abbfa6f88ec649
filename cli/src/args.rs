//! The command line, as a type. Everything a person can type is in this file, in [`trading`] and in [`day`].

pub mod backtests;
pub mod day;
pub mod notify;
pub mod report;
pub mod rules;
pub mod signals;
pub mod trading;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use backtests::BacktestArgs;
use day::{EvidenceArgs, RunbookArgs, SmokeArgs, TuneArgs};
use notify::{NotifyCommand, SilenceCommand};
use signals::RolloutArgs;
use trading::{KillArgs, LimitsCommand, OrderArgs, OrderCommand, OrdersArgs, ResumeArgs, StrategyArgs, WhatifArgs};

/// Exit codes, shown at the end of `--help`.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 the answer is no, 64 wrong command line or configuration, \
69 broker or system not reachable, 70 fault inside Spark, 75 something is in the way, try again.";

/// Watches a trading operation and stops the damage before it costs money.
#[derive(Debug, Parser)]
#[command(name = "spark", version, after_help = EXIT_CODES, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// Options for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options for every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Configuration file; without it ./spark.toml when it is there, else the defaults.
    #[arg(long, global = true, env = "SPARK_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for everything Spark keeps: stores, states, keys, logs. Made when missing.
    #[arg(long, global = true, env = "SPARK_DATA", value_name = "DIR", default_value = ".spark")]
    pub data: PathBuf,
    /// Address of the broker; without it the one that `spark up` runs on the data folder.
    #[arg(long, global = true, env = "NATS_URL", hide_env_values = true, value_name = "URL")]
    pub url: Option<String>,
    /// Answer for programs instead of people: JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours, even on a terminal (as NO_COLOR).
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// What `spark` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts everything: the broker and every process, and keeps them running until Ctrl-C.
    #[command(after_help = "Examples:\n  spark up\n  spark up --port 8080 --data /var/lib/spark\n  \
        spark up --replay day1.gz,day2.gz --speed max\n  spark up --live")]
    Up(UpArgs),
    /// Runs one process: market data from the exchanges' sockets to the bus.
    #[command(after_help = PROCESS_HELP)]
    Feed(ProcessArgs),
    /// Runs one process: balances of each exchange, valued in USD.
    #[command(after_help = PROCESS_HELP)]
    Portfolio(ProcessArgs),
    /// Runs one process: windows over everything, thresholds, alerts.
    #[command(after_help = PROCESS_HELP)]
    Guardrail(ProcessArgs),
    /// Runs one process: the hash chain over the LEDGER, outside the broker.
    #[command(after_help = PROCESS_HELP)]
    Auditor(ProcessArgs),
    /// Runs one process: says yes or no to every order, once.
    #[command(after_help = PROCESS_HELP)]
    Risk(ProcessArgs),
    /// Runs one process: sends what was approved, on paper or live, and says what became of it.
    #[command(after_help = PROCESS_HELP)]
    Executor(ProcessArgs),
    /// Runs one process: marks, the prices that decisions about money use.
    #[command(after_help = PROCESS_HELP)]
    Candles(ProcessArgs),
    /// Runs one process: tells people and tools about alerts, until it has arrived.
    #[command(after_help = PROCESS_HELP)]
    Notifier(ProcessArgs),
    /// Runs one process: history, smoke checks, daily and weekly reports.
    Reporter(ProcessArgs),
    /// Runs one process: the strategies; or registers, lists, promotes, starts and stops strategies.
    #[command(after_help = STRATEGY_HELP)]
    Strategy(StrategyArgs),
    /// Runs one process: scores of candles, and what became of them.
    #[command(after_help = PROCESS_HELP)]
    Signal(ProcessArgs),
    /// Runs one process: takes a model live in stages; or tells where it stands, and what it shall do.
    #[command(after_help = signals::ROLLOUT_HELP)]
    Rollout(RolloutArgs),
    /// Shows Spark at work on a system of its own that is gone afterwards.
    #[command(subcommand, after_help = signals::DEMO_HELP)]
    Demo(signals::DemoCommand),
    /// Runs one process: a worker for backtests; or runs, lists and compares them.
    #[command(after_help = backtests::BACKTEST_HELP)]
    Backtest(BacktestArgs),
    /// Runs one process: HTTP, the live stream and the page.
    #[command(after_help = PROCESS_HELP)]
    Gateway(ProcessArgs),
    /// Runs one process: the simulated exchanges.
    #[command(after_help = PROCESS_HELP)]
    ExchangeSim(ProcessArgs),
    /// Shows messages as they are stored, decoded, one a line.
    #[command(
        after_help = "Examples:\n  spark tail\n  spark tail 'alerts.>' --since 1h\n  spark tail market.ticks.binance.BTCUSDT --json --limit 10\n  \
        spark tail --stream PARKED --since 24h"
    )]
    Tail(TailArgs),
    /// Messages that could not be handled: list, look at, publish again.
    #[command(
        subcommand,
        after_help = "Examples:\n  spark parked ls\n  spark parked show 17\n  spark parked replay 17\n  spark parked replay --all"
    )]
    Parked(ParkedCommand),
    /// Exports the messages' schemas for other languages.
    #[command(after_help = "Examples:\n  spark schema > asyncapi.json\n  spark schema --json-schema --out schemas/")]
    Schema(SchemaArgs),
    /// Looks for what is wrong with a setup and names the fix.
    #[command(after_help = "Examples:\n  spark doctor\n  spark doctor --json\nExit code 1 when something fails.")]
    Doctor,
    /// Shows processes, their state, and what is firing.
    #[command(after_help = "Examples:\n  spark status\n  spark status --json")]
    Status,
    /// Prints the configuration in effect, without secrets, or checks it.
    #[command(
        after_help = "Examples:\n  spark config\n  spark config --check --config production.toml\n  SPARK_GATEWAY__RATE_BURST=50 spark config --json"
    )]
    Config(ConfigArgs),
    /// Faults for the simulated exchanges.
    #[command(subcommand)]
    Sim(SimCommand),
    /// The record of everything: is it what it was, what is in it, what is accepted.
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
    /// Stops every new order, or lets them pass again. Needs only the broker.
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
    /// Tells the whole story of one order from the LEDGER, and decides about it again.
    #[command(after_help = "Examples:\n  spark explain <order>\n  spark explain spark-<order> --json\n\
        Exit code 1 when there is no such order, or when its verdict does not follow from the LEDGER.")]
    Explain(OrderArgs),
    /// Replays the recorded LEDGER under other limits and lists the orders whose answer would differ.
    #[command(
        name = "whatif",
        after_help = "Examples:\n  spark limits show > new.toml && $EDITOR new.toml\n  spark whatif --limits new.toml\n  \
        spark whatif --limits new.toml --from 24h\n  spark whatif --limits new.toml --from 2026-11-20T00:00:00Z --to 2026-11-21T00:00:00Z --json"
    )]
    Whatif(WhatifArgs),
    /// Six checks of the running system, one text to pass on; the outcome is stored.
    #[command(after_help = "Examples:\n  spark smoke\n  spark smoke --json\n  spark smoke --no-store --data /var/lib/spark\n\
        It passes with five good checks of six. Exit codes: 0 passed, 1 failed, 69 no gateway.")]
    Smoke(SmokeArgs),
    /// Stops one process in order, kills it when it hangs, and starts it again.
    #[command(after_help = "Examples:\n  spark restart feed --reason \"no prices for a minute\"\n  \
        spark restart nats-server --reason \"new configuration\" --json\n\
        Exit code 1 when it is refused, or when the process does not come back.")]
    Restart(RestartArgs),
    /// Writes a ZIP of everything that shows what happened, with the hash of each part; or checks such a file.
    #[command(after_help = "Examples:\n  spark evidence\n  spark evidence --window 7d --out incident.zip\n  \
        spark evidence verify incident.zip\nExit codes of verify: 0 as written, 1 changed, 2 cannot be opened.")]
    Evidence(EvidenceArgs),
    /// Proposes thresholds from what was observed, and says how many alerts they would have raised.
    #[command(after_help = "Examples:\n  spark tune\n  spark tune --days 14 --per-exchange --out tuned\n  \
        spark tune --days 14 --per-exchange --confirm --prometheus http://127.0.0.1:9090\nWithout --confirm nothing changes but the two files.")]
    Tune(TuneArgs),
    /// Prints the runbook that follows from the dashboards: panel, query, SLO, checks, actions.
    #[command(after_help = "Examples:\n  spark runbook\n  spark runbook --out RUNBOOK.md\n  \
        spark runbook --dashboard my-dashboard.json --check")]
    Runbook(RunbookArgs),
    /// The last 24 hours (or another window) as Markdown and as one HTML file: figures, uptime, breaches, verdict.
    #[command(after_help = "Examples:\n  spark report\n  spark report --window 24h --out /srv/reports\n  \
        spark report --window 7d --html-only\n  spark report --json\nExit code 1 when the verdict is RED.")]
    Report(report::ReportArgs),
    /// Health over a longer time.
    #[command(subcommand)]
    Health(report::HealthCommand),
    /// The guardrail's rules: check them, test them, try them on what was recorded.
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
    /// Notifications: who was told what and whether it arrived; send a test.
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
    /// Writes keys and the broker's configuration for processes that run elsewhere (containers, other machines).
    #[command(
        after_help = "Examples:\n  spark setup --dir deploy\n  spark setup --dir deploy --listen 10.0.0.5:4222 --store /var/lib/nats\n  spark setup --dir deploy --cluster nats-1,nats-2,nats-3"
    )]
    Setup(SetupArgs),
    /// Compares the broker's streams with what Spark declares; creates and updates them with --apply.
    #[command(after_help = "Examples:\n  spark topology\n  spark topology --apply --replicas 3\nExit code 1 when they differ.")]
    Topology(TopologyArgs),
    /// Runs nats-server as a child and stops it when its own stdin closes.
    #[command(hide = true)]
    Broker(BrokerArgs),
}

const PROCESS_HELP: &str = "Environment: NATS_URL, SPARK_NKEY_SEED_FILE or NATS_CREDS, SPARK_CONFIG, SPARK_DATA, \
SPARK_METRICS_ADDR, SPARK_LOG or RUST_LOG (e.g. info,spark_feed=debug), SPARK_LOG_FORMAT=json, SPARK_<SECTION>__<KEY>.\n\
Without `spark up` above it, a process that is asked to restart (control.restart.<name>) stops in order with exit code 85.";

const STRATEGY_HELP: &str = "Examples:\n  spark strategy create cross-1 --kind sma_cross --param fast=10 --param slow=30 --symbol BTCUSDT --timeframe 1m --cash 1000 --reason \"first try\"\n  \
spark strategy promote cross-1 --reason \"the backtest is good\"\n  spark strategy start sma-cross --reason \"maintenance is over\" --symbols binance.BTCUSDT\n  \
spark strategy stop sma-cross --reason \"it buys too much\"\nWithout a command it runs the process, as `spark --help` says of the others.";

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
    Ls,
    /// One parked message with its headers and bytes.
    Show {
        /// Its sequence in PARKED, as `ls` shows it.
        id: u64,
    },
    /// Publishes the original again on its subject, with the header Spark-Replay-Of, and takes it off the list.
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
    /// Write files into this folder instead of stdout.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `spark config`.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Only say whether it is right.
    #[arg(long)]
    pub check: bool,
}

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
    Add(FaultArgs),
    /// Lists the faults in force.
    Ls,
    /// Removes one.
    Rm {
        /// Its id, as `ls` shows it.
        id: String,
    },
    /// Removes all.
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

/// `spark audit …`.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Checks every entry of the audit database, and every message of the LEDGER against it.
    Verify(AuditVerifyArgs),
    /// Lists the record: the newest entries, or from a place on.
    List(AuditListArgs),
    /// Accepts the damage that was found: the LEDGER as it is now begins a new era, and trading may resume.
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_help() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
