//! Takes jobs off the queue, runs them, and tells their end exactly once.
//!
//! A job is with one worker of all processes on the broker. Whatever happens to that worker, the job's end is one message on
//! `audit.backtest.<id>`, which can be stored only once; only then the job leaves the queue. Two workers that ran the same job
//! had the same result, and the first one's end counts. Read in this order: [`Worker::run`], [`Worker::handle`] (what is done
//! about one message), `job` (one computation with its progress), `end` (how the end is told), `cancel`, `execute`.

mod cancel;
mod end;
mod execute;
mod job;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::backtests::{BacktestDone, BacktestJob, JobCancel, JobState};
use spark_bus_schema::strategies::StrategyKind;
use spark_bus_schema::subject::{self, LEDGER};
use spark_nats::{Bus, Queue, Task, park};
use tokio_util::sync::CancellationToken;

pub(crate) use cancel::{Running, listen};
pub use execute::{FILE_BYTES_MAX, Past, execute, load};

use crate::config::Config;
use crate::live::Live;
use crate::store::{self, Store};
use job::Ended;

/// Pause after the broker or the disk was in the way.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the broker hands out one job more than a worker looks at it: only a worker that dies while it parks a job needs it.
pub(crate) const SPARE_DELIVERIES: u32 = 10;

/// What is in the way of a worker. The job stays in the queue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The broker.
    #[error(transparent)]
    Bus(#[from] spark_nats::Error),
    /// The end of a job cannot be stored.
    #[error("tell the end of job {id}")]
    Tell {
        /// Which.
        id: String,
        /// Why.
        #[source]
        source: spark_nats::AppendError,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A thread ended without an answer.
    #[error("the computation's thread ended without an answer")]
    Thread,
}

/// One worker: one job at a time.
pub(crate) struct Worker {
    pub bus: Bus,
    pub config: Config,
    pub live: Live,
    /// The database of results.
    pub results: PathBuf,
    /// Process id and number: `4711/1`.
    pub name: String,
    pub running: Arc<Running>,
    pub shutdown: CancellationToken,
}

impl Worker {
    /// Works until told to stop.
    pub async fn run(self, mut queue: Queue) {
        loop {
            let task = tokio::select! {
                task = queue.next() => task,
                () = self.shutdown.cancelled() => return,
            };
            if let Err(trouble) = self.handle(&task).await {
                tracing::warn!(job = task.delivery.subject, error = spark_nats::text(&trouble), "the job stays in the queue");
                // Without an answer it comes again by itself after a while.
                if let Err(error) = task.give_back().await {
                    tracing::debug!(%error, "give a job back");
                }
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = self.shutdown.cancelled() => return,
                }
            }
        }
    }

    /// One message of the queue, to its end or back into the queue.
    async fn handle(&self, task: &Task) -> Result<(), Trouble> {
        let job = match readable(task) {
            Ok(job) => job,
            Err((reason, why)) => return self.poisonous(task, None, reason, &why).await,
        };
        if let Some(done) = self.ended(&job.id).await? {
            self.settle(Some(job), done).await?;
            return Ok(task.done().await?);
        }
        if let Some(cancel) = self.cancelled(&job.id).await? {
            return self.finish(task, &job, cancel::done(&job, &cancel, task.attempt - 1)).await;
        }
        if task.attempt > self.config.attempts {
            let why = format!(
                "{} workers had it and none of them came to an end with it: they were killed, or died of it; see their logs, and \
                 [backtest] attempts",
                task.attempt - 1
            );
            return self.poisonous(task, Some(&job), "attempts", &why).await;
        }
        match self.work(task, &job).await? {
            Ended::With(done) => self.finish(task, &job, *done).await,
            Ended::Stopping => Ok(task.give_back().await?),
        }
    }

    /// Parks a message that no worker can do anything with, and tells that the job failed.
    async fn poisonous(&self, task: &Task, job: Option<&BacktestJob>, reason: &str, why: &str) -> Result<(), Trouble> {
        park(&self.bus, "backtest", &task.delivery, reason, why).await?;
        let done = BacktestDone {
            id: job.map_or_else(|| id_of(&task.delivery.subject), |job| job.id.clone()),
            state: JobState::Failed,
            strategy: job.and_then(|job| job.strategy.clone()),
            // What cannot be read says nothing about its kind.
            kind: job.map_or(StrategyKind::External, |job| job.kind),
            params: job.map(|job| job.params.clone()).unwrap_or_default(),
            metrics: None,
            trades_hash: None,
            data_hash: None,
            error: Some(format!("parked ({reason}): {why}")),
            attempts: task.attempt,
            at: spark_nats::now(),
        };
        let done = self.tell(done, &task.delivery).await?;
        self.settle(job.cloned(), done).await?;
        Ok(task.done().await?)
    }

    /// Tells the end and takes the job off the queue, in this order.
    async fn finish(&self, task: &Task, job: &BacktestJob, done: BacktestDone) -> Result<(), Trouble> {
        let done = self.tell(done, &task.delivery).await?;
        self.settle(Some(job.clone()), done).await?;
        Ok(task.done().await?)
    }

    /// The end of a job, if it has one.
    async fn ended(&self, id: &str) -> Result<Option<BacktestDone>, Trouble> {
        end::of(&self.bus, id).await
    }

    /// Whether somebody took it back.
    async fn cancelled(&self, id: &str) -> Result<Option<JobCancel>, Trouble> {
        let found = self.bus.last(LEDGER, &subject::job_cancel(id)).await?;
        // What cannot be read takes nothing back.
        Ok(found.and_then(|found| found.decode::<JobCancel>().ok()).filter(|cancel| cancel.id == id))
    }

    /// Something with the database, on a thread that may wait.
    async fn with_store<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Store) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Trouble> {
        let path = self.results.clone();
        let acted = tokio::task::spawn_blocking(move || act(&mut Store::open(&path)?)).await;
        Ok(acted.map_err(|_| Trouble::Thread)??)
    }
}

/// The job, or why it is none.
fn readable(task: &Task) -> Result<BacktestJob, (&'static str, String)> {
    let job: BacktestJob = task.delivery.decode().map_err(|error| (error.reason(), spark_nats::text(&error)))?;
    let expected = subject::backtest(&job.id);
    if expected != task.delivery.subject {
        let why =
            format!("subject {} speaks of another job than its id {}; it would be {expected}", task.delivery.subject, job.id);
        return Err(("wrong_subject", why));
    }
    Ok(job)
}

/// What the subject calls the job.
fn id_of(subject_name: &str) -> String {
    subject::token(subject_name.strip_prefix("jobs.backtest.").unwrap_or(subject_name))
}
