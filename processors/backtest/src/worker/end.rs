//! How the end of a job is told: once, whoever tells it.

use bytes::Bytes;
use spark_bus_schema::backtests::{BacktestDone, BacktestJob, JobState};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Message, encode};
use spark_nats::{AppendError, Bus, Delivery, Meta, SubjectWriter};

use super::{Trouble, Worker};

/// The end of a job, if it has one.
pub(super) async fn of(bus: &Bus, id: &str) -> Result<Option<BacktestDone>, Trouble> {
    let found = bus.last(LEDGER, &subject::backtest_done(id)).await?;
    Ok(found.and_then(|found| found.decode().ok()))
}

/// Stores the end, unless the job has one already; the end that counts.
pub(super) async fn tell(bus: &Bus, done: BacktestDone, worker: &str, cause: &Delivery) -> Result<BacktestDone, Trouble> {
    let mut writer = SubjectWriter::at(bus.clone(), LEDGER, subject::backtest_done(&done.id), 0);
    let meta = Meta {
        msg_id: Some(format!("backtest:{}:{worker}:{}", done.id, done.attempts)),
        cause: Some(format!("{}:{}", cause.stream, cause.sequence)),
    };
    match writer.append_with(BacktestDone::KIND, Bytes::from(encode(&done)), &meta, &[]).await {
        Ok(_) => {
            let state = format!("{:?}", done.state).to_lowercase();
            tracing::info!(job = done.id, state, attempts = done.attempts, error = done.error, "job ended");
            metrics::counter!("spark_backtest_jobs_total", "state" => state).increment(1);
            Ok(done)
        }
        Err(AppendError::Conflict) => Ok(of(bus, &done.id).await?.unwrap_or(done)),
        Err(source) => Err(Trouble::Tell { id: done.id, source }),
    }
}

impl Worker {
    pub(super) async fn tell(&self, done: BacktestDone, cause: &Delivery) -> Result<BacktestDone, Trouble> {
        tell(&self.bus, done, &self.name, cause).await
    }

    /// Writes into the database how a job ended, and its report.
    pub(super) async fn settle(&self, job: Option<BacktestJob>, done: BacktestDone) -> Result<(), Trouble> {
        let Some(job) = job else { return Ok(()) };
        let (name, now) = (self.name.clone(), spark_nats::now());
        let written = self.with_store(move |store| {
            store.note(&job, &name, now)?;
            store.settle(&done)?;
            let path = store.report_path(&done.id);
            let detail = if done.state == JobState::Cancelled { None } else { store.get(&done.id)? };
            // A report can be written again from the database at any time.
            Ok(detail.map_or(Ok(()), |detail| crate::report::write(&detail, &path)))
        });
        if let Err(error) = written.await? {
            tracing::warn!(error = spark_nats::text(&error), "no report");
        }
        Ok(())
    }
}
