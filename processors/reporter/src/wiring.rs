//! The process: follows three streams into the history, checks, and writes reports.

use std::path::PathBuf;
use std::time::Duration;

use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{DecodeError, subject};
use spark_nats::{Delivery, Follower, Service, Start, park};
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::Config;
use crate::history::{self, DATABASE};
use crate::record::{Entry, Keep, Recorder, decode};

/// How far back an empty history reads what the streams still hold.
pub const HISTORY: Duration = Duration::from_secs(24 * 3_600);
/// What has come is written at least this often: one transaction for a second's messages.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Messages that wait for one transaction, at most.
const COMMIT_MESSAGES: usize = 4_096;
/// How often the history is searched for what is too old, and the pause when there was more than one pass takes.
const FORGET_EVERY: Duration = Duration::from_secs(600);
const FORGET_PAUSE: Duration = Duration::from_secs(1);

/// What is read of each stream.
const INPUTS: [(&str, &[&str]); 3] = [
    (subject::FEED, &[subject::WINDOWS, subject::CALLS, subject::HEARTBEATS, subject::FEED_STATUS, subject::API_REQUESTS]),
    (
        subject::LEDGER,
        &[
            subject::ALERTS,
            subject::ACTIONS,
            subject::DELIVERIES,
            subject::BALANCES,
            subject::VERDICTS,
            subject::ORDER_EVENTS,
            subject::SMOKE,
            subject::SCORES,
            subject::CALIBRATIONS,
            subject::ROLLOUT_CHANGED,
            subject::BACKTESTS_DONE,
            "control.>",
        ],
    ),
    (subject::PARKED, &[subject::PARKED_ALL]),
];

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker refused.
    #[error("run the process")]
    Bus(#[source] spark_nats::Error),
    /// The history cannot be used.
    #[error("keep the history")]
    History(#[from] history::Error),
}

/// Runs until the service is told to stop.
///
/// # Errors
/// [`Error`]; a broker that is away is waited for and is none.
pub fn run(service: Service, config: Config) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let recorder = Recorder::open(&service.data_dir.join(DATABASE))?;
        let _background = crate::background::start(&service, &config);
        Recording::new(&service, &config, recorder).run().await
    })
}

/// The folder for written reports, `<data>/reports`, beside the process's own.
#[must_use]
pub fn reports_dir(service: &Service) -> PathBuf {
    service.data_dir.parent().unwrap_or(&service.data_dir).join("reports")
}

struct Recording<'a> {
    service: &'a Service,
    keep: Keep,
    recorder: Recorder,
    waiting: Vec<(Delivery, Option<Entry>)>,
}

impl<'a> Recording<'a> {
    fn new(service: &'a Service, config: &Config, recorder: Recorder) -> Self {
        Self { service, keep: Keep::of(config), recorder, waiting: Vec::new() }
    }

    async fn run(mut self) -> Result<(), Error> {
        let [mut feed, mut ledger, mut parked] = INPUTS.map(|(stream, subjects)| self.follow(stream, subjects));
        let recorded = self.service.status.counter("spark_reporter_messages_total");
        let mut commits = tokio::time::interval(COMMIT_EVERY);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut forget_at = Instant::now() + FORGET_PAUSE;
        self.service.status.set(ProcessState::Running, None);
        loop {
            let batch = tokio::select! {
                biased;
                () = self.service.shutdown.cancelled() => {
                    self.commit()?;
                    return Ok(());
                }
                _ = commits.tick() => {
                    let taken = self.commit()?;
                    recorded.fetch_add(taken, std::sync::atomic::Ordering::Relaxed);
                    if Instant::now() >= forget_at {
                        let more = self.recorder.forget(spark_nats::now(), &self.keep)?;
                        forget_at = Instant::now() + if more { FORGET_PAUSE } else { FORGET_EVERY };
                    }
                    continue;
                }
                batch = ledger.next() => batch,
                batch = feed.next() => batch,
                batch = parked.next() => batch,
            };
            // Followers end with the runtime only.
            let Some(batch) = batch else { return Ok(()) };
            self.take(batch).await?;
            if self.waiting.len() >= COMMIT_MESSAGES {
                let taken = self.commit()?;
                recorded.fetch_add(taken, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    fn follow(&self, stream: &'static str, subjects: &[&str]) -> Follower {
        let start = self.recorder.cursor(stream).map_or_else(|| Start::Since(spark_nats::now() - HISTORY), Start::After);
        let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        Follower::start(self.service.bus.clone(), self.service.name, stream, subjects, start)
    }

    /// Decodes, and parks what cannot be decoded. That is stored before the place in the stream moves on, and once.
    async fn take(&mut self, batch: Vec<Delivery>) -> Result<(), Error> {
        for delivery in batch {
            let entry = match decode(&delivery) {
                Ok(entry) => entry,
                Err(error) => {
                    park_once(self.service, &delivery, &error).await?;
                    None
                }
            };
            self.waiting.push((delivery, entry));
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<u64, Error> {
        if self.waiting.is_empty() {
            return Ok(0);
        }
        let refused = self.recorder.series_refused();
        let taken = self.recorder.record(&self.waiting)?;
        self.waiting.clear();
        if refused == 0 && self.recorder.series_refused() > 0 {
            tracing::error!(
                most = crate::record::SERIES_MAX,
                "more rules and scopes than the history has room for; the rest is not kept"
            );
        }
        Ok(taken)
    }
}

/// Not a method: the history's connection must not be shared while this waits.
async fn park_once(service: &Service, delivery: &Delivery, error: &DecodeError) -> Result<(), Error> {
    if delivery.stream == subject::PARKED {
        // It is parked already.
        tracing::debug!(sequence = delivery.sequence, %error, "a parked message makes no sense itself");
        return Ok(());
    }
    let detail = error.to_string();
    tokio::select! {
        () = service.shutdown.cancelled() => Ok(()),
        parked = park(&service.bus, service.name, delivery, error.reason(), &detail) => parked.map_err(Error::Bus),
    }
}
