//! One computation: on a thread of its own, told about a few times a second, kept alive in the queue, stopped when it shall be.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use spark_bus_schema::backtests::{BacktestDone, BacktestJob, JobProgress, JobState};
use spark_bus_schema::{Message, encode, subject};
use spark_nats::{Meta, Task};
use tokio::task::JoinHandle;

use super::{Trouble, Worker, cancel, execute};
use crate::engine;
use crate::store;

/// Progress is told this often.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Whether a job was taken back is looked up this often, in case nobody heard it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

type Computed = Result<Result<store::Result, engine::Error>, Trouble>;

/// How a worker's time with a job ended.
pub(super) enum Ended {
    /// The job has an end.
    With(Box<BacktestDone>),
    /// The process stops: the job goes back.
    Stopping,
}

/// How far the computation is, shared with its thread.
#[derive(Default)]
struct Meter {
    done: AtomicU64,
    total: AtomicU64,
    stop: AtomicBool,
}

impl engine::Progress for Meter {
    fn report(&self, done: u64, total: u64) -> ControlFlow<()> {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Worker {
    /// Runs a job.
    pub(super) async fn work(&self, task: &Task, job: &BacktestJob) -> Result<Ended, Trouble> {
        let (begun, name, attempt) = (job.clone(), self.name.clone(), task.attempt);
        self.with_store(move |store| store.begin(&begun, attempt, &name, spark_nats::now())).await?;
        let taken_back = self.running.begin(&job.id);
        let meter = Arc::new(Meter::default());
        self.report(job, task.attempt, &meter, JobState::Running);
        let computed = self.compute(task, job, &meter, &taken_back).await;
        let by = self.running.end(&job.id);
        let done = match (computed?, by) {
            (Err(engine::Error::Cancelled), Some(by)) => cancel::done(job, &by, task.attempt),
            (Err(engine::Error::Cancelled), None) => return Ok(Ended::Stopping),
            (Err(engine::Error::Bus(source)), _) => return Err(source.into()),
            (Err(error), _) => failed(job, &spark_nats::text(&error), task.attempt),
            (Ok(result), _) => {
                let (id, done) = (job.id.clone(), succeeded(job, &result, task.attempt));
                self.with_store(move |store| store.keep(&id, &result)).await?;
                done
            }
        };
        self.report(job, task.attempt, &meter, done.state);
        Ok(Ended::With(Box::new(done)))
    }

    /// Waits for the computation; meanwhile tells how far it is, says that it goes on, and stops it when it shall be.
    async fn compute(
        &self,
        task: &Task,
        job: &BacktestJob,
        meter: &Arc<Meter>,
        taken_back: &tokio_util::sync::CancellationToken,
    ) -> Computed {
        let mut computation = self.start(job, meter);
        let mut ticks = tokio::time::interval(TELL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut kept, mut looked) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                ended = &mut computation => return ended.map_err(|_| Trouble::Thread)?,
                () = taken_back.cancelled(), if !meter.stop.load(Ordering::Relaxed) => meter.stop.store(true, Ordering::Relaxed),
                () = self.shutdown.cancelled(), if !meter.stop.load(Ordering::Relaxed) => meter.stop.store(true, Ordering::Relaxed),
                _ = ticks.tick() => {
                    self.report(job, task.attempt, meter, JobState::Running);
                    if kept.elapsed() > self.config.ack_wait() / 3 {
                        kept = Instant::now();
                        task.keep().await?;
                    }
                    if looked.elapsed() > LOOK_EVERY {
                        looked = Instant::now();
                        // A broker that is away says nothing; the next look will.
                        if let Ok(Some(cancel)) = self.cancelled(&job.id).await {
                            self.running.cancel(cancel);
                        }
                    }
                }
            }
        }
    }

    fn start(&self, job: &BacktestJob, meter: &Arc<Meter>) -> JoinHandle<Computed> {
        let (job, meter, bus, config) = (job.clone(), Arc::clone(meter), self.bus.clone(), self.config.clone());
        let (live, results) = (self.live.clone(), self.results.clone());
        tokio::spawn(async move {
            let past = match execute::load(&job, Some(&bus), &config, &live, &results).await {
                Ok(past) => past,
                Err(error) => return Ok(Err(error)),
            };
            let thread = tokio::task::spawn_blocking(move || execute::execute(&job, &past, &*meter));
            thread.await.map_err(|_| Trouble::Thread)
        })
    }

    /// Tells how far a job is; one attempt: what comes late says nothing.
    fn report(&self, job: &BacktestJob, attempt: u32, meter: &Meter, state: JobState) {
        let progress = JobProgress {
            id: job.id.clone(),
            state,
            done: meter.done.load(Ordering::Relaxed),
            total: meter.total.load(Ordering::Relaxed),
            attempt,
            worker: self.name.clone(),
            at: spark_nats::now(),
        };
        let (bus, target) = (self.bus.clone(), subject::job_progress(&job.id));
        tokio::spawn(async move {
            let sent = bus.store_kind(&target, JobProgress::KIND, encode(&progress).into(), Meta::default());
            if let Ok(Err(error)) = tokio::time::timeout(TELL_EVERY * 4, sent).await {
                tracing::debug!(%error, "progress");
            }
        });
    }
}

fn succeeded(job: &BacktestJob, result: &store::Result, attempts: u32) -> BacktestDone {
    BacktestDone {
        id: job.id.clone(),
        state: JobState::Done,
        strategy: job.strategy.clone(),
        kind: job.kind,
        params: result.params.clone(),
        metrics: result.metrics.clone(),
        trades_hash: result.trades_hash.clone(),
        data_hash: result.data_hash.clone(),
        error: None,
        attempts,
        at: spark_nats::now(),
    }
}

fn failed(job: &BacktestJob, error: &str, attempts: u32) -> BacktestDone {
    BacktestDone {
        id: job.id.clone(),
        state: JobState::Failed,
        strategy: job.strategy.clone(),
        kind: job.kind,
        params: job.params.clone(),
        metrics: None,
        trades_hash: None,
        data_hash: None,
        error: Some(error.to_owned()),
        attempts,
        at: spark_nats::now(),
    }
}
