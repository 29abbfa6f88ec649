//! What can be typed about orders.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ProcessArgs;

/// `spark order …`.
#[derive(Clone, Debug, Subcommand)]
pub enum OrderCommand {
    /// Buys.
    #[command(
        after_help = "Examples:\n  spark order buy BTCUSDT 0.01\n  spark order buy BTCUSDT 0.01 --limit 58000 --tif gtc --reason \"a dip\"\n  \
        spark order buy BTCTRY 0.001 --exchange btcturk --key my-order-17 --json\nExit code 1 when risk refuses it."
    )]
    Buy(PlaceArgs),
    /// Sells.
    #[command(
        after_help = "Examples:\n  spark order sell BTCUSDT 0.01\n  spark order sell ETHUSDT 0.5 --limit 3100 --tif gtc --reason \"take profit\"\n\
        Exit code 1 when risk refuses it."
    )]
    Sell(PlaceArgs),
    /// Shows one order: what was asked, what risk said, where it stands.
    #[command(
        after_help = "Examples:\n  spark order show <order>\n  spark order show spark-<order> --json\nExit code 1 when there is no such order."
    )]
    Show(OrderArgs),
    /// Takes an order back.
    #[command(after_help = "Example: spark order cancel <order> --reason \"changed my mind\"")]
    Cancel(CancelArgs),
}

/// `spark order buy|sell`.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// What, e.g. BTCUSDT.
    pub symbol: String,
    /// How much, in base currency, e.g. 0.01.
    pub quantity: String,
    /// At this price or better; without it a market order.
    #[arg(long, value_name = "PRICE")]
    pub limit: Option<String>,
    /// Where: binance or btcturk.
    #[arg(long, value_name = "EXCHANGE", default_value = "binance")]
    pub exchange: String,
    /// How long it lives; a market order is always ioc.
    #[arg(long, value_enum, value_name = "TIF")]
    pub tif: Option<Tif>,
    /// Idempotency key: the same key again is the same order. Without it a new one is made and shown.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Why; it is kept with the order.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// What to wait for, a few seconds at most.
    #[arg(long, value_enum, default_value = "accepted")]
    pub wait: Wait,
}

/// How long an order lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tif {
    /// Until filled or cancelled.
    Gtc,
    /// What can be filled at once.
    Ioc,
    /// All at once or nothing.
    Fok,
}

/// What an order is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Risk has said yes or no.
    Verdict,
    /// The exchange has it, or it is over.
    Accepted,
    /// It is over.
    Final,
}

/// One order.
#[derive(Clone, Debug, Args)]
pub struct OrderArgs {
    /// The order's id, or its client order id (spark-…).
    pub order: String,
}

/// `spark order cancel`.
#[derive(Clone, Debug, Args)]
pub struct CancelArgs {
    /// The order's id, or its client order id (spark-…).
    pub order: String,
    /// Why; it is kept with the command.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// `spark orders`.
#[derive(Clone, Debug, Args)]
pub struct OrdersArgs {
    /// Only those of which something may still happen.
    #[arg(long, conflicts_with = "state")]
    pub open: bool,
    /// Only those that stand so: waiting, approved, refused, submitted, filled …
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Only this strategy's.
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<String>,
    /// Only this symbol's.
    #[arg(long, value_name = "SYMBOL")]
    pub symbol: Option<String>,
    /// How many at most, newest first.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

/// `spark kill`.
#[derive(Clone, Debug, Args)]
pub struct KillArgs {
    /// on: nothing new is sent; off: orders may pass again.
    #[arg(value_enum)]
    pub state: OnOff,
    /// Also cancel every open order.
    #[arg(long)]
    pub cancel_open: bool,
    /// Why; it is kept with the command.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// On.
    On,
    /// Off.
    Off,
}

/// `spark limits …`.
#[derive(Clone, Debug, Subcommand)]
pub enum LimitsCommand {
    /// The limits in force, as a file that `set` takes.
    #[command(after_help = "Examples:\n  spark limits show > limits.toml\n  spark limits show --json")]
    Show,
    /// Replaces all of them. Without --confirm only shows what would change.
    #[command(after_help = "Examples:\n  spark limits set limits.toml --reason \"smaller overnight\"\n  \
        spark limits set limits.toml --reason \"smaller overnight\" --confirm\nExit code 1 without --confirm.")]
    Set(LimitsSetArgs),
}

/// `spark limits set`.
#[derive(Clone, Debug, Args)]
pub struct LimitsSetArgs {
    /// TOML with [default], [strategy.<name>] and [symbol."<exchange>.<symbol>"]; what is not given has its built-in value.
    pub file: PathBuf,
    /// Why; it is kept with the command.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// It is meant.
    #[arg(long)]
    pub confirm: bool,
}

/// `spark strategy`: the process itself, or a command to one of its strategies.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct StrategyArgs {
    /// What to tell a strategy; without it, run the process.
    #[command(subcommand)]
    pub command: Option<StrategyCommand>,
    /// For the process.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// `spark strategy …`.
#[derive(Clone, Debug, Subcommand)]
pub enum StrategyCommand {
    /// Registers a strategy as a draft, or gives one that does not trade other parameters, with which it begins again.
    #[command(after_help = CREATE_HELP)]
    Create(StrategyCreateArgs),
    /// Lists registered strategies.
    #[command(after_help = "Examples:\n  spark strategy ls\n  spark strategy ls --json")]
    Ls,
    /// Shows one registered strategy.
    #[command(after_help = "Example:\n  spark strategy show cross-1")]
    Show {
        /// Its name.
        name: String,
    },
    /// One step further: draft → backtested (on a backtest of it) → paper → live (with --confirm).
    #[command(after_help = PROMOTE_HELP)]
    Promote(StrategyPromoteArgs),
    /// Lets a strategy trade; a registered one that was backtested or stopped trades on paper.
    #[command(after_help = "Examples:\n  spark strategy start cross-1 --reason \"maintenance is over\"\n  \
        spark strategy start sma-cross --reason \"one symbol only\" --symbols binance.BTCUSDT")]
    Start(StrategyTellArgs),
    /// Refuses every new order of a strategy; a registered one is `stopped`.
    #[command(after_help = "Example: spark strategy stop sma-cross --reason \"it buys too much\"")]
    Stop(StrategyTellArgs),
}

const CREATE_HELP: &str = "Examples:\n  spark strategy create cross-1 --kind sma_cross --param fast=10 --param slow=30 \
--exchange binance --symbol BTCUSDT --timeframe 1m --cash 1000 --reason \"first try\"\n  \
spark strategy create revert-1 --kind mean_reversion --param position_max=0.003 --symbol BTCUSDT --quantity 0.001 --reason \"as in the demo\"\n  \
spark strategy create mine --kind external --symbol BTCUSDT --reason \"a process of my own\"";

const PROMOTE_HELP: &str = "Examples:\n  spark strategy promote cross-1 --reason \"the backtest is good\"\n  \
spark strategy promote cross-1 --reason \"a week on paper\" --confirm\n\
Exit codes: 0 done, 1 not now (no backtest, not confirmed, somebody else was quicker), 64 wrong, 69 no broker.";

/// `spark strategy create`.
#[derive(Clone, Debug, Args)]
pub struct StrategyCreateArgs {
    /// Its name: letters, digits, `-`, `_`.
    pub name: String,
    /// How it decides: mean_reversion, sma_cross, ml_fusion or external.
    #[arg(long, value_name = "KIND")]
    pub kind: String,
    /// A parameter; may be repeated.
    #[arg(long = "param", value_name = "KEY=VALUE")]
    pub params: Vec<String>,
    /// Where it trades: binance, btcturk or bist.
    #[arg(long, value_name = "EXCHANGE", default_value = "binance")]
    pub exchange: String,
    /// What it trades.
    #[arg(long, value_name = "SYMBOL")]
    pub symbol: String,
    /// Of the candles: 1s, 1m, 5m, 15m, 1h, 4h, 1d. Kinds that look at quotes have none.
    #[arg(long, value_name = "TIME")]
    pub timeframe: Option<String>,
    /// Of each order, base currency.
    #[arg(long, value_name = "AMOUNT", conflicts_with = "cash")]
    pub quantity: Option<String>,
    /// What it trades with, quote currency: all of it.
    #[arg(long, value_name = "AMOUNT")]
    pub cash: Option<String>,
    /// Why; it is kept with the registration.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// `spark strategy promote`.
#[derive(Clone, Debug, Args)]
pub struct StrategyPromoteArgs {
    /// Its name.
    pub name: String,
    /// The backtest that a draft is promoted on; without it the newest one that shows just this strategy.
    #[arg(long, value_name = "ID")]
    pub backtest: Option<String>,
    /// Why; it is kept with the registration.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// It is meant: needed for the step to live.
    #[arg(long)]
    pub confirm: bool,
}

/// `spark strategy start|stop`.
#[derive(Clone, Debug, Args)]
pub struct StrategyTellArgs {
    /// Its name, as its orders carry it.
    pub name: String,
    /// Why; it is kept with the command.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// What it trades, e.g. binance.BTCUSDT; without it what it was told before.
    #[arg(long, value_name = "EXCHANGE.SYMBOL", value_delimiter = ',')]
    pub symbols: Vec<String>,
}

/// `spark resume`.
#[derive(Clone, Debug, Args)]
pub struct ResumeArgs {
    /// ledger, binance or btcturk.
    pub scope: String,
    /// Why; it is kept with the command.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// `spark whatif`.
#[derive(Clone, Debug, Args)]
pub struct WhatifArgs {
    /// The limits to suppose: a file as `spark limits show` writes it.
    #[arg(long, value_name = "FILE")]
    pub limits: PathBuf,
    /// Only orders decided at or after this time (2026-11-21T09:30:00Z, or 2h for two hours ago).
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only orders decided before this time.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}
