//! The process: workers on the queue, and what is too old forgotten.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::subject::{self, JOBS};
use spark_bus_schema::telemetry::ProcessState;
use spark_nats::{Queue, Service, queue};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::live::Live;
use crate::store::{DATABASE, Store, report_path};
use crate::worker::{Running, SPARE_DELIVERIES, Worker, listen};

/// How often what is too old is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// Why the process stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The results cannot be kept.
    #[error("keep results")]
    Store(#[from] crate::store::Error),
    /// A worker's task ended without being told to.
    #[error("a worker ended by itself")]
    Worker(#[source] Option<tokio::task::JoinError>),
}

/// Runs until the service is told to stop. `live` is what the processes are told whose record jobs may be about.
///
/// # Errors
/// [`Error`]; a broker that is away is waited for and is none.
pub fn run(service: Service, config: Config, live: Live) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let results = service.data_dir.join(DATABASE);
        drop(Store::open(&results)?);
        let running = Arc::new(Running::default());
        let settings =
            queue::Settings { ack_wait: config.ack_wait(), deliveries_max: config.attempts.saturating_add(SPARE_DELIVERIES) };
        let worker = |number: usize| Worker {
            bus: service.bus.clone(),
            config: config.clone(),
            live: live.clone(),
            results: results.clone(),
            name: format!("{}/{number}", std::process::id()),
            running: Arc::clone(&running),
            shutdown: service.shutdown.clone(),
        };
        let mut tasks = JoinSet::new();
        for number in 1..=config.workers {
            let queue = Queue::new(service.bus.clone(), "backtest", JOBS, subject::BACKTESTS, settings);
            tasks.spawn(worker(number).run(queue));
        }
        tasks.spawn(listen(Arc::new(worker(0))));
        tasks.spawn(forget(results, config.clone(), service.shutdown.clone()));
        service.status.set(ProcessState::Running, None);
        while let Some(ended) = tasks.join_next().await {
            if !service.shutdown.is_cancelled() {
                return Err(Error::Worker(ended.err()));
            }
        }
        Ok(())
    })
}

/// Forgets old jobs, with their reports.
async fn forget(results: PathBuf, config: Config, shutdown: tokio_util::sync::CancellationToken) {
    loop {
        let (path, config) = (results.clone(), config.clone());
        let forgotten = tokio::task::spawn_blocking(move || {
            let ids = Store::open(&path)?.forget(spark_nats::now(), config.keep(), config.keep_jobs)?;
            for id in &ids {
                // Not every job has one.
                let _ = std::fs::remove_file(report_path(&path, id));
            }
            Ok::<_, crate::store::Error>(ids.len())
        });
        match forgotten.await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(count)) => tracing::info!(count, "old jobs forgotten"),
            Ok(Err(error)) => tracing::warn!(error = spark_nats::text(&error), "forget old jobs"),
        }
        tokio::select! {
            () = tokio::time::sleep(FORGET_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
