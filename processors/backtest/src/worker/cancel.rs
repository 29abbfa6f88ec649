//! Jobs that somebody takes back: running here, or still in the queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use spark_bus_schema::backtests::{BacktestDone, BacktestJob, JobCancel, JobState};
use spark_bus_schema::subject::{self, JOBS};
use tokio_util::sync::CancellationToken;

use super::{Trouble, Worker};

/// Longest cause of a cancellation that is told with it, characters.
const REASON_MAX: usize = 500;

/// The jobs that this process computes right now.
#[derive(Default)]
pub(crate) struct Running {
    jobs: Mutex<BTreeMap<String, (CancellationToken, Option<JobCancel>)>>,
}

impl Running {
    /// From now on until [`Running::end`]; the token is cancelled when the job is.
    pub fn begin(&self, id: &str) -> CancellationToken {
        let token = CancellationToken::new();
        self.lock().insert(id.to_owned(), (token.clone(), None));
        token
    }

    /// Takes a job back. False: it is not computed here.
    pub fn cancel(&self, cancel: JobCancel) -> bool {
        let mut jobs = self.lock();
        let Some((token, by)) = jobs.get_mut(&cancel.id) else { return false };
        token.cancel();
        *by = Some(cancel);
        true
    }

    /// Who took it back, if anybody did.
    pub fn end(&self, id: &str) -> Option<JobCancel> {
        self.lock().remove(id).and_then(|(_, by)| by)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (CancellationToken, Option<JobCancel>)>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a job that was taken back.
pub(super) fn done(job: &BacktestJob, cancel: &JobCancel, attempts: u32) -> BacktestDone {
    let reason: String = cancel.reason.chars().take(REASON_MAX).collect();
    BacktestDone {
        id: job.id.clone(),
        state: JobState::Cancelled,
        strategy: job.strategy.clone(),
        kind: job.kind,
        params: job.params.clone(),
        metrics: None,
        trades_hash: None,
        data_hash: None,
        error: Some(format!("taken back by {}: {reason}", cancel.actor)),
        attempts,
        at: spark_nats::now(),
    }
}

/// Hears cancellations as they pass by. What it misses is found by whoever has the job: it looks before it begins and while
/// it computes.
pub(crate) async fn listen(worker: Arc<Worker>) {
    let mut listener = match worker.bus.listen("control.job.*").await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "cancellations are found only by looking");
            return;
        }
    };
    loop {
        let heard = tokio::select! {
            heard = listener.next() => heard,
            () = worker.shutdown.cancelled() => return,
        };
        let Some(heard) = heard else { return };
        let Ok(cancel) = heard.decode::<JobCancel>() else {
            tracing::warn!(subject = heard.subject, "a cancellation that cannot be read");
            continue;
        };
        if subject::job_cancel(&cancel.id) == heard.subject
            && let Err(trouble) = worker.take_back(cancel).await
        {
            tracing::warn!(error = spark_nats::text(&trouble), "the cancellation is found when the job's turn comes");
        }
    }
}

impl Worker {
    /// A job that runs here is stopped; one that waits in the queue ends at once, and leaves the queue when its turn comes.
    async fn take_back(&self, cancel: JobCancel) -> Result<(), Trouble> {
        if self.running.cancel(cancel.clone()) {
            return Ok(());
        }
        // Whatever is published there was heard before it was stored: only what the LEDGER has counts.
        let Some(cancel) = self.cancelled(&cancel.id).await? else { return Ok(()) };
        let Some(queued) = self.bus.last(JOBS, &subject::backtest(&cancel.id)).await? else { return Ok(()) };
        let Ok(job) = queued.decode::<BacktestJob>() else { return Ok(()) };
        let done = self.tell(done(&job, &cancel, 0), &queued).await?;
        self.settle(Some(job), done).await
    }
}
