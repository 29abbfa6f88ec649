//! The command line: one binary, many processes. It starts, watches and stops processes, and lets a person look and act.
//!
//! It refuses to decide anything about money: that is in the processes. Read in this order: [`args`] (what can be
//! typed), [`config`], [`process`] (one process), [`up`] (all of them), [`ops`] (looking and acting), [`output`].

pub mod args;
pub mod broker;
pub mod config;
pub mod contexts;
pub mod exit;
pub mod ops;
pub mod output;
pub mod process;
pub mod system;
pub mod up;

use std::process::ExitCode;

use clap::FromArgMatches;

use args::backtests::BacktestArgs;
use args::signals::RolloutArgs;
use args::trading::StrategyArgs;
use args::{Cli, Command, SimCommand};
use exit::{Exit, Failure};
use output::Style;
use process::Process;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match args::manual::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody to tell when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS };
        }
    };
    if cli.global.no_color {
        output::without_colours();
    }
    // The first caller wins; every later one finds the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.message.lines() {
                output::note(&format!("{} {line}", output::paint_err("spark:", Style::Red)));
            }
            failure.code()
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Up(arguments) => up::run(&arguments, global),
        Command::Feed(arguments) => process::run(Process::Feed, &arguments, global),
        Command::Portfolio(arguments) => process::run(Process::Portfolio, &arguments, global),
        Command::Guardrail(arguments) => process::run(Process::Guardrail, &arguments, global),
        Command::Risk(arguments) => process::run(Process::Risk, &arguments, global),
        Command::Executor(arguments) => process::run(Process::Executor, &arguments, global),
        Command::Candles(arguments) => process::run(Process::Candles, &arguments, global),
        Command::Notifier(arguments) => process::run(Process::Notifier, &arguments, global),
        Command::Reporter(arguments) => process::run(Process::Reporter, &arguments, global),
        Command::Signal(arguments) => process::run(Process::Signal, &arguments, global),
        Command::Rollout(RolloutArgs { command: Some(command), .. }) => ops::rollout::run(&command, global),
        Command::Rollout(RolloutArgs { command: None, process }) => process::run(Process::Rollout, &process, global),
        Command::Demo(command) => ops::demo::run(&command, global),
        Command::Backtest(BacktestArgs { command: Some(command), .. }) => ops::backtest::run(&command, global),
        Command::Backtest(BacktestArgs { command: None, process }) => process::run(Process::Backtest, &process, global),
        Command::Strategy(StrategyArgs { command: Some(command), .. }) => ops::strategy::run(&command, global),
        Command::Strategy(StrategyArgs { command: None, process }) => process::run(Process::Strategy, &process, global),
        Command::Auditor(arguments) => process::run(Process::Auditor, &arguments, global),
        Command::Gateway(arguments) => process::run(Process::Gateway, &arguments, global),
        Command::ExchangeSim(arguments) => process::run(Process::ExchangeSim, &arguments, global),
        Command::Tail(arguments) => ops::tail::run(&arguments, global),
        Command::Parked(command) => ops::parked::run(&command, global),
        Command::Schema(arguments) => ops::schema::run(&arguments),
        Command::Doctor => ops::doctor::run(global),
        Command::Status => ops::status::run(global),
        Command::Config(arguments) => ops::config::run(&arguments, global),
        Command::Sim(SimCommand::Fault(command)) => ops::fault::run(&command, global),
        Command::Audit(command) => ops::audit::run(&command, global),
        Command::Order(command) => ops::orders::run(&command, global),
        Command::Orders(arguments) => ops::orders::list(&arguments, global),
        Command::Positions => ops::orders::positions(global),
        Command::Kill(arguments) => ops::commands::kill(&arguments, global),
        Command::Limits { command } => ops::commands::limits(command.as_ref(), global),
        Command::Resume(arguments) => ops::commands::resume(&arguments, global),
        Command::Explain(arguments) => ops::explain::run(&arguments, global),
        Command::Rules(command) => ops::rules::run(&command, global),
        Command::Whatif(arguments) => ops::whatif::run(&arguments, global),
        Command::Smoke(arguments) => ops::smoke::run(&arguments, global),
        Command::Evidence(arguments) => ops::evidence::run(&arguments, global),
        Command::Tune(arguments) => ops::tune::run(&arguments, global),
        Command::Runbook(arguments) => ops::runbook::run(&arguments, global),
        Command::Restart(arguments) => ops::restart::run(&arguments, global),
        Command::Report(arguments) => ops::report::run(&arguments, global),
        Command::Health(command) => ops::report::health(&command, global),
        Command::Silence(command) => ops::silence::run(&command, global),
        Command::Notify(command) => ops::notify::run(&command, global),
        Command::Breaker(arguments) => ops::breaker::run(&arguments, global),
        Command::Setup(arguments) => ops::setup::run(&arguments, global),
        Command::Topology(arguments) => ops::topology::run(&arguments, global),
        Command::Token(command) => ops::token::run(&command, global),
        Command::Top(arguments) => ops::top::run(&arguments, global),
        Command::Completions(arguments) => ops::manual::completions(&arguments),
        Command::Help(arguments) => ops::manual::help(&arguments),
        Command::Broker(arguments) => broker::run(arguments),
    }
}
