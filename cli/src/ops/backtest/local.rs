//! A backtest in this process: no broker, no worker.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use spark_backtest::engine::Progress;
use spark_backtest::store::{self, Store};
use spark_backtest::{report, worker};
use spark_bus_schema::backtests::{BacktestDone, BacktestJob, JobState};
use spark_nats::{Bus, now};

use super::{broken, document, failed, show};
use crate::args::Global;
use crate::args::backtests::RunArgs;
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::ops::commands;
use crate::process::backtests;
use crate::system;

/// Nobody wants to see how far a short run is.
const PROGRESS_AFTER: Duration = Duration::from_secs(2);
/// A bar is drawn this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Runs, keeps and prints.
pub fn run(arguments: &RunArgs, bars: Option<&Path>, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let results = store::path_in(&global.data);
    let live = backtests::live(&config)?;
    let (job, past) = system::block_on(async {
        // Only what was recorded, and the limits in force, are at a broker.
        let bus =
            if arguments.feed || arguments.limits == "live" { Some(system::operator(global, &config).await?) } else { None };
        let job = super::job::job(arguments, bars, limits(&arguments.limits, bus.as_ref()).await?, &live)?;
        let past = worker::load(&job, bus.as_ref(), &config.backtest, &live, &results).await;
        Ok((job, past.map_err(|error| failed(&error))?))
    })?;
    let meter = Meter::new();
    let result = worker::execute(&job, &past, &meter);
    meter.end();
    let result = result.map_err(|error| failed(&error))?;
    let mut store = Store::open(&results).map_err(|error| broken(&error))?;
    let kept = keep(&mut store, &job, &result).map_err(|error| broken(&error))?;
    let path = store.report_path(&job.id);
    report::write(&kept, &path).map_err(|error| Failure::temporary(chain(&error)))?;
    if global.json {
        return document(&Told { summary: &kept.summary, report: &path, results: store.path() });
    }
    show::one(&kept.summary, &store)?;
    show::sweep(&kept)
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    summary: &'a store::Summary,
    report: &'a Path,
    results: &'a Path,
}

fn keep(store: &mut Store, job: &BacktestJob, result: &store::Result) -> Result<store::Detail, store::Error> {
    store.begin(job, 1, &format!("{}/local", std::process::id()), job.at)?;
    store.keep(&job.id, result)?;
    store.settle(&BacktestDone {
        id: job.id.clone(),
        state: JobState::Done,
        strategy: job.strategy.clone(),
        kind: job.kind,
        params: result.params.clone(),
        metrics: result.metrics.clone(),
        trades_hash: result.trades_hash.clone(),
        data_hash: result.data_hash.clone(),
        error: None,
        attempts: 1,
        at: now(),
    })?;
    let missing =
        || store::Error::Row { path: store.path().to_owned(), table: "job", what: "the row just written is gone".to_owned() };
    store.get(&job.id)?.ok_or_else(missing)
}

/// What `--limits` means.
///
/// # Errors
/// Exit 64: a file that cannot be; 69: no broker.
pub async fn limits(given: &str, bus: Option<&Bus>) -> Result<Option<spark_bus_schema::risk::Limits>, Failure> {
    match (given, bus) {
        ("none", _) => Ok(None),
        ("live", Some(bus)) => Ok(Some(commands::limits_in_force(bus).await?)),
        ("live", None) => Err(Failure::unavailable("--limits live: the limits in force are at the broker, and there is none")),
        (file, _) => commands::read_limits(Path::new(file)).map(Some),
    }
}

/// Draws how far it is, on a terminal, when it takes long.
struct Meter {
    begun: Instant,
    drawn: Mutex<Option<Instant>>,
    is_terminal: bool,
}

impl Meter {
    fn new() -> Self {
        Self { begun: Instant::now(), drawn: Mutex::new(None), is_terminal: std::io::stderr().is_terminal() }
    }

    fn end(&self) {
        if self.drawn.lock().is_ok_and(|drawn| drawn.is_some()) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Progress for Meter {
    fn report(&self, done: u64, total: u64) -> ControlFlow<()> {
        if self.is_terminal
            && self.begun.elapsed() > PROGRESS_AFTER
            && let Ok(mut drawn) = self.drawn.try_lock()
            && drawn.is_none_or(|at| at.elapsed() > PROGRESS_EVERY)
        {
            *drawn = Some(Instant::now());
            // Nobody listening is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{}\x1b[K", show::progress_bar(done, total));
        }
        ControlFlow::Continue(())
    }
}
