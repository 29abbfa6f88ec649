//! A backtest in the queue of the running system: given, waited for, taken back.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use spark_backtest::report::{metric_rows, params_text};
use spark_backtest::store::{self, Store};
use spark_backtest::{data, engine};
use spark_bus_schema::backtests::{BacktestDone, BacktestJob, JobCancel, JobProgress, JobState};
use spark_bus_schema::subject::{self, FEED, JOBS, LEDGER};
use spark_nats::{Bus, Meta};

use super::{document, failed, local, show};
use crate::args::Global;
use crate::args::backtests::RunArgs;
use crate::config::Config;
use crate::exit::Failure;
use crate::ops::commands::reason;
use crate::ops::orders::actor;
use crate::output;
use crate::process::backtests;
use crate::system;

/// How often the job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// How long a cancellation is waited for.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);

/// Gives a job to the workers, and waits for its end.
pub fn run(arguments: &RunArgs, bars: Option<&Path>, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let live = backtests::live(&config)?;
    system::block_on(async {
        let bus = system::operator(global, &config).await?;
        let job = super::job::job(arguments, bars, local::limits(&arguments.limits, Some(&bus)).await?, &live)?;
        check(&job)?;
        let meta = Meta { msg_id: Some(format!("backtest:{}", job.id)), cause: None };
        let sent = bus.publish(&subject::backtest(&job.id), &job, meta).await;
        sent.map_err(|error| Failure::unavailable(format!("queue {}: {error}", job.id)))?;
        if arguments.no_wait {
            let text = format!("{} is queued; ask with `spark backtest show {}`", job.id, job.id);
            return output::line(&if global.json { json!({"id": job.id, "state": "queued"}).to_string() } else { text });
        }
        if !global.json {
            output::note(&format!("{} is queued", job.id));
        }
        let done = wait(&bus, &job.id, global).await?;
        told(&done, global)
    })
}

/// What every worker would refuse: said before it waits in the queue.
fn check(job: &BacktestJob) -> Result<(), Failure> {
    let settings = engine::Settings::of(job).map_err(|error| failed(&error))?;
    // Parameters that are swept have no value yet.
    if job.sweep.is_empty() {
        engine::run(&settings, &data::Bars::default(), &()).map_err(|error| failed(&error))?;
    }
    Ok(())
}

async fn wait(bus: &Bus, id: &str, global: &Global) -> Result<BacktestDone, Failure> {
    let mut told = Instant::now();
    loop {
        if let Some(done) = ended(bus, id).await? {
            return Ok(done);
        }
        if told.elapsed() > TELL_EVERY && !global.json {
            told = Instant::now();
            let progress = bus.last(FEED, &subject::job_progress(id)).await?.and_then(|found| found.decode::<JobProgress>().ok());
            let line = progress.map_or_else(
                || "waits for a worker".to_owned(),
                |progress| format!("{} {}", show::state(progress.state), show::progress_bar(progress.done, progress.total)),
            );
            output::note(&line);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn ended(bus: &Bus, id: &str) -> Result<Option<BacktestDone>, Failure> {
    let found = bus.last(LEDGER, &subject::backtest_done(id)).await?;
    let decoded = found.map(|found| found.decode::<BacktestDone>());
    decoded.transpose().map_err(|error| Failure::internal(format!("the end of job {id}: {error}")))
}

fn told(done: &BacktestDone, global: &Global) -> Result<(), Failure> {
    if global.json {
        document(done)?;
    } else {
        print(done, global)?;
    }
    match (done.state, &done.error) {
        (JobState::Done, _) => Ok(()),
        _ if global.json => Err(Failure::no("")),
        (state, error) => {
            let why = error.as_deref().unwrap_or("no reason given");
            Err(Failure::no(format!("{} {}: {}", done.id, show::state(state), output::visible(why))))
        }
    }
}

fn print(done: &BacktestDone, global: &Global) -> Result<(), Failure> {
    // The worker's own database, when it is on this machine.
    let store = Store::open_read_only(&store::path_in(&global.data)).ok();
    let found = store.as_ref().and_then(|store| Some((store, store.get(&done.id).ok().flatten()?)));
    if let Some((store, detail)) = found.filter(|(_, detail)| detail.summary.state == done.state) {
        show::one(&detail.summary, store)?;
        return show::sweep(&detail);
    }
    let Some(metrics) = &done.metrics else { return Ok(()) };
    let mut rows = vec![vec!["id".to_owned(), done.id.clone()], vec!["parameters".to_owned(), params_text(&done.params)]];
    rows.extend(metric_rows(metrics).into_iter().map(|(name, value)| vec![name.to_owned(), value]));
    rows.push(vec!["trades hash".to_owned(), done.trades_hash.clone().unwrap_or_default()]);
    output::table(&rows).iter().try_for_each(|line| output::line(line))
}

/// Takes a job back, and says what became of it.
pub fn cancel(id: &str, why: &str, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let command = JobCancel { id: id.to_owned(), actor: actor(), reason: reason(why)?, at: spark_nats::now() };
    spark_bus_schema::Message::validate(&command).map_err(Failure::usage)?;
    system::block_on(async {
        let bus = system::operator(global, &config).await?;
        if let Some(done) = ended(&bus, id).await? {
            return Err(Failure::no(format!("{id} has ended already: {}", show::state(done.state))));
        }
        if bus.last(JOBS, &subject::backtest(id)).await?.is_none() {
            return Err(Failure::no(format!("there is no job {id} in the queue; `spark backtest ls` lists results")));
        }
        let sent = bus.publish(&subject::job_cancel(id), &command, Meta::default()).await;
        sent.map_err(|error| Failure::unavailable(format!("cancel {id}: {error}")))?;
        let begun = Instant::now();
        while begun.elapsed() < CANCEL_LIMIT {
            if let Some(done) = ended(&bus, id).await? {
                let text = show::state(done.state);
                output::line(&if global.json { json!({"id": id, "state": text}).to_string() } else { format!("{id} {text}") })?;
                return if done.state == JobState::Cancelled { Ok(()) } else { Err(Failure::no("")) };
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(Failure::unavailable(format!("{id} is to be cancelled; no worker has answered yet, the next one that has it will")))
    })
}
