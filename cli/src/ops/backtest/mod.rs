//! `spark backtest …`: runs here or in the queue, and what came of it.

mod job;
mod local;
mod queued;
mod show;

use std::path::PathBuf;

use serde_json::json;
use spark_backtest::engine;
use spark_backtest::store::{self, Detail, Page, Store, Summary};

use crate::args::Global;
use crate::args::backtests::BacktestCommand;
use crate::exit::{Failure, chain};
use crate::output;

/// Does what was asked.
///
/// # Errors
/// Exit 64: what was typed, or the data, is wrong; 69: no results, no broker, no exchange; 75: a file is in the way.
pub fn run(command: &BacktestCommand, global: &Global) -> Result<(), Failure> {
    match command {
        BacktestCommand::Run(arguments) => {
            let (global, bars) = places(arguments.bars.clone(), global);
            let bars = bars.as_deref();
            if arguments.queue { queued::run(arguments, bars, &global) } else { local::run(arguments, bars, &global) }
        }
        BacktestCommand::Ls { limit, after } => ls(*limit, after.clone(), global),
        BacktestCommand::Show { id } => show(id, global),
        BacktestCommand::Compare { ids } => compare(ids, global),
        BacktestCommand::Cancel { id, reason } => queued::cancel(id, reason, global),
        BacktestCommand::Report { id, out } => {
            let store = open(global)?;
            let detail = detail(&store, id)?;
            let path = out.clone().unwrap_or_else(|| store.report_path(id));
            spark_backtest::report::write(&detail, &path).map_err(|error| Failure::temporary(chain(&error)))?;
            let text = path.display().to_string();
            output::line(&if global.json { json!({"report": text}).to_string() } else { text })
        }
    }
}

/// `--data` is the folder of everything Spark keeps, and people give it the file of bars too: what is no folder is the file.
fn places(bars: Option<PathBuf>, global: &Global) -> (Global, Option<PathBuf>) {
    let usual =
        std::env::var_os("SPARK_DATA").filter(|value| !value.is_empty()).map_or_else(|| PathBuf::from(".spark"), PathBuf::from);
    if bars.is_some() || global.data == usual || global.data.is_dir() {
        return (global.clone(), bars);
    }
    (Global { data: usual, ..global.clone() }, Some(global.data.clone()))
}

fn ls(limit: usize, after: Option<String>, global: &Global) -> Result<(), Failure> {
    let listing = open(global)?.list(&Page { limit, after }).map_err(|error| broken(&error))?;
    if global.json {
        return document(&listing);
    }
    show::list(&listing)
}

fn show(id: &str, global: &Global) -> Result<(), Failure> {
    let store = open(global)?;
    let detail = detail(&store, id)?;
    if global.json {
        return document(&detail);
    }
    show::one(&detail.summary, &store)?;
    show::sweep(&detail)
}

fn compare(ids: &[String], global: &Global) -> Result<(), Failure> {
    let store = open(global)?;
    let find = |id: &String| {
        let found = store.summary_of(id).map_err(|error| broken(&error))?;
        found.ok_or_else(|| missing(id))
    };
    let all: Vec<Summary> = ids.iter().map(find).collect::<Result<_, _>>()?;
    if global.json {
        return document(&all);
    }
    show::side_by_side(&all)
}

fn open(global: &Global) -> Result<Store, Failure> {
    Store::open_read_only(&store::path_in(&global.data)).map_err(|error| broken(&error))
}

fn detail(store: &Store, id: &str) -> Result<Detail, Failure> {
    store.get(id).map_err(|error| broken(&error))?.ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Failure {
    Failure::no(format!("there is no result {}; `spark backtest ls` lists them", output::visible(id)))
}

fn broken(error: &store::Error) -> Failure {
    match error {
        store::Error::NotThere { .. } => Failure::unavailable(chain(error)),
        store::Error::Folder { .. } | store::Error::Database { .. } => Failure::temporary(chain(error)),
        store::Error::Layout { .. } | store::Error::Row { .. } => Failure::internal(chain(error)),
    }
}

/// Why there is no result, as an exit code.
fn failed(error: &engine::Error) -> Failure {
    let message = chain(error);
    match error {
        engine::Error::Exchange { .. } | engine::Error::Bus(_) => Failure::unavailable(message),
        engine::Error::Cancelled => Failure::no(message),
        // What was typed, or what is in the file: trying again without a change cannot help.
        _ => Failure::usage(message),
    }
}

fn document<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    output::line(&serde_json::to_string(value).map_err(|error| Failure::internal(error.to_string()))?)
}
